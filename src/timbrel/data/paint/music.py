"""Music of each label: real scores of its period and place played by fitting instruments, or composed by rule.

Real scores are those of music21's corpus that models may be trained on: the Trecento (sacred and secular volumes
apart), Bach's chorales, and Irish, English and American tunes. All else is composed by chance within the habits of a
genre.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timbrel.data.paint.labels import EXCERPT_S
from timbrel.data.render import render
from timbrel.data.scores import Note, corpus_scores, excerpt, fold, load_score
from timbrel.data.sounds.maker import in_a_room
from timbrel.data.sounds.signals import SIGNALS
from timbrel.data.synth import upper_voice
from timbrel.errors import InputError

Rng = np.random.Generator
LIBRARIES = ("fluidr3", "timgm6mb", "csound", "generaluser", "airfont")
MAJOR, MINOR, PENTATONIC = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9)
ORIENTAL, BLUES, CHROMATIC = (0, 1, 4, 5, 7, 8, 10), (0, 3, 5, 6, 7, 10), tuple(range(12))


@dataclass(frozen=True)
class Part:
    """Notes for one General MIDI program, or for a drum kit; `gain` in the mix."""

    notes: Sequence[Note]
    program: int
    drums: bool = False
    gain: float = 1.0


@dataclass(frozen=True)
class Habit:
    """How a genre is composed.

    Attributes:
        scales: of which one is drawn.
        beat_s: the shortest and the longest beat.
        leads: programs of the melody; several may play in turn.
        below: ensembles of programs for the accompaniment.
        patterns: of the accompaniment: "block", "arpeggio", "cluster", "power", "off", "drone", "tremolo".
        drums: steps of a bar for each drum; see `DRUMS`.
        leap: steps of the scale that the melody moves by, at most.
        rest: how often the melody pauses.
        low: lowest note of the melody.
        kits: drum kits.
        signals: computed sounds that may be mixed in.
    """

    scales: tuple[tuple[int, ...], ...]
    beat_s: tuple[float, float]
    leads: tuple[int, ...]
    below: tuple[tuple[int, ...], ...]
    patterns: tuple[str, ...]
    drums: tuple[str, ...] = ()
    leap: int = 2
    rest: float = 0.1
    low: int = 60
    kits: tuple[int, ...] = (0, 8, 16)
    signals: tuple[str, ...] = ()


# Sixteen steps of a bar: how likely each is struck, from . (never) over 3 and 6 to 9 (always).
DRUMS: dict[str, dict[int, str]] = {
    "rock": {36: "9..3..3.9.3.....", 38: "....9.......9..3", 42: "9.9.9.9.9.9.9.9."},
    "swing": {36: "3...3...3...3...", 51: "9...9..69...9..6", 44: "....9.......9..."},
    "latin": {36: "9..6..9.9..6..9.", 39: "...9..9...9.9...", 70: "9.9.9.9.9.9.9.9.", 63: "..9..69...9..699"},
    "house": {36: "9...9...9...9...", 39: "....9.......9...", 46: "..9...9...9...9.", 42: "6666666666666666"},
    "break": {36: "9.9.......9..3..", 38: "....9..3.3..9...", 42: "9.9.9.9.9.9.9.9."},
    "blast": {36: "9.9.9.9.9.9.9.99", 38: "..9...9...9...9.", 49: "9.......3......."},
    "double": {36: "9999999999999999", 38: "....9.......9...", 52: "9...9...9...9..."},
    "bell": {67: "9.9.99.9.9.99.9.", 61: "..6.9.6...6.9.66", 64: "9.6...9.6.6...96", 70: "9.9.9.9.9.9.9.9."},
    "drum": {60: "9.69.69.9.69.696", 61: "..9..9..9..9..96", 63: "6..6..9.6..6..9.", 76: "9..9..9..9..9.9."},
}
HABITS = {
    "Romanticism figure": Habit(
        (MAJOR, MINOR), (0.4, 0.8), (0, 0, 40, 42, 71), ((0,), (0,), (0, 42)), ("arpeggio", "block"), leap=3
    ),
    "Romanticism open view": Habit(
        (MAJOR, MINOR), (0.5, 0.9), (60, 48, 56, 40), ((48, 61, 43), (48, 60, 47), (44, 48, 57)), ("block", "tremolo")
    ),
    "20th century traditional figure": Habit(
        (MAJOR, PENTATONIC), (0.3, 0.5), (73, 71, 9, 8), ((45, 45), (46, 45), (8, 45)), ("off", "arpeggio"), low=67
    ),
    "20th century traditional open view": Habit(
        (PENTATONIC, MAJOR), (0.5, 0.9), (68, 73, 60, 69), ((49, 46), (48, 46), (49, 46, 11)), ("drone", "arpeggio")
    ),
    "20th century experimental figure": Habit(
        (CHROMATIC,), (0.25, 0.6), (71, 70, 12, 0, 41), ((0,), (11,), (0, 70)), ("cluster", "off"), leap=9, rest=0.35
    ),
    "20th century experimental open view": Habit(
        (CHROMATIC,), (0.5, 1.1), (61, 57, 44), ((44, 43), (48, 61), (44, 57, 47)), ("cluster", "tremolo"), leap=8
    ),
    "20th century abstractionism": Habit(
        (CHROMATIC,),
        (0.3, 1.2),
        (13, 12, 115, 98),
        ((14,), (99,), (13,)),
        ("sparse",),
        leap=20,
        rest=0.7,
        low=50,
        signals=("sine sweep", "electronic blip", "static", "click", "white noise", "drone", "pulse train"),
    ),
    "Asian traditional folklore": Habit(
        (PENTATONIC, ORIENTAL), (0.35, 0.8), (107, 77, 106, 104, 15), ((107,), (104,), (106,)), ("sparse", "drone")
    ),
    "American traditional folklore": Habit(
        (PENTATONIC, MAJOR), (0.28, 0.5), (105, 22, 75, 25), ((25,), (24,), (25, 32)), ("off", "arpeggio")
    ),
    "African traditional folklore": Habit(
        (PENTATONIC,), (0.3, 0.45), (12, 108, 12), ((108,), (12,)), ("off",), drums=("bell", "drum"), rest=0.25
    ),
    "Modern instrumental music": Habit(
        (BLUES, MAJOR, MINOR),
        (0.36, 0.6),
        (65, 26, 27, 66, 4, 56),
        ((4, 32), (26, 33), (0, 32), (25, 33), (16, 33)),
        ("off", "block"),
        drums=("rock", "swing", "latin"),
    ),
    "Electronic music": Habit(
        (MINOR, PENTATONIC),
        (0.42, 0.6),
        (81, 80, 87),
        ((89, 38), (50, 39), (90, 38), (95, 39)),
        ("block", "off", "drone"),
        drums=("house", "break"),
        kits=(24, 25),
        signals=("sine sweep", "electronic blip", "laser"),
    ),
    "Heavy metal": Habit(
        (MINOR, BLUES, ORIENTAL),
        (0.26, 0.42),
        (30, 30, 29),
        ((30, 33), (30, 34), (29, 30, 33)),
        ("power",),
        drums=("blast", "double", "rock"),
        low=64,
        leap=3,
    ),
}
# Real scores: corpus folder, which of its files, and ensembles of lead and others.
SCORES: dict[str, tuple[str, str, tuple[tuple[int, ...], ...]]] = {
    "Renaissance symbolism": ("trecento", r"PMFC_(12|13|23|24)|Fava", ((52, 52), (53, 52), (53, 19), (52,))),
    "Renaissance secular subject": ("trecento", r"PMFC_(0|1[01])", ((74, 24), (24,), (74, 41), (110, 24), (75, 24))),
    "Baroque Classical symbolism": ("bach", r"[02468]\.|[02468]\.mxl", ((19,), (52, 19), (20,), (56, 19))),
    "Baroque Classical secular subject": ("bach", r"[13579]\.|[13579]\.mxl", ((6,), (40, 6), (73, 6), (68, 6, 42))),
    "European traditional folklore": ("ryansMammoth", r"", ((110, 21), (21,), (109,), (73, 24), (110,), (15, 21))),
}


def compose_label(name: str, rng: Rng, work: int) -> tuple[str, list[Part]]:
    """A label's piece: the name of its work, and its parts.

    Args:
        name: of the label.
        rng: chooses instruments, tempo and, where it is composed, the notes.
        work: which score; beyond the last one they begin again.

    Raises:
        InputError: a label without music.
        MissingDependencyError: scores are needed, and music21 is not installed.
    """
    title = work_name(name, work)
    return title, _from_score(title, SCORES[name][2], rng) if name in SCORES else _composed(HABITS[name], rng)


def render_label(name: str, seed: int, *, sample_rate: int = 16000) -> tuple[str, np.ndarray]:
    """30 s of a label's music: the name of its work, and float32 [samples], mono.

    Raises:
        MissingDependencyError: TiMidity++ or a sample library is not installed.
    """
    rng = np.random.default_rng((seed, *name.encode()))
    work, parts = compose_label(name, rng, seed)
    library = LIBRARIES[int(rng.integers(len(LIBRARIES)))]
    samples = round(EXCERPT_S * sample_rate)
    mix = np.zeros(samples, np.float32)
    for part in parts:
        if part.notes:
            kit = "fluidr3" if part.drums else library
            played = render(
                part.notes, part.program, kit, sample_rate=sample_rate, duration_s=EXCERPT_S, drums=part.drums
            )
            mix += np.float32(part.gain * 0.1 / max(float(played.std()), 1e-4)) * played
    for signal in _signals(HABITS.get(name), rng):
        made = SIGNALS[signal](rng, samples, sample_rate)
        mix += np.float32(rng.uniform(0.03, 0.12) / max(float(made.std()), 1e-4)) * made.astype(np.float32)
    heard = in_a_room(mix, rng, sample_rate, share=0.6)[:samples]
    return work, heard / max(float(np.abs(heard).max()), 1e-4)


def _signals(habit: Habit | None, rng: Rng) -> list[str]:
    if habit is None or not habit.signals:
        return []
    return [str(name) for name in rng.choice(habit.signals, int(rng.integers(1, 3)), replace=False)]


@functools.cache
def _scores(folder: str, pattern: str) -> list[str]:
    return [name for name in corpus_scores([folder]) if re.search(pattern, name)]


def work_name(label: str, work: int) -> str:
    """The name of a label's work, by which it belongs to a split.

    Raises:
        InputError: a label without music.
        MissingDependencyError: scores are needed, and music21 is not installed.
    """
    if label in SCORES:
        folder, pattern, _ = SCORES[label]
        names = _scores(folder, pattern)
        return names[np.random.default_rng(len(names)).permutation(len(names))[work % len(names)]]
    if label not in HABITS:
        raise InputError(f"label {label!r} has no music; expected one of {', '.join((*SCORES, *HABITS))}")
    return f"{label} {work}"


def _from_score(name: str, ensembles: Sequence[Sequence[int]], rng: Rng) -> list[Part]:
    whole, tempo = load_score(name), rng.uniform(0.8, 1.25)
    latest = max(0.0, whole[-1].start_s - EXCERPT_S * tempo)
    notes = excerpt(whole, float(rng.uniform(0, latest)), EXCERPT_S * tempo)
    shift = int(rng.integers(-3, 4))
    played = [Note(n.start_s / tempo, n.end_s / tempo, n.pitch + shift, int(rng.integers(70, 100))) for n in notes]
    lead, *others = _choice(ensembles, rng)
    if not others:
        return [Part(fold(played, 40, 88), lead)]
    voice = upper_voice(played)
    return [Part(fold(voice, 60, 90), lead), *(Part(fold(played, 40, 79), p, gain=0.7) for p in others)]


def _composed(habit: Habit, rng: Rng) -> list[Part]:
    scale, root = _choice(habit.scales, rng), int(rng.integers(-5, 6))
    beat_s = float(rng.uniform(*habit.beat_s))
    bars = int(EXCERPT_S / (4 * beat_s)) + 1
    roots = [int(x) for x in rng.integers(0, len(scale), 4)]
    pattern, below = _choice(habit.patterns, rng), _choice(habit.below, rng)
    parts = [Part(_melody(habit, scale, root, beat_s, rng), _choice(habit.leads, rng))]
    for depth, program in enumerate(below):
        notes = [
            note
            for bar in range(bars)
            for note in _bar(pattern, scale, root + 48 - 12 * depth, roots[bar % 4], bar * 4 * beat_s, beat_s, rng)
        ]
        parts.append(Part([n for n in notes if n.start_s < EXCERPT_S], program, gain=0.8 - 0.15 * depth))
    if habit.drums:
        steps = DRUMS[_choice(habit.drums, rng)]
        parts.append(Part(_beats(steps, beat_s / 4, rng), _choice(habit.kits, rng), drums=True, gain=1.0))
    return parts


def _melody(habit: Habit, scale: Sequence[int], root: int, beat_s: float, rng: Rng) -> list[Note]:
    """A walk on the scale that comes back to a motif of rhythm."""
    ladder = [habit.low + root + 12 * octave + step for octave in (0, 1) for step in scale]
    motif = rng.choice([0.5, 0.5, 1, 1, 1.5, 2], 6)
    notes, time, place = [], float(rng.uniform(0, beat_s)), len(ladder) // 2
    for k in range(400):
        length = float(motif[k % 6]) * beat_s
        if time + length > EXCERPT_S:
            break
        place = int(np.clip(place + rng.integers(-habit.leap, habit.leap + 1), 0, len(ladder) - 1))
        if rng.random() > habit.rest:
            notes.append(Note(time, time + 0.95 * length, ladder[place], int(rng.integers(70, 115))))
        time += length
    return notes


def _bar(
    pattern: str, scale: Sequence[int], base: int, degree: int, start_s: float, beat_s: float, rng: Rng
) -> list[Note]:
    """A bar of accompaniment."""
    chord = [base + 12 * (k // len(scale)) + scale[k % len(scale)] for k in (degree, degree + 2, degree + 4)]
    loud = int(rng.integers(60, 90))

    def notes(pitches: Sequence[int], at: float, beats: float) -> list[Note]:
        return [Note(start_s + at * beat_s, start_s + (at + beats) * beat_s, p, loud) for p in pitches]

    if pattern == "arpeggio":
        steps = [chord[0], chord[1], chord[2], chord[1] + 12] * 2
        return [note for k, pitch in enumerate(steps) for note in notes([pitch], k / 2, 0.9)]
    if pattern == "off":
        return (
            notes(chord[:1], 0, 0.5) + [n for k in (1, 3) for n in notes(chord[1:], k, 0.4)] + notes(chord[2:], 2, 0.5)
        )
    if pattern == "power":
        low = [chord[0] - 8, chord[0] - 1]
        return [n for k in range(8) if k % 4 == 0 or rng.random() < 0.8 for n in notes(low, k / 2, 0.35)]
    if pattern == "tremolo":
        return [n for k in range(16) for n in notes(chord, k / 4, 0.22)]
    if pattern == "cluster":
        near = [base + int(x) for x in rng.integers(0, 18, int(rng.integers(2, 6)))]
        return notes(near, float(rng.integers(0, 3)), float(rng.choice([0.3, 1, 2])))
    if pattern == "sparse":
        return notes([chord[int(rng.integers(3))]], float(rng.integers(0, 4)), 1.0) if rng.random() < 0.7 else []
    if pattern == "drone":
        return notes([base, base + 7], 0, 4)
    return notes(chord, 0, 2) + notes(chord, 2, 2)


def _beats(steps: dict[int, str], step_s: float, rng: Rng) -> list[Note]:
    """A bar of drums again and again, with changes."""
    return [
        Note(k * step_s, k * step_s + 0.2, pitch, int(rng.integers(75, 120)))
        for k in range(int((EXCERPT_S - 0.3) / step_s))
        for pitch, bar in steps.items()
        if bar[k % 16] != "." and 10 * rng.random() < 1 + int(bar[k % 16])
    ]


def _choice(options: Sequence, rng: Rng):  # type: ignore[no-untyped-def,type-arg]
    return options[int(rng.integers(len(options)))]
