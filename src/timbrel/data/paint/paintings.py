"""Pictures of each label: real paintings of a style, or procedural ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from timbrel.data.paint.labels import LABELS, Label
from timbrel.data.paint.procedural import SIZE, draw_picture
from timbrel.data.paint.store import split_of
from timbrel.errors import InputError

OPEN_SKY = 12.0  # of 255: by so much the upper third of an open view is lighter than the lower one


def openness(pixels: np.ndarray) -> float:
    """By how much the upper third of a picture [height, width, 3] is lighter than the lower one: a sky, and so a view.

    A guess: of 200 romantic paintings about nine in ten above `OPEN_SKY` are views.

    >>> openness(np.stack([np.full((3, 3), 200.0), np.full((3, 3), 50.0), np.full((3, 3), 80.0)]))
    120.0
    """
    third = len(pixels) // 3
    return float(pixels[:third].mean() - pixels[-third:].mean())


def label_pictures(paintings: str | Path | None, procedural: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Every label's pictures, uint8 [128, 128, 3], with the number of the label and of the split.

    Args:
        paintings: a folder with STYLE/*.jpg for each of `labels.STYLES`; None leaves their labels out.
        procedural: how many pictures for each label without paintings.

    Raises:
        InputError: a style is missing.
    """
    for number, label in enumerate(LABELS):
        if label.real and paintings is None:
            continue
        if label.real and paintings is not None:
            for name, pixels in _paintings(Path(paintings), label):
                yield pixels, number, split_of(name)
        else:
            for seed in range(procedural):
                yield draw_picture(label.pictures, seed), number, split_of(f"{label.pictures} {seed}")


def _paintings(folder: Path, label: Label) -> Iterator[tuple[str, np.ndarray]]:
    from PIL import Image

    paths = sorted((folder / label.pictures).glob("*.jpg"))
    if not paths:
        raise InputError(f"{folder / label.pictures} holds no paintings; expected *.jpg of that style")
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        if label.view is None or (openness(pixels) > OPEN_SKY) == (label.view == "open"):
            yield f"{label.pictures}/{path.stem}", pixels
