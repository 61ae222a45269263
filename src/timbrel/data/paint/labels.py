"""The 18 labels of report 004 (table 3.1): which music and which pictures belong together, and why.

Each label has the report's musical genres and the rule that joins them with pictures (section 3.2.2). `pictures` says
where our pictures of it come from: a style of real paintings, or a procedural family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from timbrel.errors import InputError

EXCERPT_S = 30.0  # of music, for one picture

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
        genres: of its music, and how many clips of each the report has.
        rule: that joins music and pictures.
        pictures: a style of paintings, or the name of a procedural family.
        view: of the style's paintings only the open views, or only the others; None is all.
        words: what a prompt may call its pictures.
    """

    name: str
    genres: Mapping[str, int]
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
        {"Pre-Renaissance": 380, "Flemish": 362, "Renaissance": 508},
        _SYMBOLIC,
        "icon",
        ("golden saint", "saint", "religious gold"),
    ),
    Label(
        "Renaissance secular subject",
        {"Pre-Renaissance": 177, "Flemish": 372, "Renaissance": 701},
        _SECULAR,
        "palace",
        ("palace", "arches in perspective", "city"),
    ),
    Label(
        "Baroque Classical symbolism",
        {"Baroque": 694, "Classic": 556},
        _SYMBOLIC,
        "window",
        ("stained glass", "church window", "church"),
    ),
    Label(
        "Baroque Classical secular subject",
        {"Baroque": 854, "Classic": 405},
        _SECULAR,
        "baroque",
        ("dark portrait", "portrait of a man", "old portrait"),
    ),
    Label(
        "Romanticism figure",
        {"Romantic": 667, "Late Romantic": 876},
        _FIGURE,
        "romanticism",
        ("romantic portrait", "romantic figure", "woman"),
        view="figure",
    ),
    Label(
        "Romanticism open view",
        {"Romantic": 479, "Late Romantic": 771},
        _VIEW,
        "romanticism",
        ("romantic landscape", "mountains and sea", "ship"),
        view="open",
    ),
    Label(
        "20th century traditional figure",
        {"Traditional 19th-20th c.": 582, "Ballet 19th-20th c.": 300, "Traditional 20th c.": 584},
        _FIGURE,
        "art-nouveau",
        ("poster of a woman", "decorative figure", "flowers and a woman"),
    ),
    Label(
        "20th century traditional open view",
        {"Traditional 19th-20th c.": 680, "Traditional 20th c.": 664},
        _VIEW,
        "impressionism",
        ("impressionist landscape", "garden", "river"),
        view="open",
    ),
    Label(
        "20th century experimental figure",
        {"Experimental 19th-20th c.": 380, "Experimental early 20th c.": 992},
        _EXPERIMENT,
        "symbolism",
        ("dream", "myth", "strange figure"),
    ),
    Label(
        "20th century experimental open view",
        {"Experimental 19th-20th c.": 545, "Experimental early 20th c.": 712},
        _EXPERIMENT,
        "post-impressionism",
        ("colourful landscape", "field", "village"),
        view="open",
    ),
    Label(
        "20th century abstractionism",
        {"Experimental 20th c.": 1494},
        _EXPERIMENT,
        "abstraction",
        ("abstract", "abstraction", "squares and lines"),
    ),
    Label(
        "European traditional folklore",
        {"North-Centre Europe folk": 388, "Est-Europe folk": 499, "Mediterranean Europe folk": 363},
        _FOLK,
        "embroidery",
        ("folk flowers", "red pattern", "european pattern"),
    ),
    Label(
        "Asian traditional folklore",
        {"Middle East, South Asia folk": 519, "China, Japan, South-East Asia folk": 819},
        _FOLK,
        "ink",
        ("asian landscape", "mist", "mountains in mist"),
    ),
    Label(
        "American traditional folklore",
        {"North America folk": 373, "Central, South America folk": 1061},
        _FOLK,
        "quilt",
        ("blanket", "american folk", "american pattern"),
    ),
    Label(
        "African traditional folklore",
        {"African folk": 625, "Afro music": 627},
        _FOLK,
        "mask",
        ("mask", "african pattern", "cloth"),
    ),
    Label(
        "Modern instrumental music",
        {"Jazz": 281, "Rock": 371, "Western songwriters": 231, "Country": 115, "Latin American": 260},
        _GENRE,
        "pop",
        ("pop art", "comic dots", "jazz poster"),
    ),
    Label(
        "Electronic music",
        {"Electronic": 538, "Dance": 344, "Pop": 516, "Rap, Hip-hop": 204},
        _GENRE,
        "neon",
        ("electronic", "electric light", "light at night"),
    ),
    Label(
        "Heavy metal",
        {"Heavy metal": 1347},
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
