"""The music-picture set in a folder: `pictures.safetensors` and `music.safetensors`.

Pictures are kept as WebP, all in one tensor of bytes; of music what the audio encoder makes of it. Both carry the
number of a label and of a split: 0 trains, 1 validates, 2 tests. Pictures split by the picture, music by the work.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from timbrel.data.paint.labels import LABELS
from timbrel.errors import InputError
from timbrel.files import whole

ENCODER = "encoder.safetensors"  # the audio encoder, whose features the music is kept as
SPLITS = ("train", "validation", "test")
QUALITY = 80  # of WebP


def split_of(work: str) -> int:
    """Where a work or a picture belongs, by a hash of its name: 80, 10 and 10 of a hundred."""
    share = int.from_bytes(hashlib.sha256(work.encode()).digest()[:4]) / 2**32
    return int(share >= 0.8) + int(share >= 0.9)


@dataclass(frozen=True)
class Pictures:
    """uint8 [n, 128, 128, 3], and the number of each one's label and split [n]."""

    pixels: Tensor
    label: Tensor
    split: Tensor


@dataclass(frozen=True)
class Music:
    """The audio encoder's features [n, moments, width], float16, and the number of each one's label and split [n].
    `ear` is the encoder's kind, and where its weights are."""

    features: Tensor
    label: Tensor
    split: Tensor
    ear: tuple[str, str] = ("musicnn", "")


def save_pictures(folder: Path, pictures: Iterable[tuple[np.ndarray, int, int]]) -> None:
    """Writes pictures, uint8 [128, 128, 3], with label and split."""
    from PIL import Image

    coded, labels, splits = [], [], []
    for pixels, label, split in pictures:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY)
        coded.append(file.getvalue())
        labels.append(label)
        splits.append(split)
    ends = torch.tensor([len(data) for data in coded]).cumsum(0)
    _save(
        folder / "pictures.safetensors",
        torch.frombuffer(bytearray(b"".join(coded)), dtype=torch.uint8),
        labels,
        splits,
        ends=ends,
    )


def save_music(
    folder: Path, features: Tensor, labels: Sequence[int], splits: Sequence[int], ear: tuple[str, str] = ("musicnn", "")
) -> None:
    """Writes features [n, moments, width] with label and split, and what heard them."""
    about = {"ear": json.dumps(ear)}
    _save(folder / "music.safetensors", features.half().contiguous(), labels, splits, about)


def _save(
    path: Path,
    data: Tensor,
    labels: Sequence[int],
    splits: Sequence[int],
    about: dict[str, str] | None = None,
    **more: Tensor,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = {"label": torch.tensor(labels, dtype=torch.uint8), "split": torch.tensor(splits, dtype=torch.uint8)}
    with whole(path) as temporary:
        save_file({"data": data, **numbers, **more}, temporary, about)


def load_pictures(folder: str | Path) -> Pictures:
    """Reads what `save_pictures` wrote, all of it into memory.

    Raises:
        InputError: the file is missing or broken.
    """
    tensors = _load(Path(folder) / "pictures.safetensors", "ends")
    ends = tensors["ends"].tolist()
    coded = tensors["data"].numpy().tobytes()
    pieces = [coded[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    with ThreadPoolExecutor() as pool:
        pixels = torch.from_numpy(np.stack(list(pool.map(_decode, pieces))))
    return Pictures(pixels, tensors["label"].long(), tensors["split"].long())


def load_music(folder: str | Path) -> Music:
    """Reads what `save_music` wrote. Errors as `load_pictures`."""
    path = Path(folder) / "music.safetensors"
    tensors = _load(path)
    with safe_open(path, framework="pt") as file:
        kind, source = json.loads((file.metadata() or {}).get("ear", '["musicnn", ""]'))
    return Music(tensors["data"], tensors["label"].long(), tensors["split"].long(), (kind, source))


def _decode(coded: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(coded)).convert("RGB"))


def _load(path: Path, *more: str) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); `timbrel data paint` makes such a folder") from error
    if missing := {"data", "label", "split", *more} - tensors.keys():
        raise InputError(f"{path} has no {', '.join(sorted(missing))}; `timbrel data paint` makes such a folder")
    if int(tensors["label"].max()) >= len(LABELS):
        raise InputError(f"{path} has label {int(tensors['label'].max())}; expected 0 to {len(LABELS) - 1}")
    return tensors
