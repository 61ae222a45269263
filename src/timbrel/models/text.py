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
from collections.abc import Sequence
from dataclasses import dataclass
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
# They say nothing about a sound.
SMALL_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "and",
        "or",
        "in",
        "on",
        "at",
        "by",
        "to",
        "is",
        "are",
        "as",
        "from",
        "its",
        "mel",
        "spectrogram",
        "sound",
        "sounds",
    ]
)
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
def known_form(word: str) -> str | None:
    """The word of the table that a word stands for: itself, its stem, or the nearest spelling; None if there is none.

    >>> known_form("trombones"), known_form("barking"), known_form("trumppet"), known_form("xqzzk")
    ('trombone', 'barking', 'trumpet', None)
    """
    table = words()
    for form in (word, *stems(word)):
        if form in table:
            return form
    near = difflib.get_close_matches(word, table, 1, 0.84) if len(word) > 4 else []
    return near[0] if near else None


def split_words(text: str) -> tuple[list[str], list[str]]:
    """The words of the table that a text holds, and those words of the text that stand for none.

    >>> split_words("A slow harp, xqzzk!")
    (['slow', 'harp'], ['xqzzk'])
    """
    read = [word for word in re.findall(r"[^\W\d_]+|\d+", text.lower()) if word not in SMALL_WORDS]
    forms = {word: known_form(word) for word in read}
    known = [form for word in read if (form := forms[word]) is not None]
    return known, [word for word in read if forms[word] is None]


@dataclass(frozen=True)
class WordsConfig:
    width: Width = 128
    num_layers: Depth = 1
    num_heads: Annotated[int, Bounds(1, 64)] = 4


class WordEncoder(nn.Module):
    """`encoder(*encoder.read(texts)) -> tokens [n, length, width]` and mask [n, length], True for real tokens.

    Raises:
        InputError: heads do not divide the width.
    """

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        if config.width % config.num_heads or config.width % 2:
            raise InputError(f"width is {config.width}; expected an even multiple of {config.num_heads} heads")
        self.config, self.width = config, config.width
        self.enter = nn.Linear(WORD_WIDTH, config.width)
        self.layers = nn.ModuleList(Layer(config.width, config.num_heads) for _ in range(config.num_layers))

    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as vectors of words [n, length, 64], and mask [n, length].

        Raises:
            InputError: a text without a word that is known.
        """
        rows = []
        for text in texts:
            known, _ = split_words(text)
            if not known:
                raise InputError(f"the text is {text!r:.200}; expected at least one English word that names a sound")
            rows.append(torch.stack([words()[word] for word in known[:MOST_WORDS]]))
        vectors = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        return vectors, torch.arange(vectors.shape[1]) < lengths[:, None]

    def knows(self, text: str) -> bool:
        """Whether `read` takes a text."""
        return bool(split_words(text)[0])

    def check_length(self, text: str) -> None:
        """Raises InputError where a text has more words than `read` reads."""
        if (count := len(split_words(text)[0])) > MOST_WORDS:
            raise InputError(f"prompt is {text!r:.60}..., of {count} words that count; expected at most {MOST_WORDS}")

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that are left out."""
        return split_words(text)[1]

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
