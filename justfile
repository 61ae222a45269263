# What developers call; `just` lists it. Each needs: pip install -c constraints.txt -e ".[dev]"

_list:
    @{{ just_executable() }} --list --unsorted

# The tests, or those that are named: just test tests/audio
test *paths:
    pytest {{ paths }}

# All that CI checks beside the tests
lint:
    ruff check
    ruff format --check
    mypy
    python -m tools.docs --check

# What ruff can put right by itself
fmt:
    ruff check --fix
    ruff format

# Writes the measured tables of README, docs and model cards
docs:
    python -m tools.docs

# How long a transfer takes
bench *options:
    python benchmarks/transfer.py {{ options }}
