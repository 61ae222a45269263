"""Scores as lists of notes: from music21's corpus, from MIDI files, or composed at random."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timbrel.errors import InputError, MissingDependencyError

CORPUS_LICENCES = {
    "bach": "chorales encoded by M. Greentree and M. Cuthbert; distributed with permission in music21 (BSD)",
    "ryansMammoth": "J. Chambers' transcription of a book of 1883 (public domain), distributed in music21 (BSD)",
    "trecento": "encoded by M. Cuthbert and others for music21 (BSD)",
    "nottingham-dataset": "E. Foxley's collection of folk tunes, distributed in music21 (BSD)",
}
"""The composers of music21's corpus that models may be trained on, and why. Palestrina (encoder's rights reserved)
and the Essen collection (non-commercial) are left out; so are the benchmark's composers (`splits`)."""


@dataclass(frozen=True)
class Note:
    """One note: times in seconds, MIDI pitch 0-127, MIDI velocity 1-127."""

    start_s: float
    end_s: float
    pitch: int
    velocity: int = 80


def corpus_scores(composers: Sequence[str]) -> list[str]:
    """Names of the music21 corpus files by these composers (folders), sorted: "bach/bwv1.6.mxl".

    Raises:
        MissingDependencyError: without music21.
        InputError: for a composer whom the corpus does not have.
    """
    root = _corpus_root()
    names = []
    for composer in composers:
        if not (root / composer).is_dir():
            known = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != "_"))
            raise InputError(f"composer {composer!r} is not in music21's corpus; known: {known}")
        files = (p for p in (root / composer).rglob("*") if p.suffix in (".mxl", ".xml", ".krn", ".abc"))
        names += [p.relative_to(root).as_posix() for p in files]
    return sorted(names)


def _corpus_root() -> Path:
    try:
        from music21 import common
    except ImportError as error:
        raise MissingDependencyError(
            "music21 is not installed, and scores come from its corpus; pip install 'timbrel[data]'"
        ) from error
    return Path(common.getCorpusFilePath())


@functools.lru_cache(maxsize=8)
def load_score(name: str | Path) -> tuple[Note, ...]:
    """Notes of a score, in order of their start.

    Args:
        name: a MIDI file, any score file that music21 reads, or a corpus name as `corpus_scores` gives it; a file
            with several tunes takes "#N" (from 0) behind it.

    Raises:
        InputError: if it cannot be read or has no notes.
    """
    path, base, index = Path(name), str(name), ""
    if tune := re.fullmatch(r"(.+)#(\d+)", base):
        base, index = tune.groups()
        path = Path(base)
    try:
        if path.suffix.lower() in (".mid", ".midi"):
            notes = _load_midi(path)
        else:
            notes = _load_music21(path if path.exists() else _corpus_root() / base, int(index) if index else None)
    except MissingDependencyError:
        raise
    except Exception as error:  # music21's parsers raise anything
        raise InputError(f"{name} cannot be read as a score: {error}") from error
    if not notes:
        raise InputError(f"{name} has no notes; expected a score with at least one")
    return tuple(sorted(notes, key=lambda n: (n.start_s, n.pitch)))


def _load_midi(path: Path) -> list[Note]:
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(str(path))
    return [
        Note(float(n.start), float(n.end), n.pitch, max(1, n.velocity))
        for part in midi.instruments
        if not part.is_drum
        for n in part.notes
    ]


def _load_music21(path: Path, index: int | None) -> list[Note]:
    from music21 import converter, stream, tempo

    score = converter.parse(path)
    if isinstance(score, stream.Opus):
        score = score.scores[index or 0]
    marks = [m.number for m in score.recurse().getElementsByClass(tempo.MetronomeMark) if m.number]
    seconds = 60.0 / min(max(marks[0] if marks else 100.0, 40.0), 200.0)
    notes = []
    for element in score.flatten().stripTies().notes:
        start, length = float(element.offset) * seconds, float(element.quarterLength) * seconds
        if length > 0:
            notes += [Note(start, start + length, p.midi) for p in element.pitches if 0 <= p.midi <= 127]
    return notes


