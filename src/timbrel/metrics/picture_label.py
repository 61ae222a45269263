"""Does a picture look like its label?

The judge is a support-vector machine on colours, edges and spectra of a picture. It learns from the validation half of
a set of `timbrel data paint`, and from procedural pictures of seeds that the set does not have: it never saw what the
painter was trained on, and is never a training loss. How many true pictures it knows stands beside whatever it says of
painted ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from timbrel.data.paint.labels import LABELS
from timbrel.data.paint.procedural import draw_picture
from timbrel.data.paint.store import Pictures
from timbrel.errors import InputError
from timbrel.metrics import require

SEEDS = range(10_000, 10_150)  # of procedural pictures, far from a set's


def features(pixels: NDArray[np.uint8]) -> NDArray:
    """What the judge sees of a picture [128, 128, 3]: a thumbnail, a histogram of colours, edges by place and
    direction, the spectrum over radii, and how symmetrical it is, [343]."""
    image = Image.fromarray(pixels)
    small = np.asarray(image.resize((64, 64), Image.Resampling.BOX), np.float32) / 255
    thumbnail = np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.float32).ravel() / 255
    bins = ((small * 3.999).astype(int) @ [16, 4, 1]).ravel()
    colours = np.sqrt(np.bincount(bins, minlength=64) / 4096)
    grey = small.mean(-1)
    down, across = np.gradient(grey)
    strength, way = np.hypot(across, down), ((np.arctan2(down, across) % np.pi) / np.pi * 7.999).astype(int)
    cells = [(slice(i, i + 16), slice(j, j + 16)) for i in range(0, 64, 16) for j in range(0, 64, 16)]
    edges = [np.bincount(way[cell].ravel(), strength[cell].ravel(), minlength=8) / 16 for cell in cells]
    power = np.abs(np.fft.rfft2(np.asarray(image.convert("L"), np.float32) / 255))
    radius = np.minimum(np.hypot(np.minimum(np.arange(128), 128 - np.arange(128))[:, None], np.arange(65)), 40).astype(
        int
    )
    spectrum = np.log1p(np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel()))
    saturation = small.max(-1) - small.min(-1)
    mirrored = [np.abs(grey - other).mean() for other in (grey[:, ::-1], grey[::-1])]
    moments = [saturation.mean(), saturation.std(), grey.mean(), grey.std(), *mirrored]
    return np.concatenate([thumbnail, 2 * colours, 2 * np.sqrt(np.ravel(edges)), spectrum, 3 * np.array(moments)])


def train_judge(pictures: Pictures, labels: Iterable[int]) -> Any:
    """A classifier into some labels, with `predict` of `features` [n, 343].

    Raises:
        MissingDependencyError: without scikit-learn.
        InputError: a label without procedural pictures, and without validation pictures.
    """
    machine = require("sklearn.svm").SVC(C=10.0, class_weight="balanced")
    scaler = require("sklearn.preprocessing").StandardScaler()
    rows, own = [], []
    for label in labels:
        of_label = pictures.pixels[(pictures.split == 1) & (pictures.label == label)].numpy()
        drawn = [] if LABELS[label].real else [draw_picture(LABELS[label].pictures, seed) for seed in SEEDS]
        if not len(of_label) and not drawn:
            raise InputError(f"there is no validation picture of {LABELS[label].name}; expected some to judge by")
        rows += [features(pixels) for pixels in (*of_label, *drawn)]
        own += [label] * (len(of_label) + len(drawn))
    return require("sklearn.pipeline").make_pipeline(scaler, machine).fit(rows, own)


def validate(pixels: NDArray, labels: Sequence[int]) -> None:
    """Raises InputError where pictures and labels are not as many, or none."""
    if not len(pixels) or len(pixels) != len(labels):
        raise InputError(f"there are {len(pixels)} pictures and {len(labels)} labels; expected as many, one or more")


def evaluate(judge: Any, pixels: NDArray[np.uint8], labels: Sequence[int]) -> dict[int, float]:
    """The share of pictures [n, 128, 128, 3] of each label [n] that the judge calls so; chance is one over the number
    of labels that it knows."""
    validate(pixels, labels)
    own = np.asarray(labels)
    right = judge.predict([features(picture) for picture in pixels]) == own
    return {int(label): float(right[own == label].mean()) for label in np.unique(own)}
