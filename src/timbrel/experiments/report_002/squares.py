"""The report's way of drawing (sections 3.3 and 3.4): a network of convolutions over bands and time, trained on square
pictures, draws pictures of any size.

The report trains on 512 x 512 and draws 512 x 512 or 64 x 400: to its network, whose latents are eight times smaller,
64 x 64 and 8 x 50. Here a picture has one channel and those sizes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.data.sounds.windows import SoundWindows
from timbrel.diffusion.samplers import dpm_solver_pp_2m, guided, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.models.unet import BandsUNet, BandsUNetConfig
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.stable_diffusion import from_picture, to_picture
from timbrel.systems.weights import load_weights, save_weights
from timbrel.training.recipes import Recipe
from timbrel.training.stage import Stage

SHAPES = {"square": (64, 64), "wide": (8, 50)}
"""Bands and frames of pictures; the square is what training has."""
SCHEDULE = ScheduleConfig(prediction_type="v")
NULL_SHARE = 0.1  # of pictures that are trained without their class


class Drawer(BandsUNet):
    """A `BandsUNet` that is told a class: its number, or that of no class, which comes last."""

    def __init__(self, widths: tuple[int, ...], num_classes: int) -> None:
        schedule = SCHEDULE.build()
        super().__init__(BandsUNetConfig(latent_height=1, report_widths=widths), schedule.alphas_cumprod)
        self.classes = nn.Embedding(num_classes + 1, self.config.embedding_width)

    def embed(self, timesteps: Tensor, *condition: Tensor) -> Tensor:
        [label] = condition
        return super().embed(timesteps) + self.classes(label)

    @torch.inference_mode()
    def draw(self, label: int, shape: tuple[int, int], seeds: list[int], *, steps: int, guidance: float) -> Tensor:
        """Pictures [seeds, 1, h, w] of a class, from -1 to 1."""
        wanted, anything = (
            lambda x, t, number=number: self(x, t, torch.full((len(x),), number))
            for number in (label, self.classes.num_embeddings - 1)
        )
        schedule = SCHEDULE.build()
        noise = seeded_noise((1, *shape), seeds)
        model = guided(wanted, anything, guidance)
        return dpm_solver_pp_2m(model, noise, schedule, inference_timesteps(schedule, steps)).clamp(-1, 1)


class SquaresStage(Stage):
    """Trains a `Drawer` on square pictures of windows of sounds."""

    name = "squares"

    def __init__(self, recipe: Recipe, drawer: Drawer, train: SoundWindows, validation: SoundWindows) -> None:
        super().__init__(recipe, {"drawer": drawer})
        self.drawer, self.train, self.validation = drawer, train, validation

    def batch(self, step: int) -> dict[str, Tensor]:
        rng = self.rng(step)
        batch = self._draw(self.train, rng)
        dropped = torch.from_numpy(rng.random(len(batch["label"])) < NULL_SHARE)
        return batch | {"label": batch["label"].masked_fill(dropped, len(self.train.labels))}

    def _draw(self, windows: SoundWindows, rng: np.random.Generator) -> dict[str, Tensor]:
        size = self.recipe.batch_size
        drawn = windows.draw(rng, size, 0.0)
        return {
            "picture": smaller(drawn["mel"], SHAPES["square"], windows.store.config.floor_db),
            "label": torch.tensor([self.train.labels.index(label) for label in drawn["label"]]),
            "timesteps": torch.from_numpy(rng.integers(SCHEDULE.num_train_timesteps, size=size)),
            "noise": torch.from_numpy(rng.standard_normal((size, 1, *SHAPES["square"]), dtype=np.float32)),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        schedule = SCHEDULE.build()
        parts = (batch["picture"], batch["noise"], batch["timesteps"])
        predicted = self.drawer(schedule.add_noise(*parts), batch["timesteps"], batch["label"])
        return {"loss": (predicted - schedule.target(*parts)).square().mean()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        batches = [self._draw(self.validation, np.random.default_rng((0, k))) for k in range(4)]
        return {"loss": float(np.mean([float(self.loss(self.to_device(b), 0)["loss"]) for b in batches]))}

    def save(self, folder: Path) -> None:
        save_weights(folder / "drawer.safetensors", self.drawer, torch.float32)


def load_drawer(folder: Path, drawer: Drawer) -> Drawer:
    """With the weights that a stage saved."""
    load_weights(folder / "drawer.safetensors", drawer)
    return drawer


def smaller(mel: Tensor, shape: tuple[int, int], floor_db: float) -> Tensor:
    """Mels in dB [batch, 1, n_mels, frames] -> pictures [batch, 1, *shape] from -1, the floor, to 1, full scale."""
    return to_picture(F.adaptive_avg_pool2d(mel, shape), floor_db)


def stretched(picture: Tensor, shape: tuple[int, int], floor_db: float) -> Tensor:
    """Pictures [batch, 1, h, w] -> mels in dB [batch, 1, *shape]."""
    return from_picture(F.interpolate(picture, shape, mode="bilinear"), floor_db)
