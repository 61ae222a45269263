"""Errors that a user may see. A message says the value, what was expected, and what to do."""


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
