"""Does a movie move with its music?

How much a frame differs from the one before is its motion. The times of the motion's peaks are compared with the
music's onsets, which librosa hears: F1, where a peak within 70 ms of an onset counts and each is used once (as beats
are: Davies et al. 2009). A movie with many peaks is near any music's onsets: compare with the F1 of the same movie
under the same sound, whose seconds are shuffled.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from timbrel.errors import InputError
from timbrel.metrics.onsets import detect, onset_f1
from timbrel.metrics.spectral import SAMPLE_RATE

TOLERANCE_S = 0.07
NEAR = 9  # frames that a peak stands out of


def motion(frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Mean absolute difference, in levels, of each frame [height, width, 3] from the one before: [frames], from 0."""
    rows, before = [], None
    for frame in frames:
        now = frame.astype(np.int16)
        rows.append(0.0 if before is None else float(np.abs(now - before).mean()))
        before = now
    return np.array(rows)


def peaks_s(motion: NDArray, fps: float) -> NDArray[np.float64]:
    """Times in seconds where motion [frames] stands out by a standard deviation or more from what is near."""
    outstanding = motion - np.convolve(motion, np.ones(NEAR) / NEAR, mode="same")
    places, _ = find_peaks(outstanding, height=max(float(outstanding.std()), 1e-9))
    return places / fps


def shuffled(waveform: NDArray, sample_rate: int, *, seed: int = 0) -> NDArray:
    """A waveform [samples] whose seconds are in an order of chance."""
    seconds = np.array_split(waveform, max(1, round(len(waveform) / sample_rate)))
    return np.concatenate([seconds[k] for k in np.random.default_rng(seed).permutation(len(seconds))])


def validate(motion: NDArray, waveform: NDArray) -> None:
    """Raises InputError unless there are frames [frames] and samples [samples], a few of both."""
    if motion.ndim != 1 or waveform.ndim != 1 or len(motion) < NEAR or not len(waveform):
        raise InputError(
            f"motion has shape {motion.shape} and waveform {waveform.shape}; expected [frames], {NEAR} or more, and "
            "[samples]"
        )


def evaluate(motion: NDArray, waveform: NDArray, fps: float) -> dict[str, float]:
    """Beat F1 of a movie's motion [frames] and its sound [samples] at `spectral.SAMPLE_RATE`, and of the same under
    shuffled sound."""
    validate(motion, waveform)
    times = peaks_s(motion, fps)
    sounds = {"beat_f1": waveform, "beat_f1_shuffled": shuffled(waveform, SAMPLE_RATE)}
    return {name: onset_f1(detect(sound), times, tolerance_s=TOLERANCE_S) for name, sound in sounds.items()}
