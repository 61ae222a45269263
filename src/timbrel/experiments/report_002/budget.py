"""How much is computed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from timbrel.data.sounds.make import SOURCES


@dataclass(frozen=True)
class Budget:
    """`takes` of each class are compared with as many real sounds. Steps are of `batch_size` windows, those of codecs
    of two."""

    name: str
    sources: tuple[str, ...]
    num_sounds: int
    validation_share: float
    takes: int
    batch_size: int
    generator_steps: int
    squares_steps: int
    codec_steps: int
    codec_windows: int
    checkpoints: int
    square_widths: tuple[int, ...]
    sampling_steps: int = 10
    guidance: float = 3.0
    changes: dict[str, Any] = field(default_factory=dict)


QUICK = Budget(
    name="quick",
    sources=("signals",),
    num_sounds=10,
    validation_share=0.2,
    takes=2,
    batch_size=8,
    generator_steps=60,
    squares_steps=60,
    codec_steps=4,
    codec_windows=8,
    checkpoints=6,
    square_widths=(16, 24, 32),
    changes={
        "widths": (96, 96),
        "picture_width": 8,
        "timestep_shift": 1.0,
        "warmup_steps": 10,
        "learning_rate": 2e-3,
        "ema_decay": 0.9,
    },
)
CPU = Budget(
    name="cpu",
    sources=SOURCES,
    num_sounds=60,
    validation_share=0.1,
    takes=3,
    batch_size=16,
    generator_steps=2000,
    squares_steps=1000,
    codec_steps=400,
    codec_windows=96,
    checkpoints=6,
    square_widths=(24, 48, 64, 96),
    # of docs/report-002.md; the recipe has changed since
    changes={"widths": (288, 240, 240), "band_attention": False, "timestep_shift": 1.0},
)
GPU = dataclasses.replace(
    CPU,
    name="gpu",
    batch_size=64,
    checkpoints=10,
    square_widths=(32, 64, 96, 128),
    generator_steps=25000,
    squares_steps=25000,
    codec_steps=25000,
    changes={},
)
"""The report trains for 25,000 steps."""
