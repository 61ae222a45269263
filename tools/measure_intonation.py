"""Does a transfer keep a voice's tuning, vibrato and slides?

    python -m tools.measure_intonation MODEL OUT.csv [--pieces 3] [--library freepats]

Melodies composed by chance, without vibrato, are played by a library that no training heard, bent by a known curve and
transferred to each of MODEL's four main names, with and without `intonation`. `timbrel.metrics.intonation` compares
each result with its source.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.data import scores
from timbrel.data.intonation import CURVE_HZ, bend, glide, vibrato
from timbrel.data.render import render
from timbrel.data.scores import Note
from timbrel.data.synth import upper_voice
from timbrel.errors import InputError
from timbrel.experiments.page import Table
from timbrel.experiments.real import VIBRATO_CENTS
from timbrel.files import write_text
from timbrel.metrics import intonation
from timbrel.metrics.heard import FOUR as TARGETS
from timbrel.metrics.spectral import prepare
from timbrel.pipelines.transfer import TransferPipeline, load

PLAYED_BY = 73  # General MIDI's flute
DURATION_S = 8.0
RATE = 44100
CLOSE_S, SLIDE_S = 0.15, 0.25
Curve = Callable[[list[Note], NDArray, random.Random], NDArray]


def melody(seed: int) -> list[Note]:
    """Single notes of half a second or more, for `DURATION_S`."""
    notes = scores.fold(upper_voice(scores.compose(seed, 4 * DURATION_S)), 60, 84)
    slow = [Note(2 * n.start_s, 2 * n.end_s, n.pitch, n.velocity) for n in notes if n.end_s - n.start_s > 0.25]
    return scores.excerpt(slow, 0.0, DURATION_S)


def slides(notes: list[Note], seconds: NDArray, _: random.Random) -> NDArray:
    """A slide into each note that follows another closely, from at most five semitones away."""
    cents = np.zeros(len(seconds))
    for before, note in pairwise(notes):
        step = before.pitch - note.pitch
        if 0 < abs(step) <= 5 and note.start_s - before.end_s < CLOSE_S:
            sounding = (seconds >= note.start_s) & (seconds < note.end_s)
            cents[sounding] += glide(seconds[sounding] - note.start_s, 100 * step, SLIDE_S)
    return cents


def tuned(hz: float) -> Curve:
    return lambda notes, seconds, rng: np.full(len(seconds), 1200 * np.log2(hz / 440))


CURVES: dict[str, Curve] = {
    "as played": lambda notes, seconds, rng: np.zeros(len(seconds)),
    "A = 428 Hz": tuned(428),
    "A = 432 Hz": tuned(432),
    "A = 448 Hz": tuned(448),
    "vibrato of 35 cents": lambda notes, seconds, rng: vibrato(seconds, 5.8, 35, rng),
    "slides": slides,
}


def measure(pipe: TransferPipeline, curve: Curve, pieces: int, library: str, keep: bool) -> dict[str, list[float]]:
    """Measure -> its values for all pieces and targets."""
    values: dict[str, list[float]] = {}
    for seed in range(pieces):
        notes, seconds = melody(seed), np.arange(round(DURATION_S * CURVE_HZ)) / CURVE_HZ
        played = render(notes, PLAYED_BY, library, sample_rate=RATE, duration_s=DURATION_S)
        source = bend(played.reshape(-1), curve(notes, seconds, random.Random(seed)), RATE)[None]
        before = intonation.pitch_curve(prepare(source, RATE))
        for target in TARGETS:
            result = pipe(source, to=target, sample_rate=RATE, seed=seed, intonation=keep)
            try:
                figures = intonation.compare(before, intonation.pitch_curve(prepare(result.waveform, RATE)))
            except InputError as error:
                print(f"left out: {seed} to {target}: {error}")
                continue
            for name, value in figures.items():
                values.setdefault(name, []).append(value)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pieces", type=int, default=3)
    parser.add_argument("--library", default="freepats")
    args = parser.parse_args()
    pipe, rows = load(args.model), []
    for name, curve in CURVES.items():
        for keep in (True, False):
            values = measure(pipe, curve, args.pieces, args.library, keep)
            error = np.median(np.abs(values["tuning_error"]))
            depth, kept, before, after = (
                np.nanmean(values[key]) for key in ("vibrato_source", "vibrato_kept", "grid_source", "grid_distance")
            )
            shown = [
                f"{error:.1f}",
                f"{depth:.0f}",
                f"{kept:.2f}" if depth > VIBRATO_CENTS else "",
                f"{before:.0f}",
                f"{after:.0f}",
            ]
            rows.append([name, "kept" if keep else "left to the model", *shown])
            print(*rows[-1], sep="\t", flush=True)
    headings = ["source", "intonation", "tuning error, cents", "vibrato, cents", "vibrato kept", "to the grid, source"]
    write_text(args.out, Table([*headings, "result"], rows).csv())


if __name__ == "__main__":
    main()
