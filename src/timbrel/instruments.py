"""What is known of each instrument, in one table: to add an instrument is to add a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One instrument: a row of the table.

    Attributes:
        name: as models and commands spell it.
        program: General MIDI program, from 0.
        lowest, highest: usual notes, MIDI pitches as they sound.
        family: how it makes its sound: keyboard, mallet, pipe, reed, plucked, bowed, voice, brass or woodwind.
        rings_on: a note sounds on after its written end, until it has died away.
        vibrato: players give long notes a vibrato.
        deeper: who plays the notes below its range, as in an orchestra: a violin stretched down sounds like no violin.
    """

    name: str
    program: int
    lowest: int
    highest: int
    family: str
    rings_on: bool = False
    vibrato: bool = False
    deeper: str | None = None

    @property
    def sustains(self) -> bool:
        """Whether a note can be held for as long as the player likes."""
        return self.family not in ("keyboard", "mallet", "plucked")


def names_a_file(name: str) -> bool:
    """Whether an instrument may be called so: each has a file of its name."""
    return name not in ("", ".", "..") and not any(c in "/\\\x7f" or c < " " for c in name)


def _table(*rows: Instrument) -> dict[str, Instrument]:
    return {row.name: row for row in rows}


INSTRUMENTS = _table(  # seeded draws depend on the order: new rows go to the end
    Instrument("piano", 0, 21, 108, "keyboard"),
    Instrument("electric-piano", 4, 28, 103, "keyboard"),
    Instrument("harpsichord", 6, 29, 89, "keyboard"),
    Instrument("celesta", 8, 60, 108, "keyboard"),
    Instrument("vibraphone", 11, 53, 89, "mallet"),
    Instrument("marimba", 12, 45, 96, "mallet", rings_on=True),
    Instrument("dulcimer", 15, 50, 88, "mallet"),
    Instrument("hammond-organ", 16, 36, 96, "pipe"),
    Instrument("organ", 19, 36, 96, "pipe"),
    Instrument("harmonium", 20, 41, 89, "reed"),
    Instrument("accordion", 21, 41, 93, "reed"),
    Instrument("harmonica", 22, 60, 96, "reed"),
    Instrument("guitar", 24, 40, 84, "plucked", rings_on=True),
    Instrument("steel-guitar", 25, 40, 86, "plucked", rings_on=True),
    Instrument("electric-guitar", 27, 40, 88, "plucked"),
    Instrument("bass", 33, 28, 60, "plucked"),
    Instrument("violin", 40, 55, 100, "bowed", vibrato=True, deeper="viola"),
    Instrument("viola", 41, 48, 88, "bowed", deeper="cello"),
    Instrument("cello", 42, 36, 81, "bowed", vibrato=True, deeper="contrabass"),
    Instrument("contrabass", 43, 28, 60, "bowed"),
    Instrument("pizzicato", 45, 48, 93, "plucked"),
    Instrument("harp", 46, 24, 103, "plucked", rings_on=True),
    Instrument("strings", 48, 36, 96, "bowed"),
    Instrument("choir", 52, 41, 84, "voice"),
    Instrument("voice", 53, 45, 84, "voice"),
    Instrument("trumpet", 56, 54, 86, "brass", deeper="trombone"),
    Instrument("trombone", 57, 40, 74, "brass"),
    Instrument("tuba", 58, 28, 60, "brass"),
    Instrument("brass", 61, 41, 84, "brass"),
    Instrument("saxophone", 65, 49, 85, "woodwind"),
    Instrument("oboe", 68, 58, 91, "woodwind"),
    Instrument("bassoon", 70, 34, 75, "woodwind"),
    Instrument("clarinet", 71, 50, 91, "woodwind"),
    Instrument("flute", 73, 60, 98, "woodwind", vibrato=True, deeper="clarinet"),
    Instrument("panflute", 75, 60, 96, "woodwind"),
    Instrument("banjo", 105, 48, 86, "plucked"),
    Instrument("koto", 107, 43, 88, "plucked"),
    Instrument("english-horn", 69, 52, 81, "woodwind"),
)
"""The instruments that training renders, by name."""

UNSEEN_INSTRUMENTS = _table(
    Instrument("horn", 60, 34, 77, "brass"),
    Instrument("recorder", 74, 60, 91, "woodwind"),
    Instrument("sitar", 104, 48, 84, "plucked", rings_on=True),
)
"""Instruments that training never renders: `timbrel evaluate beyond` measures a model on sounds that it never heard."""
