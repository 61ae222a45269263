"""Which excerpts the benchmark consists of.

`benchmark.json` beside this file lists them; it was drawn once, by `draw`, and is never drawn again: a figure
means something only while everybody is measured on the same excerpts. Scores are named, not copied: each
excerpt carries a digest of its notes, so that a corpus or a parser that gives other notes is noticed.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from timbrel.data import scores
from timbrel.data.scores import Note
from timbrel.data.splits import HELD_OUT_COMPOSERS
from timbrel.errors import InputError

PATH = Path(__file__).with_name("benchmark.json")
LIBRARY = "freepats"
PROGRAMS = {"piano": 0, "guitar": 24, "harp": 46, "violin": 40}
LOW, HIGH = 55, 88  # MIDI pitches that all four instruments can play
DURATION_S, LONG_S = 8.0, 30.0
TRIPLETS_PER_DIRECTION = 20


@dataclass(frozen=True)
class Excerpt:
    """A passage of a score: `score` as `data.scores.load_score` names it, seconds into it, semitones up."""

    score: str
    start_s: float
    transposition: int
    duration_s: float = DURATION_S
    digest: str = ""

    def notes(self) -> list[Note]:
        """The notes, in seconds from the start of the excerpt, folded into the common range, in milliseconds.

        Raises:
            InputError: if they are not those that the benchmark was drawn with.
            MissingDependencyError: without music21.
        """
        passage = scores.excerpt(scores.load_score(self.score), self.start_s, self.duration_s)
        moved = [replace(n, pitch=n.pitch + self.transposition) for n in passage]
        notes = _playable(scores.fold(moved, LOW, HIGH)) if moved else []
        if self.digest and digest(notes) != self.digest:
            raise InputError(
                f"{self.score} gives other notes than the benchmark was made of (digest {digest(notes)}, "
                f"expected {self.digest}): figures would not compare. Get music21=={manifest()['music21']}"
            )
        return notes


@dataclass(frozen=True)
class Triplet:
    """*Content* on the instrument `source`, *style* on `target`; the answer is the content on `target`."""

    id: str
    source: str
    target: str
    content: Excerpt
    style: Excerpt


def digest(notes: Sequence[Note]) -> str:
    """Twelve hexadecimal digits that change with any note."""
    text = json.dumps([[round(1000 * n.start_s), round(1000 * n.end_s), n.pitch, n.velocity] for n in notes])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _playable(notes: Sequence[Note]) -> list[Note]:
    """A key is let go before it is struck again, and held for at least 50 ms."""
    played: list[Note] = []
    held: dict[int, int] = {}
    for note in sorted(notes, key=lambda n: (n.start_s, n.pitch)):
        if note.pitch in held:
            before = played[held[note.pitch]]
            if note.start_s - before.start_s < 0.05:
                continue
            played[held[note.pitch]] = replace(before, end_s=min(before.end_s, note.start_s))
        held[note.pitch] = len(played)
        played.append(note)
    return [replace(n, start_s=round(n.start_s, 3), end_s=round(max(n.end_s, n.start_s + 0.05), 3)) for n in played]


@lru_cache(maxsize=1)
def manifest() -> dict:
    """`benchmark.json` as it is."""
    return json.loads(PATH.read_text())


def triplets() -> list[Triplet]:
    """The 240 triplets, one of each direction in turn."""
    return [_triplet(entry) for entry in manifest()["triplets"]]


def long_triplets() -> list[Triplet]:
    """One for each direction with a content of 30 s, for what shows only in longer music: seams and speed."""
    return [_triplet(entry) for entry in manifest()["long"]]


def _triplet(entry: dict) -> Triplet:
    return Triplet(**{**entry, "content": Excerpt(**entry["content"]), "style": Excerpt(**entry["style"])})


# Drawing, done once: `python -m timbrel.experiments.manifest`.

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


def places(score: str, duration_s: float, max_gap_s: float, rng: random.Random) -> Iterator[Excerpt]:
    """Passages of a score, in random order, without long rests, neither empty nor crammed, half apart."""
    onsets = sorted({n.start_s for n in scores.load_score(score)})
    rng.shuffle(onsets)
    taken: list[float] = []
    for onset in onsets:
        start = max(0, int(1000 * (onset - 0.05))) / 1000
        if any(abs(start - other) < duration_s / 2 for other in taken):
            continue
        place = Excerpt(score, start, rng.randint(-5, 6), duration_s)
        notes = place.notes()
        times = [0.0, *(n.start_s for n in notes), duration_s]
        gap = max(b - a for a, b in pairwise(times))
        if 2 * duration_s <= len(notes) <= 12 * duration_s and gap <= max_gap_s:
            taken.append(start)
            yield replace(place, digest=digest(notes))


def draw(seed: int = 0, max_places: int = 12) -> dict:
    """Draws the benchmark: takes minutes, because every score is parsed."""
    import music21

    rng = random.Random(seed)
    pool = _pool()
    short: dict[str, list[Excerpt]] = {}
    long: list[Excerpt] = []
    for score in pool:
        own = random.Random(f"{seed}:{score}")
        found = places(score, DURATION_S, 1.5, own)
        short[score] = [place for place, _ in zip(found, range(max_places), strict=False)]
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
    PATH.write_text(json.dumps(draw(), indent=1) + "\n")
