"""As which instrument would a listener hear a recording?

musicnn (Pons and Serra 2019) was trained on the words that people gave to 25,000 clips of real music; it says how
probable each of 50 tags is, the mean over pieces of 3 s. A recording is **heard as** the instrument whose tag is the
most probable over its base rate: always one *among* some instruments.

The network's weights are in the musicnn package, as a TensorFlow checkpoint. The package itself is never imported: it
would bring TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel.audio.musicnn import SAMPLE_RATE, log_mel_patches
from timbrel.errors import InputError, MissingDependencyError
from timbrel.metrics import installed_file
from timbrel.metrics.instrument import PIECE_S, pieces
from timbrel.metrics.spectral import PEAK, prepare
from timbrel.metrics.tf_checkpoint import read_checkpoint
from timbrel.models.musicnn import TAGS, Musicnn

BATCH = 8  # pieces at a time
FOUR = ("piano", "guitar", "harp", "violin")
MISSING = "musicnn is not installed: pip install --no-deps musicnn"


@dataclass(frozen=True)
class Instrument:
    """The tags that name it, the most probable of which counts, and how probable that is for any music."""

    tags: tuple[str, ...]
    base_rate: float


INSTRUMENTS = {
    "piano": Instrument(("piano",), 0.10),
    "guitar": Instrument(("guitar",), 0.19),
    "harp": Instrument(("harp",), 0.05),
    "violin": Instrument(("violin",), 0.14),
    "cello": Instrument(("cello",), 0.05),
    "flute": Instrument(("flute",), 0.06),
    "sitar": Instrument(("sitar",), 0.065),
    "harpsichord": Instrument(("harpsichord",), 0.05),
    "strings": Instrument(("strings",), 0.10),
    "voice": Instrument(("vocal", "vocals", "singing", "voice", "male", "female", "choir", "choral", "opera"), 0.19),
}
"""The first four are measured: right on true answers. Those of the others follow from renderings of two libraries and a
few real recordings; of harpsichords as samplers play them the tag knows little."""


def available() -> bool:
    """Whether the musicnn package is installed."""
    return installed_file("musicnn", "MTT_musicnn", ".index") is not None


@lru_cache(maxsize=1)
def load_musicnn() -> Musicnn:
    """The network with the weights of the musicnn package.

    Raises:
        MissingDependencyError: the package is not installed.
        ModelError: its checkpoint is damaged.
    """
    index = installed_file("musicnn", "MTT_musicnn", ".index")
    if index is None:
        raise MissingDependencyError(f"{MISSING} (the other packages it asks for are not needed)")
    return Musicnn.from_tensorflow(read_checkpoint(index, index.with_name(".data-00000-of-00001")))


def at_full_scale(waveform: NDArray, sample_rate: int) -> NDArray:
    """Mono, 16 kHz, peak at 1, as the network's training music was mastered: its tags depend on level.

    Args:
        waveform: [samples] or [channels, samples].

    Raises:
        InputError: no samples, another shape, or NaN or infinite samples.
    """
    return prepare(waveform, sample_rate, SAMPLE_RATE) / np.float32(PEAK)


def patches(waveform: NDArray) -> Tensor:
    """What the network sees of a waveform [samples] at 16 kHz: log-mel patches [pieces of 3 s, 187, 96]."""
    return log_mel_patches(torch.from_numpy(pieces(waveform, int(PIECE_S * SAMPLE_RATE))))


def tags(waveform: NDArray, sample_rate: int) -> dict[str, float]:
    """How probable each of the 50 tags is, mean over pieces of 3 s.

    Args:
        waveform: [samples] or [channels, samples], at any level.

    Raises:
        InputError: as `at_full_scale`.
        MissingDependencyError: the musicnn package is not installed.
    """
    mono = at_full_scale(waveform, sample_rate)
    with torch.inference_mode():
        probabilities = torch.cat([load_musicnn()(batch) for batch in patches(mono).split(BATCH)])
    return dict(zip(TAGS, probabilities.mean(0).tolist(), strict=True))


def scores(waveform: NDArray, sample_rate: int, among: Sequence[str] = FOUR) -> dict[str, float]:
    """Probability over base rate of each instrument; 1 is as in any music.

    Args:
        among: some of `INSTRUMENTS`.

    Raises:
        InputError: as `tags`, or an instrument without a tag.
    """
    validate(among)
    probabilities = tags(waveform, sample_rate)
    instruments = {name: INSTRUMENTS[name] for name in among}
    return {name: max(probabilities[tag] for tag in i.tags) / i.base_rate for name, i in instruments.items()}


def heard_as(waveform: NDArray, sample_rate: int, among: Sequence[str] = FOUR) -> str:
    """The instrument with the highest of the `scores`."""
    found = scores(waveform, sample_rate, among)
    return max(found, key=found.__getitem__)


def validate(among: Sequence[str]) -> None:
    """Each instrument has a tag.

    Raises:
        InputError: if not, or fewer than two are named.
    """
    unknown = [name for name in among if name not in INSTRUMENTS]
    if unknown or len(among) < 2:
        raise InputError(f"among is {list(among)}; expected two or more of {', '.join(INSTRUMENTS)}")


def evaluate(instrument: str, waveform: NDArray, sample_rate: int, among: Sequence[str] = FOUR) -> dict[str, float]:
    """1 if the recording is heard as the instrument among some that include it, else 0."""
    validate([instrument, *among])
    return {
        "heard_as": float(heard_as(waveform, sample_rate, tuple(dict.fromkeys((*among, instrument)))) == instrument)
    }
