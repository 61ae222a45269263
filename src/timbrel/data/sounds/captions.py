"""What a sound is called in training: report 002's captions, in many wordings.

The report prompts with "a spectrogram of the sound of ..." and captions two sounds at once with "a mel spectrogram of
the sound of multiple overlapping PARENTs, including A and B". A user types otherwise, and so do most captions here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from timbrel.data.sounds.ontology import Ontology, SoundClass

T = TypeVar("T")
REPORT_WORDING = "a spectrogram of the sound of {a}"
# {a}: a violin; {bare}: violin
WORDINGS = (
    "a mel spectrogram of the sound of {a}",
    "the sound of {a}",
    "sound of {a}",
    "{a}",
    "{bare}",
    "{bare} sound",
    "a recording of {a}",
    "we hear {a}",
)
MUSIC_WORDINGS = (
    "{bare} playing",
    "{a} plays",
    "music played on {a}",
    "{bare} music",
    "a {bare} melody",
    "solo {bare}",
)
WORDINGS_HELD_OUT = (
    "a clip with {a} in it",
    "listen to {a}",
    "audio of {a}",
    "there is {a} somewhere",
)
"""Wordings that training never draws, to measure generalisation; so are each class's `aliases_held_out`."""
MUSIC = "musical instrument"
ALIAS_SHARE, ANCESTOR_SHARE, REPORT_SHARE = 0.3, 0.1, 0.35


def caption(name: str, ontology: Ontology, rng: np.random.Generator) -> str:
    """A caption of a class, in lower case: by its name, an alias, or at times the name of an ancestor.

    >>> caption("violin", Ontology.load(), np.random.default_rng(1))
    'a spectrogram of the sound of a violin'
    """
    sound = ontology.find(name)
    ancestors = ontology.ancestors(sound.name)
    music = MUSIC in ancestors
    if ancestors and rng.random() < ANCESTOR_SHARE:
        sound = ontology.find(one_of(ancestors, rng))
    main, *others = sound.wordings
    term = one_of(others, rng) if others and rng.random() < ALIAS_SHARE else main
    wording = REPORT_WORDING
    if rng.random() >= REPORT_SHARE:
        wording = one_of((*WORDINGS, *MUSIC_WORDINGS) if music else WORDINGS, rng)
    return _worded(wording, term, sound)


def without_names() -> list[str]:
    """What captions of training say beside the names of classes."""
    alone = [wording.format(a="", bare="") for wording in (REPORT_WORDING, *WORDINGS, *MUSIC_WORDINGS)]
    return [*alone, overlap_caption([], "")]


def held_out_captions(name: str, ontology: Ontology) -> list[str]:
    """Every caption of a class that training never draws: unseen wordings of its names, and its unseen aliases.

    >>> held_out_captions("violin", Ontology.load())[-1]
    'the sound of a stradivarius'
    """
    sound = ontology.find(name)
    unseen = [_worded(wording, term, sound) for wording in WORDINGS_HELD_OUT for term in sound.wordings]
    return unseen + [_worded("the sound of {a}", alias, sound) for alias in sound.aliases_held_out]


def overlap_caption(names: Sequence[str], parent: str) -> str:
    """Report 002's caption of several sounds at once.

    >>> overlap_caption(["violin", "cello"], "bowed string instrument")
    'a mel spectrogram of the sound of multiple overlapping bowed string instruments, including violin and cello'
    """
    parents = parent if parent.endswith("s") else f"{parent}s"
    return f"a mel spectrogram of the sound of multiple overlapping {parents}, including {' and '.join(names)}"


def _worded(wording: str, term: str, sound: SoundClass) -> str:
    return _put_right(wording.format(a=_with_article(term, sound), bare=term))


def _with_article(term: str, sound: SoundClass) -> str:
    """With "a" or "an", where the class can be counted and the term is no plural."""
    if not sound.countable or (term.endswith("s") and term[-2] not in "siu"):
        return term
    return f"{'an' if term[0] in 'aeiou' else 'a'} {term}"


def _put_right(text: str) -> str:
    """ "an" before a vowel where a wording says "a"."""
    return "an" + text[1:] if text.startswith("a ") and text[2:3] in tuple("aeiou") else text


def one_of(items: Sequence[T], rng: np.random.Generator) -> T:
    """An item, each as likely as the others."""
    return items[int(rng.integers(len(items)))]
