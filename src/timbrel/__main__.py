"""`python -m timbrel`, as `torchrun -m timbrel` needs it."""

import sys

from timbrel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
