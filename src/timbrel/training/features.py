"""The feature network's stage: it learns to tell instruments apart, so that its embedding says which sound alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from timbrel.audio.mel import MelConfig
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore, dequantise
from timbrel.errors import InputError
from timbrel.models.features import FeatureConfig, FeatureNetwork
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import save_system
from timbrel.training.recipes import FeaturesRecipe
from timbrel.training.shared import split_windows
from timbrel.training.stage import Stage


class FeaturesStage(Stage):
    """Trains a `FeatureNetwork` by cross-entropy on the labels of a mel store. Every instrument is drawn as often as
    every other; invented ones (`data synth`) are left out.
    """

    name = "features"
    recipe: FeaturesRecipe

    def __init__(
        self,
        recipe: FeaturesRecipe,
        mel: MelConfig,
        network: FeatureNetwork,
        train: LabelledWindows,
        validation: LabelledWindows,
    ) -> None:
        super().__init__(recipe, {"features": network})
        self.mel_config, self.network, self.train, self.validation = mel, network, train, validation

    @classmethod
    def prepare(cls, recipe: FeaturesRecipe, data: str | Path) -> FeaturesStage:
        """From a mel store, with fresh weights.

        Raises:
            InputError: the store names fewer than two instruments; otherwise as `Windows`.
        """
        store = MelStore(data)
        windows = split_windows(store, recipe.frames)
        labels = _labels(windows[0])
        train, validation = (LabelledWindows(of_split, labels) for of_split in windows)
        if not validation.present:
            raise InputError(
                f"{store.folder} has validation recordings of none of {', '.join(labels)}; expected some of "
                "each: add recordings, and let a share of them validate"
            )
        torch.manual_seed(recipe.seed)
        network = FeatureNetwork(FeatureConfig(labels, recipe.width, recipe.embedding, store.config.floor_db))
        return cls(recipe, store.config, network, train, validation)

    def batch(self, step: int) -> dict[str, Tensor]:
        return self.train.draw(self.rng(step), self.recipe.batch_size)

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        logits = self.network(batch["mel"]).float()
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["label"]), "accuracy": right}

    def validate(self) -> dict[str, float]:
        """Cross-entropy, and the share of windows of held-out recordings whose instrument is recognised."""
        batch = self.validation.draw(np.random.default_rng(0), 256)
        return {name: float(value) for name, value in self.loss(self.to_device(batch), 0).items()}

    def save(self, folder: Path) -> None:
        purpose = f"instrument features of {len(self.train.entries)} instruments"
        figures = {name: round(value, 4) for name, value in self.validate().items()}
        info = self.info(purpose, figures)
        save_system(folder, FeaturesSystem(mel=self.mel_config, features=self.network, info=info))


def _labels(windows: Windows) -> tuple[str, ...]:
    labels = tuple(sorted({entry.label for entry in windows.targets if entry.library != "virtual"}))
    if len(labels) < 2:
        raise InputError(
            f"{windows.store.folder} has training recordings of {', '.join(labels) or 'no instrument'}; expected at "
            "least two instruments to tell apart"
        )
    return labels


class LabelledWindows:
    """Windows of one split with the instrument that plays in them."""

    def __init__(self, windows: Windows, labels: Sequence[str]) -> None:
        self.windows = windows
        named = [entry for entry in windows.targets if entry.library != "virtual"]
        self.entries = [[entry for entry in named if entry.label == label] for label in labels]
        self.present = [k for k, entries in enumerate(self.entries) if entries]  # not every label need validate

    def draw(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """`mel` [size, 1, n_mels, frames] in dB and `label` [size], indices of labels."""
        labels = [self.present[i] for i in rng.integers(len(self.present), size=size)]
        levels = []
        for k in labels:
            entry = self.entries[k][rng.integers(len(self.entries[k]))]
            start = int(rng.integers(entry.frames - self.windows.frames + 1))
            levels.append(self.windows.window(entry, start, self.windows.frames))
        mel = dequantise(np.stack(levels), self.windows.store.config.floor_db)[:, None]
        return {"mel": mel, "label": torch.tensor(labels)}
