"""Which excerpts the benchmark consists of.

`benchmark.json` beside this file lists them; it was drawn once, by `tools/draw_benchmark.py`, and is never drawn again:
a figure means something only while everybody is measured on the same excerpts. Scores are named, not copied: each
excerpt carries a digest of its notes, so that a corpus or a parser that gives other notes is noticed.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from timbrel.data import scores
from timbrel.data.scores import Note
from timbrel.errors import InputError

PATH = Path(__file__).with_name("benchmark.json")
LIBRARY = "freepats"
PROGRAMS = {"piano": 0, "guitar": 24, "harp": 46, "violin": 40}
LOW, HIGH = 55, 88  # MIDI pitches that all four instruments can play
DURATION_S = 8.0
NUM_DIRECTIONS = len(PROGRAMS) * (len(PROGRAMS) - 1)


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
    struck: dict[int, int] = {}
    for note in sorted(notes, key=lambda n: (n.start_s, n.pitch)):
        if note.pitch in struck:
            before = played[struck[note.pitch]]
            if note.start_s - before.start_s < 0.05:
                continue
            played[struck[note.pitch]] = replace(before, end_s=min(before.end_s, note.start_s))
        struck[note.pitch] = len(played)
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
