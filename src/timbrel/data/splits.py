"""Who hears what: train, validation, and what is held out for the benchmark and never trained on.

A split goes by the whole score or recording, never by its pieces, and by a hash of its name: adding others
does not move it, and every rendering of a score, on any instrument, falls on the same side.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from timbrel.errors import InputError

if TYPE_CHECKING:
    from timbrel.data.store import Entry

Split = Literal["train", "validation"]

# The benchmark's own: never trained or tuned on. Composers by their folder in music21's corpus.
HELD_OUT_LIBRARIES = ("freepats",)
HELD_OUT_COMPOSERS = (
    "haydn",
    "mozart",
    "beethoven",
    "schumann_robert",
    "schumann_clara",
    "joplin",
    "chopin",
    "handel",
    "corelli",
    "schubert",
    "weber",
    "cpebach",
    "beach",
    "oneills1850",
    "airdsAirs",
)


def _words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return re.findall("[a-z0-9]+", plain)


def is_held_out(*, composer: str | None = None, library: str | None = None) -> bool:
    """Whether the benchmark owns this composer or library, however spelt: "Händel", "C.P.E. Bach"."""

    def named(name: str | None, held_out: Iterable[str]) -> bool:
        words = _words(name or "")
        return any({"".join(words), *words} >= set(_words(held)) for held in held_out)

    return named(composer, HELD_OUT_COMPOSERS) or named(library, HELD_OUT_LIBRARIES)


def _position(key: str, seed: int) -> float:
    """Where a key stands in [0, 1), the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:6]) / 2**48


def assign_split(key: str, validation_share: float = 0.1, seed: int = 0) -> Split:
    """The split of one score or recording.

    Args:
        key: its name, without anything that tells its renderings apart (instrument, tempo, library).
        validation_share: expected share of keys that validate, 0 <= share < 1.
        seed: another seed is another split.

    Raises:
        InputError: if `validation_share` is out of range.
    """
    if not 0 <= validation_share < 1:
        raise InputError(f"validation_share is {validation_share}; expected a share from 0 to below 1, say 0.1")
    return "validation" if _position(key, seed) < validation_share else "train"


def split_keys(keys: Iterable[str], validation_share: float = 0.1, seed: int = 0) -> dict[str, Split]:
    """`assign_split` for a small set of keys, moving one where a side would be empty.

    Two or more keys always have both train and validation (unless `validation_share` is 0); one key trains.
    """
    splits = {key: assign_split(key, validation_share, seed) for key in sorted(keys)}
    if validation_share and splits and "validation" not in splits.values():
        splits[min(splits, key=lambda key: _position(key, seed))] = "validation"
    if splits and "train" not in splits.values():
        splits[max(splits, key=lambda key: _position(key, seed))] = "train"
    return splits


def refuse_held_out(entries: Iterable[Entry]) -> None:
    """Refuse a mel store that training is about to read if the benchmark owns any of it.

    Raises:
        InputError: naming what is held out and how many entries have it.
    """
    found = Counter(
        f"{kind} {name!r}"
        for entry in entries
        for kind, name in (("composer", entry.composer), ("library", entry.library))
        if is_held_out(**{kind: name})
    )
    if found:
        counts = ", ".join(f"{name} ({count} entries)" for name, count in sorted(found.items()))
        raise InputError(
            f"the data folder holds {counts}; expected nothing that the benchmark is measured on (libraries "
            f"{', '.join(HELD_OUT_LIBRARIES)}; composers {', '.join(HELD_OUT_COMPOSERS)}). Leave it out "
            "when you make the data, or no figure of `timbrel evaluate` means anything"
        )
