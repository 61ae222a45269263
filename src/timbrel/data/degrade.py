"""What a recording does to music: room, equaliser, compression, noise, codec."""

from __future__ import annotations

import io

import numpy as np


def degrade(waveform: np.ndarray, sample_rate: int, seed: int) -> np.ndarray:
    """What a recording does to music, each part by chance: room, equaliser, compression, noise, codec.

    Args:
        waveform: float32 [samples].

    Returns:
        float32 [samples], at the same times.
    """
    rng = np.random.default_rng(seed)
    x = waveform.astype(np.float64)
    if rng.random() < 0.7:
        x = _room(x, sample_rate, rng)
    if rng.random() < 0.7:
        x = _equaliser(x, sample_rate, rng)
    if rng.random() < 0.3:
        x = np.tanh(_unit(x) * rng.uniform(0.1, 0.8))
    if rng.random() < 0.7:
        x = _noise(x, rng)
    x = 0.1 * _unit(x)
    x = (x / max(1.0, np.abs(x).max())).astype(np.float32)
    return _codec(x, sample_rate, rng) if rng.random() < 0.4 else x


def _room(x: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.signal import oaconvolve

    t = np.arange(int(rng.uniform(0.15, 1.2) * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(t)) * np.exp(-6.9 * t / t[-1])
    tail = np.convolve(tail, np.ones(n := rng.integers(1, 12)) / n, mode="same")
    tail[: int(rng.uniform(0.001, 0.02) * sample_rate)] = 0
    return x + rng.uniform(0.1, 0.7) * np.sqrt((x**2).mean()) * _unit(oaconvolve(x, tail)[: len(x)])


def _equaliser(x: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    spectrum, hz = np.fft.rfft(x), np.fft.rfftfreq(len(x), 1 / sample_rate)
    octaves = np.log2(np.maximum(hz, 20) / 20)
    gain_db = np.interp(octaves, np.linspace(0, 10.2, 8), rng.normal(0, 4, 8))
    gain_db -= 24 * np.maximum(octaves - np.log2(rng.uniform(5000, 22000) / 20), 0)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(x))


def _noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    white = np.fft.rfft(rng.standard_normal(len(x)))
    pink = white / np.maximum(np.arange(len(white)), 50) ** rng.uniform(0, 0.6)
    return _unit(x) + 10 ** (rng.uniform(-65, -28) / 20) * _unit(np.fft.irfft(pink, len(x)))


def _codec(x: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, x, sample_rate, format="OGG", subtype="VORBIS", compression_level=rng.uniform(0.6, 1.0))
    file.seek(0)
    decoded = soundfile.read(file, dtype="float32")[0][: len(x)]
    return np.pad(decoded, (0, len(x) - len(decoded)))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / (np.sqrt((x**2).mean()) + 1e-9)
