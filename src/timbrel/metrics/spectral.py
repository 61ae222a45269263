"""How close is the sound of a recording to that of the true answer?

Both are listened to at 22,050 Hz through one mel spectrogram: Hann windows of 2048 every 512 samples, 128
bands on Slaney's scale, decibels below the clip's own maximum down to -80, so that the level of a clip plays
no part.

- **LSD**, the log-spectral distance: root mean square of the difference over the bands, mean over the frames,
  in dB. 0 is the same; two recordings of other notes are about 20 apart. It rewards blur, so read it beside
  the detail.
- **MFCC distance**: Euclidean distance between (mean, standard deviation, standard deviation of the first
  difference) over time of the cepstral coefficients 1 to 19: timbre, whatever the notes.
- **Detail**: mean absolute difference between neighbouring bands, over the reference's own. 1 is right, less
  is blur, more is noise.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct

from timbrel.audio.io import resample
from timbrel.audio.mel import MelConfig, mel_filters, stft
from timbrel.errors import InputError

Array = NDArray[np.floating]

SAMPLE_RATE = 22050
PEAK = 0.9
DYNAMIC_RANGE_DB = 80.0
CONFIG = MelConfig(sample_rate=SAMPLE_RATE, n_fft=2048, hop_length=512, n_mels=128, norm="slaney")


def prepare(waveform: NDArray, sample_rate: int, to: int = SAMPLE_RATE) -> Array:
    """What every measure listens to: mono, 22,050 Hz, peak at 0.9 (silence stays silence).

    Args:
        waveform: [samples] or [channels, samples].
        to: another sample rate in Hz than 22,050.

    Returns:
        [samples], float32.

    Raises:
        InputError: if the waveform has no samples, another shape, or NaN or infinite samples.
    """
    if waveform.ndim not in (1, 2) or waveform.shape[-1] == 0:
        raise InputError(f"waveform has shape {waveform.shape}; expected [samples] or [channels, samples], not empty")
    if not np.isfinite(waveform).all():
        raise InputError("waveform has NaN or infinite samples; expected numbers in [-1, 1]")
    mono = np.atleast_2d(waveform).mean(0, dtype=np.float32)[None]
    mono = resample(mono, sample_rate, to)[0]
    return mono * np.float32(PEAK / max(float(np.abs(mono).max()), 1e-9))


def mel_db(waveform: Array) -> Array:
    """Mel spectrogram of a prepared waveform [samples]: [128, frames], dB of its own maximum, -80 to 0."""
    power = stft(torch.from_numpy(waveform), CONFIG).abs().square()
    mel = (mel_filters(CONFIG) @ power).numpy()
    return 10 * np.log10(np.maximum(mel / max(float(mel.max()), 1e-20), 10 ** (-DYNAMIC_RANGE_DB / 10)))


def mfcc(mel: Array) -> Array:
    """Cepstral coefficients 1 to 19 of a mel spectrogram in dB: [19, frames]; 0, the level, is left out."""
    return dct(mel, axis=0, norm="ortho")[1:20]


def validate(reference: Array, estimated: Array) -> None:
    """Both are mel spectrograms [128, frames] with as many frames.

    Raises:
        InputError: if not.
    """
    for mel in (reference, estimated):
        if mel.ndim != 2 or mel.shape[0] != CONFIG.n_mels or mel.shape[1] < 2:
            raise InputError(f"mel has shape {mel.shape}; expected [{CONFIG.n_mels}, frames], at least two frames")
    if reference.shape != estimated.shape:
        raise InputError(
            f"the clips have {reference.shape[1]} and {estimated.shape[1]} frames; expected as many: cut them alike"
        )


def frame_distances(reference: Array, estimated: Array) -> Array:
    """Root mean square over the bands of the difference of two mels, for each frame: [frames], dB."""
    validate(reference, estimated)
    return np.sqrt(np.square(reference - estimated).mean(0))


def log_spectral_distance(reference: Array, estimated: Array) -> float:
    """LSD in dB between two mels [128, frames]."""
    return float(frame_distances(reference, estimated).mean())


def mfcc_distance(reference: Array, estimated: Array) -> float:
    """Distance between the timbre statistics of two mels [128, frames]; they may be of different lengths."""
    return float(np.linalg.norm(_timbre(reference) - _timbre(estimated)))


def _timbre(mel: Array) -> Array:
    coefficients = mfcc(mel)
    return np.concatenate([coefficients.mean(1), coefficients.std(1), np.diff(coefficients).std(1)])


def detail(reference: Array, estimated: Array) -> float:
    """Mean absolute difference of neighbouring bands of the estimate, over that of the reference."""
    validate(reference, estimated)
    step = float(np.abs(np.diff(reference, axis=0)).mean())
    return float(np.abs(np.diff(estimated, axis=0)).mean()) / max(step, 1e-9)


def evaluate(reference: Array, estimated: Array) -> dict[str, float]:
    """All measures of this file, for two prepared waveforms [samples] of the same length."""
    mels = mel_db(reference), mel_db(estimated)
    return {
        "lsd_db": log_spectral_distance(*mels),
        "mfcc_distance": mfcc_distance(*mels),
        "detail": detail(*mels),
    }
