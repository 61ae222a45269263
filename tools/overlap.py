"""Has training heard the benchmark's music under another name?

    python tools/overlap.py DATA

DATA is the mel store that a model was trained on. Of every score in it, and of every score of the benchmark, the
highest notes are taken as a melody, and every run of 12 intervals in it with more than three different ones. Printed is
how many of a benchmark score's runs a training score has too: a few are scales and arpeggios, a tenth is a tune.
Composed scores are left out: they were made by chance. Takes some 15 minutes, for music21 reads slowly.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from timbrel.data.scores import load_score
from timbrel.data.store import MelStore
from timbrel.experiments.benchmark.manifest import manifest

INTERVALS = 12


def runs(score: str) -> set[tuple[int, ...]]:
    top: dict[float, int] = {}
    for note in load_score(score):
        moment = round(note.start_s, 2)
        top[moment] = max(note.pitch, top.get(moment, 0))
    melody = [pitch for _, pitch in sorted(top.items())]
    steps = [b - a for a, b in pairwise(melody)]
    windows = (tuple(steps[k : k + INTERVALS]) for k in range(len(steps) - INTERVALS + 1))
    return {run for run in windows if len(set(run)) > 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    data = parser.parse_args().data
    trained = sorted({e.source for e in MelStore(data).entries if not e.source.startswith("composed:")})
    heard: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for score in tqdm(trained, desc="training"):
        for run in runs(score):
            heard[run].add(score)
    used = Counter(triplet["content"]["score"] for triplet in manifest()["triplets"])
    for score in tqdm(sorted(used), desc="benchmark"):
        own = runs(score)
        shared = Counter(other for run in own for other in heard.get(run, ()))
        for other, count in shared.most_common(1):
            tqdm.write(f"{score} ({used[score]} triplets): {count} of {len(own)} runs also in {other}")
    print(f"{len(trained)} training scores, {len(used)} of the benchmark")


if __name__ == "__main__":
    main()
