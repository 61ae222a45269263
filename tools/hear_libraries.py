"""What a judge of real music hears where a library of sounds plays real melodies.

    python -m tools.hear_libraries RECORDINGS OUT.csv [--samples FOLDER...] [--instruments guitar harp]

RECORDINGS is a folder of solo recordings, as `timbrel evaluate real` takes it. The notes that a transcriber finds in
the first 12 s of each are played by every soundfont, and by every folder of recorded notes that has the instrument, and
heard by the judge (`metrics/heard.py`). No transfer takes part: this is the most that a perfect one to that library can
reach, and a library that is taken for another instrument teaches a model the wrong sound. OUT.csv has the share heard
as what plays, and what else was heard. A star marks what `data synth` takes from no library of that name.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from timbrel.audio.io import read_audio
from timbrel.data.recordings import SUFFIXES
from timbrel.data.render import LIBRARIES, render
from timbrel.data.sampler import render_samples, sampled_instruments
from timbrel.data.scores import Note, fold
from timbrel.data.splits import is_held_out
from timbrel.data.synth import library_name
from timbrel.experiments.page import Table
from timbrel.files import write_text
from timbrel.instruments import INSTRUMENTS
from timbrel.metrics import heard, notes
from timbrel.metrics.spectral import prepare

DURATION_S = 12.0
RATE = 44100
Player = Callable[[Sequence[Note]], np.ndarray]


def melodies(folder: Path) -> list[list[Note]]:
    """The notes of each recording; those without any are left out."""
    found = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        waveform, rate = read_audio(path, mono=True)
        rows = notes.transcribe(prepare(waveform[:, : round(DURATION_S * rate)], rate))
        found.append([Note(float(on), float(off), round(float(pitch)), 80) for on, off, pitch, *_ in rows])
    return [sorted(melody, key=lambda note: note.start_s) for melody in found if melody]


def players(instrument: str, samples: Sequence[str]) -> Iterator[tuple[str, Player]]:
    """Each library that has the instrument, and what plays notes on it."""
    program = INSTRUMENTS[instrument].program
    for name, library in LIBRARIES.items():
        left_out = is_held_out(library=name) or instrument in library.without
        play = partial(render, program=program, library=name, sample_rate=RATE, duration_s=DURATION_S)
        yield name + "*" * left_out, play
    for folder in sorted(samples):
        if instrument in sampled_instruments(folder):
            recorded = partial(render_samples, instrument=instrument, folder=folder)
            yield library_name(folder), partial(recorded, sample_rate=RATE, duration_s=DURATION_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", nargs="*", default=[], help="folders of recorded notes, as data synth takes them")
    parser.add_argument("--instruments", nargs="+", default=list(heard.FOUR))
    args = parser.parse_args()
    played, rows = melodies(args.recordings), []
    for instrument in args.instruments:
        row = INSTRUMENTS[instrument]
        scores = [fold(melody, row.lowest, row.highest) for melody in played]
        for name, play in players(instrument, args.samples):
            counts = Counter(heard.heard_as(play(score), RATE) for score in scores)
            others = ", ".join(f"{other} {count}" for other, count in counts.most_common() if other != instrument)
            rows.append([instrument, name, f"{counts[instrument] / len(scores):.2f}", others])
            print(*rows[-1], sep="  ", flush=True)
    write_text(args.out, Table(["instrument", "library", "heard as", "or as"], rows).csv())


if __name__ == "__main__":
    main()
