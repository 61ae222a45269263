"""Is loud still loud, and soft still soft?

A clip has a level, in dB, for each half second. The error is the RMS difference between the levels of the estimate and
of the reference, once both have the same mean: the loudness of a whole clip plays no part. 0 dB keeps all of the
dynamics. Half seconds more than 40 dB below the reference's loudest are rests, and do not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbrel.audio.level import span_powers
from timbrel.errors import InputError
from timbrel.metrics.spectral import SAMPLE_RATE

Array = NDArray[np.floating]

SPAN = SAMPLE_RATE // 2
REST_DB = 40.0
SILENCE_DB = 80.0  # below the loudest, at most


def validate(reference: Array, estimated: Array) -> None:
    """Both are waveforms [samples], as long, of at least half a second, and the reference has sound in it.

    Raises:
        InputError: if not.
    """
    if reference.ndim != 1 or reference.shape != estimated.shape or len(reference) < SPAN:
        raise InputError(
            f"waveforms have shapes {reference.shape} and {estimated.shape}; expected [samples] of both, as many, at "
            f"least {SPAN}"
        )
    if not reference.any():
        raise InputError("the reference is silent; expected one with levels to keep")


def levels_db(waveform: Array) -> Array:
    """Level of each half second of a prepared waveform [samples], in dB of the loudest: [samples // SPAN]."""
    power = span_powers(waveform, SPAN)
    return 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-20), 10 ** (-SILENCE_DB / 10)))


def level_error(reference: Array, estimated: Array) -> float:
    """Root mean square, in dB, of how the estimate's levels differ from the reference's, their mean difference out."""
    validate(reference, estimated)
    expected, actual = levels_db(reference), levels_db(estimated)
    return float((actual - expected)[expected > -REST_DB].std())


def evaluate(reference: Array, estimated: Array) -> dict[str, float]:
    """All measures of this file, for two prepared waveforms [samples] of the same length."""
    return {"level_error_db": level_error(reference, estimated)}
