"""Measures, one file a question, each of the same shape: prose, `validate`, the metrics, `evaluate`."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from timbrel.errors import MissingDependencyError


def require(module: str) -> ModuleType:
    """Import a library of the `metrics` extra.

    Raises:
        MissingDependencyError: if it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} is not installed; measuring needs it: pip install 'timbrel[metrics]'"
        ) from error


def installed_file(package: str, *parts: str) -> Path | None:
    """A file inside an installed package, which is not imported; None where either is missing."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *parts)
        if path.exists():
            return path
    return None
