"""Music and sounds of other kinds than the set has, after the report's appendix: horses, birds, noise, two violins in
canon, flute and harp, piano after Bartok, a digital symphony."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from timbrel.data.paint.music import EXCERPT_S, LIBRARIES, Part
from timbrel.data.render import render
from timbrel.data.scores import Note
from timbrel.data.sounds.maker import in_a_room
from timbrel.data.sounds.signals import SIGNALS

Rng = np.random.Generator
SOUNDS = {
    "horses": ("galloping", "wind"),
    "birds": ("bird song", "stream"),
    "digital noise": ("white noise", "static", "pulse train"),
    "digital sounds": ("electronic blip", "laser", "drone"),
    "bells": ("bell", "wind chimes"),
    "storm": ("thunder", "rain", "sea waves"),
}
SCALE = (0, 2, 4, 5, 7, 9, 11)


def render_outside(sample_rate: int) -> Iterator[tuple[str, NDArray]]:
    """Names, and 30 s of each [samples].

    Raises:
        MissingDependencyError: TiMidity++ or a sample library is not installed.
    """
    rng = np.random.default_rng(0)
    for name, signals in SOUNDS.items():
        samples = round(EXCERPT_S * sample_rate)
        yield name, _mixed([SIGNALS[signal](rng, samples, sample_rate) for signal in signals])
    for name, compose in SCORES.items():
        parts = compose(rng)
        played = [
            render(p.notes, p.program, LIBRARIES[0], sample_rate=sample_rate, duration_s=EXCERPT_S) for p in parts
        ]
        yield name, in_a_room(_mixed(played), rng, sample_rate)


def _mixed(waveforms: Sequence[NDArray]) -> NDArray:
    """The sum of waveforms [samples], all as loud."""
    as_loud = np.stack([0.1 / max(float(waveform.std()), 1e-4) * waveform for waveform in waveforms])
    return as_loud.sum(0).astype(np.float32)


def _walk(rng: Rng, beat_s: float, steps: Sequence[int] = SCALE, low: int = 60) -> list[Note]:
    """A melody of quavers and crotchets."""
    ladder = [low + 12 * octave + step for octave in (0, 1) for step in steps]
    notes, time, place = [], 0.0, len(steps)
    while time < EXCERPT_S - 2:
        length = beat_s * float(rng.choice([0.5, 1, 1, 2]))
        place = int(np.clip(place + rng.integers(-2, 3), 0, len(ladder) - 1))
        notes.append(Note(time, time + 0.95 * length, ladder[place], 90))
        time += length
    return notes


def _canon(rng: Rng) -> list[Part]:
    """Two violins in unison, the second a bar later."""
    melody = _walk(rng, 0.5)
    later = [Note(n.start_s + 2, n.end_s + 2, n.pitch, n.velocity) for n in melody if n.end_s + 2 < EXCERPT_S]
    return [Part(melody, 40), Part(later, 40)]


def _flute_and_harp(rng: Rng) -> list[Part]:
    chords = [Note(k * 0.3, k * 0.3 + 1.2, 48 + SCALE[(k // 8) % 7] + (0, 4, 7, 12)[k % 4], 70) for k in range(95)]
    return [Part(_walk(rng, 0.6, low=72), 73), Part(chords, 46)]


def _after_bartok(rng: Rng) -> list[Part]:
    low = [Note(k * 0.25, k * 0.25 + 0.2, 36 + (0, 6, 1, 7)[k % 4], 100) for k in range(115)]
    return [Part(_walk(rng, 0.25, steps=(0, 1, 3, 4, 6, 7, 9, 10)), 0), Part(low, 0)]


def _digital_symphony(rng: Rng) -> list[Part]:
    pads = [Note(k * 2.0, k * 2.0 + 2, 48 + SCALE[k % 7] + third, 80) for k in range(14) for third in (0, 4, 7)]
    return [Part(_walk(rng, 0.4, low=67), 81), Part(pads, 50), Part(_walk(rng, 0.8, low=55), 61), Part(pads, 91)]


SCORES: dict[str, Callable[[Rng], list[Part]]] = {
    "two violins in canon": _canon,
    "flute and harp": _flute_and_harp,
    "piano after Bartok": _after_bartok,
    "digital symphony": _digital_symphony,
}
