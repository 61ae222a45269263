"""Draws the benchmark's excerpts: `python tools/draw_benchmark.py FILE`. It was done once, and takes minutes, because
every score is parsed; `src/timbrel/experiments/benchmark/benchmark.json` is the result, and never drawn again.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from timbrel.data import scores
from timbrel.data.splits import HELD_OUT_COMPOSERS
from timbrel.experiments.benchmark.manifest import DURATION_S, LIBRARY, PROGRAMS, Excerpt, Triplet, places

TRIPLETS_PER_DIRECTION = 20
LONG_S = 30.0

# Whole quartets in one file take minutes to parse; .krn files name no licence; the song is opus48no2.mxl too.
_LONG = ("opus132", "opus133", "opus18no3.", "opus18no4.", "opus18no5.", "opus74.")
_LEFT_OUT = (*(f"beethoven/{name}" for name in _LONG), "schumann_robert/dichterliebe_no2")
_TUNES = {"oneills1850/0487-0500.abc": 14, "oneills1850/0701-0720.abc": 20, "airdsAirs/book1.abc": 40}
_TUNES_OF_EACH = 8


def _pool() -> list[str]:
    composers = [c for c in HELD_OUT_COMPOSERS if c not in ("oneills1850", "airdsAirs", "beach")]
    names = [n for n in scores.corpus_scores(composers) if not n.endswith(".krn") and not n.startswith(_LEFT_OUT)]
    for book, count in _TUNES.items():
        names += [f"{book}#{i}" for i in range(0, count, count // _TUNES_OF_EACH)][:_TUNES_OF_EACH]
    return names


def draw(seed: int = 0, max_places: int = 12) -> dict:
    """Draws the benchmark: takes minutes, because every score is parsed."""
    import music21

    rng = random.Random(seed)
    pool = _pool()
    short: dict[str, list[Excerpt]] = {}
    long: list[Excerpt] = []
    for score in pool:
        own = random.Random(f"{seed}:{score}")
        passages = places(score, DURATION_S, 1.5, own)
        short[score] = [place for place, _ in zip(passages, range(max_places), strict=False)]
        long += [place for place, _ in zip(places(score, LONG_S, 2.0, own), range(1), strict=False)]
    rng.shuffle(long)

    def turns() -> Iterator[Excerpt]:
        """Every score in turn, as long as it has passages left."""
        order = [score for score in pool if short[score]]
        rng.shuffle(order)
        while order:
            for score in list(order):
                yield short[score].pop()
                if not short[score]:
                    order.remove(score)

    directions = [(a, b) for a in PROGRAMS for b in PROGRAMS if a != b]
    count = len(directions) * TRIPLETS_PER_DIRECTION
    passages = turns()
    contents = [next(passages) for _ in range(count)]
    styles = [next(passages) for _ in range(count)]
    while any(a.score == b.score for a, b in zip(contents, styles, strict=True)):
        rng.shuffle(styles)
    drawn = [
        Triplet(f"{a}-to-{b}-{k:02d}", a, b, contents[i], styles[i])
        for k in range(TRIPLETS_PER_DIRECTION)
        for i, (a, b) in enumerate(directions, k * len(directions))
    ]
    longer = [
        replace(t, id=f"{t.source}-to-{t.target}-long", content=passage)
        for t, passage in zip(drawn, long[: len(directions)], strict=False)
    ]
    return {
        "version": 1,
        "library": LIBRARY,
        "programs": PROGRAMS,
        "music21": music21.VERSION_STR,
        "triplets": [asdict(t) for t in drawn],
        "long": [asdict(t) for t in longer],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(draw(), indent=1) + "\n")
