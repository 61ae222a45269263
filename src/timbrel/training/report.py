"""The two stages of the reference system of report 001, by its own method (its sections 2.2, 4.3 and 4.4).

Of its objective, equation 9, the terms that need the weights of another project's network are left out: the
perceptual distance of equation 10 and the style loss, equation 12. What makes the style count is the data: a moment
of a recording is denoised with the style of another moment, or of another recording, of the same instrument.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from timbrel.checkpoint import (
    ReportModel,
    ScheduleConfig,
    expect,
    load_codec,
    load_transfer_model,
    save_codec,
    save_transfer_model,
)
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.errors import InputError
from timbrel.models.report import (
    ReportCodec,
    ReportCodecConfig,
    ReportStyleConfig,
    ReportUNetConfig,
    reconstruction_loss,
)
from timbrel.training.recipes import Recipe, ReportAutoencoderRecipe, ReportTransferRecipe
from timbrel.training.transfer import check_mel, named_instruments


class ReportAutoencoderStage:
    """Stage 1: trains a `ReportCodec` by equation 10."""

    def __init__(
        self, recipe: ReportAutoencoderRecipe, data: str | Path, *, init_from: str | Path | None = None
    ) -> None:
        self.recipe = recipe
        store = MelStore(data)
        self.mel_config = store.config
        self.train, self.validation = _windows(recipe, store)
        torch.manual_seed(recipe.seed)
        self.codec = ReportCodec(ReportCodecConfig(floor_db=store.config.floor_db))
        if init_from is not None:
            self.codec = expect(load_codec(init_from)[1], ReportCodec, init_from)
        self.codec.train().requires_grad_(True)
        self.modules: dict[str, torch.nn.Module] = {"codec": self.codec}

    def batch(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.recipe.seed, step))
        return {"mel": self.train.single(rng, self.recipe.batch_size)}

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        latents = self.codec.encode(batch["mel"])
        picture, decoded = (self.codec.picture(mel) for mel in (batch["mel"], self.codec.decode(latents)))
        loss = reconstruction_loss(picture, decoded, latents, kl_weight=self.recipe.kl_weight)
        return {"loss": loss, "rms_db": F.mse_loss(decoded, picture).sqrt() * -self.mel_config.floor_db / 2}

    def validate(self) -> dict[str, float]:
        mel = self.validation.single(np.random.default_rng(0), 32).to(self.codec.scale.device)
        return {name: float(value) for name, value in self.loss({"mel": mel}, 0).items()}

    def samples(self) -> dict[str, Tensor]:
        mel = self.validation.single(np.random.default_rng(1), 1).to(self.codec.scale.device)
        return {"mel and reconstruction": _side_by_side(mel, self.codec.decode(self.codec.encode(mel)))}

    def save(self, folder: Path) -> None:
        info = {
            "purpose": "mel autoencoder of report 001",
            "training": f"stage autoencoder, recipe report, at most {self.recipe.steps} steps",
            "figures": self.validate(),
            "recipe": dataclasses.asdict(self.recipe),
        }
        save_codec(folder, self.mel_config, self.codec, info)


class ReportTransferStage:
    """Stage 2: trains style encoder and denoiser by equation 11, on v, and the decoder by equation 10; the encoder
    stays as it is."""

    def __init__(
        self,
        recipe: ReportTransferRecipe,
        data: str | Path,
        *,
        codec: str | Path | None = None,
        init_from: str | Path | None = None,
    ) -> None:
        self.recipe = recipe
        store = MelStore(data)
        self.train, self.validation = _windows(recipe, store)
        self.model = self._initial_model(codec, init_from)
        check_mel(self.model, store)
        self.modules: dict[str, torch.nn.Module] = {
            "codec": self.model.codec,
            "style": self.model.style,
            "denoiser": self.model.denoiser,
        }
        for module in self.modules.values():
            module.train().requires_grad_(True)
        self.model.codec.freeze_encoder()

    def _initial_model(self, codec: str | Path | None, init_from: str | Path | None) -> ReportModel:
        if init_from is not None:
            return expect(load_transfer_model(init_from), ReportModel, init_from)
        if codec is None:
            raise InputError("there is no codec; train one with `timbrel train autoencoder report`, or give init_from")
        mel, loaded = load_codec(codec)
        report = expect(loaded, ReportCodec, codec)
        report.fit_scale(self.train.single(np.random.default_rng(self.recipe.seed), 256))
        torch.manual_seed(self.recipe.seed)
        schedule = ScheduleConfig("linear", self.recipe.num_train_timesteps, "v", zero_terminal_snr=True)
        unet = ReportUNetConfig(latent_channels=report.config.latent_channels)
        return ReportModel.build(mel, report, ReportStyleConfig(), unet, schedule)

    def batch(self, step: int) -> dict[str, Tensor]:
        return self._draw(self.train, np.random.default_rng((self.recipe.seed, step)), self.recipe.batch_size)

    def _draw(self, windows: Windows, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        mels = windows.transfer(rng, size, None)
        codec = self.model.codec
        height, width = self.model.mel.n_mels // codec.factor, self.recipe.frames // codec.factor
        noise = rng.standard_normal((size, codec.config.latent_channels, height, width), dtype=np.float32)
        return {
            "mel": mels["target"],
            "style": mels["style"],
            "noise": torch.from_numpy(noise),
            "timesteps": torch.from_numpy(rng.integers(0, self.recipe.num_train_timesteps, size)),
            "drop": torch.from_numpy(rng.random(size) < self.recipe.null_style_share),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        model, recipe = self.model, self.recipe
        noise, timesteps = batch["noise"], batch["timesteps"]
        latents = model.codec.encode(batch["mel"])
        picture, decoded = (model.codec.picture(mel) for mel in (batch["mel"], model.codec.decode(latents)))
        reconstruction = reconstruction_loss(picture, decoded, latents, kl_weight=0.0)
        style = model.denoiser.null(model.style(model.codec.picture(batch["style"])), batch["drop"])
        predicted = model.denoiser(model.schedule.add_noise(latents, noise, timesteps), timesteps, style)
        diffusion = F.mse_loss(predicted, model.schedule.target(latents, noise, timesteps))
        loss = recipe.reconstruction_weight * reconstruction + recipe.diffusion_weight * diffusion
        return {"loss": loss, "reconstruction": reconstruction, "diffusion": diffusion}

    def validate(self) -> dict[str, float]:
        """The losses, and the diffusion's with the style of another recording (of the batch's next sample)."""
        batch = self._held_out(48)
        figures = {name: float(value) for name, value in self.loss(batch, 0).items()}
        batch["style"] = batch["style"].roll(1, 0)
        return figures | {"diffusion_wrong_style": float(self.loss(batch, 0)["diffusion"])}

    def _held_out(self, size: int) -> dict[str, Tensor]:
        batch = self._draw(self.validation, np.random.default_rng(0), size)
        return {name: value.to(self.model.codec.scale.device) for name, value in batch.items()}

    def samples(self) -> dict[str, Tensor]:
        model, batch = self.model, self._held_out(2)
        content, style = batch["mel"][:1], batch["style"][1:]
        latents = model.sample(
            model.codec.encode(content),
            model.style_tokens(style),
            batch["noise"][:1],
            steps=min(SAMPLING["steps"], self.recipe.num_train_timesteps),
            guidance=1.0,
            strength=1.0,
        )
        return {"content, style, result": _side_by_side(content, style, model.codec.decode(latents))}

    def save(self, folder: Path) -> None:
        self.model.info = {
            "purpose": "timbre transfer, the system of report 001",
            "training": f"stage transfer, recipe report, at most {self.recipe.steps} steps of {self.recipe.batch_size}",
            "figures": {},
            "sampling": SAMPLING,
            "recipe": dataclasses.asdict(self.recipe),
        }
        self.model.instruments = named_instruments(self.model, self.train)
        save_transfer_model(folder, self.model)


SAMPLING = {"steps": 20}


def _windows(recipe: Recipe, store: MelStore) -> tuple[Windows, Windows]:
    """Those of training and validation."""
    if store.config.n_mels % 64 or recipe.frames % ReportCodec.factor:
        raise InputError(
            f"the mels of {store.folder} have {store.config.n_mels} bands, and frames is {recipe.frames}; expected "
            f"multiples of 64 and {ReportCodec.factor}, as in the report: make the data with --mel.sample-rate 22050 "
            "--mel.n-fft 2048 --mel.hop-length 512 --mel.n-mels 128, and leave frames at 128"
        )
    train, validation = (Windows(store, split, recipe.frames, recipe.frames) for split in ("train", "validation"))
    return train, validation


def _side_by_side(*mels: Tensor) -> Tensor:
    """Mels in dB [1, 1, n_mels, frames] -> one picture [height, width] in [0, 1]."""
    both = torch.cat(mels, dim=-1)[0, 0].flip(0)
    return (1 + both / 100).clamp(0, 1)
