"""Text encoders: wordings -> tokens that a denoiser attends to.

The default needs nothing but a table in the package, of 9,000 words (tools/words.py). Half of a word's numbers say what
it is used like, the other half where it is in WordNet: a wording that training never saw lies near those that it saw.
Over them works a small transformer, which is trained with the denoiser. To what it makes of a class's name it adds a
vector that the class has of its own, learnt as in textual inversion (Gal et al. 2022, arXiv 2208.01618): to the table
alone a marimba is a xylophone. CLIP's text model (`systems.foreign`) is the other choice.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Depth, Width
from timbrel.errors import InputError
from timbrel.models.layers import sinusoidal_embedding

TABLE = Path(__file__).parent / "words.safetensors"
WORD_WIDTH = 64
MOST_WORDS = 40  # of a wording; what comes after them is not read
SMALL_WORDS = frozenset(
    """a an the of and or in on at by to is are as from its it this that there some i you he she we they me us my your
    his her our their be was were has have mel spectrogram sound sounds""".split()  # noqa: SIM905
)
"""They say nothing about a sound."""
BETWEEN = re.compile(r"[,;.:!?/]|\b(?:and|or|with|in|on|at|by|to|from|over|then|while)\b")  # phrases
SHORTEST_PART = 3  # letters of a word within another
LEAST_LIKENESS = 0.6  # cosine of two words that are alike: a puppy and a dog have 0.74, a roof and rain 0.11
OWN_RATE = 50.0  # how much faster a class's own vector learns: it is in few samples
ENDINGS = (("ies", "y"), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("s", ""), ("es", ""), ("er", ""))


@functools.cache
def words() -> dict[str, Tensor]:
    """The table: each word's vector [64], of about unit length."""
    with safe_open(TABLE, framework="pt") as file:
        vectors = file.get_tensor("vectors").float() / 127
        return dict(zip(file.metadata()["words"].split(), vectors, strict=True))


def stems(word: str) -> list[str]:
    """What a word may be an inflection of, the likeliest first.

    >>> stems("humming")
    ['humm', 'humme', 'hum']
    """
    plain = [word.removesuffix(end) + new for end, new in ENDINGS if word.endswith(end)]
    return [*plain, *(stem[:-1] for stem in plain if stem[-2:-1] == stem[-1:])]


@functools.lru_cache(maxsize=10_000)
def known_forms(word: str) -> tuple[str, ...]:
    """The words of the table that a word stands for: itself, its stem, the nearest spelling that begins alike, or the
    two that it is made of; none if it stands for none.

    >>> known_forms("trombones"), known_forms("barking"), known_forms("trumppet")
    (('trombone',), ('barking',), ('trumpet',))
    >>> known_forms("fireplace"), known_forms("xqzzk")
    (('fire', 'place'), ())
    """
    table = words()
    for form in (word, *stems(word)):
        if form in table:
            return (form,)
    alike = [known for known in table if known[0] == word[0]] if len(word) > 4 else []
    if near := difflib.get_close_matches(word, alike, 1, 0.84):
        return (near[0],)
    parts = [(word[:k], word[k:]) for k in range(SHORTEST_PART, len(word) - SHORTEST_PART + 1)]
    return next((both for both in parts if both[0] in table and both[1] in table), ())


Read = tuple[str, tuple[str, ...]]
"""A word of a text, and the words of the table that it stands for."""


def read_words(text: str) -> list[Read]:
    """The words of a text that may say something about a sound, and what each stands for in the table.

    >>> read_words("A slow harp, xqzzk!")
    [('slow', ('slow',)), ('harp', ('harp',)), ('xqzzk', ())]
    """
    read = re.findall(r"[^\W\d_]+|\d+", text.lower())
    said = [(word, known_forms(word)) for word in read if word not in SMALL_WORDS]
    return [(word, tuple(form for form in forms if form not in SMALL_WORDS)) for word, forms in said]


def forms_of(text: str) -> tuple[str, ...]:
    """The words of the table that a text holds.

    >>> forms_of("A slow harp, xqzzk!")
    ('slow', 'harp')
    """
    return tuple(form for _, forms in read_words(text) for form in forms)


def word_vectors(text: str) -> Tensor:
    """The vectors of a text's words [words, 64].

    Raises:
        InputError: the text has no word of the table.
    """
    return torch.stack([words()[form] for form in _some_forms(text)])


def _some_forms(text: str) -> tuple[str, ...]:
    if forms := forms_of(text):
        return forms
    raise InputError(f"the text is {text!r:.200}; expected at least one English word that names a sound")


