"""Instruments, effects and drums of General MIDI soundfonts, and folders of recorded notes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from timbrel.data.render import DRUM_BANK, LIBRARIES, presets, render
from timbrel.data.sampler import render_samples, sampled_instruments
from timbrel.data.scores import Note, compose, excerpt, fold
from timbrel.data.sounds.maker import Maker, rhythm, seconds
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.splits import is_held_out
from timbrel.data.synth import upper_voice
from timbrel.errors import InputError
from timbrel.instruments import INSTRUMENTS, Instrument

CLASSES = {"voice": "humming", "brass": "brass section"}  # of instruments whose name is another class
# Class -> bank, program, lowest and highest pitch, and whether it plays one note at a time: beside `INSTRUMENTS`.
MORE_INSTRUMENTS = {
    "clavinet": (0, 7, 36, 84, False),
    "glockenspiel": (0, 9, 72, 103, False),
    "music box": (0, 10, 60, 96, False),
    "xylophone": (0, 13, 65, 101, True),
    "tubular bells": (0, 14, 55, 79, True),
    "distorted guitar": (0, 30, 40, 84, False),
    "timpani": (0, 47, 36, 57, True),
    "muted trumpet": (0, 59, 54, 84, True),
    "piccolo": (0, 72, 74, 103, True),
    "shakuhachi": (0, 77, 55, 84, True),
    "ocarina": (0, 79, 60, 84, True),
    "square lead": (0, 80, 50, 90, True),
    "saw lead": (0, 81, 50, 90, True),
    "synth pad": (0, 89, 40, 80, False),
    "synth bass": (0, 38, 26, 52, True),
    "kalimba": (0, 108, 57, 88, False),
    "bagpipes": (0, 109, 55, 77, True),
    "steel drum": (0, 114, 52, 84, False),
    "taiko": (0, 116, 36, 60, True),
    "ukulele": (8, 24, 60, 86, False),
    "mandolin": (16, 25, 55, 90, False),
}
# Class -> bank, program, and whether it goes on (else it is struck again and again).
EFFECTS = {
    "sea waves": (0, 122, True),
    "bird song": (0, 123, True),
    "telephone": (0, 124, True),
    "helicopter": (0, 125, True),
    "applause": (0, 126, True),
    "gunshot": (0, 127, False),
    "rain": (1, 122, True),
    "dog": (1, 123, False),
    "car engine": (1, 125, True),
    "laughter": (1, 126, True),
    "machine gun": (1, 127, True),
    "thunder": (2, 122, True),
    "galloping": (2, 123, True),
    "laser": (2, 127, False),
    "wind": (3, 122, True),
    "explosion": (3, 127, False),
    "stream": (4, 122, True),
    "heartbeat": (4, 126, True),
    "bubbles": (5, 122, True),
    "wind chimes": (5, 124, True),
    "siren": (5, 125, True),
    "footsteps": (5, 126, True),
    "train": (6, 125, True),
    "jet plane": (7, 125, True),
}
# Class -> pitches of General MIDI's percussion map.
DRUMS = {
    "bass drum": (35, 36),
    "snare drum": (38, 40),
    "hand clapping": (39,),
    "hi-hat": (42, 44, 46),
    "tom-tom": (41, 43, 45, 47, 48, 50),
    "crash cymbal": (49, 55, 57),
    "ride cymbal": (51, 53, 59),
    "tambourine": (54,),
    "cowbell": (56,),
    "vibraslap": (58,),
    "bongo": (60, 61),
    "conga": (62, 63, 64),
    "agogo": (67, 68),
    "shaker": (69, 70, 82),
    "whistle": (71, 72),
    "guiro": (73, 74),
    "wood block": (75, 76, 77),
    "cuica": (78, 79),
    "triangle": (80, 81),
    "castanets": (85,),
}
KITS = (0, 8, 16, 24, 25, 32, 40)
NO_EFFECTS = ("opl3",)  # frequency modulation: its applause and its dog are noises


def soundfont_makers(library: str) -> Iterator[Maker]:
    """Makers of every class that a soundfont has.

    Raises:
        InputError: a library that is held out for the benchmark, or unknown.
        MissingDependencyError: TiMidity++ or the library is not installed.
    """
    if is_held_out(library=library):
        raise InputError(f"library {library!r} is held out for the benchmark; leave it out of `libraries`")
    presets(library)
    for label, make in (*_instruments(library), *_more(library), *_drums(library), *_effects(library)):
        yield Maker(label, library, LIBRARIES[library].licence, make)


def sample_makers(folders: Sequence[str]) -> Iterator[Maker]:
    """Makers of every instrument that folders of recorded notes have, if it is one of `INSTRUMENTS` and a class.

    Raises:
        InputError: a folder that holds no samples.
    """
    for folder in folders:
        for name in sampled_instruments(folder):
            if name in INSTRUMENTS:
                make = functools.partial(_recorded, folder, INSTRUMENTS[name])
                yield Maker(_label(name), Path(folder).resolve().name, "the user's own", make)


_Made = tuple[str, Callable[[np.random.Generator, int], np.ndarray]]


@functools.cache
def _label(instrument: str) -> str:
    return Ontology.load().find(CLASSES.get(instrument, instrument.replace("-", " "))).name


def _one_voice(row: Instrument) -> bool:
    return row.family in ("bowed", "woodwind", "brass") and row.name not in ("strings", "brass")


def _instruments(library: str) -> Iterator[_Made]:
    for row in INSTRUMENTS.values():
        if row.name not in LIBRARIES[library].without:
            span = (row.lowest, row.highest, _one_voice(row))
            yield _label(row.name), functools.partial(_phrase, library, 0, row.program, *span)


def _more(library: str) -> Iterator[_Made]:
    for label, preset in MORE_INSTRUMENTS.items():
        if preset[:2] in presets(library):
            yield label, functools.partial(_phrase, library, *preset)


def _drums(library: str) -> Iterator[_Made]:
    kits = tuple(kit for kit in KITS if (DRUM_BANK, kit) in presets(library))
    if kits:
        yield "drum beat", functools.partial(_beat, library, kits)
        for label, pitches in DRUMS.items():
            yield label, functools.partial(_hits, library, kits, pitches)


def _effects(library: str) -> Iterator[_Made]:
    for label, (bank, program, goes_on) in EFFECTS.items():
        if (bank, program) in presets(library) and library not in NO_EFFECTS:
            yield label, functools.partial(_effect, library, bank, program, goes_on)


def _phrase(
    library: str, bank: int, program: int, low: int, high: int, one_voice: bool, rng: np.random.Generator, rate: int
) -> np.ndarray:
    length = seconds(rng)
    return render(
        _notes(rng, length, low, high, one_voice), program, library, sample_rate=rate, duration_s=length, bank=bank
    )


def _recorded(folder: str, row: Instrument, rng: np.random.Generator, rate: int) -> np.ndarray:
    length = seconds(rng)
    notes = _notes(rng, length, row.lowest, row.highest, _one_voice(row))
    seed = int(rng.integers(2**31))
    phrase = render_samples(notes, row.name, folder, sample_rate=rate, duration_s=length, seed=seed)
    return _above(phrase, row.lowest, rate)


def _above(waveform: np.ndarray, lowest: int, rate: int) -> np.ndarray:
    """Cuts what is more than half an octave below an instrument's lowest pitch. A fifth of the power of some recorded
    violas is a room's rumble; a model takes it for a mark of the instrument, and guidance exaggerates marks."""
    from scipy.signal import butter, sosfiltfilt

    cut_hz = 440 * 2 ** ((lowest - 6 - 69) / 12)
    return sosfiltfilt(butter(4, cut_hz, "highpass", fs=rate, output="sos"), waveform).astype(np.float32)


