"""Stage 1 of the default model: the mel autoencoder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.checkpoint import expect, load_codec, save_codec
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.training.recipes import AutoencoderRecipe
from timbrel.training.transfer import check_mel, check_recipe


class AutoencoderStage:
    """Trains a `MelAutoencoder`: mean absolute error in dB, of the picture and of its differences along both
    axes (which a blurred picture has wrong). The basis is the data's principal components, and stays."""

    def __init__(self, recipe: AutoencoderRecipe, data: str | Path, *, init_from: str | Path | None = None) -> None:
        self.recipe = recipe
        store = MelStore(data)
        self.mel_config = store.config
        self.train = Windows(store, "train", recipe.frames, recipe.frames)
        self.validation = Windows(store, "validation", recipe.frames, recipe.frames)
        if init_from is not None:
            mel, codec = load_codec(init_from)
            self.codec = expect(codec, MelAutoencoder, init_from)
            check_mel(mel, store)
            check_recipe(recipe, dataclasses.asdict(self.codec.config), init_from)
            self.codec.train().requires_grad_(True)
        else:
            torch.manual_seed(recipe.seed)
            self.codec = MelAutoencoder(
                AutoencoderConfig(
                    latent_channels=recipe.latent_channels,
                    width=recipe.width,
                    num_blocks=recipe.num_blocks,
                    floor_db=store.config.floor_db,
                )
            )
            self.codec.fit_basis(self.train.single(np.random.default_rng(recipe.seed), 256))
        self.modules: dict[str, torch.nn.Module] = {"codec": self.codec}

    def batch(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.recipe.seed, step))
        return {"mel": self.train.single(rng, self.recipe.batch_size)}

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        mel = batch["mel"]
        with torch.autocast(mel.device.type, enabled=False):
            latents = self.codec.encode(mel)
        decoded = self.codec.decode(latents).float()
        error = decoded - mel
        across, along = error.diff(dim=2).abs().mean(), error.diff(dim=3).abs().mean()
        loss = error.abs().mean() + self.recipe.difference_weight * (across + along)
        return {"loss": loss, "rms_db": error.square().mean().sqrt()}

    def validate(self) -> dict[str, float]:
        mel, decoded = self._there_and_back(0, 32)
        error = decoded - mel
        return {"mae_db": float(error.abs().mean()), "rms_db": float(error.square().mean().sqrt())}

    def samples(self) -> dict[str, Tensor]:
        both = torch.cat(self._there_and_back(1, 1), dim=-1)[0, 0].flip(0).cpu()
        return {"mel and reconstruction": 1 - both / self.mel_config.floor_db}

    @torch.no_grad()
    def _there_and_back(self, seed: int, size: int) -> tuple[Tensor, Tensor]:
        mel = self.validation.single(np.random.default_rng(seed), size).to(self.codec.basis.device)
        return mel, self.codec.decode(self.codec.encode(mel)).float()

    def save(self, folder: Path) -> None:
        info = {
            "purpose": "mel autoencoder",
            "training": f"stage autoencoder, at most {self.recipe.steps} steps",
            "figures": self.validate(),
            "recipe": dataclasses.asdict(self.recipe),
        }
        save_codec(folder, self.mel_config, self.codec, info)
