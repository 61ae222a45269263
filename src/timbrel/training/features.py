"""The feature network: learns to tell instruments apart, so that its last but one layer knows what sounds alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from timbrel.checkpoint import save_features
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore, dequantise
from timbrel.errors import InputError
from timbrel.models.encoders import FeatureConfig, FeatureNetwork
from timbrel.training.recipes import FeaturesRecipe


class FeaturesStage:
    """Trains a `FeatureNetwork` by cross-entropy on the labels of a mel store. Every instrument is drawn as often as
    every other; invented ones (`data synth`) are left out.

    Raises:
        InputError: the store names fewer than two instruments; otherwise as `Windows`.
    """

    def __init__(self, recipe: FeaturesRecipe, data: str | Path) -> None:
        self.recipe = recipe
        store = MelStore(data)
        self.mel_config = store.config
        train, validation = (Windows(store, split, recipe.frames, recipe.frames) for split in ("train", "validation"))
        self.labels = tuple(sorted({entry.label for entry in train.targets if entry.library != "virtual"}))
        if len(self.labels) < 2:
            raise InputError(
                f"{store.folder} has training recordings of {', '.join(self.labels) or 'no instrument'}; expected at "
                "least two instruments to tell apart"
            )
        self.train, self.validation = _Labelled(train, self.labels), _Labelled(validation, self.labels)
        if not self.validation.here:
            raise InputError(
                f"{store.folder} has validation recordings of none of {', '.join(self.labels)}; expected some of "
                "each: add recordings, and let a share of them validate"
            )
        torch.manual_seed(recipe.seed)
        config = FeatureConfig(self.labels, recipe.width, recipe.embedding, store.config.floor_db)
        self.network = FeatureNetwork(config)
        self.modules: dict[str, torch.nn.Module] = {"features": self.network}

    def batch(self, step: int) -> dict[str, Tensor]:
        return self.train.draw(np.random.default_rng((self.recipe.seed, step)), self.recipe.batch_size)

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        logits = self.network(batch["mel"]).float()
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["label"]), "accuracy": right}

    def validate(self) -> dict[str, float]:
        """Cross-entropy, and the share of windows of held-out recordings whose instrument is found."""
        batch = self.validation.draw(np.random.default_rng(0), 256)
        device = self.network.head.weight.device
        return {name: float(v) for name, v in self.loss({k: v.to(device) for k, v in batch.items()}, 0).items()}

    def save(self, folder: Path) -> None:
        info = {
            "purpose": f"instrument features of {len(self.labels)} instruments",
            "training": f"stage features, at most {self.recipe.steps} steps of {self.recipe.batch_size}",
            "figures": {name: round(value, 4) for name, value in self.validate().items()},
            "recipe": dataclasses.asdict(self.recipe),
        }
        save_features(folder, self.mel_config, self.network, info)


class _Labelled:
    """Windows of one split with the instrument that plays in them."""

    def __init__(self, windows: Windows, labels: Sequence[str]) -> None:
        self.windows = windows
        named = [entry for entry in windows.targets if entry.library != "virtual"]
        self.entries = [[entry for entry in named if entry.label == label] for label in labels]
        self.here = [k for k, entries in enumerate(self.entries) if entries]  # not every label need validate

    def draw(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """`mel` [size, 1, n_mels, frames] in dB and `label` [size], indices of labels."""
        labels = [self.here[i] for i in rng.integers(len(self.here), size=size)]
        levels = []
        for k in labels:
            entry = self.entries[k][rng.integers(len(self.entries[k]))]
            start = int(rng.integers(entry.frames - self.windows.frames + 1))
            levels.append(self.windows.window(entry, start, self.windows.frames))
        mel = dequantise(np.stack(levels), self.windows.store.config.floor_db)[:, None]
        return {"mel": mel, "label": torch.tensor(labels)}
