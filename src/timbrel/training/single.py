"""Report 003: an unconditional diffusion model of one instrument, over a frozen codec."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.checkpoint import (
    ScheduleConfig,
    SingleModel,
    expect,
    fingerprint,
    load_codec,
    load_single_model,
    save_single_model,
)
from timbrel.data.datasets import Windows, warp
from timbrel.data.store import MelStore
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.unet import UNetConfig
from timbrel.training.recipes import SingleRecipe
from timbrel.training.transfer import check_mel, check_recipe, latent_moments

TUNING_SEMITONES = 0.5  # recordings are not all tuned to 440 Hz, and voices to nothing
GAIN_DB = 3.0


class SingleStage:
    """Trains a `SingleModel` on one label of a mel store: the mean absolute error (report 003, section 4.2.4) of what
    the recipe says is predicted. No other instrument is heard.
    """

    def __init__(
        self,
        recipe: SingleRecipe,
        data: str | Path,
        *,
        instrument: str,
        codec: str | Path = "default",
        init_from: str | Path | None = None,
    ) -> None:
        self.recipe = recipe
        store = MelStore(data)
        labels = sorted({e.label for e in store.entries})
        store.entries = [e for e in store.entries if e.label == instrument and not e.degraded]
        if not store.entries:
            raise InputError(
                f"{store.folder} has no recording of {instrument!r}; expected one of {', '.join(labels) or 'none'}: "
                "name one of those, or add recordings with `timbrel data prepare`"
            )
        self.train = Windows(store, "train", recipe.frames, recipe.frames)
        self.validation = Windows(store, "validation", recipe.frames, recipe.frames)
        self.model = self._initial_model(instrument, codec, init_from)
        if recipe.frames % self.model.codec.factor:
            raise InputError(f"frames is {recipe.frames}; expected a multiple of {self.model.codec.factor}")
        self.identity = {"instrument": instrument, "codec": fingerprint(self.model.codec)}
        self.modules: dict[str, torch.nn.Module] = {"denoiser": self.model.denoiser}
        self.frozen: dict[str, torch.nn.Module] = {"codec": self.model.codec}
        self.model.denoiser.train().requires_grad_(True)

    def _initial_model(self, instrument: str, codec: str | Path, init_from: str | Path | None) -> SingleModel:
        recipe = self.recipe
        if init_from is not None:
            model = dataclasses.replace(load_single_model(init_from), instrument=instrument)
            check_mel(model, self.train.store)
            found = {"widths": model.denoiser.config.widths}
            check_recipe(recipe, found | dataclasses.asdict(model.schedule_config), init_from)
            self._fit_scale(model)
            return model
        mel, loaded = load_codec(codec)
        loaded = expect(loaded, MelAutoencoder, codec)
        torch.manual_seed(recipe.seed)
        model = SingleModel.build(
            instrument,
            mel,
            loaded,
            UNetConfig(
                latent_channels=loaded.config.latent_channels,
                latent_height=mel.n_mels // loaded.factor,
                widths=recipe.widths,
            ),
            ScheduleConfig(
                kind=recipe.schedule,
                num_train_timesteps=recipe.num_train_timesteps,
                prediction_type=recipe.prediction_type,
                zero_terminal_snr=recipe.prediction_type != "epsilon",
            ),
        )
        check_mel(model, self.train.store)
        self._fit_scale(model)
        return model

    def _fit_scale(self, model: SingleModel) -> None:
        mean, std = latent_moments(model.codec, self.train, self.recipe.seed)
        model.denoiser.mean.copy_(mean)
        model.denoiser.std.copy_(std)

    def batch(self, step: int) -> dict[str, Tensor]:
        return self._draw(self.train, np.random.default_rng((self.recipe.seed, step)), self.recipe.augment)

    def _draw(self, windows: Windows, rng: np.random.Generator, augment: bool) -> dict[str, Tensor]:
        size, codec = self.recipe.batch_size, self.model.codec
        mel = windows.single(rng, size)
        if augment:
            factor = 2 ** (rng.uniform(-TUNING_SEMITONES, TUNING_SEMITONES, (size, 1)) / 12)
            gain = torch.from_numpy(rng.uniform(-GAIN_DB, GAIN_DB, (size, 1, 1, 1))).float()
            floor = self.model.mel.floor_db
            mel = warp(mel[:, 0], torch.from_numpy(factor), self.model.mel)[:, None]
            mel = torch.where(mel > floor + 0.5, mel + gain, mel).clamp(floor, 0)
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
        """The loss on held-out recordings as they are, and how near, as RMS in dB of mel, the model comes back to them
        from noise half-way: content that is kept, and detail that is made up, both count."""
        model, schedule = self.model, self.model.schedule
        device = model.codec.basis.device
        drawn = [self._draw(self.validation, np.random.default_rng((0, k)), augment=False) for k in range(8)]
        batches = [{name: value.to(device) for name, value in batch.items()} for batch in drawn]
        losses = [float(self.loss(batch, 0)["loss"]) for batch in batches]

        batch = batches[0]
        timesteps = inference_timesteps(schedule, min(50, schedule.num_train_timesteps))
        half = timesteps[len(timesteps) // 2 :]
        latents = model.codec.encode(batch["mel"])
        noise = seeded_noise(latents.shape[1:], range(len(latents)), device=device)
        mel = model.codec.decode(ddim(model.denoiser, schedule.add_noise(latents, noise, half[0]), schedule, half))
        made = model.codec.decode(ddim(model.denoiser, noise[:1], schedule, timesteps))
        self._last = torch.cat([batch["mel"][0], mel[0], made[0]], dim=-1)[0].flip(0).cpu()
        return {
            "loss": sum(losses) / len(losses),
            "half_way_rms_db": float((mel - batch["mel"]).square().mean().sqrt()),
        }

    def samples(self) -> dict[str, Tensor]:
        return {"recording, back from half-way, from noise": 1 - self._last / self.model.mel.floor_db}

    def save(self, folder: Path) -> None:
        self.model.info = {
            "purpose": f"cross-diffusion and duets: {self.model.instrument} alone",
            "training": f"stage single, at most {self.recipe.steps} steps of {self.recipe.batch_size}",
            "figures": {},
            "recipe": dataclasses.asdict(self.recipe),
        }
        save_single_model(folder, self.model)
