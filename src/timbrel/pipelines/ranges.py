"""Where instruments play, and by how many octaves to move what lies elsewhere."""

from __future__ import annotations

from timbrel.errors import InputError

MOST_SEMITONES = 36
RANGES = {
    "piano": (21, 108),
    "electric-piano": (28, 103),
    "harpsichord": (29, 89),
    "celesta": (60, 108),
    "vibraphone": (53, 89),
    "marimba": (45, 96),
    "dulcimer": (50, 88),
    "hammond-organ": (36, 96),
    "organ": (36, 96),
    "harmonium": (41, 89),
    "accordion": (41, 93),
    "harmonica": (60, 96),
    "guitar": (40, 84),
    "steel-guitar": (40, 86),
    "electric-guitar": (40, 88),
    "bass": (28, 60),
    "violin": (55, 100),
    "viola": (48, 88),
    "cello": (36, 81),
    "contrabass": (28, 60),
    "pizzicato": (48, 93),
    "harp": (24, 103),
    "strings": (36, 96),
    "choir": (41, 84),
    "voice": (45, 84),
    "trumpet": (54, 86),
    "trombone": (40, 74),
    "tuba": (28, 60),
    "brass": (41, 84),
    "saxophone": (49, 85),
    "oboe": (58, 91),
    "bassoon": (34, 75),
    "clarinet": (50, 91),
    "flute": (60, 98),
    "panflute": (60, 96),
    "banjo": (48, 86),
    "koto": (43, 88),
}
"""Instrument name -> lowest and highest usual note, MIDI pitch as it sounds."""


def check_transposition(semitones: int) -> None:
    """Raises InputError where music would be moved further than `MOST_SEMITONES`."""
    if not isinstance(semitones, int) or not -MOST_SEMITONES <= semitones <= MOST_SEMITONES:
        raise InputError(f"transpose is {semitones!r}; expected {-MOST_SEMITONES} to {MOST_SEMITONES} whole semitones")


def octaves_into(source: tuple[float, float], target: tuple[float, float]) -> int:
    """Semitones, whole octaves, that bring a source's range best into the target's.

    Args:
        source: lowest and highest pitch of the source, without outliers.
        target: the same of the instrument.

    Returns:
        The least move that leaves the least outside: an octave has to save more than 4 semitones. 0 where it fits.
    """

    def cost(octaves: int) -> float:
        low, high = (pitch + 12 * octaves for pitch in source)
        return max(0.0, target[0] - low) + max(0.0, high - target[1]) + 4 * abs(octaves)

    return 12 * min(range(-3, 4), key=lambda octaves: (cost(octaves), abs(octaves)))
