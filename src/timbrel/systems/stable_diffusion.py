"""Stable Diffusion 1.x (Rombach et al. 2022, arXiv 2112.10752) as a system of sound (report 002): a mel is a grey
picture.

The folder is diffusers': model_index.json, and the parts in unet/, vae/, text_encoder/, tokenizer/ and scheduler/. One
that was trained on sounds has timbrel.json, too: the mels' settings, and what is known of the model.
"""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.audio.mel import MelConfig
from timbrel.bounds import parse
from timbrel.errors import InputError, MissingDependencyError, ModelError
from timbrel.files import write_text
from timbrel.models.text_unet import Text
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.foreign import CLIPText, local_first
from timbrel.systems.generate import GenerateSystem

EXPECTED = "a folder, or OWNER/REPO on the Hugging Face hub, of Stable Diffusion 1.x in diffusers' layout"
LAYOUT = ("model_index.json", "unet", "vae", "text_encoder", "tokenizer", "scheduler")
SCHEDULE = {
    "prediction_type": "epsilon",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "trained_betas": None,
}


def to_picture(mel: Tensor, floor_db: float) -> Tensor:
    """A mel in dB as brightness from -1, the floor, to 1, full scale."""
    return 1 - 2 * mel / floor_db


def from_picture(picture: Tensor, floor_db: float) -> Tensor:
    """Inverse of `to_picture`, at least the floor."""
    return ((1 - picture) * floor_db / 2).clamp_min(floor_db)


class PictureCodec(nn.Module):
    """A KL-VAE of pictures, diffusers' AutoencoderKL, as codec (contract of the package) of mels.

    Args:
        vae: of any number of channels: they get the same picture, and their mean is what it gives back.
        floor_db: of the mels.
        upscale: side of the square of pixels that a value of the mel becomes; it divides the VAE's own factor.
    """

    def __init__(self, vae: Any, floor_db: float, upscale: int = 1) -> None:
        super().__init__()
        self.vae, self.config, self.floor_db, self.upscale = vae, vae.config, floor_db, upscale
        self.factor = vae_factor(vae) // upscale

    def posterior(self, mel: Tensor) -> Any:
        """What the encoder says of the latents of mels [batch, 1, n_mels, frames]: diffusers' Gaussian, not scaled."""
        picture = F.interpolate(to_picture(mel, self.floor_db), scale_factor=float(self.upscale))
        return self.vae.encode(picture.expand(-1, self.config.in_channels, -1, -1)).latent_dist

    def encode(self, mel: Tensor) -> Tensor:
        """Mel in dB [batch, 1, n_mels, frames] -> latents [batch, c, n_mels / factor, frames / factor]."""
        latents: Tensor = self.posterior(mel).mode() * self.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [batch, c, h, w] -> mel in dB [batch, 1, h * factor, w * factor], at least the floor."""
        picture = self.vae.decode(latents / self.config.scaling_factor).sample.mean(dim=1, keepdim=True)
        return from_picture(F.avg_pool2d(picture, self.upscale), self.floor_db)


def vae_factor(vae: Any) -> int:
    """By which an AutoencoderKL divides the sides of a picture."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


@dataclass(frozen=True)
class DiffusersUNetConfig:
    """As `TextUNetConfig`; the height is that of the latents of the square pictures that it was trained on."""

    latent_channels: int
    latent_height: int
    token_width: int
    widths: tuple[int, ...]
    masked: bool = False


class DiffusersUNet(nn.Module):
    """diffusers' UNet2DConditionModel as a denoiser, `model(noisy_latents, timesteps, text) -> prediction`;
    `null_token` [length, token_width] are the tokens of the empty text."""

    null_token: Tensor

    def __init__(self, unet: Any, null_token: Tensor) -> None:
        super().__init__()
        of = unet.config
        self.unet = unet
        self.config = DiffusersUNetConfig(
            of.in_channels, of.sample_size, of.cross_attention_dim, tuple(of.block_out_channels)
        )
        self.register_buffer("null_token", null_token, persistent=False)

    @property
    def reach(self) -> int:
        """Half a picture: the network sees all of what it is given, but what is near counts most."""
        return self.config.latent_height // 2

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """Noisy latents [batch, c, h, w] at timesteps [batch] -> prediction of the same shape. All tokens count,
        padding among them, as they did in its training."""
        prediction: Tensor = self.unet(noisy_latents, timesteps, text.tokens).sample.float()
        return prediction


@dataclass(kw_only=True)
class StableDiffusion(GenerateSystem):
    """`pipeline`: diffusers' pipeline, whose networks the parts share."""

    parts: ClassVar = {}
    guided_shares: ClassVar = (0.0, 1.0)

    codec: PictureCodec
    text: CLIPText
    denoiser: DiffusersUNet
    pipeline: Any

    @property
    def window(self) -> int:
        """A square picture, as the network was trained on."""
        return self.denoiser.config.latent_height

    @property
    def overlap(self) -> int:
        return self.window // 4


