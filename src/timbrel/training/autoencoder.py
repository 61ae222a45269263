"""Stage 1 of the transfer model: the mel autoencoder, its codec."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.systems.alone import CodecSystem
from timbrel.systems.folder import load_codec, save_system
from timbrel.training.recipes import AutoencoderRecipe
from timbrel.training.shared import check_mel, check_recipe, side_by_side, split_windows
from timbrel.training.stage import Stage


class AutoencoderStage(Stage):
    """Trains a `MelAutoencoder`: mean absolute error in dB, of the mel and of its differences along both axes (which a
    blurred mel has wrong). The basis is the data's principal components, and stays."""

    name = "autoencoder"
    recipe: AutoencoderRecipe

    def __init__(
        self, recipe: AutoencoderRecipe, mel: MelConfig, codec: MelAutoencoder, train: Windows, validation: Windows
    ) -> None:
        super().__init__(recipe, {"codec": codec})
        self.mel_config, self.codec, self.train, self.validation = mel, codec, train, validation

    @classmethod
    def prepare(
        cls, recipe: AutoencoderRecipe, data: str | Path, *, init_from: str | Path | None = None
    ) -> AutoencoderStage:
        """From a mel store, with a codec that is new or goes on from a model."""
        store = MelStore(data)
        train, validation = split_windows(store, recipe.frames)
        codec = _new_codec(recipe, train) if init_from is None else _known_codec(recipe, store, init_from)
        return cls(recipe, store.config, codec, train, validation)

    def batch(self, step: int) -> dict[str, Tensor]:
        return {"mel": self.train.single(self.rng(step), self.recipe.batch_size)}

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        mel = batch["mel"]
        with torch.autocast(mel.device.type, enabled=False):
            latents = self.codec.encode(mel)
        decoded = self.codec.decode(latents).float()
        error = decoded - mel
        return {"loss": mel_error(error, self.recipe.difference_weight), "rms_db": error.square().mean().sqrt()}

    def validate(self) -> dict[str, float]:
        mel, decoded = self._there_and_back(0, 32)
        error = decoded - mel
        return {"mae_db": float(error.abs().mean()), "rms_db": float(error.square().mean().sqrt())}

    def samples(self) -> dict[str, Tensor]:
        return {"mel and reconstruction": side_by_side(self.mel_config.floor_db, *self._there_and_back(1, 1))}

    @torch.no_grad()
    def _there_and_back(self, seed: int, size: int) -> tuple[Tensor, Tensor]:
        mel = self.validation.single(np.random.default_rng(seed), size).to(self.device)
        return mel, self.codec.decode(self.codec.encode(mel)).float()

    def save(self, folder: Path) -> None:
        info = self.info("mel autoencoder", self.validate())
        save_system(folder, CodecSystem(mel=self.mel_config, codec=self.codec, info=info))


def mel_error(error: Tensor, difference_weight: float) -> Tensor:
    """Mean absolute error of mels [batch, 1, n_mels, frames], and of their differences along both axes."""
    across, along = error.diff(dim=2).abs().mean(), error.diff(dim=3).abs().mean()
    return error.abs().mean() + difference_weight * (across + along)


def _new_codec(recipe: AutoencoderRecipe, windows: Windows) -> MelAutoencoder:
    """Fresh weights, and the principal components of the data."""
    torch.manual_seed(recipe.seed)
    codec = MelAutoencoder(
        AutoencoderConfig(
            latent_channels=recipe.latent_channels,
            width=recipe.width,
            num_blocks=recipe.num_blocks,
            floor_db=windows.store.config.floor_db,
        )
    )
    codec.fit_basis(windows.single(np.random.default_rng(recipe.seed), 256))
    return codec


def _known_codec(recipe: AutoencoderRecipe, store: MelStore, folder: str | Path) -> MelAutoencoder:
    mel, codec = load_codec(folder, MelAutoencoder)
    check_mel(mel, store)
    check_recipe(recipe, dataclasses.asdict(codec.config), folder)
    return codec
