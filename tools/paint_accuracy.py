"""Do painted pictures look like their music's label? `python -m tools.paint_accuracy DATA [MODEL] [--grid FILE.png]`.

The judge is a support-vector machine on colours, edges and spectra of a picture. It is trained on the validation
pictures of a set of `timbrel data paint`, and on procedural pictures of seeds that the set does not have: it never saw
what the painter was trained on. The music is of works that the painter was not trained on. The rows beside the model's
say what its figure means: the true pictures of the test half, the same pictures with the labels shuffled, and no music.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from timbrel.data.paint.labels import LABELS
from timbrel.data.paint.procedural import draw_picture
from timbrel.data.paint.store import Pictures, load_music, load_pictures
from timbrel.metrics import require
from timbrel.pipelines.picture import DEFAULTS, PaintPipeline

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


def train_judge(pictures: Pictures) -> Any:
    """A classifier with `predict` of `features` [n, 343].

    Raises:
        MissingDependencyError: without scikit-learn.
    """
    chosen = [(pictures.pixels[k].numpy(), int(pictures.label[k])) for k in torch.nonzero(pictures.split == 1)[:, 0]]
    chosen += [(draw_picture(x.pictures, s), k) for k, x in enumerate(LABELS) if not x.real for s in SEEDS]
    machine = require("sklearn.svm").SVC(C=10.0, class_weight="balanced")
    scaler = require("sklearn.preprocessing").StandardScaler()
    judge = require("sklearn.pipeline").make_pipeline(scaler, machine)
    return judge.fit([features(pixels) for pixels, _ in chosen], [label for _, label in chosen])


def paint(pipe: PaintPipeline, clips: Iterable[Tensor | None]) -> list[NDArray[np.uint8]]:
    """A picture of each clip [moments, width], or of none, each with its own seed."""
    heard = (None if clip is None else clip.float() for clip in clips)
    return [pipe.levels(pipe.latents(clip, DEFAULTS, seed)).astype(np.uint8) for seed, clip in enumerate(heard)]


def grid(pictures: list[NDArray[np.uint8]], labels: list[int], columns: int) -> Image.Image:
    """A row for each label, of at most so many of its pictures."""
    rows = [[p for p, k in zip(pictures, labels, strict=True) if k == label][:columns] for label in range(len(LABELS))]
    empty = np.full((128, 128, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([np.concatenate([*row, *[empty] * (columns - len(row))], 1) for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--clips", type=int, default=8, help="of each label, at most")
    parser.add_argument("--grid", help="a picture of the pictures")
    args = parser.parse_args()
    pictures, music, pipe = load_pictures(args.data), load_music(args.data), PaintPipeline.load(args.model)
    judge = train_judge(pictures)
    known = music.split == 0
    held_out = torch.cat([torch.nonzero(~known & (music.label == k))[: args.clips, 0] for k in range(len(LABELS))])
    clips, labels = list(music.features[held_out]), music.label[held_out].tolist()
    order = np.random.default_rng(0).permutation(len(clips))
    true = torch.nonzero(pictures.split == 2)[:, 0]
    painted = paint(pipe, clips)
    rows = {
        "true pictures": ([p.numpy() for p in pictures.pixels[true]], pictures.label[true].tolist()),
        "painted": (painted, labels),
        "shuffled music": (painted, [labels[k] for k in order]),
        "no music": (paint(pipe, [None] * len(LABELS)), list(range(len(LABELS)))),
    }
    print(f"{len(labels)} clips; chance is {1 / len(LABELS):.3f}; shares the judge calls so: mean, each label")
    for name, (some, truth) in rows.items():
        right = judge.predict([features(p) for p in some]) == truth
        shares = [right[np.array(truth) == k].mean() for k in sorted(set(truth))]
        print(f"{name:16s} {np.mean(shares):.3f}   {' '.join(f'{share:.2f}' for share in shares)}")
    if args.grid:
        grid(painted, labels, 8).save(args.grid)


if __name__ == "__main__":
    main()
