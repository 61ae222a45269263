"""Does a result keep how a single voice is in tune: its tuning, its vibrato, its glides?

The pitch of source and result is followed by pYIN (Mauch and Dixon 2014) and made exact by YIN (de Cheveigné and
Kawahara 2002), both librosa's, where the two agree. Two voices at once it cannot follow.

- **Tuning error**: how far the result lies above the source, in cents, whole semitones apart (a result may be
  transposed). 0 is right.
- **Vibrato kept**: depth of vibrato in the result over that in the source; depth is the amplitude of the pitch curve at
  4-9 Hz in stretches of half a second without a change of note. 1 is right.
- **Grid distance**: mean distance in cents to the nearest semitone of the recording's own tuning, in the result and in
  the source. A glide is 25 on average, its staircase of semitones near 0: as the source's is right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import detrend, get_window

from timbrel.errors import InputError
from timbrel.metrics import require
from timbrel.metrics.spectral import SAMPLE_RATE, Array

HOP = 256
FRAME = 1024  # samples; its half is what is compared with itself
MIN_HZ, MAX_HZ = 55.0, 2093.0
AGREEMENT_CENTS = 50.0  # between pYIN, which is coarse and knows the octave, and YIN, which is exact
MIN_PROBABILITY = 0.1  # that a frame has a pitch, by pYIN; it says 0.01 of noise
STRETCH = round(0.5 * SAMPLE_RATE / HOP)  # frames of a stretch for vibrato
VIBRATO_HZ = (4.0, 9.0)
NOTE_CENTS, DRIFT_CENTS = 150.0, 30.0  # range, and drift of its halves, over which a stretch holds no single note
MIN_VOICED_S = 1.0


def pitch_curve(waveform: Array) -> NDArray:
    """Pitch of a prepared waveform [samples] every 11.6 ms: [frames], cents above A = 440 Hz, NaN where there is none.

    Raises:
        MissingDependencyError: librosa is not installed.
    """
    librosa = require("librosa")
    settings = {"fmin": MIN_HZ, "fmax": MAX_HZ, "sr": SAMPLE_RATE, "frame_length": FRAME, "hop_length": HOP}
    coarse, _, probability = librosa.pyin(waveform, **settings)
    exact, about = (1200 * np.log2(hz / 440) for hz in (librosa.yin(waveform, **settings), coarse))
    return np.where((np.abs(exact - about) < AGREEMENT_CENTS) & (probability > MIN_PROBABILITY), exact, np.nan)


def tuning(curve: NDArray) -> float:
    """Offset of a curve [frames] in cents from the semitones of A = 440 Hz, -50 to 50: its mean on the circle."""
    return float(np.angle(np.nanmean(np.exp(2j * np.pi * curve / 100))) * 100 / (2 * np.pi))


def grid_distance(curve: NDArray) -> float:
    """Mean distance of a curve [frames] to the nearest semitone of its own tuning: 0 to 50 cents."""
    away = (curve - tuning(curve)) / 100
    return float(100 * np.nanmean(np.abs(away - np.round(away))))


def vibrato_depths(curve: NDArray) -> NDArray:
    """Amplitude in cents at 4-9 Hz of each stretch of half a second of a curve [frames], half of each shared with the
    next: [stretches], NaN where it is not one note throughout."""
    stretches = np.lib.stride_tricks.sliding_window_view(curve, STRETCH)[:: STRETCH // 2]
    first, second = (half.mean(1) for half in np.array_split(stretches, 2, axis=1))
    steady = (np.ptp(stretches, axis=1) < NOTE_CENTS) & (np.abs(second - first) < DRIFT_CENTS)  # False with a NaN
    taper = get_window("hann", STRETCH)
    power = np.abs(np.fft.rfft(detrend(np.nan_to_num(stretches)) * taper)) ** 2 * 4 / (STRETCH * (taper**2).sum())
    hz = np.fft.rfftfreq(STRETCH, HOP / SAMPLE_RATE)
    depths = np.sqrt(power[:, (VIBRATO_HZ[0] <= hz) & (hz <= VIBRATO_HZ[1])].sum(-1))
    return np.where(steady, depths, np.nan)


def validate(source: NDArray, result: NDArray) -> None:
    """Both are curves [frames] of one length with a pitch in the same frames for 1 s or more.

    Raises:
        InputError: if not.
    """
    if source.ndim != 1 or source.shape != result.shape:
        raise InputError(f"curves have shapes {source.shape} and {result.shape}; expected [frames], cut alike")
    common = (np.isfinite(source) & np.isfinite(result)).sum() * HOP / SAMPLE_RATE
    if common < MIN_VOICED_S:
        raise InputError(
            f"source and result have a pitch for {common:.1f} s together; expected {MIN_VOICED_S} s or more"
        )


def compare(source: NDArray, result: NDArray) -> dict[str, float]:
    """The measures of two curves [frames]; vibrato_kept is NaN where no note of the source lasts half a second."""
    validate(source, result)
    unvoiced = np.isnan(source) | np.isnan(result)
    source, result = (np.where(unvoiced, np.nan, curve) for curve in (source, result))
    before, after = vibrato_depths(source), vibrato_depths(result)
    both = np.isfinite(before) & np.isfinite(after)
    depth, kept = (float(depths[both].mean()) if both.any() else np.nan for depths in (before, after))
    return {
        "tuning_error": tuning(result - source),
        "vibrato_source": depth,
        "vibrato_kept": kept / max(depth, 1e-9),
        "grid_source": grid_distance(source),
        "grid_distance": grid_distance(result),
    }


def evaluate(source: Array, result: Array) -> dict[str, float]:
    """The measures of two prepared waveforms [samples] of one voice, cut alike, in cents but for vibrato_kept."""
    return compare(pitch_curve(source), pitch_curve(result))
