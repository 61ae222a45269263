"""Does a recording move within its notes, as players make it move?

Vibrato, tremolo, bow noise and the beating of strings move the level of each band several times a second; a mean over
what is possible is still. **Modulation** is the RMS in dB of a band's level curve between two frequencies, mean over
the bands that sound: 64 mel bands, 86 frames a second, stretches of 1 s, straight trends out. Vibrato lies at 4-9 Hz,
roughness at 9-20 Hz. Notes that follow each other move bands too: compare with a recording of the same notes.

The measure is the ratio to the reference's modulation. 1 is right, below is still, above is restless.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import detrend, get_window

from timbrel.audio.mel import MelConfig, mel_filters, stft
from timbrel.errors import InputError
from timbrel.metrics.spectral import SAMPLE_RATE, Array

CONFIG = MelConfig(sample_rate=SAMPLE_RATE, n_fft=1024, hop_length=256, n_mels=64, norm="slaney")
STRETCH = round(CONFIG.frame_rate)  # frames
SOUNDING_DB = 40.0  # a band sounds where its mean is at most so far below the loudest band of any stretch
DYNAMIC_RANGE_DB = 80.0
EDGES_HZ = (4.0, 9.0, 20.0)


def modulation(waveform: Array) -> NDArray:
    """Modulation of a prepared waveform [samples], at least 1 s, at 4-9 and 9-20 Hz: [2], dB.

    Raises:
        InputError: shorter than 1 s.
    """
    validate(waveform)
    curves = _stretches(_band_levels(waveform))
    means = curves.mean(-1)
    sounding = curves[means > means.max() - SOUNDING_DB]
    taper = get_window("hann", STRETCH)
    power = np.abs(np.fft.rfft(detrend(sounding) * taper)) ** 2 * 2 / (STRETCH * (taper**2).sum())
    hz = np.fft.rfftfreq(STRETCH, 1 / CONFIG.frame_rate)
    ranges = [(low <= hz) & (hz < high) for low, high in pairwise(EDGES_HZ)]
    return np.array([np.sqrt(power[:, inside].sum(-1)).mean() for inside in ranges])


def _band_levels(waveform: Array) -> NDArray:
    """[64, frames], dB below the loudest, at least -80."""
    power = (mel_filters(CONFIG) @ stft(torch.from_numpy(waveform), CONFIG).abs().square()).numpy()
    return 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-20), 10 ** (-DYNAMIC_RANGE_DB / 10)))


def _stretches(levels: NDArray) -> NDArray:
    """[bands, frames] -> [stretches, bands, frames of 1 s], half of each shared with the next."""
    windows = np.lib.stride_tricks.sliding_window_view(levels, STRETCH, axis=1)
    return windows[:, :: STRETCH // 2].transpose(1, 0, 2)


def validate(*waveforms: Array) -> None:
    """Each is a waveform [samples] of at least 1 s.

    Raises:
        InputError: if not.
    """
    for waveform in waveforms:
        if waveform.ndim != 1 or len(waveform) < SAMPLE_RATE:
            raise InputError(
                f"waveform has shape {waveform.shape}; expected [samples], at least 1 s ({SAMPLE_RATE}): modulation of "
                "a few times a second cannot be told from less"
            )


def evaluate(reference: Array, estimate: Array) -> dict[str, float]:
    """Modulation of a prepared waveform [samples] over that of the reference, at 4-9 and 9-20 Hz."""
    slow, fast = modulation(estimate) / np.maximum(modulation(reference), 1e-9)
    return {"modulation_4_9": float(slow), "modulation_9_20": float(fast)}
