"""A listener's stage: it learns which class of a set of labelled sounds is heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from timbrel.data.augment import varied
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.sounds.windows import SoundWindows
from timbrel.data.store import MelStore
from timbrel.errors import InputError
from timbrel.models.listener import Listener, ListenerConfig
from timbrel.models.text import forms_of
from timbrel.systems.alone import ListenerSystem
from timbrel.systems.folder import save_system
from timbrel.training.recipes import ListenerRecipe
from timbrel.training.stage import Stage


class ListenerStage(Stage):
    """Trains a `Listener` by cross-entropy on labelled sounds, all classes alike."""

    name = "listener"
    recipe: ListenerRecipe

    def __init__(
        self, recipe: ListenerRecipe, model: ListenerSystem, train: SoundWindows, validation: SoundWindows
    ) -> None:
        super().__init__(recipe, {"listener": model.listener})
        self.model, self.train, self.validation = model, train, validation

    @classmethod
    def prepare(cls, recipe: ListenerRecipe, data: str | Path, *, ontology: str | Path | None = None) -> ListenerStage:
        """From a mel store of sounds, with fresh weights.

        Raises:
            InputError: a class without a word that the table has, a held-out sound of a class without others, fewer
                than two classes, widths that are no multiples of eight; otherwise as `SoundWindows`.
        """
        store, classes = MelStore(data), Ontology.load(ontology)
        train, validation = (SoundWindows(store, split, recipe.frames, classes) for split in ("train", "validation"))
        if len(train.labels) < 2:
            raise InputError(f"{data} has sounds of {train.labels[0]} alone; expected two classes to tell apart")
        if other := set(validation.labels) - set(train.labels):
            raise InputError(f"{data} has held-out sounds of {', '.join(sorted(other))}, and no others to train on")
        names = tuple(classes.find(label).wordings[0] for label in train.labels)
        if unknown := [name for name in names if not forms_of(name)]:
            raise InputError(f"the table knows no word of {', '.join(unknown)}; expected one in every class's name")
        torch.manual_seed(recipe.seed)
        mel = store.config
        config = ListenerConfig(names, mel.n_mels, recipe.frames, recipe.widths, recipe.hidden, mel.floor_db)
        return cls(recipe, ListenerSystem(mel=mel, listener=Listener(config)), train, validation)

    def batch(self, step: int) -> dict[str, Tensor]:
        recipe, rng = self.recipe, self.rng(step)
        batch = self._draw(self.train, rng, recipe.batch_size)
        mel = varied(batch["mel"], rng, self.model.mel, recipe.tuning_semitones, recipe.gain_db)
        mel = mel + recipe.noise_db * torch.from_numpy(rng.standard_normal(mel.shape, dtype=np.float32))
        return batch | {"mel": mel.clamp(self.model.mel.floor_db, 0)}

    def _draw(self, windows: SoundWindows, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        drawn = windows.draw(rng, size, 0.0)
        return {"mel": drawn["mel"], "label": torch.tensor([self.train.labels.index(name) for name in drawn["label"]])}

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        return self._judged(batch, self.recipe.label_smoothing)

    def _judged(self, batch: dict[str, Tensor], smoothing: float = 0.0) -> dict[str, Tensor]:
        logits = self.model.listener(batch["mel"])
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["label"], label_smoothing=smoothing), "accuracy": right}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Cross-entropy, and the share of held-out sounds that are taken for what they are."""
        drawn = [self._draw(self.validation, np.random.default_rng((0, k)), 64) for k in range(8)]
        judged = [self._judged(self.to_device(batch)) for batch in drawn]
        return {name: float(torch.stack([one[name] for one in judged]).mean()) for name in ("loss", "accuracy")}

    def save(self, folder: Path) -> None:
        figures = {name: round(value, 4) for name, value in self.validate().items()}
        self.model.info = self.info(f"how well a sound fits a text; {len(self.train.labels)} classes", figures)
        save_system(folder, self.model)
