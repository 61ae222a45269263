"""The 18 labels of report 004 (table 3.1): which music and which pictures belong together, and why.

Each label has the report's musical genres and the rule that joins them with pictures (section 3.2.2). `pictures` says
where our pictures of it come from: a style of real paintings, or a procedural family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from timbrel.errors import InputError

_SYMBOLIC = "symbolic art from early Renaissance to Classicism: religious music of that time"
_SECULAR = "secular art from early Renaissance to Classicism: secular music of that time"
_FIGURE = "figures from Romanticism to the 20th century: instrumental and chamber music of that time"
_VIEW = "open views from Romanticism to the 20th century: orchestral music and opera of that time"
_EXPERIMENT = "experimental art of the 20th century: experimental music of the 20th century"
_FOLK = "folk art from past times to the present: folk music of the same place"
_GENRE = "art after musical genres of the 20th and 21st centuries: music of these genres"


@dataclass(frozen=True)
class Label:
    """One label.

    Attributes:
        name: the report's.
        genres: of its music.
        rule: that joins music and pictures.
        pictures: a style of paintings, or the name of a procedural family.
        view: of the style's paintings only the open views, or only the others; None is all.
        words: what a prompt may call its pictures.
    """

    name: str
    genres: tuple[str, ...]
    rule: str
    pictures: str
    words: tuple[str, ...]
    view: Literal["open", "figure"] | None = None

    @property
    def real(self) -> bool:
        """Whether its pictures are paintings; else they are procedural."""
        return self.pictures in STYLES


STYLES = ("art-nouveau", "baroque", "impressionism", "post-impressionism", "romanticism", "symbolism")
LABELS = (
    Label(
        "Renaissance symbolism",
        ("Pre-Renaissance", "Flemish", "Renaissance"),
        _SYMBOLIC,
        "icon",
        ("golden saint", "saint", "religious gold"),
    ),
    Label(
        "Renaissance secular subject",
        ("Pre-Renaissance", "Flemish", "Renaissance"),
        _SECULAR,
        "palace",
        ("palace", "arches in perspective", "city"),
    ),
    Label(
        "Baroque Classical symbolism",
        ("Baroque", "Classic"),
        _SYMBOLIC,
        "window",
        ("stained glass", "church window", "church"),
    ),
    Label(
        "Baroque Classical secular subject",
        ("Baroque", "Classic"),
        _SECULAR,
        "baroque",
        ("dark portrait", "portrait of a man", "old portrait"),
    ),
    Label(
        "Romanticism figure",
        ("Romantic", "Late Romantic"),
        _FIGURE,
        "romanticism",
        ("romantic portrait", "romantic figure", "woman"),
        view="figure",
    ),
    Label(
        "Romanticism open view",
        ("Romantic", "Late Romantic"),
        _VIEW,
        "romanticism",
        ("romantic landscape", "mountains and sea", "ship"),
        view="open",
    ),
    Label(
        "20th century traditional figure",
        ("Traditional 19th-20th c.", "Ballet 19th-20th c.", "Traditional 20th c."),
        _FIGURE,
        "art-nouveau",
        ("poster of a woman", "decorative figure", "flowers and a woman"),
    ),
    Label(
        "20th century traditional open view",
        ("Traditional 19th-20th c.", "Traditional 20th c."),
        _VIEW,
        "impressionism",
        ("impressionist landscape", "garden", "river"),
        view="open",
    ),
    Label(
        "20th century experimental figure",
        ("Experimental 19th-20th c.", "Experimental early 20th c."),
        _EXPERIMENT,
        "symbolism",
        ("dream", "myth", "strange figure"),
    ),
    Label(
        "20th century experimental open view",
        ("Experimental 19th-20th c.", "Experimental early 20th c."),
        _EXPERIMENT,
        "post-impressionism",
        ("colourful landscape", "field", "village"),
        view="open",
    ),
    Label(
        "20th century abstractionism",
        ("Experimental 20th c.",),
        _EXPERIMENT,
        "abstraction",
        ("abstract", "abstraction", "squares and lines"),
    ),
    Label(
        "European traditional folklore",
        ("North-Centre Europe folk", "Est-Europe folk", "Mediterranean Europe folk"),
        _FOLK,
        "embroidery",
        ("folk flowers", "red pattern", "european pattern"),
    ),
    Label(
        "Asian traditional folklore",
        ("Middle East, South Asia folk", "China, Japan, South-East Asia folk"),
        _FOLK,
        "ink",
        ("asian landscape", "mist", "mountains in mist"),
    ),
    Label(
        "American traditional folklore",
        ("North America folk", "Central, South America folk"),
        _FOLK,
        "quilt",
        ("blanket", "american folk", "american pattern"),
    ),
    Label(
        "African traditional folklore",
        ("African folk", "Afro music"),
        _FOLK,
        "mask",
        ("mask", "african pattern", "cloth"),
    ),
    Label(
        "Modern instrumental music",
        ("Jazz", "Rock", "Western songwriters", "Country", "Latin American"),
        _GENRE,
        "pop",
        ("pop art", "comic dots", "jazz poster"),
    ),
    Label(
        "Electronic music",
        ("Electronic", "Dance", "Pop", "Rap, Hip-hop"),
        _GENRE,
        "neon",
        ("electronic", "electric light", "light at night"),
    ),
    Label(
        "Heavy metal",
        ("Heavy metal",),
        _GENRE,
        "fire",
        ("fire", "dark lightning", "storm of fire"),
    ),
)
NAMES = tuple(label.name for label in LABELS)


def find_label(name: str) -> Label:
    """The label of that name.

    Raises:
        InputError: there is none.

    >>> find_label("Heavy metal").pictures
    'fire'
    """
    if name not in NAMES:
        raise InputError(f"label {name!r} is unknown; expected one of {', '.join(NAMES)}")
    return LABELS[NAMES.index(name)]
