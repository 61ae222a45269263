"""What duets, accompaniments and cross-diffusion sound like, to a judge of real music and to a transcriber.

    python -m tools.measure_stems RECORDINGS OUT.csv [--models DIR] [--duets 12] [--splits 10 5]

Duets of the violin and the guitar are made up of as many seeds. Each recording of RECORDINGS, a folder of solo
recordings as `timbrel evaluate real` takes it, is accompanied by both, by cross-diffusion and by the main method.
OUT.csv has for each task and instrument:

- heard as: the share of stems that are heard as their instrument (`metrics/heard.py`);
- one idea: note F1 between the two stems of a duet, 0.1 s apart at most, in any octave; beside it the same between
  stems of different seeds, which is what chance gives;
- follows: chroma of a stem against the voice, and against the next recording's, which is what chance gives.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.audio.io import read_audio
from timbrel.data.recordings import SUFFIXES
from timbrel.experiments.page import Table
from timbrel.files import write_text
from timbrel.metrics import chroma, heard, notes
from timbrel.metrics.spectral import prepare
from timbrel.pipelines.accompany import AccompanyPipeline
from timbrel.pipelines.duet import DuetPipeline
from timbrel.pipelines.settings import Method

INSTRUMENTS = ("violin", "guitar")
SECONDS = 10.0
TOLERANCE_S = 0.1
Stem = tuple[NDArray, str]
"""A prepared waveform [samples], and what it is heard as."""


def stem(waveform: NDArray, rate: int) -> Stem:
    return prepare(waveform, rate), heard.heard_as(waveform, rate)


def idea(one: NDArray, other: NDArray) -> float:
    """Note F1 between two prepared waveforms, in any octave."""
    first, second = (_pitch_classes(notes.transcribe(waveform)) for waveform in (one, other))
    return notes.note_f1(first, second, onset_tolerance_s=TOLERANCE_S) if len(first) and len(second) else 0.0


def _pitch_classes(found: NDArray) -> NDArray:
    """Notes [n, 4] within one octave; of those that start together on one pitch class the first."""
    folded = np.array(found, dtype=float).reshape(-1, 4)
    folded[:, 2] = 60 + folded[:, 2] % 12
    _, first = np.unique(np.round(folded[:, [0, 2]], 2), axis=0, return_index=True)
    return folded[np.sort(first)]


def duets(count: int, split: int, models: Path | None) -> Iterator[list[Stem]]:
    pipe = DuetPipeline.load(INSTRUMENTS, models)
    for seed in range(count):
        stems = pipe(seconds=SECONDS, seed=seed, split=split).stems
        yield [stem(stems[name].waveform, stems[name].sample_rate) for name in INSTRUMENTS]


def accompaniments(voices: Sequence[Path], method: Method) -> Iterator[tuple[NDArray, list[Stem]]]:
    """The prepared voice, and the stems that follow it."""
    pipe = AccompanyPipeline.load(INSTRUMENTS, method)
    for seed, path in enumerate(voices):
        stems = pipe(path, transpose="auto", seed=seed).stems
        voice = prepare(*read_audio(path, mono=True))
        yield voice, [stem(stems[name].waveform, stems[name].sample_rate) for name in INSTRUMENTS]


def heard_rows(task: str, made: Sequence[Sequence[Stem]]) -> dict[str, list[str]]:
    """Instrument -> task, instrument, the share heard as it, what else was heard."""
    rows = {}
    for k, name in enumerate(INSTRUMENTS):
        counts = Counter(stems[k][1] for stems in made)
        others = ", ".join(f"{other} {count}" for other, count in counts.most_common() if other != name)
        rows[name] = [task, name, f"{counts[name] / len(made):.2f}", others]
    return rows


def duet_rows(count: int, split: int, models: Path | None) -> list[list[str]]:
    made = list(duets(count, split, models))
    shared = np.mean([idea(violin, guitar) for (violin, _), (guitar, _) in made])
    chance = np.mean([idea(one[0][0], other[1][0]) for one, other in pairwise(made)])
    rows = heard_rows(f"duet, split {split}", made)
    return [[*row, f"{shared:.2f}", f"{chance:.2f}", "", ""] for row in rows.values()]


def accompany_rows(voices: Sequence[Path], method: Method) -> list[list[str]]:
    followed = list(accompaniments(voices, method))
    grams = [chroma.chromagram(voice) for voice, _ in followed]
    follows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for i, (_, stems) in enumerate(followed):
        for name, (waveform, _) in zip(INSTRUMENTS, stems, strict=True):
            other = grams[(i + 1) % len(grams)]
            follows[name].append((_likeness(grams[i], waveform), _likeness(other, waveform)))
    rows = heard_rows(f"accompany, {method.method}", [stems for _, stems in followed])
    return [[*row, "", "", *(f"{mean:.2f}" for mean in np.mean(follows[name], axis=0))] for name, row in rows.items()]


def _likeness(reference: NDArray, waveform: NDArray) -> float:
    estimated = chroma.chromagram(waveform)
    frames = min(reference.shape[1], estimated.shape[1])
    return chroma.chroma_cosine(reference[:, :frames], estimated[:, :frames])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, help="a folder with models of instruments, beside those that ship")
    parser.add_argument("--duets", type=int, default=12)
    parser.add_argument("--splits", type=int, nargs="+", default=[10, 5])
    args = parser.parse_args()
    voices = sorted(p for p in args.recordings.iterdir() if p.suffix.lower() in SUFFIXES)
    rows = [row for split in args.splits for row in duet_rows(args.duets, split, args.models)]
    for method in (Method("cross", models=args.models), Method("default")):
        rows += accompany_rows(voices, method)
    headings = ["task", "stem", "heard as", "or as", "one idea", "by chance", "follows", "another voice"]
    table = Table(headings, rows)
    write_text(args.out, table.csv())
    print(table.text())


if __name__ == "__main__":
    main()
