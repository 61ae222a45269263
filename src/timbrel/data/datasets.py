"""Windows of a mel store, drawn so that the same (seed, step) always gives the same batch."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from timbrel.data.augment import augment
from timbrel.data.augmentation import Augmentation
from timbrel.data.splits import refuse_held_out
from timbrel.data.store import Entry, MelStore, dequantise, quantise
from timbrel.errors import InputError

OPEN_MELS = 4096  # that are mapped into memory at once
OTHER_RECORDING_SHARE = 0.85  # of references, where the target's instrument has another recording


class Windows:
    """Draws windows of one split of a mel store.

    With aligned groups (`data synth`), `transfer` gives source and target from one group and the reference from
    another recording of the target's instrument and library. Without (`data prepare`), source and target are the
    same window (`own`) and the reference is another moment of the same recording. Recordings that are too short, such
    as single notes, are joined into phrases.

    Raises:
        InputError: the store holds held-out material, or nothing long enough in this split.
    """

    def __init__(self, store: MelStore, split: str, frames: int, style_frames: int) -> None:
        self.store, self.frames, self.style_frames = store, frames, style_frames
        longest = max(frames, style_frames)
        of_split = [e for e in store.entries if e.split == split]
        self.phrases = _phrases([e for e in of_split if e.frames < longest + 8 and e.group is None], longest + 8)
        self.entries = [e for e in of_split if e.frames >= longest + 8]
        self.entries += [replace(p[0], id=f"{p[0].id}-phrase", frames=_frames(p)) for p in self.phrases]
        refuse_held_out(self.entries)
        if not self.entries:
            raise InputError(
                f"{store.folder} has no {split} recording of at least {longest + 8} frames "
                f"({longest / store.config.frame_rate:.1f} s); add longer recordings, or more of them"
            )
        self.targets = [e for e in self.entries if not e.degraded]
        self.labels = sorted({e.label for e in store.entries if e.library != "virtual"})  # of all splits
        self.groups: dict[str, list[Entry]] = defaultdict(list)
        self.voices: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.group is not None:
                self.groups[entry.group].append(entry)
            if not entry.degraded:
                self.voices[entry.label, entry.library].append(entry)
        self.alone = [e for e in self.targets if not self._others(e)]
        self._parts = {f"{phrase[0].id}-phrase": phrase for phrase in self.phrases}
        self._levels = functools.lru_cache(maxsize=OPEN_MELS)(store.levels)

    def window(self, entry: Entry, start: int, frames: int) -> np.ndarray:
        """uint8 [frames, n_mels]; past the end it is silent."""
        pieces = []
        for part in self._parts.get(entry.id, [entry]):
            pieces.append(self._levels(part)[max(start, 0) : max(start + frames, 0)])
            start -= part.frames
        levels = np.concatenate(pieces)
        return np.pad(levels, ((0, frames - len(levels)), (0, 0)))

    def single(self, rng: np.random.Generator, batch_size: int) -> Tensor:
        """Mels of any recordings: float32 dB [batch, 1, n_mels, frames]."""
        picked = [self.entries[i] for i in rng.integers(len(self.entries), size=batch_size)]
        starts = [int(rng.integers(e.frames - self.frames + 1)) for e in picked]
        levels = np.stack([self.window(e, s, self.frames) for e, s in zip(picked, starts, strict=True)])
        return dequantise(levels, self.store.config.floor_db)[:, None]

    def transfer(
        self, rng: np.random.Generator, batch_size: int, augmentation: Augmentation | None
    ) -> dict[str, Tensor]:
        """`content`, `target` [batch, 1, n_mels, frames] and `style` [batch, 1, n_mels, style_frames], dB; `label`
        [batch], the target's place in `labels`, or -1 (unknown, or a blend); `own` [batch], whether the content is the
        target, for want of another recording of its score."""
        blends = 0.0 if augmentation is None else augmentation.blend_probability
        labels, own, rows = zip(*(self._triplet(rng, blends) for _ in range(batch_size)), strict=True)
        mels = [dequantise(np.stack(part), self.store.config.floor_db) for part in zip(*rows, strict=True)]
        if augmentation is not None:
            mels = augment(mels[0], mels[1], mels[2], augmentation, self.store.config, rng)
        drawn = dict(zip(("content", "target", "style"), (m[:, None] for m in mels), strict=True))
        places = {label: k for k, label in enumerate(self.labels)}
        return drawn | {"label": torch.tensor([places.get(label, -1) for label in labels]), "own": torch.tensor(own)}

    def _others(self, entry: Entry) -> list[Entry]:
        """The other recordings of its score."""
        return [e for e in self.groups.get(entry.group or "", []) if e.id != entry.id]

    def _triplet(
        self, rng: np.random.Generator, blends: float
    ) -> tuple[str, bool, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        target = self.targets[rng.integers(len(self.targets))]
        start = int(rng.integers(target.frames - self.frames + 1))
        others = self._others(target)
        content = others[rng.integers(len(others))] if others else target
        partners = [e for e in others if not e.degraded and e.id != content.id]
        partner = partners[rng.integers(len(partners))] if blends and partners and rng.random() < blends else None
        same_voice = [
            e for e in self.voices[target.label, target.library] if e.group != target.group or e.group is None
        ]
        style = target
        if partner is None and others and same_voice and rng.random() < OTHER_RECORDING_SHARE:
            style = same_voice[rng.integers(len(same_voice))]
        style_start = int(rng.integers(style.frames - self.style_frames + 1))
        if style.id == target.id:  # another moment, as far from the window as the recording allows
            room = target.frames - self.style_frames
            style_start = min(
                (style_start, 0, room),
                key=lambda s: s + self.style_frames > start and s < start + self.frames,
            )
        at = ((start, self.frames), (style_start, self.style_frames))
        label, wanted = target.label, [self.window(e, *span) for e, span in zip((target, style), at, strict=True)]
        if partner is not None:
            label, share, layered = "", rng.uniform(0.25, 0.75), rng.random() < 0.5
            second = [self.window(partner, *span) for span in at]
            wanted = [self._blend(*both, share, layered) for both in zip(wanted, second, strict=True)]
        return label, not others, (self.window(content, start, self.frames), wanted[0], wanted[1])

    def _blend(self, first: np.ndarray, second: np.ndarray, share: float, layered: bool) -> np.ndarray:
        """One sound out of two of one score, uint8 [frames, n_mels]: both at once, up to 10 dB apart and no louder than
        the louder, or `layered` False, levels in between."""
        floor = self.store.config.floor_db
        a, b = dequantise(first, floor), dequantise(second, floor)
        if layered:
            weight = 1 / (1 + 10 ** (4 * share - 2))
            blend = 10 * torch.log10(weight * 10 ** (a / 10) + (1 - weight) * 10 ** (b / 10))
        else:
            blend = torch.lerp(a, b, share)
        return quantise(blend, floor)


def _phrases(short: Sequence[Entry], frames: int) -> list[list[Entry]]:
    """Recordings of one label and library one after the other, each group of at least so many frames in all. Where
    there are too few, they come again; what is left at the end belongs to the last group."""
    voices: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
    for entry in short:
        voices[entry.label, entry.library].append(entry)
    phrases: list[list[Entry]] = []
    for entries in voices.values():
        made: list[list[Entry]] = [[]]
        for entry in entries:
            made[-1].append(entry)
            if _frames(made[-1]) >= frames:
                made.append([])
        rest = made.pop()
        if made:
            made[-1] += rest
        elif _frames(rest):
            made = [rest * -(-frames // _frames(rest))]
        phrases += made
    return phrases


def _frames(entries: Sequence[Entry]) -> int:
    return sum(entry.frames for entry in entries)
