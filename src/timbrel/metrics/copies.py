"""Is a generated sound a copy of one that it was trained on?

The smallest difference, in dB, between its mel and that of any training sound of its class, at any shift in time. What
a copy would give is known: a training sound through the codec. So is what a new sound gives: held-out real ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from timbrel.errors import InputError

OVERLAP = 0.75  # of the frames of a sound have to meet frames of the other
RANGE_DB = -70.0  # below the loudest band: what is softer does not count


def nearest_db(mel: NDArray, others: Iterable[NDArray]) -> float:
    """The smallest of the differences of a mel from others, in dB (`difference_db`); infinite without others."""
    return min((difference_db(mel, other) for other in others), default=float("inf"))


def difference_db(mel: NDArray, other: NDArray) -> float:
    """Root mean square difference of two mels in dB, [n_mels, frames] each, at the shift where it is smallest. Beyond
    its ends the other is silent; three quarters of the shorter one have to meet something of the other.

    >>> rng = np.random.default_rng(0)
    >>> mel = rng.uniform(-60, 0, (8, 40))
    >>> round(difference_db(mel[:, 5:], mel), 3)
    0.0

    Raises:
        InputError: other numbers of bands, or no frames.
    """
    validate(mel, other)
    a, b = (np.maximum(x - x.max(), RANGE_DB) - RANGE_DB for x in (mel, other))  # silence is 0
    n, m = a.shape[1], b.shape[1]
    size = next_fast_len(n + m - 1, real=True)
    products = irfft((rfft(a, size) * rfft(b[:, ::-1], size)).sum(0), size)[: n + m - 1]
    energy = np.convolve(np.square(b).sum(0)[::-1], np.ones(n))  # of the frames of b that a meets
    squared = np.square(a).sum() + energy - 2 * products
    meets = np.convolve(np.ones(m), np.ones(n)) >= OVERLAP * min(n, m)
    return float(np.sqrt(max(0.0, squared[meets].min()) / a.size))


def validate(mel: NDArray, other: NDArray) -> None:
    """Two mels of as many bands, with frames.

    Raises:
        InputError: if not.
    """
    if mel.ndim != 2 or other.ndim != 2 or len(mel) != len(other) or 0 in (*mel.shape, *other.shape):
        raise InputError(f"mels have the shapes {mel.shape} and {other.shape}; expected [n_mels, frames] of one n_mels")