def excerpt(notes: Sequence[Note], start_s: float, duration_s: float) -> list[Note]:
    """The notes that begin within a span, from its start; what rings past its end is cut."""
    stop = start_s + duration_s
    return [
        replace(n, start_s=n.start_s - start_s, end_s=min(n.end_s, stop) - start_s)
        for n in notes
        if start_s <= n.start_s < stop
    ]


def fold(notes: Sequence[Note], low: int, high: int) -> list[Note]:
    """Moves each note by octaves into MIDI pitches low..high (at least 11 apart); doubled notes are merged.

    >>> [note.pitch for note in fold([Note(0, 1, 30), Note(0, 1, 42), Note(1, 2, 90)], 40, 80)]
    [42, 78]
    """
    if high - low < 11:
        raise InputError(f"range {low}-{high} is narrower than an octave; expected high >= low + 11")
    folded: dict[tuple[float, int], Note] = {}
    for note in notes:
        pitch = note.pitch
        while pitch < low:
            pitch += 12
        while pitch > high:
            pitch -= 12
        key = (round(note.start_s, 3), pitch)
        if key not in folded or folded[key].end_s < note.end_s:
            folded[key] = replace(note, pitch=pitch)
    return sorted(folded.values(), key=lambda n: (n.start_s, n.pitch))


def compose(seed: int, duration_s: float = 40.0) -> list[Note]:
    """A piece by chance: a chord progression in a random key, played as block chords, arpeggios, melody over bass,
    scales or free polyphony. Real scores teach what music is like; these teach the notes that they lack."""
    rng = random.Random(seed)
    scale = rng.choice([(0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), tuple(range(12))])
    root = rng.randint(40, 64)
    ladder = sorted(p for o in range(-2, 5) for s in scale if 36 <= (p := root + 12 * o + s) <= 96)
    beat = rng.uniform(0.22, 0.7)
    notes: list[Note] = []
    time, place = rng.uniform(0, 0.5), len(ladder) // 2
    while time < duration_s:
        texture = rng.choice(["chords", "arpeggio", "melody", "scale", "polyphony", "melody", "rest"])
        stop = time + rng.uniform(3, 8)
        while time < min(stop, duration_s):
            place = min(max(place + rng.randint(-3, 3), 3), len(ladder) - 8)
            velocity = rng.randint(50, 110)
            chord = [ladder[min(place + 2 * k, len(ladder) - 1)] for k in range(rng.randint(2, 4))]
            if texture == "rest":
                time += beat * rng.choice([1, 2])
                break
            if texture == "chords":
                length = beat * rng.choice([1, 2, 4])
                notes += [Note(time, time + length, p, velocity) for p in chord]
                time += length
            elif texture == "arpeggio":
                step = beat / rng.choice([2, 3, 4])
                for k in range(rng.choice([4, 6, 8])):
                    held = step * rng.choice([1, 1, 3])
                    notes.append(Note(time, time + held, chord[k % len(chord)] + 12 * (k // len(chord) % 2), velocity))
                    time += step
            elif texture == "scale":
                step, way = beat / rng.choice([2, 4]), rng.choice([-1, 1])
                for k in range(rng.randint(4, 10)):
                    pitch = ladder[min(max(place + way * k, 0), len(ladder) - 1)]
                    notes.append(Note(time, time + step, pitch, velocity))
                    time += step
            elif texture == "melody":
                length = beat * rng.choice([0.5, 0.5, 1, 1, 2])
                notes.append(Note(time, time + length, ladder[min(place + 4, len(ladder) - 1)], velocity))
                if rng.random() < 0.3:
                    low = ladder[max(place - rng.randint(4, 9), 0)]
                    notes.append(Note(time, time + length * rng.choice([1, 2]), low, max(40, velocity - 15)))
                time += length
            else:
                for p in rng.sample(chord, k=rng.randint(1, len(chord))):
                    late = rng.uniform(0, beat)
                    notes.append(Note(time + late, time + late + beat * rng.uniform(0.3, 3), p, velocity))
                time += beat
    return sorted((n for n in notes if n.pitch <= 108), key=lambda n: (n.start_s, n.pitch))
