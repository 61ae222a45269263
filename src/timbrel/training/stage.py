"""The contract between what is trained and `timbrel.training.loop`."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from timbrel.training.recipes import Recipe


class Stage(ABC):
    """What is trained, on which batches and for which loss.

    A constructor takes networks and data as they are. Each stage has a classmethod `prepare` besides, which reads them
    from folders and measures what the networks need to know of the data.

    Args:
        recipe: everything that the run depends on beside its data and its start.
        modules: the networks to train, by name; models and validation have their moving averages (EMA).
        frozen: networks that the loss uses and that stay as they are.
        adversaries: discriminators. Each step trains `modules` on `loss`, with the adversaries as they are, and then
            the adversaries on `discriminator_loss` of the same batch, by an AdamW of their own. A checkpoint holds
            them; they have no EMA.
        adversary_rate: the adversaries' learning rate, as a multiple of that of `modules`.
        identity: what else makes it this run and no other; a run with another is not resumed.
    """

    name: ClassVar[str]

    def __init__(
        self,
        recipe: Recipe,
        modules: dict[str, nn.Module],
        *,
        frozen: dict[str, nn.Module] | None = None,
        adversaries: dict[str, nn.Module] | None = None,
        adversary_rate: float = 1.0,
        identity: dict[str, str] | None = None,
    ) -> None:
        self.recipe, self.modules = recipe, modules
        self.frozen, self.adversaries, self.identity = frozen or {}, adversaries or {}, identity or {}
        self.adversary_rate = adversary_rate
        for module in (*self.modules.values(), *self.adversaries.values()):
            module.train().requires_grad_(True)

    @abstractmethod
    def batch(self, step: int) -> dict[str, Tensor]:
        """The whole batch of `step` on the CPU, from (recipe.seed, step) alone: see `rng`. A worker process calls it.
        Every tensor's first axis is the samples, and whatever is random per sample is in here: each process of a
        distributed run takes its slice."""

    @abstractmethod
    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Scalars to log, "loss" among them: means over the samples given, which are on the device."""

    def discriminator_loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """As `loss`, of the adversaries. It is called right after `loss` of this batch: a stage may keep what `loss`
        generated, detached, in an attribute, and need not generate it again."""
        raise NotImplementedError(f"{type(self).__name__} has adversaries; expected its own discriminator_loss")

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Figures on held-out data, with the EMA weights in `modules`, in eval mode, without gradients. The first
        is the one whose plateaus count; less is better."""

    def samples(self) -> dict[str, Any]:
        """For TensorBoard, after `validate`: name -> figure | image [height, width] or [3, height, width] in [0, 1] |
        audio as (waveform [samples] in [-1, 1], sample_rate)."""
        return {}

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the model into `folder`, which exists and is empty, with the EMA weights in `modules`."""

    @property
    def device(self) -> torch.device:
        """Where `modules` are."""
        return next(p for module in self.modules.values() for p in module.parameters()).device

    def rng(self, step: int) -> np.random.Generator:
        """The random numbers of a step's batch."""
        return np.random.default_rng((self.recipe.seed, step))

    def to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch where `modules` are."""
        return {name: value.to(self.device) for name, value in batch.items()}

    def info(self, purpose: str, figures: dict[str, float] | None = None) -> dict[str, Any]:
        """What a model folder says of its training."""
        recipe = self.recipe
        return {
            "purpose": purpose,
            "training": f"stage {self.name}, at most {recipe.steps} steps of {recipe.batch_size}",
            "figures": figures or {},
            "recipe": dataclasses.asdict(recipe),
        }
