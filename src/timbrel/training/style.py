"""After stage 2: a style encoder that hears the instrument, however it is recorded."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from timbrel.data.augment import record, varied
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.transfer import TransferSystem
from timbrel.systems.weights import fingerprint
from timbrel.training.recipes import StyleRecipe
from timbrel.training.shared import check_mel, side_by_side, split_windows
from timbrel.training.stage import Stage


class StyleStage(Stage):
    """Trains `TransferSystem.style` alone, by what it was itself (self-distillation): the tokens of a clip with noise,
    room and microphone are to be those that the first encoder has of the clip without. The denoiser, which has learnt
    from the first encoder, need not learn anew.
    """

    name = "style"
    recipe: StyleRecipe

    def __init__(self, recipe: StyleRecipe, model: TransferSystem, train: Windows, validation: Windows) -> None:
        self.initial = copy.deepcopy(model.style)
        super().__init__(
            recipe,
            {"style": model.style},
            frozen={"codec": model.codec, "initial": self.initial},
            identity={"codec": fingerprint(model.codec), "initial": fingerprint(self.initial)},
        )
        self.model, self.train, self.validation = model, train, validation
        self._before = {
            key: model.info[key] for key in ("training", "figures", "recipe", "before") if key in model.info
        }
        self._earlier = [*model.info.get("earlier_styles", ()), fingerprint(self.initial)]

    @classmethod
    def prepare(cls, recipe: StyleRecipe, data: str | Path, *, init_from: str | Path = "default") -> StyleStage:
        """From a mel store's recordings as they are (not its `degraded` ones) and a transfer model.

        Raises:
            InputError: mels other than the store's; otherwise as `Windows`.
            ModelError: as `load_system`.
        """
        store, model = MelStore(data), load_system(init_from, TransferSystem)
        check_mel(model.mel, store)
        store.entries = [e for e in store.entries if not e.degraded]
        return cls(recipe, model, *split_windows(store, recipe.frames))

    def batch(self, step: int) -> dict[str, Tensor]:
        return self._draw(self.train, self.rng(step))

    def _draw(self, windows: Windows, rng: np.random.Generator) -> dict[str, Tensor]:
        recipe, mel = self.recipe, self.model.mel
        clean = windows.single(rng, recipe.batch_size)
        clean = varied(clean, rng, mel, recipe.tuning_semitones, recipe.gain_db)
        return {"clean": clean, "recorded": record(clean[:, 0], recipe.recording, mel, rng)[:, None]}

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        _, recorded, wanted = self._encoded(batch)
        return {"loss": F.mse_loss(self.model.style(recorded), wanted)}

    @torch.no_grad()
    def _encoded(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of the clips and of their recordings, and the first encoder's tokens of the clips."""
        with torch.autocast(batch["clean"].device.type, enabled=False):
            clean, recorded = (self.model.codec.encode(batch[name]) for name in ("clean", "recorded"))
            return clean, recorded, self.initial(clean)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss on held-out recordings, beside what the first encoder has there; and that of clips without noise,
        room or microphone, which should stay near 0."""
        drawn = [self.to_device(self._draw(self.validation, np.random.default_rng((0, k)))) for k in range(4)]
        self._last = side_by_side(self.model.mel.floor_db, drawn[0]["clean"], drawn[0]["recorded"])
        figures: dict[str, float] = {"loss": 0.0, "first_loss": 0.0, "clean_loss": 0.0}
        for batch in drawn:
            clean, recorded, wanted = self._encoded(batch)
            tokens = {"loss": self.model.style(recorded), "first_loss": self.initial(recorded)}
            tokens["clean_loss"] = self.model.style(clean)
            for name, some in tokens.items():
                figures[name] += float(F.mse_loss(some, wanted)) / len(drawn)
        return figures

    def samples(self) -> dict[str, Tensor]:
        return {"a clip, and as it may be recorded": self._last}

    def save(self, folder: Path) -> None:
        self.model.info |= self.info("timbre transfer") | {"before": self._before, "earlier_styles": self._earlier}
        save_system(folder, self.model)
