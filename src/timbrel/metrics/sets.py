"""Sets of recordings, as an encoder hears them, and the error of a distance between two of them.

The recording is the unit throughout: its windows sound alike, so that ten recordings of a hundred windows say far
less than a thousand recordings. Whatever draws a part of a set draws whole recordings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.audio.io import read_audio
from timbrel.data.recordings import SUFFIXES, only_recordings
from timbrel.errors import InputError, TimbrelError
from timbrel.files import write_bytes, write_text
from timbrel.metrics.encoders import Encoder

GROUPS = 10  # of recordings, for the standard error
Measure = Callable[[NDArray, NDArray], float]
"""A distance between the recordings with these indices, of the reference set and of the other, in this order."""


@dataclass(frozen=True)
class Embeddings:
    """A set of recordings as an encoder hears them.

    Attributes:
        encoder: its name.
        recordings: the embeddings of each recording [n, d].
        failures: (path, reason) of each file that could not be heard.
    """

    encoder: str
    recordings: Sequence[NDArray]
    failures: Sequence[tuple[str, str]] = field(default=())

    def rows(self, indices: NDArray | None = None) -> NDArray:
        """The embeddings of all recordings, or of those with these indices, one after the other: [n, d], float64."""
        picked = self.recordings if indices is None else [self.recordings[i] for i in indices]
        return np.concatenate(picked).astype(np.float64)


@dataclass(frozen=True)
class Distance:
    """A distance between two sets of recordings.

    Attributes:
        value: the estimate without bias; it may be below 0 where the sets hardly differ.
        standard_error: of `value`, by which it would vary with other recordings of the same kind.
        plain: as others publish it, from all embeddings as if each were a recording: compare with theirs.
        encoder: what listened.
        recordings: how many, of the reference set and of the other.
        embeddings: how many windows of them.
        warning: what makes the figure weaker than it looks, or nothing.
    """

    value: float
    standard_error: float
    plain: float
    encoder: str
    recordings: tuple[int, int]
    embeddings: tuple[int, int]
    warning: str = ""

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.standard_error:.2g} (plain: {self.plain:.4g})"


def find_recordings(folder: str | Path) -> list[str]:
    """The paths of the recordings below `folder`, in order; hidden ones are left out.

    Raises:
        InputError: it is no folder, or there is none in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected one with recordings in it")
    names = only_recordings(root, root.rglob("*"))
    if not names:
        formats = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise InputError(f"{root} holds no recording; expected at least {GROUPS}, better hundreds ({formats})")
    return names


def embed_folder(
    folder: str | Path, encoder: Encoder, *, cache: str | Path | None = None, progress: bool = True
) -> Embeddings:
    """Listens to every recording in `folder`, folders in it included, in the order of their names.

    Args:
        encoder: of `load_encoder`, or any other that keeps the contract.
        cache: a folder for the embeddings, a file for each recording and encoder: the same recording, under any name,
            is not embedded again. Made if it is missing.
        progress: a bar on stderr, if that is a terminal.

    Raises:
        InputError: as `find_recordings`, or no recording can be heard, or `cache` cannot be written.
    """
    from tqdm import tqdm

    root = Path(folder)
    if cache is not None:
        try:
            Path(cache).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cache is {cache}, where no folder can be made ({error}); name another cache") from error
    recordings: list[NDArray] = []
    failures: list[tuple[str, str]] = []
    for name in tqdm(find_recordings(root), desc=root.name, unit="file", disable=None if progress else True):
        try:
            cached = None if cache is None else Path(cache) / f"{digest(root / name, name=encoder.name)}.npy"
            rows = _read_cache(cached)
            fresh = _embed(root / name, encoder) if rows is None else rows
        except (TimbrelError, OSError) as error:  # whatever is wrong with one file, the others go on
            failures.append((name, str(error)))
            continue
        if cached and rows is None:
            _write_cache(cached, fresh)
        recordings.append(fresh)
    if not recordings:
        skipped = "".join(f"\n  skipped {name}: {reason}" for name, reason in failures[:5])
        raise InputError(f"{root} holds no recording that {encoder.name} can hear:{skipped}")
    return Embeddings(encoder.name, recordings, failures)


def _embed(recording: Path, encoder: Encoder) -> NDArray:
    waveform, _ = read_audio(recording, sample_rate=encoder.sample_rate, mono=True)
    return encoder.embed(waveform[0])


def _read_cache(path: Path | None) -> NDArray | None:
    """Embeddings of an earlier call, or None where they are missing or damaged."""
    try:
        return None if path is None else np.load(path)
    except (OSError, EOFError, ValueError):
        return None


def digest(*files: Path, name: str = "") -> str:
    """Hex digits that change with the files' bytes, or with a name."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(file.read_bytes())
    sha.update(name.encode())
    return sha.hexdigest()


def _write_cache(path: Path, embeddings: NDArray) -> None:
    file = io.BytesIO()
    np.save(file, embeddings)
    try:
        write_bytes(path, file.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}); name another cache, or free some space") from error


def write_distances(path: Path, distances: dict[str, Distance]) -> None:
    """Writes what `fad.evaluate` and `kad.evaluate` give as JSON, whole or not at all."""
    figures = {name: dataclasses.asdict(distance) for name, distance in distances.items()}
    write_text(path, json.dumps(figures, indent=2) + "\n")


def validate(reference: Embeddings, other: Embeddings) -> None:
    """Both sets were heard by one encoder, and are large enough.

    Raises:
        InputError: if not.
    """
    if reference.encoder != other.encoder:
        raise InputError(f"the sets were heard by {reference.encoder} and {other.encoder}; expected one encoder")
    for which, embeddings in (("reference", reference), ("other", other)):
        if len(embeddings.recordings) < GROUPS:
            raise InputError(
                f"the {which} set has {len(embeddings.recordings)} recordings; expected at least {GROUPS}, better "
                "hundreds: add some, or cut long ones up"
            )
        for rows in embeddings.recordings:
            if rows.ndim != 2 or not len(rows) or rows.shape[1:] != reference.recordings[0].shape[1:]:
                raise InputError(
                    f"embeddings in the {which} set have the shapes {embeddings.recordings[0].shape} and {rows.shape}; "
                    "expected [n, d] with one d, n at least 1"
                )
            if not np.isfinite(rows).all():
                raise InputError(f"embeddings in the {which} set have NaN or infinite numbers; expected finite ones")


def orders(reference: Embeddings, other: Embeddings, seed: int) -> tuple[NDArray, NDArray]:
    """The indices of each set's recordings, shuffled. Sets of one size are shuffled alike: where the recordings are
    pairs (a source and its transfer), they stay pairs."""
    first, second = (
        np.random.default_rng(seed).permutation(len(embeddings.recordings)) for embeddings in (reference, other)
    )
    return first, second


def standard_error(measure: Measure, reference: NDArray, other: NDArray) -> float:
    """Standard error of `measure(reference, other)` by the jackknife (Efron 1979): ten times, another tenth of both
    sets' recordings is left out."""
    left = [measure(np.delete(reference, np.s_[k::GROUPS]), np.delete(other, np.s_[k::GROUPS])) for k in range(GROUPS)]
    return float(np.sqrt((GROUPS - 1) * np.var(left)))
