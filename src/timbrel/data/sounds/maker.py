"""What makes the sounds of a class, and what several sources share: rhythms, hits and rooms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SHORTEST_S, LONGEST_S = 4.0, 10.0
SINGLE_SHARE = 0.2  # of the sounds of a drum: one hit


@dataclass(frozen=True)
class Maker:
    """Makes sounds of one class. Another process may import `make`.

    Attributes:
        label: the class, a leaf of the ontology.
        library: where the sound comes from: a soundfont, a drum kit, "signals".
        make: (generator, sample_rate) -> float32 [samples], mono, of any level.
        recording: what every sound of it is made of, if that is one recording: all are then of one split.
    """

    label: str
    library: str
    licence: str
    make: Callable[[np.random.Generator, int], np.ndarray]
    recording: str | None = None


def seconds(rng: np.random.Generator) -> float:
    """A length for a sound that can be of any."""
    return float(rng.uniform(SHORTEST_S, LONGEST_S))


def rhythm(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Times in seconds and strengths from 0 to 1 of hits: one, some at any moment, or a pattern that returns."""
    if rng.random() < SINGLE_SHARE:
        return [(0.05, float(rng.uniform(0.3, 1)))]
    length = seconds(rng)
    if rng.random() < 0.25:
        times = np.sort(rng.uniform(0.05, length - 0.5, rng.integers(2, 8)))
        return [(float(t), float(rng.uniform(0.3, 1))) for t in times]
    step_s, loose_s = np.exp(rng.uniform(np.log(0.11), np.log(0.6))), rng.choice([0.0, 0.006, 0.015])
    count = int(rng.choice([3, 4, 6, 8]))
    strengths = rng.uniform(0.25, 1, count) * (rng.random(count) < rng.uniform(0.4, 1))
    strengths[0] = 1.0
    hits = [(0.05 + k * step_s, strengths[k % count]) for k in range(int((length - 0.3) / step_s))]
    return [(max(0.0, t + rng.normal(0, loose_s)), float(s)) for t, s in hits if s]


def played(
    hits: Sequence[tuple[float, float]], layers: Sequence[np.ndarray], rng: np.random.Generator, sample_rate: int
) -> np.ndarray:
    """Hits played by recordings of one thing, from soft to loud: float32 [samples], at most `LONGEST_S`."""
    out = np.zeros(round(LONGEST_S * sample_rate), np.float32)
    end = 0
    for time_s, strength in hits:
        layer = layers[min(int(strength * len(layers)), len(layers) - 1)]
        start = round(time_s * sample_rate)
        stop = min(start + len(layer), len(out))
        gain = np.float32(strength ** (1.5 if len(layers) == 1 else 0.5) * rng.uniform(0.9, 1))
        out[start:stop] += gain * layer[: stop - start]
        end = max(end, stop)
    return out[:end]


def resampled(waveform: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """A recording [samples] played `factor` times as fast."""
    import soxr

    return soxr.resample(waveform, sample_rate * factor, sample_rate).astype(np.float32)


def in_a_room(waveform: np.ndarray, rng: np.random.Generator, sample_rate: int, share: float = 0.3) -> np.ndarray:
    """At times with a room's echo, and always with another tilt of the spectrum: float32 [samples]."""
    from scipy.signal import fftconvolve, lfilter

    tilt = rng.uniform(-0.3, 0.3)
    out = lfilter([1, -tilt], [1], waveform)
    if rng.random() < share:
        count = round(rng.uniform(0.15, 0.8) * sample_rate)
        echo = rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / count)
        echo *= 10 ** (rng.uniform(-22, -8) / 20) / np.sqrt((echo**2).sum())
        echo[0] = 1.0
        out = fftconvolve(out, echo)
    return out.astype(np.float32)
