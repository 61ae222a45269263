"""Does a transfer keep the notes of the bass and of the treble as well as those between?

    python -m tools.measure_registers MODEL OUT.csv [--pieces 6] [--library freepats]

Pieces composed by chance are folded into three registers and played on the piano by a library that no training heard,
and transferred to each of MODEL's four main names. For each register and target OUT.csv has the note F1 of the result
against the notes that were played, that of the piano itself, their ratio, and that ratio over the middle register's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.data import scores
from timbrel.data.render import render
from timbrel.data.scores import Note
from timbrel.experiments.page import Table
from timbrel.files import write_text
from timbrel.metrics import notes
from timbrel.metrics.heard import FOUR as TARGETS
from timbrel.metrics.spectral import prepare
from timbrel.pipelines.transfer import TransferPipeline, load

REGISTERS = {"middle": (55, 88), "below G3": (36, 54), "above E6": (88, 103)}
DURATION_S = 10.0
RATE = 44100


def piece(seed: int, low: int, high: int) -> list[Note]:
    """Music of `DURATION_S`, within a register."""
    music = scores.excerpt(scores.compose(seed, 2 * DURATION_S), 0.0, DURATION_S)
    return scores.fold(music, low, high)


def table_of_notes(music: list[Note]) -> NDArray:
    return np.array([[n.start_s, n.end_s, n.pitch] for n in music])


def f1(reference: NDArray, waveform: NDArray, rate: int) -> float:
    return notes.note_f1(reference, notes.transcribe(prepare(waveform, rate)))


def measure(pipe: TransferPipeline, pieces: int, library: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Register and target -> note F1 of the results and of the piano, means over the pieces."""
    figures = {}
    for register, (low, high) in REGISTERS.items():
        music = [piece(seed, low, high) for seed in range(pieces)]
        played = [render(one, 0, library, sample_rate=RATE, duration_s=DURATION_S) for one in music]
        truth = [table_of_notes(one) for one in music]
        own = float(np.mean([f1(one, waveform, RATE) for one, waveform in zip(truth, played, strict=True)]))
        for target in TARGETS:
            results = [pipe(waveform, to=target, sample_rate=RATE, seed=seed) for seed, waveform in enumerate(played)]
            kept = [f1(one, audio.waveform, audio.sample_rate) for one, audio in zip(truth, results, strict=True)]
            figures[register, target] = float(np.mean(kept)), own
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pieces", type=int, default=6)
    parser.add_argument("--library", default="freepats")
    args = parser.parse_args()
    figures = measure(load(args.model), args.pieces, args.library)
    rows = []
    for (register, target), (kept, own) in figures.items():
        middle, of_middle = figures["middle", target]
        values = (kept, own, kept / own, kept / own * of_middle / middle)
        rows.append([register, target, *(f"{value:.2f}" for value in values)])
    headings = ["register", "to", "note F1", "of the piano", "ratio", "over the middle's"]
    table = Table(headings, rows)
    write_text(args.out, table.csv())
    print(table.text())


if __name__ == "__main__":
    main()
