"""Stage 2 of the transfer model: style encoder and denoiser, over a frozen codec."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.denoiser import Condition, DenoiserConfig, with_noise_input
from timbrel.models.discriminator import DiscriminatorConfig, LatentDiscriminator
from timbrel.models.style import StyleConfig
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.folder import load_codec, load_system, save_system
from timbrel.systems.transfer import TransferSystem
from timbrel.systems.weights import fingerprint
from timbrel.training.losses import FeatureMaps, hinge_loss, level_loss, load_feature_maps, matching_loss
from timbrel.training.recipes import TransferRecipe
from timbrel.training.shared import (
    MOMENT_WINDOWS,
    check_mel,
    check_recipe,
    latent_moments,
    named_instruments,
    side_by_side,
    split_windows,
)
from timbrel.training.stage import Stage

# The loss of a sample weighs 1.02 / sqrt(sigma^2 + 0.05): about 1 at pure noise and 4.6 at the data, where the error is
# small by itself.
WEIGHT, WEIGHT_FLOOR = 1.02, 0.05
LOSS_DB = 10  # of error are a loss of about 1
FEATURE_WINDOWS = 16  # of music, for the scale of feature maps
OTHER_STYLE_WEIGHT = 0.5  # beside 1 for what is true and 1 for what is made
UNKNOWN_SHARE = 0.4  # of the latents' deviation: what a new model is taken to leave open


class TransferStage(Stage):
    """Trains `TransferSystem.style` and `.denoiser` to give the target's latents.

    The loss is the mean absolute error of the clean latents as a mel in dB, and of its differences between bands
    and between frames: a squared error blurs where the answer is open, and a late or soft attack costs notes. A
    share of the samples (`pure_noise_share`) sits at the last timestep: a sampler of few steps rests on it.

    The best answer by that error alone is the mean of all that is possible, and the mean is no music. So the answers to
    pure noise, one-step samples, have four terms more: the error of the levels of groups of bands, which the loudest
    band of each decides; the distance of a feature network's maps to those of the truth; the distance of a
    discriminator's maps; and what the discriminator, which sees source and style, takes for made (Goodfellow et al.
    2014, arXiv 1406.2661). To the discriminator a true target beside another's style is wrong, too.

    Recordings whose score nothing else plays have no source to learn from. A run that goes on from a model lets that
    model, as it was, play them on its own instruments, and learns the way back (back-translation, Sennrich et al.
    2016, arXiv 1511.06709); one from nothing has only the recording itself.

    Args:
        recipe: the run's.
        model: what is trained.
        train: windows to train on.
        validation: windows to validate on.
        features: the feature network's maps; none without `feature_weight`.
        others: style tokens [n, width] of the instruments on which the model, as it is now, plays the recordings that
            have no source; none leaves those recordings as their own source.
    """

    name = "transfer"
    recipe: TransferRecipe

    def __init__(
        self,
        recipe: TransferRecipe,
        model: TransferSystem,
        train: Windows,
        validation: Windows,
        features: FeatureMaps | None = None,
        others: Sequence[Tensor] = (),
    ) -> None:
        frozen: dict[str, torch.nn.Module] = {"codec": model.codec}
        if features is not None:
            frozen["features"] = features
        identity = {"codec": fingerprint(model.codec), "initial": "none"}
        if others:
            frozen["initial"] = copy.deepcopy(model.denoiser)
            identity["initial"] = fingerprint(model.denoiser)
        self.discriminator = _discriminator(recipe, model) if recipe.adversarial_weight else None
        super().__init__(
            recipe,
            {"style": model.style, "denoiser": model.denoiser},
            frozen=frozen,
            adversaries={"discriminator": self.discriminator} if self.discriminator else None,
            adversary_rate=recipe.adversary_rate,
            identity=identity,
        )
        self.model, self.train, self.validation, self.others = model, train, validation, others
        self.features = features
        self._judged: Sequence[Tensor] = ()  # made and true latents, content and style of the last batch's samples

    @classmethod
    def prepare(
        cls,
        recipe: TransferRecipe,
        data: str | Path,
        *,
        codec: str | Path | None = None,
        init_from: str | Path | None = None,
    ) -> TransferStage:
        """From a mel store, with a model that is new over a codec or goes on from another.

        Raises:
            InputError: neither codec nor model; sizes other than the recipe's, mels other than the store's; recordings
                without a source, and no instrument to play them on; otherwise as `Windows`.
            ModelError: as `load_codec` and `load_system`.
        """
        store = MelStore(data)
        train, validation = split_windows(store, recipe.frames, recipe.style_frames)
        features = _features(recipe, train) if recipe.feature_weight else None
        if init_from is None:
            return cls(recipe, _new_model(recipe, codec, train), train, validation, features)
        model = _known_model(recipe, init_from, store)
        own = {e.label for e in (*train.alone, *validation.alone)}
        others = _others(model, own, init_from, store) if own else []
        stage = cls(recipe, model, train, validation, features, others)
        stage.fit_unknown()
        return stage

    @torch.no_grad()
    def fit_unknown(self) -> None:
        """Sets what the model's answer to pure noise leaves open: RMS error [c, h, 1] on training windows."""
        model, size = self.model, 64
        batch = self.train.transfer(np.random.default_rng(self.recipe.seed), size, None)
        target, content, style = (model.codec.encode(batch[k]) for k in ("target", "content", "style"))
        content = self._played_by_others(content, batch["own"], torch.arange(size))
        error = self._answer(model.denoiser, _condition(content, model.style(style))) - target
        model.denoiser.unknown.copy_(error.square().mean(dim=(0, 3)).sqrt()[..., None].clamp_min(0.02))

    def batch(self, step: int) -> dict[str, Tensor]:
        recipe, rng = self.recipe, self.rng(step)
        batch = self.train.transfer(rng, recipe.batch_size, recipe.augmentation if recipe.augment else None)
        others = torch.from_numpy(rng.integers(0, 2**31, recipe.batch_size))
        return batch | {"other": others} | self._randomness(rng, recipe.batch_size, batch["style"].shape[-1])

    def _randomness(self, rng: np.random.Generator, size: int, style_frames: int) -> dict[str, Tensor]:
        last = self.model.schedule.num_train_timesteps - 1
        timesteps = np.where(rng.random(size) < self.recipe.pure_noise_share, last, rng.integers(0, last, size))
        tokens = style_frames // self.model.codec.factor // 2
        kept = rng.integers(max(1, tokens // 4), tokens + 1, size)
        codec, height = self.model.codec.config, self.model.mel.n_mels // self.model.codec.factor
        shape = (size, codec.latent_channels, height, self.recipe.frames // codec.factor)
        return {
            "timesteps": torch.from_numpy(timesteps),
            "mask": torch.from_numpy(np.arange(tokens) < kept[:, None]),
            "drop": torch.from_numpy(rng.random(size) < self.recipe.null_style_share),
            "noise": torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        model, recipe = self.model, self.recipe
        with torch.no_grad(), torch.autocast(batch["target"].device.type, enabled=False):
            target, content, style = (model.codec.encode(batch[k]) for k in ("target", "content", "style"))
            content = self._played_by_others(content, batch["own"], batch["other"])
            noisy = model.schedule.add_noise(target, batch["noise"], batch["timesteps"])
        condition = Condition(content, model.style(style), batch["mask"])
        condition = model.denoiser.null(condition, batch["drop"])
        predicted = model.denoiser(noisy, batch["timesteps"], condition).float()
        with torch.autocast(target.device.type, enabled=False):
            absolute, blur = self._errors_db(predicted - target)
        sigma = model.schedule.sigma(batch["timesteps"].cpu()).to(absolute)
        weight = WEIGHT / (sigma.square() + WEIGHT_FLOOR).sqrt()
        terms = {"reconstruction": (weight * (absolute + recipe.difference_weight * blur)).mean() / LOSS_DB}
        pure = batch["timesteps"] == model.schedule.num_train_timesteps - 1
        mae_db = absolute[pure].mean() if bool(pure.any()) else absolute.new_zeros(())
        samples = (pure & ~batch["drop"]).nonzero()[:, 0]
        terms |= self._sample_terms([x[samples] for x in (predicted, target, content, style)], step)
        weights = dataclasses.asdict(recipe)
        loss = torch.stack([weights[f"{name}_weight"] * term for name, term in terms.items()]).sum()
        return {"loss": loss, "pure_noise_mae_db": mae_db} | terms

    def _sample_terms(self, latents: Sequence[Tensor], step: int) -> dict[str, Tensor]:
        """What levels, the feature network and the discriminator say of one-step samples; zeros where a batch has none.

        Args:
            latents: the samples, the truth, the content and the style, each [n, c, h, w].
        """
        predicted, target, _, _ = latents
        terms, self._judged, zero = {}, (), predicted.sum() * 0
        if self.recipe.level_weight:
            terms["level"] = self._level_term(predicted, target) if len(predicted) else zero
        if self.features is not None:
            terms["feature"] = self._feature_term(self.features, predicted, target) if len(predicted) else zero
        if self.discriminator is not None and not len(predicted):
            terms |= {"adversarial": zero, "matching": zero}
        elif self.discriminator is not None:
            self._judged = [self._normalised(x) for x in latents]
            ramp = min(1.0, step / max(self.recipe.adversary_warmup_steps, 1))
            adversarial, matching = self._adversarial_terms(self.discriminator)
            terms |= {"adversarial": ramp * adversarial, "matching": ramp * matching}
        return terms

    def _level_term(self, predicted: Tensor, target: Tensor) -> Tensor:
        project = self.model.codec.project
        return level_loss(project(predicted), project(target)) / LOSS_DB

    def _feature_term(self, features: FeatureMaps, predicted: Tensor, target: Tensor) -> Tensor:
        project = self.model.codec.project
        with torch.no_grad():
            truth = features(project(target))
        return matching_loss(features(project(predicted)), truth)

    def _adversarial_terms(self, discriminator: LatentDiscriminator) -> tuple[Tensor, Tensor]:
        """What it takes the samples for, and how far their maps are from the truth's."""
        made, true, content, style = self._judged
        scores, maps = discriminator(made, content, style)
        with torch.no_grad():
            truth = discriminator(true, content, style)[1]
        self._judged = made.detach(), true, content, style.detach()
        return -_mean(scores), matching_loss(maps, truth)

    def discriminator_loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        discriminator = self.discriminator
        assert discriminator is not None
        if not self._judged:
            nothing = 0 * discriminator.place.sum()
            return {"loss": nothing, "score_of_true": nothing, "score_of_made": nothing}
        made, true, content, style = self._judged
        right, wrong = discriminator(true, content, style)[0], discriminator(made, content, style)[0]
        loss = hinge_loss(right, 1) + hinge_loss(wrong, -1)
        if len(true) > 1:  # the coarse score alone tells styles apart
            loss = loss + OTHER_STYLE_WEIGHT * hinge_loss(discriminator(true, content, style.roll(1, 0))[0][1:], -1)
        return {"loss": loss, "score_of_true": _mean(right), "score_of_made": _mean(wrong)}

    def _normalised(self, latents: Tensor) -> Tensor:
        """Each channel and band of unit variance: fine texture has little."""
        return (latents - self.model.denoiser.mean) / self.model.denoiser.std

    def _errors_db(self, difference: Tensor) -> tuple[Tensor, Tensor]:
        """Of latents that differ by [batch, c, h, w]: mean absolute error of the mel, and of its differences along
        both axes, each [batch]."""
        error = self.model.codec.decode_difference(difference)
        blur = error.diff(dim=2).abs().mean(dim=(1, 2, 3)) + error.diff(dim=3).abs().mean(dim=(1, 2, 3))
        return error.abs().mean(dim=(1, 2, 3)), blur

    def _played_by_others(self, content: Tensor, own: Tensor, other: Tensor) -> Tensor:
        """Latents [batch, c, h, w], where `own` [batch] played by the initial model on instrument `other` [batch]."""
        if "initial" not in self.frozen or not bool(own.any()):
            return content
        own = own.to(content.device)
        tokens = [self.others[i % len(self.others)].to(content) for i in other.to(own.device)[own].tolist()]
        mask = pad_sequence([one.new_ones(len(one), dtype=torch.bool) for one in tokens], batch_first=True)
        condition = Condition(content[own], pad_sequence(tokens, batch_first=True), mask)
        content = content.clone()
        content[own] = self._answer(self.frozen["initial"], condition).to(content)
        return content

    def _answer(self, denoiser: torch.nn.Module, condition: Condition) -> Tensor:
        """Latents [batch, c, h, w] that a denoiser makes of pure noise, at the noise's mean, in one step."""
        last = self.model.schedule.num_train_timesteps - 1
        timesteps = torch.full((len(condition.content),), last, device=condition.content.device)
        return denoiser(torch.zeros_like(condition.content), timesteps, condition)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Squared errors as RMS in dB of mel, without augmentation, for 1 and 4 steps, and how much worse the
        style of another recording (of the batch's next sample) makes it."""
        model, size = self.model, 48
        drawn = self.validation.transfer(np.random.default_rng(0), size, None)
        batch = self.to_device(drawn)
        target, content, style = (model.codec.encode(batch[k]) for k in ("target", "content", "style"))
        content = self._played_by_others(content, drawn["own"], torch.arange(size))
        tokens, truth = model.style(style), batch["target"][..., : target.shape[-1] * model.codec.factor]
        figures = {}
        for name, steps, chosen in (("1", 1, tokens), ("4", 4, tokens), ("1_wrong_style", 1, tokens.roll(1, 0))):
            mel = self._sampled(_condition(content, chosen), steps)
            figures[f"rms_db_{name}"] = float((mel - truth).square().mean().sqrt())
            figures[f"detail_{name}"] = float(mel.diff(dim=2).abs().mean() / truth.diff(dim=2).abs().mean())
        self._last = side_by_side(model.mel.floor_db, model.codec.decode(content[:1]), truth, mel)
        return figures

    def _sampled(self, condition: Condition, steps: int) -> Tensor:
        """Mels in dB that the model makes of noise, a seed a sample."""
        schedule, content = self.model.schedule, condition.content
        noise = seeded_noise(content.shape[1:], range(len(content)), device=content.device)
        latents = ddim(
            lambda x, t: self.model.denoiser(x, t, condition), noise, schedule, inference_timesteps(schedule, steps)
        )
        return self.model.codec.decode(latents)

    def samples(self) -> dict[str, Tensor]:
        return {"content, target, result": self._last}

    def save(self, folder: Path) -> None:
        self.model.info = self.info("timbre transfer")
        self.model.instruments |= named_instruments(self.model, self.train)
        save_system(folder, self.model)


def _new_model(recipe: TransferRecipe, codec: str | Path | None, windows: Windows) -> TransferSystem:
    """Fresh weights over a codec; its latents' moments are the data's."""
    if codec is None:
        raise InputError("there is no codec; train one with `timbrel train autoencoder`, or give init_from")
    mel, loaded = load_codec(codec, MelAutoencoder)
    check_mel(mel, windows.store)
    channels, height = loaded.config.latent_channels, mel.n_mels // loaded.factor
    torch.manual_seed(recipe.seed)
    model = TransferSystem.build(
        mel,
        loaded,
        StyleConfig(latent_channels=channels, latent_height=height, width=recipe.style_width),
        DenoiserConfig(
            latent_channels=channels,
            latent_height=height,
            token_width=recipe.style_width,
            width=recipe.width,
            dilations=recipe.dilations,
            picture_width=recipe.picture_width,
            picture_dilations=recipe.picture_dilations,
            noise_input=recipe.noise_input,
        ),
        ScheduleConfig(kind=recipe.schedule, num_train_timesteps=recipe.num_train_timesteps),
    )
    mean, std = latent_moments(loaded, windows.single(np.random.default_rng(recipe.seed), MOMENT_WINDOWS))
    for module in (model.style, model.denoiser):
        module.mean.copy_(mean)
        module.std.copy_(std)
    model.denoiser.unknown.copy_(UNKNOWN_SHARE * std)
    return model


def _mean(scores: Sequence[Tensor]) -> Tensor:
    return torch.stack([one.float().mean() for one in scores]).mean()


def _discriminator(recipe: TransferRecipe, model: TransferSystem) -> LatentDiscriminator:
    torch.manual_seed(recipe.seed)
    config = model.denoiser.config
    return LatentDiscriminator(DiscriminatorConfig(config.latent_channels, config.latent_height))


def _features(recipe: TransferRecipe, windows: Windows) -> FeatureMaps:
    mel = windows.single(np.random.default_rng(recipe.seed), FEATURE_WINDOWS)
    return load_feature_maps(recipe.feature_network, mel, windows.store.config)


def _known_model(recipe: TransferRecipe, folder: str | Path, store: MelStore) -> TransferSystem:
    model = load_system(folder, TransferSystem)
    if recipe.noise_input:
        model.denoiser = with_noise_input(model.denoiser)
    denoiser = model.denoiser.config
    settings = dataclasses.asdict(denoiser) | {"style_width": denoiser.token_width}
    check_recipe(recipe, settings | dataclasses.asdict(model.schedule_config), folder)
    check_mel(model.mel, store)
    return model


def _others(model: TransferSystem, own: set[str], folder: str | Path, store: MelStore) -> list[Tensor]:
    """Tokens of the model's instruments that are not among the labels `own` of recordings without a source."""
    others = [tokens for name, tokens in sorted(model.instruments.items()) if name not in own]
    if not others:
        raise InputError(
            f"{folder} knows no instruments by name but {', '.join(sorted(own))}; expected others, on which it plays "
            f"the recordings of {store.folder} to have sources for them: go on from a model that has some"
        )
    return others


def _condition(content: Tensor, tokens: Tensor) -> Condition:
    """Latents [batch, c, h, w] with all of their tokens [batch, n, d]."""
    return Condition(content, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
