"""Text encoders: wordings -> tokens that a denoiser attends to.

The default needs nothing but a table in the package, of 9,000 words (tools/words.py). Half of a word's numbers say what
it is used like, the other half where it is in WordNet: a wording that training never saw lies near those that it saw.
Over them works a small transformer, which is trained with the denoiser. CLIP's text model (`systems.foreign`) is the
other choice.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
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
    """a an the of and or in on at by to is are as from its it this that there some i you he she they my your his her
    our their be was were has have mel spectrogram sound sounds""".split()  # noqa: SIM905
)
"""They say nothing about a sound."""
SHORTEST_PART = 3  # letters of a word within another
LEAST_LIKENESS = 0.6  # cosine of two words that are alike: a puppy and a dog have 0.74, a roof and rain 0.11
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


def read_words(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The words of a text that may say something about a sound, and what each stands for in the table.

    >>> read_words("A slow harp, xqzzk!")
    [('slow', ('slow',)), ('harp', ('harp',)), ('xqzzk', ())]
    """
    read = re.findall(r"[^\W\d_]+|\d+", text.lower())
    return [(word, known_forms(word)) for word in read if word not in SMALL_WORDS]


@dataclass(frozen=True)
class WordsConfig:
    width: Width = 128
    num_layers: Depth = 1
    num_heads: Annotated[int, Bounds(1, 64)] = 4
    learnt: tuple[str, ...] = ()  # the words of training's captions; with none, every word of the table counts


class WordEncoder(nn.Module):
    """`encoder(*encoder.read(texts)) -> tokens [n, length, width]` and mask [n, length], True for real tokens.

    Raises:
        InputError: heads do not divide the width, or words that it learnt are not in the table.
    """

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        if config.width % config.num_heads or config.width % 2:
            raise InputError(f"width is {config.width}; expected an even multiple of {config.num_heads} heads")
        if unknown := [word for word in config.learnt if word not in words()]:
            raise InputError(f"learnt has {', '.join(unknown)}; expected words of the table alone")
        self.config, self.width = config, config.width
        self.enter = nn.Linear(WORD_WIDTH, config.width)
        self.layers = nn.ModuleList(Layer(config.width, config.num_heads) for _ in range(config.num_layers))

    def learn(self, texts: Iterable[str]) -> None:
        """Adds the words of training's captions to those that others are compared with."""
        new = {form for text in texts for _, forms in read_words(text) for form in forms}
        self.config = replace(self.config, learnt=tuple(sorted({*self.config.learnt, *new})))
        self.__dict__.pop("_learnt", None)

    @functools.cached_property
    def _learnt(self) -> Tensor:
        """Unit vectors [words, 64] of what training had."""
        return F.normalize(torch.stack([words()[word] for word in self.config.learnt]), dim=1)

    def _is_alike(self, word: str) -> bool:
        """Whether a word is like one that training had. What others mean, the denoiser cannot know."""
        if not self.config.learnt:
            return True
        return float((self._learnt @ F.normalize(words()[word], dim=0)).max()) >= LEAST_LIKENESS

    def split(self, text: str) -> tuple[list[str], list[str]]:
        """The words of the table that count in a text, and the text's own words that do not: they stand for none, or
        for some unlike all that training had. If all are unlike, all count."""
        read = read_words(text)
        alike = [(word, tuple(filter(self._is_alike, forms))) for word, forms in read]
        chosen = alike if any(forms for _, forms in alike) else read
        return [form for _, forms in chosen for form in forms], [word for word, forms in chosen if not forms]

    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as vectors of words [n, length, 64], and mask [n, length].

        Raises:
            InputError: a text without a word that is known.
        """
        rows = []
        for text in texts:
            known, _ = self.split(text)
            if not known:
                raise InputError(f"the text is {text!r:.200}; expected at least one English word that names a sound")
            rows.append(torch.stack([words()[word] for word in known[:MOST_WORDS]]))
        vectors = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        return vectors, torch.arange(vectors.shape[1]) < lengths[:, None]

    def knows(self, text: str) -> bool:
        """Whether `read` takes a text."""
        return bool(self.split(text)[0])

    def check_length(self, text: str) -> None:
        """Raises InputError where a text has more words than `read` reads."""
        if (count := len(self.split(text)[0])) > MOST_WORDS:
            raise InputError(f"prompt is {text!r:.60}..., of {count} words that count; expected at most {MOST_WORDS}")

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that are left out."""
        return self.split(text)[1]

    def forward(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What `read` gives -> tokens [n, length, width] and their mask."""
        position = torch.arange(vectors.shape[1], device=vectors.device)
        x = self.enter(vectors) + 0.1 * sinusoidal_embedding(position, self.width, 100.0)
        for layer in self.layers:
            x = layer(x, mask)
        return F.layer_norm(x, x.shape[-1:]), mask


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
