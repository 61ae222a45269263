"""Does a recording keep the rhythm of its score?

librosa finds the onsets (peaks of the spectral flux); one counts when a note of the score starts within 50
ms, each used once. Like note F1 it is well below 1 for a flawless recording: compare with the true answer's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import InputError
from timbrel.metrics import require
from timbrel.metrics.spectral import SAMPLE_RATE

TOLERANCE_S = 0.05


def detect(waveform: NDArray) -> NDArray:
    """Onset times in seconds [onsets] of a prepared waveform [samples].

    Raises:
        MissingDependencyError: if librosa is not installed.
    """
    return require("librosa").onset.onset_detect(y=waveform, sr=SAMPLE_RATE, units="time")


def validate(reference: NDArray, estimated: NDArray) -> None:
    """Both are times in seconds [onsets], not negative and ascending.

    Raises:
        InputError: if not.
    """
    for times in (reference, estimated):
        if times.ndim != 1 or (times < 0).any() or (np.diff(times) < 0).any():
            raise InputError(f"onsets have shape {times.shape}; expected [onsets] ascending times in seconds, from 0")


def onset_f1(reference: NDArray, estimated: NDArray, *, tolerance_s: float = TOLERANCE_S) -> float:
    """F1 in [0, 1] of two lists of onset times [onsets] in seconds; 0 when either is empty.

    Raises:
        MissingDependencyError: if mir_eval is not installed.
    """
    validate(reference, estimated)
    if not len(reference) or not len(estimated):
        return 0.0
    return float(require("mir_eval.onset").f_measure(reference, estimated, window=tolerance_s)[0])


def evaluate(reference: NDArray, waveform: NDArray) -> dict[str, float]:
    """Onset F1 of a prepared waveform [samples] against its score's note starts in seconds, in any order."""
    return {"onset_f1": onset_f1(np.unique(reference), detect(waveform))}
