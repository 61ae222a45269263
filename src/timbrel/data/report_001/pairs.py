"""Report 001's pairs (its section 3.4): pictures of two labels, drawn once into a CSV, read when they are needed.

A line is label1, idx1, label2, idx2, split. There is no head, so that the report's own reader (listing 9) takes the
file; an idx is a picture's place among all of its label, sorted by name. Both pictures of a pair are of one split.
"""

from __future__ import annotations

import csv
import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from timbrel.audio.io import check_output
from timbrel.data.report_001.pictures import Picture, read_manifest, read_picture
from timbrel.errors import InputError
from timbrel.files import whole

PathLike = str | os.PathLike[str]


def make_pairs(
    folder: PathLike, path: PathLike, *, num_pairs: int = 15000, seed: int = 42, overwrite: bool = False
) -> dict[str, int]:
    """Draws pairs of the pictures in `folder` into the CSV `path`, whole or not at all.

    Splits get pairs in proportion to their pictures; within a split, every ordered couple of two labels gets as many
    as any other, give or take one. No pair comes twice as long as its couple has others. The same pictures, number
    and seed give the same file.

    Returns:
        Pairs in each split.

    Raises:
        InputError: `folder` is not what `prepare_pictures` makes; fewer than two labels; a label without a picture,
            or without one in a split that the others have; a value out of range; `path` exists.
        AudioError: `path` cannot be written.
    """
    if num_pairs < 1:
        raise InputError(f"num_pairs is {num_pairs}; expected at least 1")
    places = _places(Path(folder))
    path = check_output(path, overwrite=overwrite, suffixes=[".csv"])
    pictures = {split: sum(map(len, of_split.values())) for split, of_split in places.items()}
    counts = {split: num_pairs * count // sum(pictures.values()) for split, count in pictures.items()}
    counts[next(iter(counts))] += num_pairs - sum(counts.values())
    with (
        whole(path, overwrite=overwrite) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        for split, count in counts.items():
            rng = random.Random(f"{seed}:{split}")
            writer.writerows((*pair, split) for pair in _draw(places[split], count, rng))
    return counts


def _places(folder: Path) -> dict[str, dict[str, list[int]]]:
    """Split -> label -> the places of its pictures among all of the label; train comes first."""
    manifest = read_manifest(folder)
    labels = sorted({*manifest, *(path.name for path in folder.iterdir() if path.is_dir())})
    if len(labels) < 2:
        raise InputError(f"{folder} holds pictures of {', '.join(labels) or 'nothing'}; expected at least two labels")
    splits = sorted({picture.split for pictures in manifest.values() for picture in pictures})
    places: dict[str, dict[str, list[int]]] = {split: {label: [] for label in labels} for split in splits}
    for label, pictures in manifest.items():
        for place, picture in enumerate(pictures):
            places[picture.split][label].append(place)
    for label in labels:
        if label not in manifest:
            raise InputError(f"{folder / label} holds no picture of the manifest; remove the folder, or prepare again")
        for split in splits:
            if not places[split][label]:
                raise InputError(
                    f"{label} has no {split} picture in {folder}; expected some of every label in every split: add "
                    "recordings of it and prepare again, or prepare with --validation-share 0 for training pairs alone"
                )
    return places


def _draw(places: Mapping[str, Sequence[int]], count: int, rng: random.Random) -> Iterator[tuple[str, int, str, int]]:
    """Pairs of each couple of labels in turn."""
    couples = list(permutations(places, 2))
    rng.shuffle(couples)
    most = math.ceil(count / len(couples))
    streams = [_combinations(len(places[a]) * len(places[b]), most, rng) for a, b in couples]
    for number in range(count):
        a, b = couples[number % len(couples)]
        i, j = divmod(next(streams[number % len(couples)]), len(places[b]))
        yield a, places[a][i], b, places[b][j]


def _combinations(total: int, most: int, rng: random.Random) -> Iterator[int]:
    """Numbers below `total` without end, none again before each has come, of which `most` are needed."""
    while True:
        yield from rng.sample(range(total), min(total, most))


class PairedPictures(Dataset[tuple[tuple[Tensor, str], tuple[Tensor, str]]]):
    """The pairs of a CSV; their pictures are read when one asks for them.

    `[i]` is ((picture1, label1), (picture2, label2)), pictures float32 [1, 128, 128] in [0, 1] (`read_picture`).

    Args:
        folder: the pictures, as `prepare_pictures` makes them.
        pairs: the CSV that `make_pairs` made of them.
        split: "train" or "validation"; None takes all.

    Raises:
        InputError: `folder` is no such folder; `pairs` cannot be read, was made for other pictures, or has no pair
            (of this split). From `[i]`: a picture cannot be read.
    """

    def __init__(self, folder: PathLike, pairs: PathLike, split: str | None = None) -> None:
        self.folder = Path(folder)
        manifest = read_manifest(folder)
        all_pairs: list[tuple[Picture, Picture]] = []
        try:
            with open(pairs, encoding="utf-8", errors="surrogateescape", newline="") as file:
                for number, row in enumerate(csv.reader(file), 1):
                    all_pairs.append(_pair(manifest, row, f"{pairs}, line {number}: {', '.join(row)[:80]!r}"))
        except (OSError, csv.Error) as error:
            raise InputError(f"{pairs} cannot be read ({error}); make it with `timbrel data pairs {folder}`") from error
        self.pairs = [pair for pair in all_pairs if split in (None, pair[0].split)]
        if not self.pairs:
            there = ", ".join(sorted({first.split for first, _ in all_pairs})) or "nothing"
            raise InputError(
                f"{pairs} has no pair of {split or 'pictures'}, it has {there}; make it with `timbrel data pairs`"
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, str], tuple[Tensor, str]]:
        first, second = self.pairs[index]
        return (
            (read_picture(self.folder / first.file), first.label),
            (read_picture(self.folder / second.file), second.label),
        )


def _pair(manifest: Mapping[str, Sequence[Picture]], row: Sequence[str], where: str) -> tuple[Picture, Picture]:
    try:
        label1, idx1, label2, idx2, split = row
        places = range(len(manifest[label1])), range(len(manifest[label2]))
        pair = manifest[label1][places[0].index(int(idx1))], manifest[label2][places[1].index(int(idx2))]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{where} is no pair of these pictures; expected label1, idx1, label2, idx2, split, with an idx below the "
            "label's number of pictures: make the pairs again with `timbrel data pairs`"
        ) from error
    if {picture.split for picture in pair} != {split}:
        raise InputError(
            f"{where} does not agree with the manifest's splits ({pair[0].split}, {pair[1].split}): the pictures have "
            "changed since; make the pairs again with `timbrel data pairs`"
        )
    return pair
