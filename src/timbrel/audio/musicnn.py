"""musicnn's audio front end: waveform -> log-mel patches of 3 s (Pons and Serra 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig, mel_filters, stft
from timbrel.errors import InputError

SAMPLE_RATE = 16000
NUM_FRAMES = 187  # of a patch
PATCH_S = 3.0
CONFIG = MelConfig(sample_rate=SAMPLE_RATE, n_fft=512, hop_length=256, n_mels=96, norm="slaney")


def full_scale(waveform: Tensor) -> Tensor:
    """Music [samples] with its peak at 1: the level at which every audio encoder of a painter hears.

    Raises:
        InputError: it has no samples.
    """
    if not len(waveform):
        raise InputError("the waveform has no samples; expected some music")
    return waveform / waveform.abs().max().clamp_min(1e-4)


def moments(waveform: Tensor) -> Tensor:
    """Music [samples] at 16 kHz, at any level -> what the network sees of its whole moments of 3 s [n, 187, 96]. What
    is shorter than a moment is repeated. Errors as `full_scale`."""
    length = round(PATCH_S * SAMPLE_RATE)
    waveform = full_scale(waveform)
    whole = waveform.repeat(-(-length // len(waveform)))
    return log_mel_patches(whole[: len(whole) // length * length].view(-1, length))


def log_mel_patches(windows: Tensor) -> Tensor:
    """Windows of 3 s [n, 48000] at 16 kHz, of music whose peak is 1 -> what the network sees [n, 187, 96]."""
    power = stft(windows, CONFIG).abs().square() * (CONFIG.n_fft / 4) ** 2  # of a Hann window without scaling
    log_mel = torch.log10(10000 * (mel_filters(CONFIG) @ power) + 1)
    return log_mel[..., :NUM_FRAMES].transpose(1, 2)
