"""Measures, one file a question, each of the same shape: prose, `validate`, the metrics, `evaluate`."""

from __future__ import annotations

import importlib
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
