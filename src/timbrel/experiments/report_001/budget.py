"""How much is computed, and which changes to the recipe are compared."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from timbrel.data.synth import SynthConfig

BANDS = (32, 64, 96, 128, 192, 256)
DDIM_STEPS = (1, 5, 10, 20, 50, 200)
STEPS = 20  # of the sampler, where no other number is named
SHOWN = 4  # clips of figure 1


@dataclass(frozen=True)
class Budget:
    """How much is computed. Steps of training are of `changes["batch_size"]` clips of 3 s, or the recipe's 16."""

    name: str
    groups: int
    duration_s: float
    validation_share: float
    composers: tuple[str, ...]
    clips: int
    features_steps: int
    codec_steps: int
    transfer_steps: int
    variant_steps: int
    changes: dict[str, Any] = field(default_factory=dict)


SHORT = {
    "batch_size": 8,
    "learning_rate": 5e-4,
    "min_learning_rate_ratio": 0.05,
    "plateau_patience": None,
    "warmup_steps": 10,
    "precision": "bf16",
    "num_workers": 0,
}
"""Of the report's recipes where they are cut short: its own learning rate of 5e-5 would hardly have moved."""

QUICK = Budget(
    name="quick",
    groups=12,
    duration_s=12.0,
    validation_share=0.25,
    composers=("bach",),
    clips=4,
    features_steps=20,
    codec_steps=12,
    transfer_steps=12,
    variant_steps=2,
    changes=SHORT | {"batch_size": 4},
)
CPU = Budget(
    name="cpu",
    groups=27,
    duration_s=40.0,
    validation_share=0.15,
    composers=SynthConfig().composers,
    clips=12,
    features_steps=200,
    codec_steps=500,
    transfer_steps=700,
    variant_steps=100,
    changes=SHORT,
)
GPU = dataclasses.replace(
    CPU,
    name="gpu",
    groups=54,
    clips=48,
    features_steps=4000,
    codec_steps=75000,
    transfer_steps=150000,
    variant_steps=15000,
    changes={},
)
"""`groups` excerpts of `duration_s`, each on the report's four instruments. On a GPU as in the report: 30 minutes of
each instrument train, for 100 and 200 epochs of 750 steps of 16; a variant trains for 20."""


@dataclass(frozen=True)
class Variant:
    """One change to the recipe of stage 2. `codec` is the part that trains what it works over, `pairs` the share of the
    others' pairs that it gets a step."""

    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    codec: str = "codec"
    pairs: float = 1.0


VARIANTS = {
    "recipe": Variant("the recipe"),
    "seed": Variant("the recipe, another seed", {"seed": 1}),
    "levels": Variant("4 noise levels a pair, a quarter of the pairs", {"noise_levels": 4}, pairs=0.25),
    "more-levels": Variant("4 noise levels a pair, as many pairs", {"noise_levels": 4}),
    "no-style": Variant("no style loss", {"style_weight": 0.0}),
    "maps": Variant("style loss of feature maps, equation 12", {"style_loss": "maps"}),
    "label": Variant("label loss, as CLIP's", {"label_weight": 0.1}),
    "cosine": Variant("cosine schedule", {"schedule": "cosine"}),
    "epsilon": Variant("the report's schedule and noise prediction", {"prediction_type": "epsilon"}),
    "learned-time": Variant("learned time embedding", {"time_embedding": "learned"}),
    "fourier-time": Variant("random Fourier time embedding", {"time_embedding": "fourier"}),
    "larger": Variant("1.5 times as wide", {"num_filters": 96}),
    "small-latents": Variant("latents [32, 8, 8]", codec="codec-8x8"),
}
