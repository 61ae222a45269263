"""Does a recording keep the harmony of the true answer?

The chromagram (energy of the twelve pitch classes, from a constant-Q transform) of both, and the mean over
the frames of the cosine between them: 1 is the same harmony at every moment.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import InputError
from timbrel.metrics import require
from timbrel.metrics.spectral import SAMPLE_RATE


def chromagram(waveform: NDArray) -> NDArray:
    """CQT chromagram [12, frames] in [0, 1] of a prepared waveform [samples].

    Raises:
        MissingDependencyError: if librosa is not installed.
    """
    librosa = require("librosa")
    with warnings.catch_warnings():
        # At the low rates at which the low octaves are taken, a clip of few seconds is shorter than a frame. It is
        # padded with silence, as it should be.
        warnings.filterwarnings("ignore", message="n_fft=.* is too large for input signal", category=UserWarning)
        return librosa.feature.chroma_cqt(y=waveform, sr=SAMPLE_RATE, tuning=0.0)


def validate(reference: NDArray, estimated: NDArray) -> None:
    """Both are chromagrams [12, frames] with as many frames.

    Raises:
        InputError: if not.
    """
    if reference.ndim != 2 or len(reference) != 12 or reference.shape != estimated.shape:
        raise InputError(
            f"chromagrams have shapes {reference.shape} and {estimated.shape}; expected [12, frames], cut alike"
        )


def chroma_cosine(reference: NDArray, estimated: NDArray) -> float:
    """Mean over the frames of the cosine of chromagrams [12, frames], in [0, 1]; silent in both counts 1.

    >>> harmony = np.eye(12)[:, [0, 4, 7]]
    >>> chroma_cosine(harmony, harmony), chroma_cosine(harmony, np.roll(harmony, 1, axis=0))
    (1.0, 0.0)
    """
    validate(reference, estimated)
    product = (reference * estimated).sum(0)
    norm = np.linalg.norm(reference, axis=0) * np.linalg.norm(estimated, axis=0)
    silent = (reference.max(0) == 0) & (estimated.max(0) == 0)
    return float(np.where(silent, 1.0, product / np.maximum(norm, 1e-12)).mean())
