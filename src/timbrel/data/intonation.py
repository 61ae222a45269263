"""One pitch curve for every instrument of a score: tuning, drift, vibrato and glides are content, as the notes are."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from timbrel.data.scores import Note

CURVE_HZ = 200
WIDEST_CENTS = 110.0
"""Tunings lie between A = 415 and A = 466 Hz."""


def pitch_curve(notes: Sequence[Note], duration_s: float, rng: random.Random) -> np.ndarray:
    """Cents by which a performance is sharp, [samples at `CURVE_HZ`], for `bend`: zeros, or by chance a tuning other
    than A = 440 Hz, a drift, a vibrato that comes and goes, and, where no two notes sound at once, glides into
    notes."""
    seconds = np.arange(round(duration_s * CURVE_HZ)) / CURVE_HZ
    cents = np.zeros(len(seconds))
    if rng.random() < 0.55:
        cents += rng.uniform(-WIDEST_CENTS, WIDEST_CENTS) if rng.random() < 0.5 else rng.gauss(0, 25)
    if rng.random() < 0.4:
        cents += _smooth(rng, seconds, 1.5, rng.uniform(3, 15))
    if rng.random() < 0.4:
        cents += vibrato(seconds, rng.uniform(4.2, 7.2), rng.uniform(8, 55), rng)
    if rng.random() < 0.35:
        cents = _with_glides(cents, notes, rng)
    return cents


def vibrato(seconds: np.ndarray, rate_hz: float, depth_cents: float, rng: random.Random) -> np.ndarray:
    """Cents at each of `seconds`, at most `depth_cents` up and down: its rate wavers, its depth comes and goes."""
    rate = rate_hz * (1 + 0.06 * _smooth(rng, seconds, 0.7, 1.0))
    swell = np.clip(0.6 + 0.7 * _smooth(rng, seconds, 0.6, 1.0), 0, 1)
    return depth_cents * swell * np.sin(2 * np.pi * np.cumsum(rate) / CURVE_HZ)


def bend(waveform: np.ndarray, cents: np.ndarray, sample_rate: int) -> np.ndarray:
    """Plays a waveform [samples] sharper or flatter from moment to moment, by reading it faster or slower.

    Args:
        cents: [m] at `CURVE_HZ`; the result is as long.

    Returns:
        float32 [m / CURVE_HZ x sample_rate]; beyond the waveform's end there is silence.
    """
    import soxr

    samples = round(len(cents) / CURVE_HZ * sample_rate)
    if not cents.any():
        return np.pad(waveform[:samples], (0, max(0, samples - len(waveform)))).astype(np.float32)
    ratio = np.interp(np.arange(samples) / sample_rate * CURVE_HZ, np.arange(len(cents)), 2 ** (cents / 1200))
    place = 4 * (np.cumsum(ratio) - ratio[0])
    dense = np.pad(soxr.resample(waveform.astype(np.float32), 1, 4), (0, 2))
    low = np.minimum(place.astype(np.int64), len(dense) - 2)
    share = (place - low).astype(np.float32)
    return np.where(place < len(dense) - 2, dense[low] + share * (dense[low + 1] - dense[low]), 0).astype(np.float32)


def _smooth(rng: random.Random, seconds: np.ndarray, knots_hz: float, deviation: float) -> np.ndarray:
    """A smooth curve through random knots."""
    knots = [rng.gauss(0, deviation) for _ in range(2 + int(seconds[-1] * knots_hz))]
    place = seconds / max(seconds[-1], 1e-9) * (len(knots) - 1)
    eased = np.floor(place) + (1 - np.cos(np.pi * (place % 1))) / 2
    return np.interp(eased, np.arange(len(knots)), knots)


def _with_glides(cents: np.ndarray, notes: Sequence[Note], rng: random.Random) -> np.ndarray:
    """A curve with slides of up to five semitones from a note into the next, from where the curve has the note begin:
    what is bent sharp comes sooner."""
    cents, seconds = cents.copy(), np.arange(len(cents)) / CURVE_HZ
    share = rng.uniform(0.2, 0.7)
    for before, note, after in zip(notes[:-1], notes[1:], [*notes[2:], None], strict=True):
        alone = before.end_s <= note.start_s + 0.08 and (after is None or note.end_s <= after.start_s + 0.08)
        step = before.pitch - note.pitch
        length_s = min(rng.uniform(0.05, 0.22), 0.7 * (note.end_s - note.start_s))
        if alone and 0 < abs(step) <= 5 and note.start_s - before.end_s < 0.15 and rng.random() < share:
            first = int(np.searchsorted(score_times(cents), note.start_s))
            cents[first:] += glide(seconds[: len(seconds) - first], 100 * step, length_s)
    return cents


def score_times(cents: np.ndarray) -> np.ndarray:
    """The seconds of an unbent waveform that `bend` has reached at each sample of the curve."""
    ratio = 2 ** (cents / 1200)
    return (np.cumsum(ratio) - ratio) / CURVE_HZ


def glide(seconds: np.ndarray, step_cents: float, length_s: float) -> np.ndarray:
    """Cents at each of `seconds`: from `step_cents` to 0 in `length_s`, gently at both ends."""
    progress = np.clip(seconds / max(length_s, 1e-3), 0, 1)
    return step_cents * (1 + np.cos(np.pi * progress)) / 2
