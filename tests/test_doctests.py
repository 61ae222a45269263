"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import timbrel

SOURCE = Path(timbrel.__path__[0])
MODULES = [
    ".".join(("timbrel", *path.relative_to(SOURCE).with_suffix("").parts))
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str):
    done = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted
    assert not done.failed