def text_vector(text: str) -> Tensor:
    """The mean direction of a text's words [64]; errors as `word_vectors`."""
    return F.normalize(word_vectors(text).mean(dim=0), dim=0)


@dataclass(frozen=True)
class WordsConfig:
    width: Width = 128
    num_layers: Depth = 1
    num_heads: Annotated[int, Bounds(1, 64)] = 4
    names: tuple[tuple[str, ...], ...] = ()  # of each class that training's captions named, the main one first
    around: tuple[str, ...] = ()  # the captions' other words
    own: bool = False  # whether each class has a vector of its own


class WordEncoder(nn.Module):
    """`encoder(*encoder.read(texts)) -> tokens [n, length, width]` and mask [n, length], True for real tokens.

    Raises:
        InputError: heads do not divide the width; a class has no name, or a name no word of the table; two classes with
            vectors have one main name.
    """

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        if config.width % config.num_heads or config.width % 2:
            raise InputError(f"width is {config.width}; expected an even multiple of {config.num_heads} heads")
        if not all(config.names):
            raise InputError("names has a class without a name; expected one or more of each")
        if unknown := [name for name in (*config.around, *itertools.chain(*config.names)) if not forms_of(name)]:
            raise InputError(f"no word of {', '.join(map(repr, unknown))} is in the table; expected one in every name")
        if config.own and len({main for main, *_ in config.names}) < len(config.names):
            raise InputError("names has a main name twice; expected one vector for each")
        self.config, self.width = config, config.width
        self.enter = nn.Linear(WORD_WIDTH, config.width)
        self.layers = nn.ModuleList(Layer(config.width, config.num_heads) for _ in range(config.num_layers))
        self.own = nn.Parameter(torch.zeros(len(config.names), config.width)) if config.own else None

    def learn(self, names: Iterable[Sequence[str]], around: Iterable[str]) -> None:
        """Adds what training's captions are made of: the names of each class, the main one first, and the texts around
        them. A class that is new has a vector of zeros."""
        known: dict[str, dict[str, None]] = {}
        for main, *others in (*self.config.names, *names):
            known.setdefault(main, {}).update(dict.fromkeys((main, *others)))
        forms = {*self.config.around, *(form for text in around for form in forms_of(text))}
        before = torch.zeros(0, self.width) if self.own is None else self.own.detach()
        self.own = nn.Parameter(F.pad(before, (0, 0, 0, len(known) - len(before))))
        self.config = replace(
            self.config, names=tuple(map(tuple, known.values())), around=tuple(sorted(forms)), own=True
        )
        for cached in ("_learnt", "_numbers", "_undivided"):
            self.__dict__.pop(cached, None)

    @functools.cached_property
    def _learnt(self) -> Tensor:
        """Unit vectors [words, 64] of all words of training's captions."""
        texts = (*itertools.chain(*self.config.names), *self.config.around)
        forms = sorted({form for text in texts for form in forms_of(text)})
        return F.normalize(torch.stack([words()[form] for form in forms]), dim=1)

    @functools.cached_property
    def _numbers(self) -> dict[tuple[str, ...], int]:
        """Each name of a class -> the class's number, from 1; by its own words, and by those of the table that they
        stand for. What is a main name stands for no other class."""
        names = [(name, number) for number, names in enumerate(self.config.names, 1) for name in names]
        mains = [(main, number) for number, (main, *_) in enumerate(self.config.names, 1)]
        by_forms = {forms_of(name): number for name, number in (*reversed(names), *reversed(mains))}
        return {tuple(word for word, _ in read_words(name)): number for name, number in reversed(names)} | by_forms

    def simplified(self, text: str) -> str:
        """A text in words that training had most: where a phrase names a class and says nothing else, the class's main
        name. Words unlike all that training had are left out, if others are alike: the denoiser cannot know what they
        mean."""
        phrases = [
            forms_of(self.config.names[number - 1][0]) if number else forms
            for forms, number in self._phrases(text, self._counting(text))
        ]
        return ", ".join(" ".join(forms) for forms in phrases if forms)

    def _phrases(self, text: str, counting: Collection[str]) -> list[tuple[tuple[str, ...], int]]:
        """Of each phrase of a text the words of the table that count, and the number of the class it names, or 0."""
        phrases = [self._read(phrase, counting) for phrase in self._divided(text.casefold())]
        return [(tuple(form for _, forms in phrase for form in forms), self._number_of(phrase)) for phrase in phrases]

    def _divided(self, text: str) -> list[str]:
        """The phrases of a text."""
        names = [match.span() for match in self._undivided.finditer(text)]
        cuts = [m.span() for m in BETWEEN.finditer(text) if not any(a <= m.start() < b for a, b in names)]
        edges = [0, *itertools.chain(*cuts), len(text)]
        return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]

    @functools.cached_property
    def _undivided(self) -> re.Pattern[str]:
        """Names that are one phrase all the same: "alarm or signal"."""
        names = sorted(filter(BETWEEN.search, itertools.chain(*self.config.names)), key=len, reverse=True)
        return re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names) or "(?!)")

    def _read(self, text: str, counting: Collection[str]) -> list[Read]:
        return [(word, tuple(form for form in forms if form in counting)) for word, forms in read_words(text)]

    def _number_of(self, phrase: Sequence[Read]) -> int:
        """The number of the class that a phrase names, if nothing stands around the name but what captions say there;
        or 0."""
        around = set(self.config.around)
        first = next((k for k, (_, forms) in enumerate(phrase) if set(forms) - around), 0)
        after = next((k for k, (_, forms) in enumerate(reversed(phrase)) if set(forms) - around), 0)
        for start, end in itertools.product(range(first + 1), range(len(phrase), len(phrase) - after - 1, -1)):
            part = phrase[start:end]
            by_words, by_forms = (word for word, _ in part), (form for _, forms in part for form in forms)
            for key in (tuple(by_words), tuple(by_forms)):
                if key in self._numbers:
                    return self._numbers[key]
        return 0

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that are left out: they stand for none of the table, or for some unlike all that training
        had."""
        return [word for word, forms in self._read(text, self._counting(text)) if not forms]

    def _counting(self, text: str) -> set[str]:
        """The words of the table that count in a text: those that are like some that training had; all, if none is."""
        forms = set(forms_of(text))
        return set(filter(self._is_alike, forms)) or forms

    def _is_alike(self, form: str) -> bool:
        if not self.config.names:
            return True
        return float((self._learnt @ F.normalize(words()[form], dim=0)).max()) >= LEAST_LIKENESS

    def read(self, texts: Sequence[str]) -> tuple[Tensor, ...]:
        """Texts as vectors of words [n, length, 64], and mask [n, length]; where classes have vectors of their own,
        also the number of the class that the word's phrase names [n, length], from 1, or 0.

        Raises:
            InputError: a text without a word that is known.
        """
        if self.own is None:
            return _padded([word_vectors(text)[:MOST_WORDS] for text in texts])
        numbered = [self._numbered(text)[:MOST_WORDS] for text in texts]
        rows = [torch.stack([words()[form] for form, _ in row]) for row in numbered]
        named = [torch.tensor([number for _, number in row]) for row in numbered]
        return *_padded(rows), nn.utils.rnn.pad_sequence(named, batch_first=True)

    def _numbered(self, text: str) -> list[tuple[str, int]]:
        """The words of a text in the table, and the number of the class that the phrase of each names, or 0."""
        phrases = self._phrases(text, set(forms_of(text)))
        numbered = [(form, number) for forms, number in phrases for form in forms]
        return numbered or [(form, 0) for form in _some_forms(text)]

    def knows(self, text: str) -> bool:
        """Whether `read` takes a text."""
        return bool(forms_of(text))

    def check_length(self, text: str) -> None:
        """Raises InputError where a text has more words than `read` reads."""
        if (count := len(forms_of(text))) > MOST_WORDS:
            raise InputError(f"prompt is {text!r:.60}..., of {count} words that count; expected at most {MOST_WORDS}")

    def forward(self, vectors: Tensor, mask: Tensor, named: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What `read` gives -> tokens [n, length, width] and their mask."""
        position = torch.arange(vectors.shape[1], device=vectors.device)
        x = self.enter(vectors) + 0.1 * sinusoidal_embedding(position, self.width, 100.0)
        for layer in self.layers:
            x = layer(x, mask)
        tokens = F.layer_norm(x, x.shape[-1:])
        if self.own is not None and named is not None:
            tokens = tokens + OWN_RATE * F.embedding(named, F.pad(self.own, (0, 0, 1, 0)))
        return tokens, mask


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Vectors [words, 64] of some texts -> [n, length, 64], and mask [n, length]."""
    vectors = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    return vectors, torch.arange(vectors.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each after a norm: [n, length, width] -> the same."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        for parameter in (*self.out.parameters(), *self.feed[-1].parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.feed(self.norm2(x))
