"""The two stages of the reference system of report 001, by its own method (its sections 2.2, 4.3 and 4.4).

Two things make the style count. The first is the data: a moment of a recording is denoised with the style of another
moment, or of another recording, of the same instrument. The second is the style loss, which reaches every network that
made the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.audio.mel import MelConfig
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.errors import InputError
from timbrel.models.report import (
    ReportCodec,
    ReportCodecConfig,
    ReportStyle,
    ReportStyleConfig,
    ReportUNetConfig,
)
from timbrel.systems.alone import CodecSystem
from timbrel.systems.folder import load_codec, load_system, save_system
from timbrel.systems.report_001 import Report001System
from timbrel.training.losses import (
    FeatureMaps,
    feature_loss,
    grams,
    kl_of_moments,
    kl_of_posterior,
    load_feature_maps,
)
from timbrel.training.recipes import Recipe, ReportAutoencoderRecipe, ReportTransferRecipe
from timbrel.training.shared import check_mel, check_recipe, named_instruments, schedule_of, side_by_side, split_windows
from timbrel.training.stage import Stage

SAMPLING = {"steps": 20}
FIRST_LOG_VARIANCE = -4.0  # of latents with a variance of about 1


class _ReportStage(Stage):
    """What both stages share: windows, and the network that judges, if a term needs one."""

    recipe: ReportAutoencoderRecipe | ReportTransferRecipe

    def __init__(
        self,
        recipe: ReportAutoencoderRecipe | ReportTransferRecipe,
        modules: dict[str, nn.Module],
        train: Windows,
        validation: Windows,
        features: FeatureMaps | None,
    ) -> None:
        super().__init__(recipe, modules, frozen={"features": features} if features else None)
        self.train, self.validation, self.features = train, validation, features

    def info(self, purpose: str, figures: dict[str, float] | None = None) -> dict[str, Any]:
        """As of any stage, with the feature network's name in place of its path."""
        info = super().info(purpose, figures)
        info["recipe"]["feature_network"] = self.features.name if self.features else None
        return info


