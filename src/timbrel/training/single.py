"""Report 003: an unconditional diffusion model of one instrument, over a frozen codec."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timbrel.data.augment import varied
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.unet import BandsUNetConfig, UNet, UNetConfig, with_pictures
from timbrel.systems.folder import load_codec, load_system, save_system
from timbrel.systems.single import SingleSystem
from timbrel.systems.weights import fingerprint
from timbrel.training.recipes import SingleRecipe
from timbrel.training.shared import (
    MOMENT_WINDOWS,
    check_mel,
    check_recipe,
    latent_moments,
    schedule_of,
    side_by_side,
    split_windows,
)
from timbrel.training.stage import Stage


class SingleStage(Stage):
    """Trains a `SingleSystem` on one label of a mel store: the mean absolute error (report 003, section 4.2.4) of what
    the recipe says is predicted. No other instrument is heard.

    Raises:
        InputError: the codec does not divide the recipe's `frames`.
    """

    name = "single"
    recipe: SingleRecipe

    def __init__(self, recipe: SingleRecipe, model: SingleSystem, train: Windows, validation: Windows) -> None:
        if recipe.frames % model.codec.factor:
            raise InputError(f"frames is {recipe.frames}; expected a multiple of {model.codec.factor}")
        super().__init__(
            recipe,
            {"denoiser": model.denoiser},
            frozen={"codec": model.codec},
            identity={"instrument": model.instrument, "codec": fingerprint(model.codec)},
        )
        self.model, self.train, self.validation = model, train, validation

    @classmethod
    def prepare(
        cls,
        recipe: SingleRecipe,
        data: str | Path,
        *,
        instrument: str,
        codec: str | Path = "default",
        init_from: str | Path | None = None,
    ) -> SingleStage:
        """From one label of a mel store, with a model that is new over a codec or goes on from another.

        Raises:
            InputError: no recording of the instrument; sizes other than the recipe's, mels other than the store's;
                otherwise as `Windows`.
            ModelError: as `load_codec` and `load_system`.
        """
        store = _of_instrument(MelStore(data), instrument)
        train, validation = split_windows(store, recipe.frames)
        if init_from is None:
            model = _new_model(recipe, instrument, codec, store)
        else:
            model = _known_model(recipe, instrument, init_from, store)
        mean, std = latent_moments(model.codec, train.single(np.random.default_rng(recipe.seed), MOMENT_WINDOWS))
        model.denoiser.mean.copy_(mean)
        model.denoiser.std.copy_(std)
        return cls(recipe, model, train, validation)

    def batch(self, step: int) -> dict[str, Tensor]:
        return self._draw(self.train, self.rng(step), self.recipe.augment)

    def _draw(self, windows: Windows, rng: np.random.Generator, augment: bool) -> dict[str, Tensor]:
        size, codec = self.recipe.batch_size, self.model.codec
        mel = windows.single(rng, size)
        if augment:
            mel = varied(mel, rng, self.model.mel, self.recipe.tuning_semitones, self.recipe.gain_db)
        shape = (size, codec.config.latent_channels, mel.shape[2] // codec.factor, mel.shape[3] // codec.factor)
        return {
            "mel": mel,
            "timesteps": torch.from_numpy(rng.integers(self.model.schedule.num_train_timesteps, size=size)),
            "noise": torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        model = self.model
        with torch.no_grad(), torch.autocast(batch["mel"].device.type, enabled=False):
            latents = model.codec.encode(batch["mel"])
            noisy = model.schedule.add_noise(latents, batch["noise"], batch["timesteps"])
            target = model.schedule.target(latents, batch["noise"], batch["timesteps"])
        predicted = model.denoiser(noisy, batch["timesteps"])
        return {"loss": (predicted - target).abs().mean()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss on held-out recordings, not augmented; and the RMS error in dB of their mels, noised half-way and
        denoised: content that survives and detail that is made up both count."""
        model = self.model
        drawn = [self._draw(self.validation, np.random.default_rng((0, k)), augment=False) for k in range(8)]
        batches = [self.to_device(batch) for batch in drawn]
        losses = [float(self.loss(batch, 0)["loss"]) for batch in batches]
        truth = batches[0]["mel"]
        mel, generated = self._from_half_way(truth)
        self._last = side_by_side(model.mel.floor_db, truth, mel, generated)
        return {
            "loss": sum(losses) / len(losses),
            "half_way_rms_db": float((mel - truth).square().mean().sqrt()),
        }

    def _from_half_way(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Mels [batch, 1, n_mels, frames] in dB, noised half-way and back; and one that is made of noise alone."""
        model, schedule = self.model, self.model.schedule
        timesteps = inference_timesteps(schedule, min(50, schedule.num_train_timesteps))
        half = timesteps[len(timesteps) // 2 :]
        latents = model.codec.encode(truth)
        noise = seeded_noise(latents.shape[1:], range(len(latents)), device=truth.device)
        mel = model.codec.decode(ddim(model.denoiser, schedule.add_noise(latents, noise, half[0]), schedule, half))
        return mel, model.codec.decode(ddim(model.denoiser, noise[:1], schedule, timesteps))

    def samples(self) -> dict[str, Tensor]:
        return {"recording, back from half-way, from noise": self._last}

    def save(self, folder: Path) -> None:
        self.model.info = self.info(f"cross-diffusion and duets: {self.model.instrument} alone")
        save_system(folder, self.model)


def _of_instrument(store: MelStore, instrument: str) -> MelStore:
    """The store with the undegraded recordings of one label alone."""
    labels = sorted({e.label for e in store.entries})
    store.entries = [e for e in store.entries if e.label == instrument and not e.degraded]
    if not store.entries:
        raise InputError(
            f"{store.folder} has no recording of {instrument!r}; expected one of {', '.join(labels) or 'none'}: "
            "name one of those, or add recordings with `timbrel data prepare`"
        )
    return store


def _known_model(recipe: SingleRecipe, instrument: str, folder: str | Path, store: MelStore) -> SingleSystem:
    model = dataclasses.replace(load_system(folder, SingleSystem), instrument=instrument)
    check_mel(model.mel, store)
    settings: dict[str, Any] = {"architecture": "report"}
    if isinstance(model.denoiser, UNet):
        settings = {"architecture": "default"}
        model.denoiser = with_pictures(model.denoiser, recipe.picture_width, recipe.picture_dilations)
    settings |= dataclasses.asdict(model.denoiser.config) | dataclasses.asdict(model.schedule_config)
    check_recipe(recipe, settings, folder)
    return model


def _new_model(recipe: SingleRecipe, instrument: str, codec: str | Path, store: MelStore) -> SingleSystem:
    """Fresh weights: over a codec, or the report's over the mel itself."""
    torch.manual_seed(recipe.seed)
    if recipe.architecture == "report":
        identity = MelAutoencoder(AutoencoderConfig(1, 1, width=1, num_blocks=0, floor_db=store.config.floor_db))
        pictures = BandsUNetConfig(latent_height=store.config.n_mels, report_widths=recipe.report_widths)
        return SingleSystem.build(instrument, store.config, identity, pictures, schedule_of(recipe))
    mel, loaded = load_codec(codec, MelAutoencoder)
    check_mel(mel, store)
    along_time = UNetConfig(
        latent_channels=loaded.config.latent_channels,
        latent_height=mel.n_mels // loaded.factor,
        widths=recipe.widths,
        picture_width=recipe.picture_width,
        picture_dilations=recipe.picture_dilations,
    )
    return SingleSystem.build(instrument, mel, loaded, along_time, schedule_of(recipe))