def _notes(rng: np.random.Generator, length: float, low: int, high: int, one_voice: bool) -> list[Note]:
    """A few long notes, or a phrase of a piece that is composed by chance."""
    if rng.random() < 0.7:
        piece = excerpt(compose(int(rng.integers(2**31)), length + 12), float(rng.uniform(0, 10)), length)
        notes = fold(piece, low, high)
        notes = upper_voice(notes) if one_voice else notes
        if len(notes) > 2:
            first, louder = notes[0].start_s - rng.uniform(0, 0.2), int(rng.integers(-15, 25))
            return [_moved(n, first, louder) for n in notes]
    notes, time = [], float(rng.uniform(0, 0.2))
    while time < length - 0.4:
        long = float(rng.uniform(0.4, 3.5))
        notes.append(Note(time, min(time + long, length), int(rng.integers(low, high + 1)), int(rng.integers(45, 121))))
        time += long + float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.8)]))
    return notes


def _moved(note: Note, earlier_s: float, louder: int) -> Note:
    velocity = min(max(note.velocity + louder, 25), 127)
    return Note(max(note.start_s - earlier_s, 0), max(note.end_s - earlier_s, 0.05), note.pitch, velocity)


def _effect(library: str, bank: int, program: int, goes_on: bool, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Notes around the middle C: one that is held, or several."""
    length = seconds(rng)
    pitch = int(rng.integers(55, 66))
    if goes_on and rng.random() < 0.6:
        notes = [Note(0.05, length, pitch, int(rng.integers(70, 121)))]
    else:
        notes, time = [], 0.05
        while time < length - 0.3:
            long = float(rng.uniform(1.5, 4) if goes_on else rng.uniform(0.6, 2.0))
            near = int(np.clip(pitch + rng.integers(-2, 3), 50, 72))
            notes.append(Note(time, min(time + long, length), near, int(rng.integers(60, 121))))
            time += long + float(rng.uniform(0, 0.8))
        notes = notes[: int(rng.integers(1, len(notes) + 1))]
    return render(notes, program, library, sample_rate=rate, bank=bank)[: round(length * rate)]


def _hits(library: str, kits: Sequence[int], pitches: Sequence[int], rng: np.random.Generator, rate: int) -> np.ndarray:
    kit = int(rng.choice(kits))
    chosen = rng.choice(pitches, size=int(rng.integers(1, min(len(pitches), 3) + 1)), replace=False)
    notes = [Note(t, t + 0.3, int(rng.choice(chosen)), int(30 + 95 * strength)) for t, strength in rhythm(rng)]
    return render(notes, kit, library, sample_rate=rate, drums=True)


def _beat(library: str, kits: Sequence[int], rng: np.random.Generator, rate: int) -> np.ndarray:
    """A bar of a bass drum, a snare and a cymbal, again and again, with changes."""
    length, step_s = seconds(rng), float(rng.uniform(0.1, 0.2))
    cymbal, count = int(rng.choice([42, 42, 46, 51, 44])), int(rng.choice([12, 16, 16]))
    chance = {36: rng.uniform(0.1, 0.4, count), 38: rng.uniform(0, 0.25, count)}
    chance[36][0] = chance[38][count // 4] = chance[38][3 * count // 4] = 0.95
    chance[cymbal] = np.tile([0.95, float(rng.choice([0.0, 0.4, 0.95]))], count)[:count]
    notes = [
        Note(0.05 + k * step_s, 0.25 + k * step_s, pitch, int(rng.integers(65, 121)))
        for k in range(int(length / step_s))
        for pitch, chances in chance.items()
        if rng.random() < chances[k % count]
    ]
    return render(notes, int(rng.choice(kits)), library, sample_rate=rate, duration_s=length, drums=True)
