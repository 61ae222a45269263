"""What is known of each instrument, in one table: to add an instrument is to add a row."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
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
        also: other names, with a space between, in English, German, French, Spanish and Italian.
    """

    name: str
    program: int
    lowest: int
    highest: int
    family: str
    rings_on: bool = False
    vibrato: bool = False
    deeper: str | None = None
    also: str = ""

    @property
    def sustains(self) -> bool:
        """Whether a note can be held for as long as the player likes."""
        return self.family not in ("keyboard", "mallet", "plucked")


LONGEST_NAME = 200  # bytes of UTF-8: the file of that name has a suffix, too


def names_a_file(name: str) -> bool:
    """Whether an instrument may be called so: each has a file of its name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # half a character
        return False
    is_dots = not name.strip(". ")
    return (
        size <= LONGEST_NAME and not is_dots and not any(c in "/\\" or unicodedata.category(c)[0] == "C" for c in name)
    )


def _table(*rows: Instrument) -> dict[str, Instrument]:
    return {row.name: row for row in rows}


# fmt: off
INSTRUMENTS = _table(  # seeded draws depend on the order: new rows go to the end
    Instrument("piano", 0, 21, 108, "keyboard", also="pianoforte grand-piano klavier flügel fortepiano"),
    Instrument("electric-piano", 4, 28, 103, "keyboard",
               also="e-piano rhodes epiano e-klavier piano-electrique piano-electrico piano-elettrico"),
    Instrument("harpsichord", 6, 29, 89, "keyboard", also="cembalo clavecin clavicembalo clavecimbalo"),
    Instrument("celesta", 8, 60, 108, "keyboard", also="celeste"),
    Instrument("vibraphone", 11, 53, 89, "mallet", also="vibes vibraphon vibrafono"),
    Instrument("marimba", 12, 45, 96, "mallet", rings_on=True, also="marimbaphone marimbaphon"),
    Instrument("dulcimer", 15, 50, 88, "mallet", also="hackbrett tympanon salterio hammered-dulcimer"),
    Instrument("hammond-organ", 16, 36, 96, "pipe",
               also="hammond hammondorgel orgue-hammond organo-hammond rock-organ"),
    Instrument("organ", 19, 36, 96, "pipe",
               also="church-organ pipe-organ orgel kirchenorgel orgue orgue-d-eglise órgano"),
    Instrument("harmonium", 20, 41, 89, "reed", also="reed-organ armonio pump-organ"),
    Instrument("accordion", 21, 41, 93, "reed", also="akkordeon accordéon acordeón fisarmonica"),
    Instrument("harmonica", 22, 60, 96, "reed", also="mouth-organ mundharmonika armónica"),
    Instrument("guitar", 24, 40, 84, "plucked", rings_on=True,
               also="classical-guitar nylon-guitar acoustic-guitar gitarre konzertgitarre guitare guitarra chitarra"),
    Instrument("steel-guitar", 25, 40, 86, "plucked", rings_on=True,
               also="steel-string-guitar westerngitarre folk-guitar guitare-folk"),
    Instrument("electric-guitar", 27, 40, 88, "plucked",
               also="e-guitar e-gitarre elektrogitarre guitare-electrique guitarra-electrica chitarra-elettrica"),
    Instrument("bass", 33, 28, 60, "plucked",
               also="bass-guitar electric-bass e-bass bassgitarre basse guitare-basse bajo basso"),
    Instrument("violin", 40, 55, 100, "bowed", vibrato=True, deeper="viola",
               also="fiddle geige violine violon violino"),
    Instrument("viola", 41, 48, 88, "bowed", deeper="cello", also="bratsche alto"),
    Instrument("cello", 42, 36, 81, "bowed", vibrato=True, deeper="contrabass",
               also="violoncello violoncelle violonchelo chelo"),
    Instrument("contrabass", 43, 28, 60, "bowed",
               also="double-bass upright-bass kontrabass contrebasse contrabajo contrabbasso"),
    Instrument("pizzicato", 45, 48, 93, "plucked", also="pizzicato-strings pizz"),
    Instrument("harp", 46, 24, 103, "plucked", rings_on=True, also="harfe harpe arpa"),
    Instrument("strings", 48, 36, 96, "bowed", also="string-ensemble string-orchestra streicher cordes cuerdas archi"),
    Instrument("choir", 52, 41, 84, "voice", also="chor chœur coro chorus"),
    Instrument("voice", 53, 45, 84, "voice", also="vocal vocals singer singing stimme gesang voix voz voce"),
    Instrument("trumpet", 56, 54, 86, "brass", deeper="trombone", also="trompete trompette trompeta tromba"),
    Instrument("trombone", 57, 40, 74, "brass", also="posaune trombón"),
    Instrument("tuba", 58, 28, 60, "brass"),
    Instrument("brass", 61, 41, 84, "brass", also="brass-section blech blechbläser cuivres metales ottoni"),
    Instrument("saxophone", 65, 49, 85, "woodwind", also="sax saxophon saxofón sassofono"),
    Instrument("oboe", 68, 58, 91, "woodwind", also="hautbois"),
    Instrument("bassoon", 70, 34, 75, "woodwind", also="fagott basson fagot fagotto"),
    Instrument("clarinet", 71, 50, 91, "woodwind", also="klarinette clarinette clarinete clarinetto"),
    Instrument("flute", 73, 60, 98, "woodwind", vibrato=True, deeper="clarinet",
               also="querflöte flöte flauta flauto transverse-flute"),
    Instrument("panflute", 75, 60, 96, "woodwind",
               also="pan-flute pan-pipes panflöte flûte-de-pan flauta-de-pan flauto-di-pan"),
    Instrument("banjo", 105, 48, 86, "plucked"),
    Instrument("koto", 107, 43, 88, "plucked"),
    Instrument("english-horn", 69, 52, 81, "woodwind", also="cor-anglais englischhorn corno-inglés corno-inglese"),
)
# fmt: on
"""The instruments that training renders, by name."""

UNSEEN_INSTRUMENTS = _table(
    Instrument("horn", 60, 34, 77, "brass", also="french-horn waldhorn cor trompa corno"),
    Instrument("recorder", 74, 60, 91, "woodwind", also="blockflöte flûte-à-bec"),
    Instrument("sitar", 104, 48, 84, "plucked", rings_on=True),
)
"""Instruments that training never renders: `timbrel evaluate beyond` measures a model on sounds that it never heard."""


def spelled(name: str, known: Iterable[str] = INSTRUMENTS) -> str | None:
    """The one of the known names that is meant, without regard to case, accents, "_", "-" and spaces; or None.

    >>> spelled("Double Bass"), spelled("Flöte"), spelled("Flote"), spelled("E_Gitarre"), spelled("zither")
    ('contrabass', 'flute', 'flute', 'electric-guitar', None)
    """
    known = list(known)
    if name in known:
        return name
    return _by_plain_name(known).get(_plain(name))


def nearest(name: str, known: Iterable[str] = INSTRUMENTS) -> str | None:
    """The one of the known names that is most like a name that none of them is.

    >>> nearest("voilin"), nearest("Gittarre"), nearest("xyz")
    ('violin', 'guitar', None)
    """
    from difflib import get_close_matches

    names = _by_plain_name(list(known))
    alike = get_close_matches(_plain(name[:LONGEST_NAME]), names, n=1, cutoff=0.7)
    return names[alike[0]] if alike else None


def _by_plain_name(known: list[str]) -> dict[str, str]:
    """Plain names -> known names; of one that means two, the first table's."""
    rows = {name: INSTRUMENTS.get(name) or UNSEEN_INSTRUMENTS.get(name) for name in known}
    others = {_plain(other): name for name, row in rows.items() if row for other in row.also.split()}
    return others | {_plain(name): name for name in known}


def _plain(name: str) -> str:
    """Letters and digits alone, without accents."""
    letters = unicodedata.normalize("NFKD", name.casefold().replace("œ", "oe"))
    return "".join(c for c in letters if c.isalnum())
