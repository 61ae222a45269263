"""What CI relies on: the pins, the test command of the README, and that no skip goes unseen."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_that_ci_installs_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    names = {normal(re.split(r"[\[<>=~! ;]", requirement)[0]) for requirement in asked} - {"timbrel"}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {normal(line.split("==")[0]): line.split("==")[1] for line in lines}
    assert names <= pins.keys()
    assert lines[0] == "torch==2.13.0", "pip installs a CPU build for exactly that pin"


def test_ci_runs_the_commands_of_the_readme():
    script, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text()
    command = 'pip install -c constraints.txt -e ".[dev]" && pytest'
    assert f"\n{command}\n" in readme
    assert f"\nbash -c '{command}'\n" in script
    lint = (ROOT / "justfile").read_text().partition("\nlint:\n")[2].partition("\n\n")[0]
    checks = [line.strip() for line in lint.splitlines()]
    assert len(checks) == 4
    assert f"\n{' && '.join(checks)}\n" in readme
    assert all(f"\n{check}\n" in script for check in checks)
    assert "set -euo pipefail" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_a_skip_fails_unless_it_is_marked(tmp_path: Path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "@pytest.mark.skip(reason='no synthesiser')\ndef test_unmarked(): pass\n"
        "@pytest.mark.gpu\n@pytest.mark.skip(reason='no GPU')\ndef test_marked(): pass\n"
        "@pytest.mark.xfail\ndef test_known(): assert False\n"
    )
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT / ".ci"), "PYTEST_PLUGINS": "no_skips"}

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed, 1 skipped, 1 xfailed, 2 errors" in done.stdout
    assert "CI allows no skip: Skipped: no synthesiser" in done.stdout
    assert "CI allows no skip: Skipped: could not import 'no_such_module'" in done.stdout
    assert done.returncode == 1
