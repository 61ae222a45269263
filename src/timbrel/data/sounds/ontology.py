"""Classes of sound and how they nest, in the JSON format of AudioSet's ontology.

AudioSet (Gemmeke et al. 2017) has a list of `{id, name, description, citation_uri, positive_examples, child_ids,
restrictions}`. A class may have several parents. The ontology that ships adds three keys: `aliases`,
`aliases_held_out` (further wordings that training never draws) and `countable` (whether "a" goes before the name).
"""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbrel.errors import InputError

SHIPPED = Path(__file__).with_name("ontology.json")


@dataclass(frozen=True)
class SoundClass:
    """One class. AudioSet writes synonyms into the name: "Violin, fiddle"."""

    id: str
    name: str
    description: str = ""
    child_ids: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    aliases_held_out: tuple[str, ...] = ()
    countable: bool = False

    @property
    def wordings(self) -> tuple[str, ...]:
        """Its names, the main one first, without `aliases_held_out`: "etc." of "Bee, wasp, etc." is none."""
        return (*(name for name in self.name.casefold().split(", ") if name != "etc."), *self.aliases)


class Ontology:
    """Classes by name, in the order of the file.

    >>> ontology = Ontology.load()
    >>> ontology.find("Fiddle").name
    'violin'
    >>> ontology.ancestors("violin")
    ('bowed string instrument', 'musical instrument')

    Raises:
        InputError: no class; two of one id, or of one name; a child or a class in a circle that nobody can find.
    """

    def __init__(self, classes: Iterable[SoundClass]) -> None:
        classes = list(classes)
        self._by_id = {c.id: c for c in classes}
        self._by_name = {c.name: c for c in classes}
        if not classes or len(self._by_id) < len(classes) or len(self._by_name) < len(classes):
            raise InputError(
                f"the ontology has {len(classes)} classes; expected at least one, each of its own id and name"
            )
        if unknown := {child for c in classes for child in c.child_ids} - self._by_id.keys():
            raise InputError(f"the ontology has no class of the id {min(unknown)}, which is some class's child")
        self._parents: dict[str, list[str]] = defaultdict(list)
        for c in classes:
            for child in self.children(c.name):
                self._parents[child].append(c.name)
        if circular := next((c.name for c in classes if c.name in self.ancestors(c.name)), None):
            raise InputError(f"class {circular!r} of the ontology is its own ancestor; take one of its child_ids out")
        self._keys: dict[str, SoundClass] = {}
        for key, c in _keys(classes):
            self._keys.setdefault(key.casefold(), c)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Ontology:
        """Reads AudioSet's `ontology.json`, or a file like it; the shipped one by default.

        Raises:
            InputError: a file that is no such JSON.
        """
        path = Path(path or SHIPPED)
        try:
            return cls(_sound_class(row) for row in json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path} is no ontology ({type(error).__name__}: {error}); expected a JSON list of classes with id, "
                "name and child_ids, as AudioSet's ontology.json"
            ) from error

    def names(self) -> tuple[str, ...]:
        """Of all classes, those with children included."""
        return tuple(self._by_name)

    def find(self, text: str) -> SoundClass:
        """The class of a name, an id or an alias, ignoring case.

        Raises:
            InputError: for anything else, with the nearest names.
        """
        key = " ".join(text.casefold().split())
        if key in self._keys:
            return self._keys[key]
        near = dict.fromkeys(self._keys[k].name for k in difflib.get_close_matches(key, self._keys, n=3, cutoff=0.6))
        expected = f"did you mean {' or '.join(near)}?" if near else f"expected a class, such as {self.names()[-1]}"
        raise InputError(f"class {text!r} is unknown; {expected}")

    def children(self, name: str) -> tuple[str, ...]:
        """Names of the classes right below."""
        return tuple(self._by_id[child].name for child in self._class(name).child_ids)

    def parents(self, name: str) -> tuple[str, ...]:
        """Names of the classes right above; none for a root."""
        return tuple(self._parents[self._class(name).name])

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Names of all classes above, the nearest first."""
        return _reachable(self.parents, name)

    def leaves(self, name: str | None = None) -> tuple[str, ...]:
        """Names of the classes without children below a class, or of all; a leaf's only leaf is itself."""
        below = self.names() if name is None else (self._class(name).name, *_reachable(self.children, name))
        return tuple(n for n in below if not self.children(n))

    def _class(self, name: str) -> SoundClass:
        return self._by_name[name] if name in self._by_name else self.find(name)


def _reachable(step: Any, name: str) -> tuple[str, ...]:
    """All names that steps from `name` lead to, the nearest first."""
    reached: dict[str, None] = {}
    todo = [*step(name)]
    while todo:
        todo = [n for n in dict.fromkeys(todo) if n not in reached]
        reached.update(dict.fromkeys(todo))
        todo = [further for n in todo for further in step(n)]
    return tuple(reached)


def _keys(classes: list[SoundClass]) -> Iterable[tuple[str, SoundClass]]:
    """What each class may be called; whole names and ids go before parts and aliases."""
    for c in classes:
        yield from ((c.name, c), (c.id, c))
    for c in classes:
        yield from ((alias, c) for alias in (*c.wordings, *c.aliases_held_out))


def _sound_class(row: dict[str, Any]) -> SoundClass:
    lists = ("child_ids", "restrictions", "aliases", "aliases_held_out")
    return SoundClass(
        row["id"],
        row["name"],
        row.get("description", ""),
        countable=bool(row.get("countable", False)),
        **{key: tuple(row.get(key, ())) for key in lists},
    )
