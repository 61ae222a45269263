"""Waveform -> mel spectrogram in dB, with the absolute level kept.

A full-scale sine has STFT magnitude 1, so 0 dB is full scale whatever the window. No clip is scaled by its own
maximum: level is part of the music.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor

from timbrel.bounds import Bounds, Floor
from timbrel.errors import InputError


@dataclass(frozen=True)
class MelConfig:
    """What a mel spectrogram was made with. `norm` is None (triangles of height 1) or "slaney" (of area 1)."""

    sample_rate: Annotated[int, Bounds(4000, 384_000)] = 44100
    n_fft: Annotated[int, Bounds(64, 65_536)] = 4096
    hop_length: Annotated[int, Bounds(32, 32_768)] = 1024
    n_mels: Annotated[int, Bounds(1, 4096)] = 256
    min_hz: Annotated[float, Bounds(0, 192_000)] = 0.0
    max_hz: Annotated[float, Bounds(0, 192_000)] | None = None
    norm: str | None = None
    floor_db: Floor = -100.0

    def __post_init__(self) -> None:
        if self.norm not in (None, "slaney"):
            raise InputError(f"norm is {self.norm!r}; expected None or 'slaney'")
        if not 0 < self.hop_length <= self.n_fft // 2:
            raise InputError(f"hop_length is {self.hop_length}; expected 1 to n_fft / 2 = {self.n_fft // 2}")
        if not 0 <= self.min_hz < self.upper_hz <= self.sample_rate / 2:
            raise InputError(
                f"mel range is {self.min_hz} to {self.upper_hz} Hz; expected 0 <= min_hz < max_hz <= "
                f"{self.sample_rate / 2} Hz, half the sample rate"
            )

    @property
    def upper_hz(self) -> float:
        return self.sample_rate / 2 if self.max_hz is None else self.max_hz

    @property
    def frame_rate(self) -> float:
        """Mel frames a second."""
        return self.sample_rate / self.hop_length

    def num_frames(self, samples: int) -> int:
        return 1 + samples // self.hop_length


def hz_to_mel(hz: Tensor) -> Tensor:
    """Slaney's mel scale: linear below 1 kHz (15 mel), logarithmic above.

    >>> hz_to_mel(torch.tensor([0.0, 500.0, 1000.0, 6400.0]))
    tensor([ 0.0000,  7.5000, 15.0000, 42.0000])
    """
    return torch.where(hz < 1000, hz * 3 / 200, 15 + 27 * torch.log(hz.clamp_min(1e-9) / 1000) / math.log(6.4))


def mel_to_hz(mel: Tensor) -> Tensor:
    """Inverse of `hz_to_mel`."""
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))


def band_centres_hz(config: MelConfig) -> Tensor:
    """Centre frequencies of the bands in Hz, [n_mels]."""
    return _band_edges_hz(config)[1:-1].float()


def _band_edges_hz(config: MelConfig) -> Tensor:
    low, high = hz_to_mel(torch.tensor([config.min_hz, config.upper_hz], dtype=torch.float64))
    return mel_to_hz(torch.linspace(float(low), float(high), config.n_mels + 2, dtype=torch.float64))


@lru_cache(maxsize=16)
def mel_filters(config: MelConfig) -> Tensor:
    """Triangular filters on Slaney's scale, as librosa's `filters.mel` with the same norm.

    Returns:
        Tensor [n_mels, n_fft // 2 + 1], float32, non-negative.
    """
    bins = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1, dtype=torch.float64)
    edges = _band_edges_hz(config)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = torch.minimum(rise, fall).clamp_min(0)
    if config.norm == "slaney":
        filters = filters * (2 / (edges[2:] - edges[:-2]))[:, None]
    return filters.float()


@lru_cache(maxsize=16)
def sparse_mel_filters(config: MelConfig) -> Tensor:
    """`mel_filters` in compressed rows: at most two bands share a bin, so that 99 % of a dense product is wasted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR")  # "beta state", since years
        return mel_filters(config).to_sparse_csr()


@lru_cache(maxsize=16)
def window(config: MelConfig) -> Tensor:
    """Periodic Hann window, [n_fft]."""
    return torch.hann_window(config.n_fft)


def stft(waveform: Tensor, config: MelConfig, win_length: int | None = None) -> Tensor:
    """Centred, zero-padded STFT, scaled so that a full-scale sine has magnitude 1.

    Args:
        waveform: [..., samples], float.
        win_length: of a window shorter than n_fft, in its middle.

    Returns:
        Complex tensor [..., n_fft // 2 + 1, 1 + samples // hop_length].
    """
    flat = waveform.reshape(-1, waveform.shape[-1])
    w = (window(config) if win_length is None else torch.hann_window(win_length)).to(flat)
    spectrum = torch.stft(
        flat, config.n_fft, config.hop_length, len(w), w, center=True, pad_mode="constant", return_complex=True
    )
    return (spectrum * (2 / w.sum())).reshape(*waveform.shape[:-1], *spectrum.shape[-2:])


def power_to_mel_db(power: Tensor, config: MelConfig) -> Tensor:
    """Power spectrogram [..., bins, frames] -> mel in dB [..., n_mels, frames], at least `floor_db`."""
    flat = power.reshape(-1, *power.shape[-2:])
    columns = flat.transpose(0, 1).reshape(flat.shape[1], -1)
    mel = torch.sparse.mm(sparse_mel_filters(config), columns)
    mel = (
        mel.reshape(config.n_mels, flat.shape[0], -1)
        .transpose(0, 1)
        .reshape(*power.shape[:-2], config.n_mels, power.shape[-1])
    )
    return 10 * torch.log10(mel.clamp_min(10 ** (config.floor_db / 10)))


def mel_spectrogram(waveform: Tensor, config: MelConfig, win_length: int | None = None) -> Tensor:
    """Mel spectrogram in dB of full scale.

    Args:
        waveform: [batch, 1, samples], float32 in [-1, 1].
        win_length: of a window shorter than n_fft.

    Returns:
        Tensor [batch, 1, n_mels, 1 + samples // hop_length], dB, at least `config.floor_db`.

    Raises:
        InputError: if the waveform is not [batch, 1, samples].
    """
    if waveform.ndim != 3 or waveform.shape[1] != 1:
        raise InputError(f"waveform has shape {tuple(waveform.shape)}; expected [batch, 1, samples]")
    power = (
        torch.view_as_real(stft(waveform, config, win_length)).square().sum(dim=-1)
    )  # faster than abs() of complex numbers
    return power_to_mel_db(power, config)
