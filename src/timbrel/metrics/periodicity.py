"""Does the spectrum of a sound repeat over frequency?

A network over pictures that sees only a part of a spectrum at a time may draw the same partials again and again, one
above the other: report 002 saw it in square pictures (section 3.4). Of each moment that sounds, the mel's bands are
compared with themselves, moved up: the autocorrelation of what is left of the spectrum when its smooth course is taken
out. The measure is its highest value after it was first negative. 0 is none, 1 a spectrum that repeats exactly.
Partials of a real tone come closer to each other on a mel scale: real sounds of the same classes say what is usual.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from timbrel.errors import InputError

SMOOTH = 1 / 8  # of the bands: the standard deviation of what is taken for the smooth course
SOUNDING_DB = 40.0  # below the loudest moment


def periodicity(mel: NDArray) -> float:
    """How strongly the moments of a mel in dB [n_mels, frames] repeat over frequency, mean over those that sound.

    Raises:
        InputError: another shape, fewer than 16 bands, or NaN or infinite numbers.
    """
    validate(mel)
    level = mel.max(0)
    moments = mel[:, level >= level.max() - SOUNDING_DB].T
    rest = moments - gaussian_filter1d(moments, SMOOTH * moments.shape[1], axis=1, mode="nearest")
    return float(np.mean([_repetition(moment) for moment in rest]))


def _repetition(moment: NDArray) -> float:
    """The highest autocorrelation of [bands] beyond the first lag where it is negative, up to half of the bands."""
    bands = len(moment)
    energy = float(np.square(moment).sum())
    if not energy > 1e-6 * bands:
        return 0.0
    curve = np.correlate(moment, moment, "full")[bands - 1 :][: bands // 2] / energy
    curve *= bands / np.arange(bands, bands - len(curve), -1)  # as many bands meet no more
    negative = np.flatnonzero(curve < 0)
    return float(curve[negative[0] :].max().clip(0, 1)) if len(negative) else 0.0


def validate(mel: NDArray) -> None:
    """A finite mel of 16 bands or more.

    Raises:
        InputError: if not.
    """
    if mel.ndim != 2 or len(mel) < 16 or not mel.shape[1] or not np.isfinite(mel).all():
        raise InputError(f"mel has shape {mel.shape}; expected [n_mels, frames], 16 bands or more, of finite numbers")


def evaluate(mel: NDArray) -> dict[str, float]:
    """The measure of this file by its name."""
    return {"periodicity": periodicity(mel)}