def is_stable_diffusion(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a pipeline in diffusers' layout."""
    return (Path(folder) / "model_index.json").is_file()


def load_stable_diffusion(source: str | os.PathLike[str], mel: MelConfig | None = None) -> StableDiffusion:
    """Reads Stable Diffusion 1.x, to make or to learn the sound of mels.

    Args:
        source: a folder in diffusers' layout, or OWNER/REPO on the Hugging Face hub.
        mel: of the sounds that it is to learn; None is those that it has learnt, in the folder's timbrel.json.

    Raises:
        ModelError: the source cannot be read, lacks a part, predicts something other than the noise or by another
            schedule; its parts do not fit each other; it has not learnt any sounds, and `mel` is None.
        InputError: mels whose bands do not divide the height of its pictures.
        MissingDependencyError: the extra [hub] is not installed.
    """
    pipeline = load_pipeline(str(source))
    schedule = schedule_of(str(source), dict(pipeline.scheduler.config))
    info: dict[str, Any] = {}
    if mel is None:
        mel, info = _read_settings(Path(source))
    text = CLIPText.of(pipeline.text_encoder, pipeline.tokenizer, str(source))
    system = StableDiffusion(
        mel=mel,
        info=info,
        codec=PictureCodec(pipeline.vae, mel.floor_db, _upscale(pipeline, mel)),
        text=text,
        denoiser=DiffusersUNet(pipeline.unet, text.nothing()),
        schedule_config=schedule,
        pipeline=pipeline,
    )
    for part in (system.codec, system.denoiser):
        part.eval().requires_grad_(False)
    system.check()
    return system


def save_stable_diffusion(folder: Path, system: StableDiffusion) -> None:
    """Writes diffusers' layout, which `load_stable_diffusion` and diffusers read, and timbrel.json beside it."""
    system.pipeline.save_pretrained(folder)
    settings = {"mel": dataclasses.asdict(system.mel), "info": system.info}
    write_text(folder / "timbrel.json", json.dumps(settings, indent=2) + "\n")


def load_pipeline(source: str) -> Any:
    try:
        from diffusers import StableDiffusionPipeline
    except ImportError as error:
        raise MissingDependencyError(
            f"{source} needs diffusers and transformers ({error}): pip install 'timbrel[hub]'"
        ) from error
    if Path(source).is_dir() and (missing := [name for name in LAYOUT if not (Path(source) / name).exists()]):
        raise ModelError(f"{source} has no {', '.join(missing)}; expected {EXPECTED}")
    name = dict(_read(source, StableDiffusionPipeline.load_config)).get("_class_name")
    if name != StableDiffusionPipeline.__name__:
        raise ModelError(
            f"{source} has _class_name {name!r:.60} in model_index.json; expected {StableDiffusionPipeline.__name__!r}"
        )
    left_out = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
    options = {"requires_safety_checker": False, "use_safetensors": True}
    return _read(source, partial(StableDiffusionPipeline.from_pretrained, **options, **left_out))


def _read(source: str, fetch: Callable[..., Any]) -> Any:
    try:
        return local_first(fetch, source)
    except Exception as error:  # diffusers raises nearly anything on a folder that is not whole
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ModelError(
            f"{source} cannot be read as Stable Diffusion ({reason}); expected {EXPECTED}, and a network the first "
            "time, with HF_HUB_OFFLINE unset"
        ) from error


def schedule_of(source: str, config: dict[str, Any]) -> ScheduleConfig:
    """Stable Diffusion's own, which is the only one that it can be trained on by."""
    if other := [name for name, value in SCHEDULE.items() if config.get(name) != value]:
        listed = ", ".join(f"{name} {config.get(name)!r} (expected {SCHEDULE[name]!r})" for name in other)
        raise ModelError(f"{source} has {listed}; expected {EXPECTED}")
    return ScheduleConfig("scaled_linear", config["num_train_timesteps"], "epsilon", zero_terminal_snr=False)


def _upscale(pipeline: Any, mel: MelConfig) -> int:
    """Pixels that a band becomes, so that the bands fill the height of the pictures: 512 for 128 mels are 4."""
    factor = vae_factor(pipeline.vae)
    height = pipeline.unet.config.sample_size * factor
    upscales = [n for n in range(1, factor + 1) if factor % n == 0]
    for upscale in upscales:
        if mel.n_mels * upscale == height:
            return upscale
    raise InputError(
        f"n_mels is {mel.n_mels}; expected {' or '.join(str(height // n) for n in upscales)}, which fill pictures of "
        f"{height} pixels"
    )


def _read_settings(folder: Path) -> tuple[MelConfig, dict[str, Any]]:
    """The mels' settings, and the info."""
    path = folder / "timbrel.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} has no timbrel.json: it has not learnt any sounds; `timbrel train generate report --init-from "
            f"{folder}` teaches it"
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return parse(MelConfig, settings["mel"], "mel"), parse(dict, settings["info"], "info")
    except (KeyError, TypeError, ValueError, ModelError) as error:
        raise ModelError(f"{path} cannot be read ({error!r}); save the model anew") from error
