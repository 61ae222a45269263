"""Stage 2 of the default model: style encoder and denoiser, over a frozen codec."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from timbrel.audio.mel import MelConfig
from timbrel.checkpoint import (
    DefaultModel,
    ScheduleConfig,
    SingleModel,
    TransferModel,
    expect,
    fingerprint,
    load_codec,
    load_transfer_model,
    save_transfer_model,
)
from timbrel.data.augmentation import Augmentation
from timbrel.data.datasets import Windows
from timbrel.data.render import LIBRARIES
from timbrel.data.store import MelStore, dequantise
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.denoiser import Condition, DenoiserConfig
from timbrel.models.style import StyleConfig
from timbrel.training.recipes import Recipe, TransferRecipe


class TransferStage:
    """Trains `DefaultModel.style` and `.denoiser` to give the target's latents.

    The loss is the mean absolute error of the clean latents as a mel in dB, and of its differences between bands
    and between frames: a squared error blurs where the answer is open, and a late or soft attack costs notes. A
    share of the samples (`pure_noise_share`) sits at the last timestep, where the answer is a regression: a sampler
    of few steps rests on it.

    Recordings whose score nothing else plays have no source to learn from. A run that goes on from a model lets that
    model, as it was, play them on its own instruments, and learns the way back (back-translation, Sennrich et al.
    2016, arXiv 1511.06709); one from nothing has only the recording itself.
    """

    def __init__(
        self,
        recipe: TransferRecipe,
        data: str | Path,
        *,
        codec: str | Path | None = None,
        init_from: str | Path | None = None,
    ) -> None:
        self.recipe = recipe
        store = MelStore(data)
        self.train = Windows(store, "train", recipe.frames, recipe.style_frames)
        self.validation = Windows(store, "validation", recipe.frames, recipe.style_frames)
        self.model = self._initial_model(recipe, codec, init_from)
        check_mel(self.model, store)
        self.modules: dict[str, torch.nn.Module] = {
            "style": self.model.style,
            "denoiser": self.model.denoiser,
        }
        self.frozen: dict[str, torch.nn.Module] = {"codec": self.model.codec}
        self.identity = {"initial": "none"}
        own = {e.label for e in (*self.train.alone, *self.validation.alone)}
        if init_from is not None and own:
            self.others = [tokens for name, tokens in sorted(self.model.instruments.items()) if name not in own]
            if not self.others:
                raise InputError(
                    f"{init_from} knows no instruments by name but {', '.join(sorted(own))}; expected others, on which "
                    f"it plays the recordings of {data} to have sources for them: go on from a model that has some"
                )
            self.frozen["initial"] = copy.deepcopy(self.model.denoiser).eval().requires_grad_(False)
            self.identity = {"initial": fingerprint(self.model.denoiser)}
        if init_from is not None:
            self.model.denoiser.unknown.copy_(self._regression_rms())
        for module in self.modules.values():
            module.train().requires_grad_(True)

    def _initial_model(
        self, recipe: TransferRecipe, codec: str | Path | None, init_from: str | Path | None
    ) -> DefaultModel:
        if init_from is not None:
            model = expect(load_transfer_model(init_from), DefaultModel, init_from)
            denoiser = model.denoiser.config
            found = dataclasses.asdict(denoiser) | {"style_width": denoiser.token_width}
            check_recipe(recipe, found | dataclasses.asdict(model.schedule_config), init_from)
            return model
        if codec is None:
            raise InputError("there is no codec; train one with `timbrel train autoencoder`, or give init_from")
        mel, loaded = load_codec(codec)
        loaded = expect(loaded, MelAutoencoder, codec)
        channels, height = loaded.config.latent_channels, mel.n_mels // loaded.factor
        torch.manual_seed(recipe.seed)
        model = DefaultModel.build(
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
            ),
            ScheduleConfig(kind=recipe.schedule, num_train_timesteps=recipe.num_train_timesteps),
        )
        mean, std = latent_moments(loaded, self.train, recipe.seed)
        for module in (model.style, model.denoiser):
            module.mean.copy_(mean)
            module.std.copy_(std)
        model.denoiser.unknown.copy_(0.4 * std)
        return model

    @torch.no_grad()
    def _regression_rms(self) -> Tensor:
        """What a trained model's answer to pure noise leaves open: RMS error [c, h, 1] on training windows."""
        model, size = self.model, 64
        batch = self.train.transfer(np.random.default_rng(self.recipe.seed), size, None)
        target, content, style = (model.codec.encode(batch[k]) for k in ("target", "content", "style"))
        content = self._played_by_others(content, batch["own"], torch.arange(size))
        tokens = model.style(style)
        condition = Condition(content, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
        error = self._answer(model.denoiser, condition) - target
        return error.square().mean(dim=(0, 3)).sqrt()[..., None].clamp_min(0.02)

    def batch(self, step: int) -> dict[str, Tensor]:
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, step))
        batch = self.train.transfer(rng, recipe.batch_size, Augmentation() if recipe.augment else None)
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
        model = self.model
        with torch.no_grad(), torch.autocast(batch["target"].device.type, enabled=False):
            target, content, style = (model.codec.encode(batch[k]) for k in ("target", "content", "style"))
            content = self._played_by_others(content, batch["own"], batch["other"])
            noisy = model.schedule.add_noise(target, batch["noise"], batch["timesteps"])
        condition = Condition(content, model.style(style), batch["mask"])
        condition = model.denoiser.null(condition, batch["drop"])
        predicted = model.denoiser(noisy, batch["timesteps"], condition)
        with torch.autocast(target.device.type, enabled=False):
            error = model.codec.decode_difference(predicted.float() - target)
            absolute = error.abs().mean(dim=(1, 2, 3))
            blur = error.diff(dim=2).abs().mean(dim=(1, 2, 3)) + error.diff(dim=3).abs().mean(dim=(1, 2, 3))
        # Near the data the error is small by itself; the weight keeps those steps from being neglected.
        sigma = model.schedule.sigma(batch["timesteps"].cpu()).to(error)
        weight = 1.02 / (sigma.square() + 0.05).sqrt()
        loss = (weight * (absolute + self.recipe.difference_weight * blur)).mean() / 10
        pure = batch["timesteps"] == model.schedule.num_train_timesteps - 1
        mae_db = absolute[pure].mean() if bool(pure.any()) else error.new_zeros(())
        return {"loss": loss, "pure_noise_mae_db": mae_db}

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
        device = model.codec.basis.device
        drawn = self.validation.transfer(np.random.default_rng(0), size, None)
        batch = {name: mel.to(device) for name, mel in drawn.items()}
        target, content, style = (model.codec.encode(batch[k]) for k in ("target", "content", "style"))
        content = self._played_by_others(content, drawn["own"], torch.arange(size))
        tokens = model.style(style)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=device)
        figures = {}
        for name, steps, chosen in (
            ("1", 1, tokens),
            ("4", 4, tokens),
            ("1_wrong_style", 1, tokens.roll(1, 0)),
        ):
            condition = Condition(content, chosen, mask)

            def denoise(x: Tensor, t: Tensor, condition: Condition = condition) -> Tensor:
                return model.denoiser(x, t, condition)

            noise = seeded_noise(target.shape[1:], range(size), device=device)
            result = ddim(denoise, noise, model.schedule, inference_timesteps(model.schedule, steps))
            mel, truth = (
                model.codec.decode(result),
                batch["target"][..., : result.shape[-1] * model.codec.factor],
            )
            figures[f"rms_db_{name}"] = float((mel - truth).square().mean().sqrt())
            figures[f"detail_{name}"] = float(mel.diff(dim=2).abs().mean() / truth.diff(dim=2).abs().mean())
        self._last = torch.cat([model.codec.decode(content[:1])[0], truth[0], mel[0]], dim=-1)[0].flip(0).cpu()
        return figures

    def samples(self) -> dict[str, Tensor]:
        return {"content, target, result": 1 - self._last / self.model.mel.floor_db}

    def save(self, folder: Path) -> None:
        self.model.info = {
            "purpose": "timbre transfer",
            "training": f"stage transfer, at most {self.recipe.steps} steps of {self.recipe.batch_size}",
            "figures": {},
            "recipe": dataclasses.asdict(self.recipe),
        }
        self.model.instruments |= named_instruments(self.model, self.train)
        save_transfer_model(folder, self.model)


