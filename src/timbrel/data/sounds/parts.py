"""Parts of computed sounds: oscillators, noises, envelopes, struck bodies, and ways to repeat them. Times in samples
where a name says nothing else; `rate` is the sample rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import fft
from scipy.signal import fftconvolve

Generator = np.random.Generator
Signal = Callable[[Generator, int, int], np.ndarray]
"""(generator, samples, sample rate) -> float [samples], of any level."""
Wave = Callable[[np.ndarray | float, int, int], np.ndarray]
"""(frequency in Hz, constant or [samples], samples, sample rate) -> float [samples]."""


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def noise(
    rng: Generator, n: int, rate: int, low_hz: float = 0.0, high_hz: float = 1e9, slope: float = 0.0
) -> np.ndarray:
    """Noise [n] of RMS 1 between two frequencies; its power goes with frequency to the power of `slope`."""
    m = fft.next_fast_len(n, real=True)
    hz = fft.rfftfreq(m, 1 / rate).astype(np.float32)
    gain = np.maximum(hz, 20) ** (slope / 2)
    gain /= np.sqrt((1 + (hz / high_hz) ** 8) * (1 + (low_hz / np.maximum(hz, 1)) ** 8))
    sound = fft.irfft(fft.rfft(rng.standard_normal(m, dtype=np.float32)) * gain, m)[:n]
    return sound / max(float(sound.std()), 1e-9)


def wander(rng: Generator, n: int, rate: int, per_second: float) -> np.ndarray:
    """A smooth random curve [n], of mean 0 and deviation about 1."""
    knots = rng.standard_normal(int(per_second * n / rate) + 4)
    at = np.linspace(1, len(knots) - 2, n)
    k, x = at.astype(int), at % 1
    x = x * x * (3 - 2 * x)
    return knots[k] * (1 - x) + knots[np.minimum(k + 1, len(knots) - 1)] * x


def phase(hz: np.ndarray | float, n: int, rate: int) -> np.ndarray:
    """Turns [n] of an oscillator of a frequency in Hz, constant or [n]."""
    return np.cumsum(np.broadcast_to(hz, n)) / rate


def sine(hz: np.ndarray | float, n: int, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * phase(hz, n, rate))


def saw(hz: np.ndarray | float, n: int, rate: int, shift: float = 0.0) -> np.ndarray:
    """A sawtooth [n] whose steps are rounded over a sample either side (PolyBLEP), against aliases."""
    step = np.broadcast_to(hz, n) / rate
    at = (np.cumsum(step) + shift) % 1
    after, before = np.minimum(at / step, 1), np.minimum((1 - at) / step, 1)
    return 2 * at - 1 + (1 - after) ** 2 - (1 - before) ** 2


def square(hz: np.ndarray | float, n: int, rate: int, width: float = 0.5) -> np.ndarray:
    return saw(hz, n, rate) - saw(hz, n, rate, shift=width)


def decay(n: int, rate: int, seconds_60_db: float) -> np.ndarray:
    return np.exp(-6.9 * np.arange(n) / (seconds_60_db * rate))


def place(out: np.ndarray, part: np.ndarray, start: int, gain: float = 1.0) -> None:
    """Adds a part to `out` [n] from a sample on; what does not fit is left out."""
    stop = min(start + len(part), len(out))
    if stop > max(start, 0):
        out[start:stop] += gain * part[: stop - start]


def gate(rng: Generator, n: int, rate: int) -> np.ndarray:
    """An envelope [n]: mostly on; or some stretches of sound, or a swell."""
    kind = rng.random()
    if kind < 0.55:
        return faded(np.ones(n), rate)
    if kind < 0.75:
        return faded(10 ** (wander(rng, n, rate, 1.0) * rng.uniform(2, 6) / 20), rate)
    out, at = np.zeros(n), 0
    while at < n:
        length = round(rng.uniform(0.2, 2) * rate)
        place(out, faded(np.ones(length), rate), at)
        at += length + round(rng.uniform(0.1, 0.8) * rate)
    return out


def faded(envelope: np.ndarray, rate: int) -> np.ndarray:
    edge = min(rate // 100, len(envelope) // 2)
    envelope[:edge] *= np.linspace(0, 1, edge)
    envelope[len(envelope) - edge :] *= np.linspace(1, 0, edge)
    return envelope


def knock(rng: Generator, rate: int, hz: float, ring_s: float, noisy: float = 0.3) -> np.ndarray:
    """A short thump: a decaying tone that falls a little, and a burst of noise."""
    n = round(1.2 * ring_s * rate)
    tone = sine(hz * (1 + 0.5 * decay(n, rate, ring_s / 4)), n, rate) * decay(n, rate, ring_s)
    burst = noise(rng, n, rate, hz, 8 * hz) * decay(n, rate, ring_s / 3)
    return tone + noisy * burst


def modal(rng: Generator, rate: int, hz: float, ratios: Sequence[float], ring_s: float) -> np.ndarray:
    """A struck body: partials at ratios of a frequency; the higher ones die sooner."""
    n = round(ring_s * rate)
    out = np.zeros(n)
    for ratio in ratios:
        if hz * ratio < 0.45 * rate:
            ring = ring_s * rng.uniform(0.6, 1) / max(ratio, 0.5) ** 0.7
            out += rng.uniform(0.2, 1) * sine(hz * ratio * rng.uniform(0.997, 1.003), n, rate) * decay(n, rate, ring)
    return out


def repeated(
    rng: Generator, n: int, rate: int, make: Callable[[], np.ndarray], gap_s: tuple[float, float], loose: float = 0.0
) -> np.ndarray:
    """What `make` gives, again and again: one period for a sound, each moment loose by a share of it."""
    out, period = np.zeros(n), log_uniform(rng, *gap_s)
    at = rng.uniform(0, min(period, 0.4))
    while at * rate < n:
        place(out, make(), round(at * rate), rng.uniform(0.7, 1))
        at += period * max(0.1, 1 + loose * rng.standard_normal())
    return out


def drops(rng: Generator, n: int, rate: int, per_second: float, length_s: float, low_hz: float) -> np.ndarray:
    """Many tiny bursts at random moments: crackle, drops, claps."""
    impulses = np.zeros(n)
    count = max(1, int(rng.poisson(per_second * n / rate)))
    np.add.at(impulses, rng.integers(0, n, count), rng.exponential(1, count) * rng.choice([-1, 1], count))
    m = max(8, round(length_s * rate))
    burst = noise(rng, m, rate, low_hz, 6 * low_hz) * decay(m, rate, length_s)
    return fftconvolve(impulses, burst)[:n]
