"""Which sound of a set is heard? A small network over mels, which chooses among candidates of generated sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Floor, Width, Widths
from timbrel.errors import InputError

PATCH = 4  # bands and frames
NUM_GROUPS = 8  # of channels that are normalised together


@dataclass(frozen=True)
class ListenerConfig:
    names: tuple[str, ...]  # of the classes that it tells apart
    n_mels: Annotated[int, Bounds(1, 4096)] = 256
    frames: Annotated[int, Bounds(1, 65536)] = 256  # of the windows that it listens to
    widths: Widths = (48, 64, 96, 128)  # multiples of eight
    hidden: Width = 256
    floor_db: Floor = -100.0


class Listener(nn.Module):
    """`listener(mel [n, 1, n_mels, frames] in dB) -> logits [n, classes]`.

    Raises:
        InputError: no names, or widths that groups of channels do not divide.
    """

    def __init__(self, config: ListenerConfig) -> None:
        super().__init__()
        if not config.names:
            raise InputError("names is empty; expected the name of each class")
        if any(width % NUM_GROUPS for width in config.widths):
            raise InputError(f"widths are {config.widths}; expected multiples of {NUM_GROUPS}")
        self.config = config
        self.patches = nn.Conv2d(2, config.widths[0], PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(
            Block(before, after)
            for before, after in zip((config.widths[0], *config.widths[:-1]), config.widths, strict=True)
        )
        height = -(-config.n_mels // PATCH)
        for _ in config.widths:
            height = -(-height // 2)
        self.head = nn.Sequential(
            *(nn.Dropout(0.3), nn.Linear(2 * config.widths[-1] * height, config.hidden), nn.GELU()),
            *(nn.Dropout(0.3), nn.Linear(config.hidden, len(config.names))),
        )

    def forward(self, mel: Tensor) -> Tensor:
        config = self.config
        mel = F.pad(mel, (0, -mel.shape[3] % PATCH, 0, -mel.shape[2] % PATCH), value=config.floor_db)
        place = torch.linspace(-1, 1, mel.shape[2], device=mel.device)[:, None].expand_as(mel)
        x = self.patches(torch.cat([2 - 4 * mel / config.floor_db, place], dim=1))
        for block in self.blocks:
            x = block(x)
        pooled = torch.cat([x.mean(dim=3), x.amax(dim=3)], dim=1)
        logits: Tensor = self.head(pooled.flatten(1))
        return logits.float()


class Block(nn.Module):
    """[n, before, h, w] -> [n, after, h / 2, w / 2], rounded up."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(NUM_GROUPS, after)
        self.mix = nn.Conv2d(after, after, 3, padding=1, groups=NUM_GROUPS)
        self.norm_mixed = nn.GroupNorm(NUM_GROUPS, after)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.halve(x)))
        return x + F.gelu(self.norm_mixed(self.mix(x)))