@torch.no_grad()
def latent_moments(codec: MelAutoencoder, windows: Windows, seed: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel and band of latents of 512 windows, each [c, h, 1]."""
    latents = codec.encode(windows.single(np.random.default_rng(seed), 512))
    return latents.mean(dim=(0, 3))[..., None], latents.std(dim=(0, 3))[..., None].clamp_min(0.02)


def check_mel(of: TransferModel | SingleModel | MelConfig, store: MelStore) -> None:
    """Raises InputError where a model, or a codec of that MelConfig, works on other mels than the store holds."""
    mel = of if isinstance(of, MelConfig) else of.mel
    if mel != store.config:
        raise InputError(
            f"the codec works on {mel}, but {store.folder} holds {store.config}; prepare the data with the "
            "codec's settings, or train a codec on this data"
        )


def check_recipe(recipe: Recipe, found: dict[str, Any], init_from: str | Path) -> None:
    """Raises InputError where a recipe asks for other sizes than the model that it goes on from has.

    Args:
        found: the model's settings by the names of the recipe's fields; "kind" is its schedule.
    """
    found = found | {"schedule": found.get("kind")}
    asked = dataclasses.asdict(recipe)
    if other := [name for name, value in found.items() if name in asked and asked[name] != value]:
        listed = ", ".join(f"{name} {found[name]} (the recipe: {asked[name]})" for name in other)
        raise InputError(f"{init_from} has {listed}; give the model's values, or train from nothing")


def named_instruments(model: TransferModel, windows: Windows, clips: int = 2) -> dict[str, Tensor]:
    """Style tokens of each label: a name and a clip take one path.

    They are those of the label's most typical clips (whose mean mels are nearest to the mean of all), of recordings or
    recorded notes where there are any, else of the first soundfont in `LIBRARIES` that plays it.
    """
    named, device = {}, next(model.style.parameters()).device
    order = list(LIBRARIES)
    for label in sorted({e.label for e in windows.targets if e.library != "virtual"}):
        libraries = [e.library for e in windows.targets if e.label == label]
        library = min(
            sorted(set(libraries), key=str),
            key=lambda name: (order.index(name) if name in order else -1, -libraries.count(name)),
        )
        entries = windows.voices[label, library]
        middles = [(entry.frames - windows.style_frames) // 2 for entry in entries]
        levels = [windows.window(e, m, windows.style_frames) for e, m in zip(entries, middles, strict=True)]
        means = np.stack([one.mean(axis=0) for one in levels])
        typical = np.square(means - means.mean(axis=0)).mean(axis=1).argsort(kind="stable")[:clips]
        mels = [dequantise(levels[i], model.mel.floor_db)[None, None].to(device) for i in typical]
        named[label] = torch.cat([model.style_tokens(mel) for mel in mels])
    return named
