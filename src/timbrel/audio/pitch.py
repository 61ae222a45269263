"""The pitch range of a recording, and the mel spectrogram of the recording transposed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import soxr
import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig, mel_spectrogram, stft

_RATE, _N_FFT, _HOP = 11025, 4096, 2048
_LOWEST, _HIGHEST = 24, 108
_HARMONICS = 8
_CLEAR = 4.0  # times the mean of all pitches: noise has 2 to 4, music, also in noise, 5 to 12


def pitch_range(waveform: np.ndarray, sample_rate: int) -> tuple[float, float, float] | None:
    """Lowest, middle and highest pitch of the notes that stand out (5 %, 50 % and 95 % of the moments), one or many
    at a time. Meant for a choice of octave: single moments may be an octave wrong.

    Each moment that sounds counts with the pitch whose harmonics are strongest together (harmonic summation: Hermes
    1988, *Measurement of pitch by subharmonic summation*). Square roots of the magnitudes are summed, so that a strong
    partial does not decide alone.

    Args:
        waveform: mono [samples].

    Returns:
        MIDI pitches from 24 to 108, or None where hardly anything (less than a tenth of what sounds) has a pitch.
    """
    low = torch.from_numpy(soxr.resample(np.asarray(waveform, np.float32), sample_rate, _RATE))
    if not len(low):
        return None
    magnitudes = stft(low, MelConfig(_RATE, _N_FFT, _HOP, max_hz=_RATE / 2)).abs()
    level = magnitudes.square().sum(dim=0)
    sounding = level > 1e-3 * level.mean()
    if not bool((level[sounding] > 1e-10).any()):
        return None
    roots = magnitudes[:, sounding].sqrt()
    roots = (
        roots - torch.nn.functional.avg_pool1d(roots.T[:, None], 65, 1, 32, count_include_pad=False)[:, 0].T
    ).relu()
    pitches = torch.arange(_LOWEST, _HIGHEST + 1, dtype=torch.float64)
    hz = 440 * 2 ** ((pitches - 69) / 12)
    salience = torch.zeros(len(pitches), roots.shape[1])
    for h in range(1, _HARMONICS + 1):
        place = hz * h * _N_FFT / _RATE
        for nearby in (-0.5, 0.5):  # half a bin to either side: notes are not always in tune
            index = (place + nearby).round().long()
            inside = index < len(roots)
            salience[inside] += 0.8 ** (h - 1) * roots[index[inside]]
    clear = salience.amax(dim=0) > _CLEAR * salience.mean(dim=0)
    if clear.float().mean() < 0.1:
        return None
    strongest = pitches[salience.argmax(dim=0)[clear]].numpy()
    return tuple(float(x) for x in np.quantile(strongest, (0.05, 0.5, 0.95)))  # type: ignore[return-value]


def octaves_into(source: tuple[float, float], target: tuple[float, float]) -> int:
    """Semitones, whole octaves, that bring a source's range best into the target's.

    Args:
        source: lowest and highest pitch of the source, without outliers.
        target: the same of the instrument.

    Returns:
        The least move that leaves the least outside: an octave has to save more than 4 semitones. 0 where it fits.

    >>> octaves_into((28, 50), (55, 100)), octaves_into((53, 74), (55, 100))
    (24, 0)
    """

    def cost(octaves: int) -> float:
        low, high = (pitch + 12 * octaves for pitch in source)
        return max(0.0, target[0] - low) + max(0.0, high - target[1]) + 4 * abs(octaves)

    return 12 * min(range(-3, 4), key=lambda octaves: (cost(octaves), abs(octaves)))


def transposed_mel(waveform: Tensor, config: MelConfig, semitones: float) -> Tensor:
    """`mel_spectrogram` of a waveform whose pitch is moved and whose time stays.

    Played faster, a recording is higher and shorter; framed with a hop that is shorter by as much, each frame still
    shows its own moment. Nothing is stretched. The window then sees more of the recording than before, and attacks
    smear; a window that sees as much as before smears partials: each cell takes the lower value of both mels.

    Args:
        waveform: [1, 1, samples].
        semitones: up or down; the factor on frequencies is a ratio of whole hops, within 5 cents for hops of 1024.

    Returns:
        Tensor [1, 1, n_mels, frames], at least 1 + samples // hop_length frames.
    """
    if semitones == 0:
        return mel_spectrogram(waveform, config)
    hop = config.hop_length / 2 ** (semitones / 12)
    every = int(np.ceil(hop / (config.n_fft // 2)))  # more frames than needed, where the hop would be too long
    step = round(hop / every)
    moved = soxr.resample(waveform[0, 0].numpy(), config.hop_length, step * every)
    padded = torch.nn.functional.pad(torch.from_numpy(moved), (0, step * every))
    moved_config = replace(config, hop_length=step)
    mel = mel_spectrogram(padded[None, None], moved_config)
    if semitones > 0:
        short = round(config.n_fft * step / config.hop_length)
        mel = torch.minimum(mel, mel_spectrogram(padded[None, None], moved_config, short))
    return mel[..., ::every]
