"""Report 004: a codec of pictures, and a diffusion model of pictures whose condition is music, a prompt, or both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.audio.mel import MelConfig
from timbrel.audio.musicnn import CONFIG
from timbrel.data.paint.labels import LABELS
from timbrel.data.paint.store import ENCODER, SPLITS, Music, Pictures, load_music, load_pictures
from timbrel.diffusion.samplers import dpm_solver_pp_2m, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError
from timbrel.models.discriminator import PictureDiscriminator
from timbrel.models.embedder import EmbedderConfig, MusicEmbedder
from timbrel.models.musicnn import Musicnn, MusicnnConfig
from timbrel.models.picture_autoencoder import PictureAutoencoder, PictureAutoencoderConfig
from timbrel.models.picture_unet import PictureUNetConfig
from timbrel.models.text import WordsConfig
from timbrel.pipelines.settings import PaintSettings
from timbrel.systems.alone import CodecSystem
from timbrel.systems.base import Sampling
from timbrel.systems.ears import load_ear
from timbrel.systems.folder import is_model, load_codec, load_system, save_system
from timbrel.systems.picture import PictureSystem
from timbrel.systems.stable_diffusion import is_stable_diffusion
from timbrel.systems.stable_painter import (
    StablePainter,
    is_stable_painter,
    load_stable_painter,
    new_stable_painter,
    save_stable_painter,
)
from timbrel.systems.weights import check_weights, fingerprint, load_weights
from timbrel.training.losses import hinge_loss, matching_loss
from timbrel.training.recipes import PictureCodecRecipe, PictureRecipe
from timbrel.training.shared import schedule_of
from timbrel.training.stage import Stage

PROMPT = PaintSettings.prompt
SAMPLING = Sampling(steps=20, guidance=4.0)
STABLE_SAMPLING = Sampling(steps=50, guidance=7.5)
MOMENT_PICTURES = 512  # for the latents' scale and moments


class PictureTable(nn.Module):
    """All pictures of a set, in the memory of the device that trains: a batch is their numbers."""

    pixels: Tensor

    def __init__(self, pictures: Pictures) -> None:
        super().__init__()
        self.register_buffer("pixels", pictures.pixels, persistent=False)

    def forward(self, number: Tensor, flip: Tensor) -> Tensor:
        """Pictures of these numbers [batch], mirrored where `flip` [batch] says: [batch, 3, h, w] in [-1, 1]."""
        chosen = self.pixels[number].permute(0, 3, 1, 2).float() / 127.5 - 1
        return torch.where(flip[:, None, None, None], chosen.flip(-1), chosen)


class PictureCodecStage(Stage):
    """Trains a `PictureAutoencoder`: mean absolute error of pictures and of their differences along both axes, a little
    of the KL divergence, and a discriminator of patches (Rombach et al. 2022, arXiv 2112.10752, section 3.1)."""

    name = "picture-codec"
    recipe: PictureCodecRecipe

    def __init__(self, recipe: PictureCodecRecipe, codec: PictureAutoencoder, pictures: Pictures) -> None:
        torch.manual_seed(recipe.seed)
        self.critic = PictureDiscriminator() if recipe.adversarial_weight or recipe.matching_weight else None
        self.codec, self.table = codec, PictureTable(pictures)
        self.train, self.validation = (_numbers(pictures, split) for split in ("train", "validation"))
        super().__init__(
            recipe,
            {"codec": codec},
            frozen={"table": self.table},
            adversaries={"critic": self.critic} if self.critic else None,
            adversary_rate=recipe.adversary_rate,
        )
        self._judged: tuple[Tensor, Tensor] | None = None

    @classmethod
    def prepare(cls, recipe: PictureCodecRecipe, data: str | Path) -> PictureCodecStage:
        """From a music-picture set, with a new codec. Errors as `load_pictures`."""
        torch.manual_seed(recipe.seed)
        config = PictureAutoencoderConfig(
            recipe.latent_channels, recipe.encoder_widths, recipe.decoder_widths, recipe.last_width
        )
        return cls(recipe, PictureAutoencoder(config), load_pictures(data))

    def batch(self, step: int) -> dict[str, Tensor]:
        rng, size = self.rng(step), self.recipe.batch_size
        chosen = torch.from_numpy(rng.choice(self.train.numpy(), size))
        return {"number": chosen, "flip": torch.from_numpy(rng.random(size) < 0.5)}

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        recipe = self.recipe
        picture = self.table(batch["number"], batch["flip"]).contiguous(memory_format=torch.channels_last)
        mean, log_variance = self.codec.moments(picture)
        latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        made = self.codec.decoder(latents).float()
        error = made - picture
        terms = {
            "error": error.abs().mean(),
            "difference": error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean(),
            "kl": 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(),
        }
        loss = terms["error"] + recipe.difference_weight * terms["difference"] + recipe.kl_weight * terms["kl"]
        if self.critic is not None:
            ramp = min(1.0, step / max(recipe.adversary_warmup_steps, 1))
            adversarial, matching = self._adversarial_terms(self.critic, made, picture)
            terms |= {"adversarial": adversarial, "matching": matching}
            loss = loss + ramp * (recipe.adversarial_weight * adversarial + recipe.matching_weight * matching)
        return {"loss": loss, **terms}

    def _adversarial_terms(self, critic: PictureDiscriminator, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """What the critic takes the pictures for, and how far its maps are from the truth's."""
        scores, maps = critic(made)
        with torch.no_grad():
            truth = critic(true)[1]
        self._judged = made.detach(), true
        return -torch.stack([one.float().mean() for one in scores]).mean(), matching_loss(maps, truth)

    def discriminator_loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        assert self.critic is not None
        assert self._judged is not None
        made, true = self._judged
        return {"loss": hinge_loss(self.critic(true)[0], 1) + hinge_loss(self.critic(made)[0], -1)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean absolute error in levels of 255, and RMS of the latents, on held-out pictures."""
        truth = self._validation(64)
        latents = self.codec.moments(truth)[0]
        made = self.codec.decoder(latents).float()
        self._last = torch.cat([torch.cat(list(x[:8]), dim=2) for x in (truth, made)], dim=1)
        return {
            "mae_levels": float((made - truth).abs().mean()) * 127.5,
            "latents_rms": float(latents.square().mean().sqrt()),
        }

    def _validation(self, size: int) -> Tensor:
        numbers = self.validation[:: max(1, len(self.validation) // size)][:size].to(self.device)
        return self.table(numbers, torch.zeros(len(numbers), dtype=torch.bool, device=self.device))

    def samples(self) -> dict[str, Tensor]:
        return {"pictures and reconstructions": (self._last.cpu() / 2 + 0.5).clamp(0, 1)}

    def save(self, folder: Path) -> None:
        numbers = self.train[:: max(1, len(self.train) // MOMENT_PICTURES)].to(self.device)
        figures = self.validate()
        self.codec.fit_scale(self.table(numbers, torch.zeros_like(numbers, dtype=torch.bool)))
        save_system(folder, CodecSystem(mel=CONFIG, codec=self.codec, info=self.info("picture codec", figures)))


class PictureStage(Stage):
    """Trains the denoiser, text encoder and embedder of a `PictureSystem`: the squared error of what is predicted and
    the three terms of the music's token (report 004, section 4.1.2). Each sample is a label, one of its pictures, and
    one of its clips or its words, or both."""

    name = "picture"
    recipe: PictureRecipe

    def __init__(self, recipe: PictureRecipe, model: PictureSystem, pictures: Pictures, music: Music) -> None:
        self.model, self.music, self.table = model, music, PictureTable(pictures)
        check_set(model, pictures.pixels.shape[1], pictures, music)
        self.pools = {split: (_Pool(pictures, split), _Pool(music, split)) for split in SPLITS}
        self.prompts = [[f"{PROMPT} {words}" for words in label.words] for label in LABELS]
        read = model.text.read([PROMPT, *(text for texts in self.prompts for text in texts), *(x.name for x in LABELS)])
        self.vectors, self.lengths = read[0], read[1]
        networks = model.networks()
        trained = {"embedder"} if recipe.trained == "embedder" else {"denoiser", "text", "embedder"}
        super().__init__(
            recipe,
            {name: network for name, network in networks.items() if name in trained},
            frozen={name: network for name, network in networks.items() if name not in trained} | {"table": self.table},
            identity={"codec": fingerprint(model.codec)},
        )

    @classmethod
    def prepare(
        cls,
        recipe: PictureRecipe,
        data: str | Path,
        *,
        codec: str | Path | None = None,
        init_from: str | Path | None = None,
    ) -> PictureStage:
        """From a music-picture set, with a new model over a codec, or on from a model.

        Args:
            codec: of `timbrel train picture-codec`.
            init_from: a model folder, the name of a shipped model, or Stable Diffusion 1.x: a folder in diffusers'
                layout, or OWNER/REPO on the Hugging Face hub. An embedder is put before it.

        Raises:
            InputError: neither a codec nor a model, or both; a set that does not fit; otherwise as `load_pictures`.
            ModelError: as `load_codec` and `PaintPipeline.load`.
        """
        if (codec is None) == (init_from is None):
            raise InputError(
                "expected a codec or a model to go on from; train a codec with `timbrel train picture-codec`, and "
                "give --codec, or give --init-from"
            )
        pictures, music = load_pictures(data), load_music(data)
        torch.manual_seed(recipe.seed)
        if init_from is not None:
            model = _known_model(init_from, recipe, music)
        else:
            model = cls._new_model(recipe, Path(data), pictures, music, *load_codec(str(codec), PictureAutoencoder))
        if recipe.epochs is not None:
            each = -(-int((music.split == 0).sum()) // recipe.batch_size)
            recipe = dataclasses.replace(recipe, steps=recipe.epochs * each, validate_every=each)
        return cls(recipe, model, pictures, music)

    @staticmethod
    @torch.no_grad()
    def _new_model(
        recipe: PictureRecipe,
        data: Path,
        pictures: Pictures,
        music: Music,
        mel: MelConfig,
        loaded: PictureAutoencoder,
    ) -> PictureSystem:
        model = PictureSystem.build(
            mel,
            loaded,
            MusicnnConfig(),
            EmbedderConfig(Musicnn.hidden_width, recipe.token_width),
            WordsConfig(width=recipe.token_width),
            PictureUNetConfig(
                latent_channels=loaded.config.latent_channels,
                latent_height=pictures.pixels.shape[1] // loaded.factor,
                token_width=recipe.token_width,
                width=recipe.width,
                inner_width=recipe.inner_width,
            ),
            schedule_of(recipe),
        )
        weights = data / ENCODER
        check_weights(weights, model.audio)
        load_weights(weights, model.audio)
        model.check()
        model.embedder.fit_moments(music.features[music.split == 0])
        _fit_latents(model, pictures)
        return model

    def batch(self, step: int) -> dict[str, Tensor]:
        rng, recipe = self.rng(step), self.recipe
        batch = self._draw("train", rng, recipe.batch_size)
        heard = rng.random(batch["moments"].shape) < recipe.moment_share
        heard[np.arange(len(heard)), rng.integers(heard.shape[1], size=len(heard))] = True
        kind = rng.random(recipe.batch_size)
        batch["moments"] = torch.from_numpy(heard)
        batch["drop"] = torch.from_numpy(kind < recipe.null_share)
        batch["with_music"] = torch.from_numpy(kind > recipe.null_share + recipe.prompt_share)
        own_words = ~batch["with_music"] | torch.from_numpy(rng.random(recipe.batch_size) < 0.25)
        batch["prompt"] = torch.where(own_words, batch["prompt"], 0)
        batch["flip"] = torch.from_numpy(rng.random(recipe.batch_size) < 0.5)
        return batch

    def _draw(self, split: str, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Clips of labels at random, each with a picture of its label, and noise."""
        model, pools = self.model, self.pools[split]
        label = rng.choice(np.flatnonzero(np.minimum(*(pool.count for pool in pools))), size)
        picture, clip = (pool.draw(label, rng) for pool in pools)
        each = len(self.prompts[0])
        features = self.music.features[clip].float()
        return {
            "label": torch.from_numpy(label),
            "picture": picture,
            "features": features,
            "moments": torch.ones(features.shape[:2], dtype=torch.bool),
            "prompt": torch.from_numpy(1 + each * label + rng.integers(each, size=size)),
            "with_music": torch.ones(size, dtype=torch.bool),
            "drop": torch.zeros(size, dtype=torch.bool),
            "flip": torch.zeros(size, dtype=torch.bool),
            "timesteps": torch.from_numpy(rng.integers(model.schedule.num_train_timesteps, size=size)),
            "noise": torch.from_numpy(rng.standard_normal((size, *model.latent_shape), dtype=np.float32)),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        model, recipe = self.model, self.recipe
        with torch.no_grad(), torch.autocast(batch["noise"].device.type, enabled=False):
            latents = model.codec.encode(self.table(batch["picture"], batch["flip"]))
            noisy = model.schedule.add_noise(latents, batch["noise"], batch["timesteps"])
            target = model.schedule.target(latents, batch["noise"], batch["timesteps"])
        features = batch["features"]
        if model.embedder.training:
            features = features + recipe.feature_noise * model.embedder.std * torch.randn_like(features)
        token = model.embedder(features, batch["moments"])
        text = model.joined(self._read(batch["prompt"]), token, batch["with_music"])
        text = text.dropped(model.denoiser.null_token, batch["drop"])
        error = (model.denoiser(noisy, batch["timesteps"], text) - target).square().mean()
        token = token.float()
        l1, l2 = token.abs().mean(), token.square().mean().sqrt()
        names, name_mask = model.text(*self._read(1 + sum(map(len, self.prompts)) + batch["label"]))
        pooled = (names * name_mask[..., None]).sum(1).float() / name_mask.sum(1, keepdim=True)
        label = (1 - F.cosine_similarity(token, pooled.detach(), dim=-1)).square().mean()
        loss = error + recipe.l1_weight * l1 + recipe.l2_weight * l2 + recipe.label_weight * label
        return {"loss": loss, "error": error, "l1": l1, "label": label}

    def _read(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """The texts of these numbers, as `text.read` has them."""
        return self.vectors.to(number.device)[number], self.lengths.to(number.device)[number]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The error on held-out music and pictures, and that with the music of another sample: they part as music is
        heard."""
        size = min(256, 4 * self.recipe.batch_size)
        drawn = [self._draw("validation", np.random.default_rng((0, k)), size) for k in range(2)]
        batches = [self.to_device(batch | {"prompt": torch.zeros_like(batch["prompt"])}) for batch in drawn]
        others = [batch | {"features": batch["features"].roll(1, dims=0)} for batch in batches]
        figures = {
            name: float(torch.stack([self.loss(batch, 0)["error"] for batch in each]).mean())
            for name, each in (("error", batches), ("other_music_error", others))
        }
        self._last = self.painted(batches[0]["features"][:12])
        return figures

    @torch.no_grad()
    def painted(self, features: Tensor) -> Tensor:
        """A row of pictures of clips [n, moments, width]: [3, h, n * w] in [0, 1]."""
        model, recipe = self.model, self.recipe
        timesteps = inference_timesteps(model.schedule, min(SAMPLING.steps, recipe.num_train_timesteps))
        pictures = []
        for k, clip in enumerate(features):
            text = model.condition(PROMPT, clip)
            noise = seeded_noise(model.latent_shape, [k], device=self.device)
            x = dpm_solver_pp_2m(model.model(text, SAMPLING.guidance), noise, model.schedule, timesteps)
            pictures.append(model.decode(x)[0])
        return (torch.cat(pictures, dim=2).float().cpu() / 2 + 0.5).clamp(0, 1)

    def samples(self) -> dict[str, Tensor]:
        return {"painted": self._last}

    def save(self, folder: Path) -> None:
        sampling = STABLE_SAMPLING if isinstance(self.model, StablePainter) else SAMPLING
        self.model.info = self.info("pictures from music") | {"sampling": dataclasses.asdict(sampling)}
        if isinstance(self.model, StablePainter):
            save_stable_painter(folder, self.model, whole=self.recipe.trained == "all")
        else:
            save_system(folder, self.model)


def _known_model(source: str | Path, recipe: PictureRecipe, music: Music) -> PictureSystem:
    """A painter to go on from, with an embedder for the set's music."""
    if is_stable_painter(source):
        model: PictureSystem = load_stable_painter(source)
    elif is_stable_diffusion(source) or not is_model(source):
        model = new_stable_painter(str(source), load_ear(*music.ear))
    else:
        model = load_system(source, PictureSystem)
    if recipe.new_embedder or (isinstance(model, StablePainter) and not is_stable_painter(source)):
        model.embedder = MusicEmbedder(EmbedderConfig(music.features.shape[-1], model.embedder.config.token_width))
        model.embedder.fit_moments(music.features[music.split == 0])
    model.check()
    return model


def check_set(model: PictureSystem, side: int, pictures: Pictures, music: Music) -> None:
    """Checks that a model can learn from a set, whose pictures have sides of so many pixels.

    Raises:
        InputError: no label has both music and pictures; pictures of another size, or music that was heard otherwise.
    """
    for split in ("train", "validation"):
        if not np.minimum(*(_Pool(of, split).count for of in (pictures, music))).any():
            raise InputError(f"no label has both music and pictures of the {split} half; expected some")
    if side != model.size:
        raise InputError(
            f"the set's pictures have {side} pixels a side; expected {model.size}: make it with --size {model.size}"
        )
    width, expected = music.features.shape[-1], model.embedder.config.input_width
    if width != expected:
        raise InputError(
            f"the set's music has features of {width}; expected {expected}: make it with the model's audio encoder "
            "(--encoder)"
        )


class _Pool:
    """The pictures or clips of a split, to draw some of given labels. `count` [labels]: how many each has."""

    def __init__(self, of: Pictures | Music, split: str) -> None:
        numbers = _numbers(of, split).numpy()
        labels = of.label.numpy()[numbers]
        self.numbers = numbers[np.argsort(labels, kind="stable")]
        self.count = np.bincount(labels, minlength=len(LABELS))
        self.first = np.cumsum(self.count) - self.count

    def draw(self, label: NDArray, rng: np.random.Generator) -> Tensor:
        """Numbers [n] of one of each label [n]."""
        place = (rng.random(len(label)) * self.count[label]).astype(int)
        return torch.from_numpy(self.numbers[self.first[label] + place])


def _numbers(of: Pictures | Music, split: str) -> Tensor:
    """Which of them are of a split: numbers [n]."""
    return torch.nonzero(of.split == SPLITS.index(split))[:, 0]


def _fit_latents(model: PictureSystem, pictures: Pictures) -> None:
    """Gives the denoiser mean and deviation of each channel and row of the training pictures' latents."""
    train = _numbers(pictures, "train")
    numbers = train[:: max(1, len(train) // MOMENT_PICTURES)]
    latents = model.codec.encode(PictureTable(pictures)(numbers, torch.zeros(len(numbers), dtype=torch.bool)))
    model.denoiser.mean.copy_(latents.mean(dim=(0, 3))[..., None])
    model.denoiser.std.copy_(latents.std(dim=(0, 3))[..., None].clamp_min(0.02))
