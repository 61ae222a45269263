"""Report 002: a diffusion model of sounds with captions, over a frozen codec."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from timbrel.data.augment import varied
from timbrel.data.sounds.captions import without_names
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.sounds.windows import SoundWindows
from timbrel.data.store import MelStore
from timbrel.diffusion.samplers import seeded_generators, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps, shifted
from timbrel.errors import InputError, warn
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.text import WordEncoder, WordsConfig
from timbrel.models.text_unet import Text, TextUNetConfig, with_band_attention, with_expecting, with_masks, with_widths
from timbrel.pipelines.fill import SLOW_LATENTS
from timbrel.pipelines.recurrence import recurring
from timbrel.systems.base import Sampling
from timbrel.systems.folder import load_codec, load_system, save_system
from timbrel.systems.foreign import CLIPText, CLIPTextConfig
from timbrel.systems.generate import GenerateSystem
from timbrel.systems.stable_diffusion import (
    EXPECTED,
    StableDiffusion,
    is_stable_diffusion,
    load_stable_diffusion,
    save_stable_diffusion,
)
from timbrel.systems.weights import fingerprint
from timbrel.training.recipes import GenerateRecipe, HolesRecipe, ReportGenerateRecipe, SoundsRecipe
from timbrel.training.shared import MOMENT_WINDOWS, check_mel, check_recipe, latent_moments, schedule_of
from timbrel.training.stage import Stage

TAKES_MOVE_WORDS = 2.5  # times as far as training
READ = ("words", "mask", "named")  # what a text encoder reads of captions, by its place in `read`; CLIP has no "named"


class GenerateStage(Stage):
    """Trains a `GenerateSystem`, its text encoder with it, on a mel store of labelled sounds: the mean squared error of
    what the recipe says is predicted. For "v" that weights x_0's error by SNR + 1, so that no noise level is forgotten.

    Raises:
        InputError: the codec does not divide the recipe's `frames`.
    """

    name = "generate"
    recipe: SoundsRecipe

    def __init__(
        self, recipe: SoundsRecipe, model: GenerateSystem, train: SoundWindows, validation: SoundWindows
    ) -> None:
        if left := recipe.frames % model.codec.factor:
            below = recipe.frames - left
            raise InputError(
                f"frames is {recipe.frames}; expected a multiple of {model.codec.factor}: {below or ''}"
                f"{' or ' if below else ''}{below + model.codec.factor}"
            )
        super().__init__(
            recipe,
            {"denoiser": model.denoiser, "text": model.text},
            frozen={"codec": model.codec},
            identity={"codec": fingerprint(model.codec)},
        )
        self.model, self.train, self.validation = model, train, validation
        model.info = model.info | {"sampling": dataclasses.asdict(self.sampling)}

    @property
    def sampling(self) -> Sampling:
        """How what it trains is best sampled. Takes move words farther than training moved them, and need more guidance
        for it."""
        moves = self.recipe.word_noise if isinstance(self.recipe, GenerateRecipe) and not self.recipe.clip else 0.0
        guidance = 3.0 if moves else 2.5
        return Sampling(
            steps=40,
            guidance=guidance,
            eta=1.0,
            temperature=0.87,
            timestep_shift=self.recipe.timestep_shift,
            word_noise=TAKES_MOVE_WORDS * moves,
        )

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        recipe: SoundsRecipe,
        data: str | Path,
        *,
        codec: str | Path | None = None,
        init_from: str | Path | None = None,
        ontology: str | Path | None = None,
    ) -> Self:
        """From a mel store of sounds, with a model that is new over a codec or goes on from another.

        Args:
            codec: None is that of the model that ships.
            ontology: AudioSet's `ontology.json`, or one like it, that has the store's labels; None is the shipped one.

        Raises:
            InputError: sizes other than the recipe's, mels other than the store's; a class without a word that the text
                encoder knows; otherwise as `SoundWindows`.
            ModelError: as `load_codec` and `load_system`.
        """
        store, classes = MelStore(data), Ontology.load(ontology)
        train, validation = (SoundWindows(store, split, recipe.frames, classes) for split in ("train", "validation"))
        model = cls.start(recipe, train, codec, init_from)
        _check_names(model.text, classes, {*train.labels, *validation.labels})
        cls.learn_names(model, train, classes)
        return cls(recipe, model, train, validation)

    @classmethod
    def learn_names(cls, model: GenerateSystem, train: SoundWindows, classes: Ontology) -> None:
        """The names of the classes get vectors of their own, that are trained."""
        if isinstance(model.text, WordEncoder):
            names = [classes.find(name).wordings for name in train.classes()]
            if not model.text.config.names:  # of a model that was saved before its text encoder kept them
                names = [(name, *others) for name, others in model.info.get("classes", {}).items()] + names
            model.text.learn(names, without_names())

    @classmethod
    def start(
        cls, recipe: Any, train: SoundWindows, codec: str | Path | None, init_from: str | Path | None
    ) -> GenerateSystem:
        """The model as training finds it."""
        if init_from is None:
            return _new_model(recipe, codec or "default", train)
        return _known_model(recipe, init_from, train.store)

    def batch(self, step: int) -> dict[str, Tensor]:
        rng, recipe = self.rng(step), self.recipe
        batch = self._draw(self.train, rng, recipe.overlap_share)
        batch["mel"] = varied(batch["mel"], rng, self.model.mel, recipe.tuning_semitones, recipe.gain_db)
        if isinstance(recipe, GenerateRecipe) and batch["words"].is_floating_point():
            noise = rng.standard_normal(batch["words"].shape, dtype=np.float32) / batch["words"].shape[-1] ** 0.5
            batch["words"] += recipe.word_noise * torch.from_numpy(noise)
        if isinstance(recipe, GenerateRecipe) and "named" in batch:
            batch["named"][torch.from_numpy(rng.random(recipe.batch_size) < recipe.unnamed_share)] = 0
        null_share = np.full(recipe.batch_size, recipe.null_text_share)
        if isinstance(recipe, GenerateRecipe) and recipe.mask_share:
            masked = rng.random(recipe.batch_size) < recipe.mask_share
            batch |= _masks(random_masks(rng, masked, *batch["noise"].shape[-2:]))
            null_share[masked] = recipe.null_masked_share
        batch["drop"] = torch.from_numpy(rng.random(recipe.batch_size) < null_share)
        return batch

    def _draw(self, windows: SoundWindows, rng: np.random.Generator, overlap_share: float) -> dict[str, Tensor]:
        size, model = self.recipe.batch_size, self.model
        total = model.schedule.num_train_timesteps
        drawn = windows.draw(rng, size, overlap_share)
        noise = rng.standard_normal((size, *model.latent_shape(drawn["mel"].shape[-1])), dtype=np.float32)
        return {
            "mel": drawn["mel"],
            **dict(zip(READ, model.text.read(drawn["caption"]), strict=False)),
            "drop": torch.zeros(size, dtype=torch.bool),
            "timesteps": (shifted(torch.from_numpy(rng.random(size)), self.recipe.timestep_shift) * total).long(),
            "noise": torch.from_numpy(noise),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        model = self.model
        with torch.no_grad(), torch.autocast(batch["mel"].device.type, enabled=False):
            latents = model.codec.encode(batch["mel"])
            noisy = model.schedule.add_noise(latents, batch["noise"], batch["timesteps"])
            target = model.schedule.target(latents, batch["noise"], batch["timesteps"])
            if "made" in batch:
                noisy = torch.cat([noisy, batch["made"], latents * (1 - batch["made"]), *self._expected(batch)], dim=1)
        read = (batch[name] for name in READ if name in batch)
        text = Text(*model.text(*read)).dropped(model.denoiser.null_token, batch["drop"])
        error = (model.denoiser(noisy, batch["timesteps"], text) - target).square()
        return {"loss": (error * batch.get("counts", 1)).mean()}

    def _expected(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """What else the denoiser is told of a masked batch, each [batch, c, h, w]."""
        return ()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss on held-out sounds, as noisy as in training, and that with the caption of another sound: they part
        as text is heard. Of a denoiser that is masked also the loss where a part is known."""
        rngs = [np.random.default_rng((0, k)) for k in range(8)]
        batches = [self.to_device(self._draw(self.validation, rng, 0.0)) for rng in rngs]
        others = [batch | {name: batch[name].roll(1, dims=0) for name in READ if name in batch} for batch in batches]
        measured = {"loss": batches, "other_text_loss": others}
        if self.model.denoiser.config.masked:
            measured["masked_loss"] = [
                self.to_device(_with_holes(batch, rng)) for batch, rng in zip(batches, rngs, strict=True)
            ]
        figures = {
            name: float(torch.stack([self.loss(batch, 0)["loss"] for batch in each]).mean())
            for name, each in measured.items()
        }
        self._last = self._generated(self.validation.labels[:: max(1, len(self.validation.labels) // 4)][:4])
        return figures

    def _generated(self, prompts: list[str]) -> Tensor:
        """Mels in dB of some prompts, one after the other: [n_mels, n * frames]."""
        model, recipe = self.model, self.recipe
        sampling, schedule = self.sampling, model.schedule
        steps = min(sampling.steps, schedule.num_train_timesteps)
        timesteps = inference_timesteps(schedule, steps, shift=sampling.timestep_shift)
        mels = []
        for prompt in prompts:
            noise, denoiser = seeded_generators([0]), model.model(prompt, guidance_scale=sampling.guidance)
            start = seeded_noise(model.latent_shape(recipe.frames), noise, device=self.device)
            mels.append(model.decode(model.sample(denoiser, start, timesteps, noise)))
        return torch.cat(mels, dim=-1)[0, 0].cpu()

    def samples(self) -> dict[str, Tensor]:
        return {"generated": 1 - self._last.flip(0) / self.model.mel.floor_db}

    def save(self, folder: Path) -> None:
        sampling = {"sampling": dataclasses.asdict(self.sampling), "classes": self.train.classes()}
        self.model.info = self.info("sound from a class or a text") | sampling
        self.write(folder)

    def write(self, folder: Path) -> None:
        """Writes the model, which knows what is to be said of it."""
        save_system(folder, self.model)


class HolesStage(GenerateStage):
    """Trains what a denoiser makes of what is expected in a hole (`models.text_unet.Expecting`), and nothing else: what
    it makes without being told that stays as it is, bit for bit."""

    name = "holes"
    recipe: HolesRecipe

    def __init__(
        self, recipe: HolesRecipe, model: GenerateSystem, train: SoundWindows, validation: SoundWindows
    ) -> None:
        self._sampling = model.sampling
        super().__init__(recipe, model, train, validation)
        model.text.requires_grad_(False)
        model.denoiser.requires_grad_(False).expecting.requires_grad_(True)
        self.identity["initial"] = fingerprint(model.denoiser) + fingerprint(model.text)  # no checkpoint holds these

    @property
    def sampling(self) -> Sampling:
        return self._sampling

    @classmethod
    def start(
        cls, recipe: Any, train: SoundWindows, codec: str | Path | None, init_from: str | Path | None
    ) -> GenerateSystem:
        if codec is not None:
            raise InputError(f"codec is {codec}, but this recipe has the codec of the model; leave it out")
        source = "generate" if init_from is None else init_from
        model = _own_model(recipe, source, train.store, "a model of the recipe 'default', or none: the shipped one")
        if not model.denoiser.config.masked:
            raise InputError(
                f"{source} has not learnt to be told what is around a hole; expected a model of the recipe 'default' "
                "(with its --mask-share above 0), or none: the shipped one"
            )
        model.denoiser = with_expecting(model.denoiser)
        return model

    @classmethod
    def learn_names(cls, model: GenerateSystem, train: SoundWindows, classes: Ontology) -> None:
        """The text encoder stays as it is."""

    def batch(self, step: int) -> dict[str, Tensor]:
        rng, recipe = self.rng(step), self.recipe
        batch = _with_holes(self._draw(self.train, rng, recipe.overlap_share), rng)
        batch["mel"] = varied(batch["mel"], rng, self.model.mel, recipe.tuning_semitones, recipe.gain_db)
        batch["drop"] = torch.from_numpy(rng.random(recipe.batch_size) < recipe.null_text_share)
        return batch

    def _expected(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        factor = self.model.codec.factor
        open_ = batch["made"][:, 0].gt(0.5).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        found = [
            recurring(self.model, mel[None], mask, SLOW_LATENTS) for mel, mask in zip(batch["mel"], open_, strict=True)
        ]
        return [torch.cat(part) for part in zip(*found, strict=True)]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss on held-out sounds with masks."""
        rngs = [np.random.default_rng((0, k)) for k in range(8)]
        drawn = (_with_holes(self._draw(self.validation, rng, 0.0), rng) for rng in rngs)
        losses = [self.loss(self.to_device(batch), 0)["loss"] for batch in drawn]
        return {"loss": float(torch.stack(losses).mean())}

    def samples(self) -> dict[str, Tensor]:
        return {}

    def save(self, folder: Path) -> None:
        self.model.info = self.model.info | {"holes": self.info("what is expected in holes")}
        self.write(folder)


class StableDiffusionStage(GenerateStage):
    """Trains the U-Net of Stable Diffusion 1.x on mels as pictures; its text encoder and its VAE stay as they are. The
    error is of the noise, by its own schedule."""

    name = "stable-diffusion"
    recipe: ReportGenerateRecipe
    model: StableDiffusion

    @property
    def sampling(self) -> Sampling:
        return Sampling(steps=25, guidance=7.5)

    @classmethod
    def start(
        cls, recipe: Any, train: SoundWindows, codec: str | Path | None, init_from: str | Path | None
    ) -> StableDiffusion:
        if init_from is None:
            raise InputError(f"init_from is missing (--init-from): this recipe goes on from {EXPECTED}")
        if codec is not None:
            raise InputError(f"codec is {codec}, but this recipe has the codec of {init_from}; leave it out")
        model = load_stable_diffusion(init_from, train.store.config)
        model.denoiser.unet.enable_gradient_checkpointing()  # a third more work, in far less memory
        return model

    def write(self, folder: Path) -> None:
        save_stable_diffusion(folder, self.model)


def random_masks(rng: np.random.Generator, masked: np.ndarray, height: int, width: int) -> Tensor:
    """What is to be made of latents: [batch, 1, height, width], 1 where that is so and 0 where sound is known.

    Of samples that are not `masked` [batch] that is all. Of others it is one span or two along time, from 2 latents to
    three quarters of the width, that may run over an end, in a fourth of the samples only in a range of bands.
    """
    masks = np.ones((len(masked), 1, height, width), dtype=np.float32)
    for k in np.flatnonzero(masked):
        masks[k] = 0
        low, high = sorted(rng.choice(height + 1, 2, replace=False)) if rng.random() < 0.25 else (0, height)
        for _ in range(rng.integers(1, 3)):
            length = rng.uniform(2, max(2, 0.75 * width))
            middle = rng.uniform(0, width)
            masks[k, :, low:high, max(0, round(middle - length / 2)) : round(middle + length / 2)] = 1
    return torch.from_numpy(masks)


def _masks(made: Tensor) -> dict[str, Tensor]:
    """What `random_masks` gives, and by how much each place counts: 0 where it is known, and 1 on the whole's average,
    so that the mean of a batch is that of its parts."""
    return {"made": made, "counts": made / made.mean()}


def _with_holes(batch: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """The same, with a part of every sample known."""
    every = np.ones(len(batch["noise"]), dtype=bool)
    return batch | _masks(random_masks(rng, every, *batch["noise"].shape[-2:]))


def _check_names(text: WordEncoder | CLIPText, ontology: Ontology, labels: set[str]) -> None:
    """Every wording that a caption may have must tell the class by itself."""
    names = {name for label in labels for name in (label, *ontology.ancestors(label))}
    unknown = [word for name in sorted(names) for word in ontology.find(name).wordings if not text.knows(word)]
    if unknown:
        raise InputError(
            f"the text encoder knows no word of {', '.join(map(repr, unknown))}; expected one in every name and alias "
            "of the data's classes. Rename these in the ontology, or train with CLIP's text model (--clip)"
        )


def _own_model(recipe: SoundsRecipe, source: str | Path, store: MelStore, instead: str) -> GenerateSystem:
    """A model of our own network to go on from; `instead`: what is expected where it is Stable Diffusion."""
    if is_stable_diffusion(source):
        raise InputError(f"{source} is Stable Diffusion; expected {instead}")
    model = load_system(source, GenerateSystem)
    check_mel(model.mel, store)
    torch.manual_seed(recipe.seed)
    return model


def _known_model(recipe: GenerateRecipe, folder: str | Path, store: MelStore) -> GenerateSystem:
    model = _own_model(recipe, folder, store, "the recipe 'report' to go on from it")
    if model.denoiser.config.expecting:
        warn(f"what {folder} learnt of what is expected in holes is left out; the recipe 'holes' trains it anew")
        model.denoiser = with_expecting(model.denoiser, expecting=False)
    if recipe.band_attention:
        model.denoiser = with_band_attention(model.denoiser)
    settings = dataclasses.asdict(model.denoiser.config) | dataclasses.asdict(model.schedule_config)
    text = model.text.config
    if isinstance(text, CLIPTextConfig):
        settings["clip"] = text.source
    else:
        settings |= {"clip": None, "text_layers": text.num_layers}
    widths = settings.pop("widths")  # these may grow
    check_recipe(recipe, settings, folder)
    try:
        model.denoiser = with_widths(model.denoiser, recipe.widths, recipe.seed)
    except InputError as error:
        raise InputError(f"{folder} cannot have what --widths says: {error}") from error
    if recipe.widths != widths:
        warn(f"the denoiser of {folder} grows from the widths {widths} to {recipe.widths}; --widths keeps its own")
    if recipe.mask_share:
        model.denoiser = with_masks(model.denoiser)
    elif model.denoiser.config.masked:
        raise InputError(
            f"mask_share is 0, and {folder} learnt from masks, which it would forget; expected more than 0"
        )
    return model


def _new_model(recipe: GenerateRecipe, codec: str | Path, train: SoundWindows) -> GenerateSystem:
    """Fresh weights over a codec, with the moments of the sounds' latents."""
    mel, loaded = load_codec(codec, MelAutoencoder)
    check_mel(mel, train.store)
    torch.manual_seed(recipe.seed)
    model = GenerateSystem.build(
        mel,
        loaded,
        CLIPTextConfig(recipe.clip, recipe.token_width)
        if recipe.clip
        else WordsConfig(width=recipe.token_width, num_layers=recipe.text_layers),
        TextUNetConfig(
            latent_channels=loaded.config.latent_channels,
            latent_height=mel.n_mels // loaded.factor,
            token_width=recipe.token_width,
            widths=recipe.widths,
            picture_width=recipe.picture_width,
            picture_dilations=recipe.picture_dilations,
            band_attention=recipe.band_attention,
            masked=recipe.mask_share > 0,
        ),
        schedule_of(recipe),
    )
    drawn = train.draw(np.random.default_rng(recipe.seed), MOMENT_WINDOWS, recipe.overlap_share)
    mean, std = latent_moments(loaded, drawn["mel"])
    model.denoiser.mean.copy_(mean)
    model.denoiser.std.copy_(std)
    return model
