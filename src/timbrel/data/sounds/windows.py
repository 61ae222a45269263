"""Windows of labelled sounds with their captions, drawn so that the same (seed, step) always gives the same batch."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from timbrel.data.sounds.captions import caption, one_of, overlap_caption
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.splits import refuse_held_out
from timbrel.data.store import Entry, MelStore, dequantise
from timbrel.errors import InputError

QUIET_DB = 30.0


class SoundWindows:
    """Draws windows of one split of a mel store, all classes alike.

    Attributes:
        labels: the classes of this split, sorted.

    Raises:
        InputError: `frames` below 1; nothing in this split; held-out material; a label that the ontology lacks.
    """

    def __init__(self, store: MelStore, split: str, frames: int, ontology: Ontology) -> None:
        if frames < 1:
            raise InputError(f"frames is {frames}; expected at least 1")
        self.store, self.frames, self.ontology = store, frames, ontology
        entries = [e for e in store.entries if e.split == split]
        if not entries:
            raise InputError(f"{store.folder} has no {split} recordings; make more with `timbrel data sounds`")
        refuse_held_out(entries)
        self.entries: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            self.entries[entry.label].append(entry)
        self.labels = sorted(self.entries)
        self._siblings: dict[str, list[str]] = defaultdict(list)  # by parent
        for label in self.labels:
            for parent in ontology.parents(label):
                self._siblings[parent].append(label)

    def classes(self) -> dict[str, list[str]]:
        """The further wordings of each class that captions name: the labels and what is above them."""
        names = {name for label in self.labels for name in (label, *self.ontology.ancestors(label))}
        return {c.name: [*c.aliases, *c.aliases_held_out] for c in map(self.ontology.find, sorted(names))}

    def draw(self, rng: np.random.Generator, size: int, overlap_share: float) -> dict[str, Any]:
        """`mel` [size, 1, n_mels, frames] in dB; `label` and `caption`, a str for each.

        A share of the windows has two sounds of one parent at once; their label is the parent's name.

        Raises:
            InputError: `overlap_share` is no share.
        """
        if not 0 <= overlap_share <= 1:
            raise InputError(f"overlap_share is {overlap_share}; expected a share from 0 to 1")
        rows = [self._overlap(rng) if rng.random() < overlap_share else self._single(rng) for _ in range(size)]
        mels, labels, captions = zip(*rows, strict=True)
        return {"mel": torch.stack(mels)[:, None], "label": list(labels), "caption": list(captions)}

    def window(self, label: str, rng: np.random.Generator) -> torch.Tensor:
        """A window of some sound of a class, in which something sounds: dB [n_mels, frames]. A sound that is shorter
        has silence after it."""
        entry = one_of(self.entries[label], rng)
        start, latest = 0, entry.frames - self.frames
        if latest > 0:
            loud = one_of(self._loud_frames(entry), rng)
            start = min(max(int(rng.integers(loud - self.frames + 1, loud + 1)), 0), latest)
        levels = np.array(self.store.levels(entry)[start : start + self.frames])
        levels = np.pad(levels, ((0, self.frames - len(levels)), (0, 0)))
        return dequantise(levels, self.store.config.floor_db)

    def _loud_frames(self, entry: Entry) -> list[int]:
        """The frames in which an entry is at most `QUIET_DB` softer than at its loudest."""
        peaks = self.store.levels(entry).max(axis=1).astype(float)
        return np.flatnonzero(peaks >= peaks.max() + QUIET_DB * 255 / self.store.config.floor_db).tolist()

    def _single(self, rng: np.random.Generator) -> tuple[torch.Tensor, str, str]:
        label = one_of(self.labels, rng)
        return self.window(label, rng), label, caption(label, self.ontology, rng)

    def _overlap(self, rng: np.random.Generator) -> tuple[torch.Tensor, str, str]:
        """Two sounds of one parent; of one class where the parent has no other."""
        label = one_of(self.labels, rng)
        parents = self.ontology.parents(label)
        if not parents:
            return self._single(rng)
        parent = one_of(parents, rng)
        others = [name for name in self._siblings[parent] if name != label] or [label]
        names = [label, one_of(others, rng)]
        mel = overlap(*(self.window(name, rng) for name in names))
        return mel, parent, overlap_caption(names, parent)


def overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The mean of two mels in dB, taken in the power domain: pressures of independent sounds add in power, so that a
    mean of decibels, or of the report's pictures, is no sound that both make together.

    >>> overlap(torch.tensor([-20.0, -20.0]), torch.tensor([-20.0, -100.0]))
    tensor([-20.0000, -23.0103])
    """
    return 10 * torch.log10((10 ** (first / 10) + 10 ** (second / 10)) / 2)