class ReportAutoencoderStage(_ReportStage):
    """Stage 1: trains a `ReportCodec` by equation 10."""

    name = "autoencoder, recipe report"
    recipe: ReportAutoencoderRecipe

    def __init__(
        self,
        recipe: ReportAutoencoderRecipe,
        mel: MelConfig,
        codec: ReportCodec,
        train: Windows,
        validation: Windows,
        features: FeatureMaps | None = None,
    ) -> None:
        modules: dict[str, nn.Module] = {"codec": codec}
        if recipe.log_variance:
            modules["log_variance"] = _log_variance(codec.config.latent_channels)
        super().__init__(recipe, modules, train, validation, features)
        self.mel_config, self.codec = mel, codec

    @classmethod
    def prepare(
        cls, recipe: ReportAutoencoderRecipe, data: str | Path, *, init_from: str | Path | None = None
    ) -> ReportAutoencoderStage:
        """From a mel store, with a codec that is new or goes on from a model.

        Raises:
            InputError: mels, sizes or a feature network that do not fit; otherwise as `Windows`.
            ModelError: as `load_codec` and `load_feature_maps`.
        """
        store = MelStore(data)
        _check_sides(recipe, store, 2**recipe.downsamplings)
        train, validation = split_windows(store, recipe.frames)
        features = _features(recipe, train)
        torch.manual_seed(recipe.seed)
        codec = ReportCodec(ReportCodecConfig(floor_db=store.config.floor_db, downsamplings=recipe.downsamplings))
        if init_from is not None:
            mel, codec = load_codec(init_from, ReportCodec)
            check_mel(mel, store)
            check_recipe(recipe, {"downsamplings": codec.config.downsamplings}, init_from)
        return cls(recipe, store.config, codec, train, validation, features)

    def batch(self, step: int) -> dict[str, Tensor]:
        return self._draw(self.train, self.rng(step), self.recipe.batch_size)

    def _draw(self, windows: Windows, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        batch = {"mel": windows.single(rng, size)}
        if self.recipe.log_variance:
            batch["noise"] = _noise(rng, self.codec, batch["mel"].shape, size)
        return batch

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        codec, recipe, mel = self.codec, self.recipe, batch["mel"]
        latents = codec.encode(mel)
        if recipe.log_variance:
            log_variance = self.modules["log_variance"](latents)
            kl = kl_of_posterior(latents, log_variance)
            latents = latents + (log_variance / 2).exp() * batch["noise"]
        else:
            kl = kl_of_moments(latents)
        decoded = codec.decode(latents)
        mse = F.mse_loss(codec.normalise(decoded), codec.normalise(mel))
        loss, terms = mse + recipe.kl_weight * kl, {"mse": mse, "kl": kl}
        if self.features and recipe.perceptual_weight:
            perceptual = feature_loss(self.features, mel, decoded)
            loss = loss + recipe.perceptual_weight * perceptual
            terms[f"perceptual[{self.features.name}]"] = perceptual
        return {"loss": loss, **terms, "rms_db": mse.sqrt() * -self.mel_config.floor_db / 2}

    def validate(self) -> dict[str, float]:
        batch = self.to_device(self._draw(self.validation, np.random.default_rng(0), 32))
        return {name: float(value) for name, value in self.loss(batch, 0).items()}

    def samples(self) -> dict[str, Tensor]:
        mel = self.validation.single(np.random.default_rng(1), 1).to(self.device)
        rebuilt = self.codec.decode(self.codec.encode(mel))
        return {"mel and reconstruction": side_by_side(self.mel_config.floor_db, mel, rebuilt)}

    def save(self, folder: Path) -> None:
        info = self.info("mel autoencoder of report 001", self.validate())
        save_system(folder, CodecSystem(mel=self.mel_config, codec=self.codec, info=info))


class ReportTransferStage(_ReportStage):
    """Stage 2: trains style encoder, denoiser and decoder by equation 9; the encoder stays as it is.

    The diffusion loss, equation 11, is on v. The squared error is of the mel through the codec and back, and "accounts
    only for the decoder" (section 4.4). The perceptual and the style term judge the result of one prediction, at
    whatever timestep was drawn: its estimate of the clean latents (equation 4), decoded. They reach all three parts.
    The label term, of the report's outlook (section 5.2), trains the style encoder alone.
    """

    name = "transfer, recipe report"
    recipe: ReportTransferRecipe

    def __init__(
        self,
        recipe: ReportTransferRecipe,
        model: Report001System,
        train: Windows,
        validation: Windows,
        features: FeatureMaps | None = None,
    ) -> None:
        modules: dict[str, nn.Module] = {"codec": model.codec, "style": model.style, "denoiser": model.denoiser}
        if recipe.label_weight:
            modules["labels"] = LabelLoss(train.labels, 12 * model.style.config.num_filters)
        super().__init__(recipe, modules, train, validation, features)
        model.codec.freeze_encoder()
        self.model = model

    @classmethod
    def prepare(
        cls,
        recipe: ReportTransferRecipe,
        data: str | Path,
        *,
        codec: str | Path | None = None,
        init_from: str | Path | None = None,
    ) -> ReportTransferStage:
        """From a mel store, with a model that is new over a codec or goes on from another.

        Raises:
            InputError: neither codec nor model; mels, sizes or a feature network that do not fit; otherwise as
                `Windows`.
            ModelError: as `load_codec`, `load_system` and `load_feature_maps`.
        """
        store = MelStore(data)
        train, validation = split_windows(store, recipe.frames)
        features = _features(recipe, train)
        model = _new_model(recipe, codec, train) if init_from is None else _known_model(recipe, init_from, store)
        check_mel(model.mel, store)
        return cls(recipe, model, train, validation, features)

    def batch(self, step: int) -> dict[str, Tensor]:
        return self._draw(self.train, self.rng(step), self.recipe.batch_size)

    def _draw(self, windows: Windows, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        mels, levels = windows.transfer(rng, size, None), self.recipe.noise_levels
        return {
            "mel": mels["target"],
            "style": mels["style"],
            "label": mels["label"],
            "noise": _noise(rng, self.model.codec, mels["target"].shape, size, levels),
            "timesteps": torch.from_numpy(rng.integers(0, self.recipe.num_train_timesteps, (size, levels))),
            "drop": torch.from_numpy(rng.random(size) < self.recipe.null_style_share),
        }

    def _levels(self, x: Tensor) -> Tensor:
        """Each sample as often as there are noise levels of it."""
        return x.repeat_interleave(self.recipe.noise_levels, dim=0)

    def _style(self, batch: dict[str, Tensor]) -> ReportStyle:
        return self.model.style(self.model.codec.normalise(batch["style"]))

    def _denoised(self, batch: dict[str, Tensor], encoded: Tensor, style: ReportStyle) -> tuple[Tensor, Tensor]:
        """The diffusion loss, and the estimate of the clean latents at every noise level, [batch * levels, c, h, w]."""
        model, latents = self.model, self._levels(encoded)
        noise, timesteps = batch["noise"].flatten(0, 1), batch["timesteps"].flatten(0, 1)
        style = model.denoiser.null(style, batch["drop"])
        style = ReportStyle(self._levels(style.fine), self._levels(style.coarse))
        noisy = model.schedule.add_noise(latents, noise, timesteps)
        predicted = model.denoiser(noisy, timesteps, style)
        loss = F.mse_loss(predicted, model.schedule.target(latents, noise, timesteps))
        return loss, model.schedule.to_x0(predicted, noisy, timesteps)

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        codec, recipe = self.model.codec, self.recipe
        encoded, condition = codec.encode(batch["mel"]), self._style(batch)
        diffusion, estimated = self._denoised(batch, encoded, condition)
        # In one call: batch statistics are then of both, as are the running ones.
        decoded, result = codec.decode(torch.cat([encoded, estimated])).tensor_split([len(encoded)])
        mse = F.mse_loss(codec.normalise(decoded), codec.normalise(batch["mel"]))
        loss = recipe.diffusion_weight * diffusion + recipe.reconstruction_weight * mse
        terms = {"diffusion": diffusion, "mse": mse}
        if self.features and recipe.perceptual_weight:
            perceptual = feature_loss(self.features, self._levels(batch["mel"]), result)
            loss = loss + recipe.reconstruction_weight * recipe.perceptual_weight * perceptual
            terms[f"perceptual[{self.features.name}]"] = perceptual
        if self.features and recipe.style_weight:
            compared = grams(self.features) if recipe.style_loss == "gram" else self.features
            style = feature_loss(compared, self._levels(batch["style"]), result)
            loss = loss + recipe.style_weight * style
            terms[f"style[{self.features.name}]"] = style
        if "labels" in self.modules:
            pooled = torch.cat([condition.fine.mean(dim=1), condition.coarse.mean(dim=1)], dim=1)
            terms["label"] = self.modules["labels"](pooled, batch["label"])
            loss = loss + recipe.label_weight * terms["label"]
        return {"loss": loss, **terms}

    def validate(self) -> dict[str, float]:
        """The losses, and the diffusion's with the style of another recording (of the batch's next sample)."""
        batch = self._held_out(48)
        figures = {name: float(value) for name, value in self.loss(batch, 0).items()}
        other = self._style({"style": batch["style"].roll(1, 0)})
        wrong, _ = self._denoised(batch, self.model.codec.encode(batch["mel"]), other)
        return figures | {"diffusion_wrong_style": float(wrong)}

    def _held_out(self, size: int) -> dict[str, Tensor]:
        return self.to_device(self._draw(self.validation, np.random.default_rng(0), size))

    def samples(self) -> dict[str, Tensor]:
        model, batch = self.model, self._held_out(2)
        content, style = batch["mel"][:1], batch["style"][1:]
        latents = model.sample(
            model.codec.encode(content),
            model.style_tokens(style),
            batch["noise"][0, :1],
            steps=min(SAMPLING["steps"], self.recipe.num_train_timesteps),
            guidance=1.0,
            strength=1.0,
        )
        result = model.codec.decode(latents)
        return {"content, style, result": side_by_side(model.mel.floor_db, content, style, result)}

    def save(self, folder: Path) -> None:
        self.model.info = self.info("timbre transfer, the system of report 001") | {"sampling": SAMPLING}
        self.model.instruments = named_instruments(self.model, self.train)
        save_system(folder, self.model)


class LabelLoss(nn.Module):
    """How well embeddings of style clips match those of their instruments' names within the batch: CLIP's
    objective and temperature (Radford et al. 2021, arXiv 2103.00020, section 2.3), with a learned embedding a name.
    An instrument that plays in several clips is right for each of them.

    Raises:
        InputError: there are fewer than two labels.
    """

    def __init__(self, labels: Sequence[str], width: int) -> None:
        super().__init__()
        if len(labels) < 2:
            raise InputError(
                f"label_weight needs instruments to tell apart, and the data name {', '.join(labels) or 'none'}; "
                "expected at least two, or label_weight 0"
            )
        self.names = nn.Embedding(len(labels), width)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [batch, width] of clips whose instruments are `labels` [batch] (-1: none, left out) -> scalar."""
        labelled = labels >= 0
        if not labelled.any():
            return embeddings.sum() * 0
        embeddings, labels = embeddings[labelled].float(), labels[labelled]
        names = F.normalize(self.names.weight, dim=1)
        scores = self.log_scale.exp().clamp(max=100) * F.normalize(embeddings, dim=1) @ names.T
        present = labels.unique()
        players = F.one_hot(labels, len(names)).float().T[present]
        of_names = F.cross_entropy(scores.T[present], players / players.sum(dim=1, keepdim=True))
        return (F.cross_entropy(scores, labels) + of_names) / 2


def _log_variance(channels: int) -> nn.Module:
    """Latents -> the logarithm of their variance, at first `FIRST_LOG_VARIANCE` everywhere."""
    head = nn.Conv2d(channels, channels, 1)
    for parameter, start in zip(head.parameters(), (0.0, FIRST_LOG_VARIANCE), strict=True):
        nn.init.constant_(parameter, start)
    return head


def _new_model(recipe: ReportTransferRecipe, codec: str | Path | None, windows: Windows) -> Report001System:
    """Fresh weights over a codec, whose latents' scale is the data's."""
    if codec is None:
        raise InputError("there is no codec; train one with `timbrel train autoencoder report`, or give init_from")
    mel, report = load_codec(codec, ReportCodec)
    _check_sides(recipe, windows.store, report.factor)
    report.fit_scale(windows.single(np.random.default_rng(recipe.seed), 256))
    torch.manual_seed(recipe.seed)
    unet = ReportUNetConfig(
        latent_channels=report.config.latent_channels,
        num_filters=recipe.num_filters,
        time_embedding=recipe.time_embedding,
        num_timesteps=recipe.num_train_timesteps,
    )
    return Report001System.build(mel, report, ReportStyleConfig(recipe.num_filters), unet, schedule_of(recipe))


def _known_model(recipe: ReportTransferRecipe, folder: str | Path, store: MelStore) -> Report001System:
    model = load_system(folder, Report001System)
    settings = dataclasses.asdict(model.schedule_config) | dataclasses.asdict(model.denoiser.config)
    check_recipe(recipe, settings, folder)
    _check_sides(recipe, store, model.codec.factor)
    return model


def _check_sides(recipe: Recipe, store: MelStore, factor: float) -> None:
    """That a codec which divides both sides by `factor` can take the windows."""
    bands = max(64, factor)
    if store.config.n_mels % bands or recipe.frames % factor:
        raise InputError(
            f"the mels of {store.folder} have {store.config.n_mels} bands, and frames is {recipe.frames}; expected "
            f"multiples of {bands} and {factor}: make the data with --mel.sample-rate 22050 "
            "--mel.n-fft 2048 --mel.hop-length 512 --mel.n-mels 128, and leave frames at 128"
        )


def _features(recipe: ReportAutoencoderRecipe | ReportTransferRecipe, windows: Windows) -> FeatureMaps | None:
    """The network of the terms that need one, or none where their weights are 0."""
    fields = dataclasses.asdict(recipe)
    needed = [f"{name} is {fields[name]:g}" for name in ("perceptual_weight", "style_weight") if fields.get(name)]
    if not needed:
        return None
    if recipe.feature_network is None:
        raise InputError(
            f"{' and '.join(needed)}, and feature_network is None; expected the network whose feature maps are "
            "compared: a folder that `timbrel train features` made from such data, or weights of VGGish or LPIPS "
            "(.pth, .safetensors or hf:OWNER/REPO/FILE). Or give 0 for the weight, to train without it"
        )
    mel = windows.single(np.random.default_rng(recipe.seed), 32)
    return load_feature_maps(recipe.feature_network, mel, windows.store.config)


def _noise(rng: np.random.Generator, codec: ReportCodec, mel: torch.Size, *sizes: int) -> Tensor:
    """[*sizes, c, h, w], for latents of mels of that shape."""
    height, width = (side // codec.factor for side in mel[2:])
    return torch.from_numpy(
        rng.standard_normal((*sizes, codec.config.latent_channels, height, width), dtype=np.float32)
    )
