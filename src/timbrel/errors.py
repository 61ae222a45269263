"""Errors that a user may see. A message says the value, what was expected, and what to do."""

import sys
import warnings


class TimbrelError(Exception):
    """Base of all errors that timbrel raises on purpose; the command line exits with `exit_code`."""

    exit_code = 2


class InputError(TimbrelError, ValueError):
    """A value that a caller gave: out of range, an unknown name, a wrong shape."""


class AudioError(TimbrelError):
    """A recording that cannot be read or written."""


class ModelError(TimbrelError):
    """A model folder that is missing, broken or of the wrong kind."""


class MissingDependencyError(TimbrelError, ImportError):
    """An extra or a system program that is not installed."""


class InterruptedRunError(TimbrelError):
    """Long work that the user stopped, and that goes on where it was when it is started again."""

    exit_code = 130


def warn(message: str) -> None:
    """Warns, as of the first line outside this package and torch, whose decorators are between."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("timbrel", "torch"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
