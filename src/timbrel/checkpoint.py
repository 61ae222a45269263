"""A model folder <-> objects.

config.json               kind, architecture, settings of every part, how it was trained, measured figures
codec.safetensors         the mel autoencoder
style.safetensors         the style encoder        (a transfer model only)
denoiser.safetensors      the denoiser             (a transfer model, or a single one: one instrument's)
instruments.safetensors   named instruments: name -> style tokens [n, width]
features.safetensors      the feature network      (a features model only, which has none of the above)
README.md                 the model card
"""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from timbrel.audio.mel import MelConfig
from timbrel.diffusion.samplers import ddim, guided
from timbrel.diffusion.schedules import NoiseSchedule, cosine_schedule, inference_timesteps, linear_schedule
from timbrel.errors import MissingDependencyError, ModelError, TimbrelError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.denoiser import Condition, DenoiserConfig, TransferDenoiser
from timbrel.models.encoders import LPIPS, FeatureConfig, FeatureNetwork, VGGish
from timbrel.models.postfilter import postfilter
from timbrel.models.report import (
    ReportCodec,
    ReportCodecConfig,
    ReportStyle,
    ReportStyleConfig,
    ReportStyleEncoder,
    ReportUNet,
    ReportUNetConfig,
)
from timbrel.models.style import StyleConfig, StyleEncoder
from timbrel.models.unet import UNet, UNetConfig

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "default"

Codec = TypeVar("Codec", MelAutoencoder, ReportCodec)
Style = TypeVar("Style", StyleEncoder, ReportStyleEncoder)
Denoiser = TypeVar("Denoiser", TransferDenoiser, ReportUNet)
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class ScheduleConfig:
    kind: str = "cosine"
    num_train_timesteps: int = 1000
    prediction_type: str = "sample"
    zero_terminal_snr: bool = True

    def build(self) -> NoiseSchedule:
        make = {"cosine": cosine_schedule, "linear": linear_schedule}.get(self.kind)
        if make is None:
            raise ModelError(f"schedule is {self.kind!r}; expected 'cosine' or 'linear'")
        return make(
            self.num_train_timesteps,
            prediction_type=self.prediction_type,
            zero_terminal_snr=self.zero_terminal_snr,
        )


@dataclass
class TransferModel(ABC, Generic[Codec, Style, Denoiser]):
    """Everything that a transfer needs: the parts, the settings they work with, and what is known of them.

    A subclass is one system, and says how its parts work together on windows of `window` frames of latents, which
    the pipeline cross-fades over `overlap`.
    """

    mel: MelConfig
    codec: Codec
    style: Style
    denoiser: Denoiser
    schedule: NoiseSchedule
    schedule_config: ScheduleConfig
    instruments: dict[str, Tensor] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    @abstractmethod
    def window(self) -> int: ...

    @property
    @abstractmethod
    def overlap(self) -> int: ...

    @abstractmethod
    def style_tokens(self, mel: Tensor) -> Tensor:
        """Mel of a reference clip in dB [1, 1, n_mels, frames] -> its tokens [n, width]; those of several clips
        of one instrument may be put one after the other."""

    @abstractmethod
    def sample(
        self, content: Tensor, tokens: Tensor, noise: Tensor, *, steps: int, guidance: float, strength: float
    ) -> Tensor:
        """Latents [1, c, h, w] of a content played with a style.

        Args:
            content: latents of the source.
            tokens: [n, width], of `style_tokens`.
            noise: standard normal, in the content's shape.
            steps: of the sampler.
            guidance: on style; 1 is as learned.
            strength: 0-1, for a system whose way from the content may be shorter.
        """

    def decode(self, latents: Tensor) -> Tensor:
        """Sampled latents [1, c, h, w] -> mel in dB, as it is to be heard."""
        return self.codec.decode(latents)


class DefaultModel(TransferModel[MelAutoencoder, StyleEncoder, TransferDenoiser]):
    """Content enters beside the noise, which is where sampling starts."""

    window, overlap = 256, 16  # 24 s at 44.1 kHz

    @classmethod
    def build(
        cls,
        mel: MelConfig,
        codec: MelAutoencoder,
        style: StyleConfig,
        denoiser: DenoiserConfig,
        schedule: ScheduleConfig,
    ) -> DefaultModel:
        """With fresh weights around a codec."""
        built = schedule.build()
        network = TransferDenoiser(denoiser, built.alphas_cumprod)
        return cls(mel, codec, StyleEncoder(style), network, built, schedule)

    def style_tokens(self, mel: Tensor) -> Tensor:
        return self.style(self.codec.encode(mel))[0]

    def decode(self, latents: Tensor) -> Tensor:
        return postfilter(self.codec.decode(latents), self.mel.floor_db)

    def sample(
        self, content: Tensor, tokens: Tensor, noise: Tensor, *, steps: int, guidance: float, strength: float
    ) -> Tensor:
        everywhere = torch.ones(1, len(tokens), dtype=torch.bool, device=tokens.device)
        condition = Condition(content, tokens[None], everywhere)
        null = self.denoiser.null(condition)
        denoise = guided(lambda x, t: self.denoiser(x, t, condition), lambda x, t: self.denoiser(x, t, null), guidance)
        return ddim(denoise, noise, self.schedule, inference_timesteps(self.schedule, steps))


class ReportModel(TransferModel[ReportCodec, ReportStyleEncoder, ReportUNet]):
    """Report 001: content enters as the start of sampling alone, noised as far as the report noised it.

    That is -8 dB of signal to noise; from noise alone, where its training ends now, no content would be left.
    Windows and pieces of the style are as long as what it is trained on, 128 frames of mel: it knows no later place.
    """

    full_snr_db = -8.0

    @property
    def window(self) -> int:
        return 128 // self.codec.factor

    @property
    def overlap(self) -> int:
        return 32 // self.codec.factor

    @property
    def full_start(self) -> float:
        """How far a content is noised, as a share of the timesteps: up to `full_snr_db`."""
        abar = self.schedule.alphas_cumprod
        return float((abar / (1 - abar) > 10 ** (self.full_snr_db / 10)).double().mean())

    @classmethod
    def build(
        cls,
        mel: MelConfig,
        codec: ReportCodec,
        style: ReportStyleConfig,
        denoiser: ReportUNetConfig,
        schedule: ScheduleConfig,
    ) -> ReportModel:
        """With fresh weights around a codec; the mel's bands are a multiple of 64."""
        return cls(mel, codec, ReportStyleEncoder(style), ReportUNet(denoiser), schedule.build(), schedule)

    def style_tokens(self, mel: Tensor) -> Tensor:
        """A row has one of the coarse tokens, of 64 bands x 64 frames, and the four fine ones of as much."""
        side = self.window * self.codec.factor
        mel = mel.tile(-(-side // mel.shape[-1]))  # a shorter clip goes round
        pieces = mel[0, 0, :, : mel.shape[-1] // side * side].unflatten(1, (-1, side)).transpose(0, 1)
        style = self.style(self.codec.picture(pieces[:, None]))
        coarse = style.coarse.flatten(0, 1)
        return torch.cat([coarse, style.fine.reshape(len(coarse), -1)], dim=1)

    def sample(
        self, content: Tensor, tokens: Tensor, noise: Tensor, *, steps: int, guidance: float, strength: float
    ) -> Tensor:
        coarse, fine = tokens.tensor_split([8 * self.style.config.num_filters], dim=1)
        style = ReportStyle(fine.reshape(1, 4 * len(fine), -1), coarse[None])
        null = self.denoiser.null(style)
        timesteps = inference_timesteps(self.schedule, steps, start=strength * self.full_start)
        if not len(timesteps):
            return content
        x = self.schedule.add_noise(content, noise, timesteps[0])
        denoise = guided(lambda x, t: self.denoiser(x, t, style), lambda x, t: self.denoiser(x, t, null), guidance)
        return ddim(denoise, x, self.schedule, timesteps)


@dataclass
class SingleModel:
    """One instrument's diffusion model (report 003): its denoiser has no condition, it knows how `instrument` sounds.

    Models over one codec and schedule take each other's noisy latents.
    """

    instrument: str
    mel: MelConfig
    codec: MelAutoencoder
    denoiser: UNet
    schedule: NoiseSchedule
    schedule_config: ScheduleConfig
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls, instrument: str, mel: MelConfig, codec: MelAutoencoder, denoiser: UNetConfig, schedule: ScheduleConfig
    ) -> SingleModel:
        """With fresh weights around a codec."""
        built = schedule.build()
        network = UNet(denoiser, built.alphas_cumprod, built.prediction_type)
        return cls(instrument, mel, codec, network, built, schedule)

    def decode(self, latents: Tensor) -> Tensor:
        """Sampled latents [batch, c, h, w] -> mel in dB, as it is to be heard: single cells stand out of what is made
        up by up to 20 dB, and everything else would be soft beside them; attacks are late."""
        return postfilter(self.codec.decode(latents), self.mel.floor_db, attack_lead=0.5, peak_ratio=0.3)


class Architecture(NamedTuple):
    """The classes of one system, and of their settings."""

    codec_config: type
    codec: type[MelAutoencoder] | type[ReportCodec]
    style_config: type
    denoiser_config: type
    model: type[Any]  # a TransferModel with its own `build`


ARCHITECTURES = {
    "default": Architecture(AutoencoderConfig, MelAutoencoder, StyleConfig, DenoiserConfig, DefaultModel),
    "report": Architecture(ReportCodecConfig, ReportCodec, ReportStyleConfig, ReportUNetConfig, ReportModel),
}


@dataclass(frozen=True)
class ModelInfo:
    """What `timbrel models` prints of one model."""

    name: str
    path: Path
    purpose: str
    size_bytes: int
    instruments: list[str]
    sample_rate: int
    figures: dict[str, Any]
    training: str


def save_codec(folder: str | Path, mel: MelConfig, codec: MelAutoencoder | ReportCodec, info: dict[str, Any]) -> None:
    """Writes a codec folder; `info` goes into config.json as it is."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / "codec.safetensors", codec, torch.float32)
    config = {"kind": "codec", "architecture": _architecture(codec), "mel": mel, "codec": codec.config, "info": info}
    _save_config(folder, config)


def load_codec(folder: str | Path) -> tuple[MelConfig, MelAutoencoder | ReportCodec]:
    """Reads the codec of a codec folder, or of any model folder or shipped model.

    Raises:
        ModelError: the folder is missing, broken or holds no codec.
    """
    folder = resolve(folder)
    config, architecture = _read_config(folder)
    try:
        codec = architecture.codec(architecture.codec_config(**config["codec"]))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}/config.json does not describe a codec: {error}") from error
    _load_weights(folder / "codec.safetensors", codec)
    return MelConfig(**config["mel"]), codec


def expect(loaded: object, kind: type[Kind], folder: str | Path) -> Kind:
    """What was loaded from `folder`, if it is of the system at hand.

    Raises:
        ModelError: it is of another.
    """
    if not isinstance(loaded, kind):
        raise ModelError(
            f"{folder} holds a {type(loaded).__name__}; expected a {kind.__name__}: a recipe works on its own system"
        )
    return loaded


def save_transfer_model(folder: str | Path, model: TransferModel, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes a transfer model folder; the networks in `dtype`, their buffers and the codec in float32."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / "codec.safetensors", model.codec, torch.float32)
    _save_weights(folder / "style.safetensors", model.style, dtype)
    _save_weights(folder / "denoiser.safetensors", model.denoiser, dtype)
    if model.instruments:
        save_instruments(folder / "instruments.safetensors", model.instruments)
    config = {
        "kind": "transfer",
        "architecture": _architecture(model.codec),
        "mel": model.mel,
        "codec": model.codec.config,
        "style": model.style.config,
        "denoiser": model.denoiser.config,
        "schedule": model.schedule_config,
        "info": model.info,
    }
    _save_config(folder, config)


def load_transfer_model(folder: str | Path | None = None) -> TransferModel:
    """Reads a transfer model: a folder, the name of a shipped model, or None for the default.

    Raises:
        ModelError: the folder is missing, broken or holds another kind of model.
    """
    folder, config, architecture = _of_kind("transfer", DEFAULT_MODEL if folder is None else folder)
    mel, codec = load_codec(folder)
    try:
        model = architecture.model.build(
            mel,
            codec,
            architecture.style_config(**config["style"]),
            architecture.denoiser_config(**_with_tuples(config["denoiser"])),
            ScheduleConfig(**config["schedule"]),
        )
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}/config.json does not describe a transfer model: {error}") from error
    _load_weights(folder / "style.safetensors", model.style)
    _load_weights(folder / "denoiser.safetensors", model.denoiser)
    model.instruments = load_instruments(folder / "instruments.safetensors")
    model.info = config.get("info", {})
    return model


def save_single_model(folder: str | Path, model: SingleModel, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes a single model folder; the denoiser in `dtype`, its buffers and the codec in float32."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / "codec.safetensors", model.codec, torch.float32)
    _save_weights(folder / "denoiser.safetensors", model.denoiser, dtype)
    config = {
        "kind": "single",
        "architecture": _architecture(model.codec),
        "instrument": model.instrument,
        "mel": model.mel,
        "codec": model.codec.config,
        "denoiser": model.denoiser.config,
        "schedule": model.schedule_config,
        "info": model.info,
    }
    _save_config(folder, config)


def load_single_model(folder: str | Path) -> SingleModel:
    """Reads a single model: a folder, or the name of a shipped model ("single-violin").

    Raises:
        ModelError: the folder is missing, broken or holds another kind of model.
    """
    folder, config, _ = _of_kind("single", folder)
    mel, codec = load_codec(folder)
    try:
        model = SingleModel.build(
            str(config["instrument"]),
            mel,
            expect(codec, MelAutoencoder, folder),
            UNetConfig(**_with_tuples(config["denoiser"])),
            ScheduleConfig(**config["schedule"]),
        )
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}/config.json does not describe a single model: {error}") from error
    _load_weights(folder / "denoiser.safetensors", model.denoiser)
    model.info = config.get("info", {})
    return model


def single_models(folder: str | os.PathLike[str] | None = None) -> dict[str, list[Path]]:
    """The single models of each instrument: of `folder` (itself, a model or run folder in it), else of what ships.

    Raises:
        ModelError: `folder` is none.
    """
    found: dict[str, list[Path]] = {}
    for place in [PRETRAINED] if folder is None else [PRETRAINED, Path(folder)]:
        if not place.is_dir():
            raise ModelError(f"{place} is not a folder; expected one with models of `timbrel train single` in it")
        here: dict[str, list[Path]] = {}
        for path, config in _models_in(place):
            if config.get("kind") == "single":
                here.setdefault(str(config.get("instrument")), []).append(path)
        found |= here
    return found


def load_single_models(instruments: Sequence[str], folder: str | os.PathLike[str] | None = None) -> list[SingleModel]:
    """The instruments' models, as `single_models` finds them; all are looked up before one is read.

    Raises:
        ModelError: an instrument has none (those that exist are listed) or several, or one is broken.
    """
    found = single_models(folder)
    if missing := [name for name in instruments if name not in found]:
        raise ModelError(
            f"there is no model of {' or '.join(map(repr, missing))}, only of {', '.join(sorted(found)) or 'nothing'}; "
            "`timbrel train single` makes one, and --models (models=) says in which folder they are"
        )
    for name in instruments:
        if len(found[name]) > 1:
            raise ModelError(
                f"{' and '.join(map(str, found[name]))} are all models of {name!r}; expected one: name the folder of "
                "one, or move the others away"
            )
    return [load_single_model(found[name][0]) for name in instruments]


def save_features(folder: str | Path, mel: MelConfig, network: FeatureNetwork, info: dict[str, Any]) -> None:
    """Writes a feature network's folder; `info` goes into config.json as it is."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / "features.safetensors", network, torch.float32)
    _save_config(folder, {"kind": "features", "mel": mel, "features": network.config, "info": info})


def load_features(folder: str | Path) -> tuple[MelConfig, FeatureNetwork]:
    """Reads a feature network: a folder, or the name of a shipped one.

    Raises:
        ModelError: the folder is missing, broken or holds another kind of model.
    """
    folder, config, _ = _of_kind("features", folder)
    try:
        network = FeatureNetwork(FeatureConfig(**_with_tuples(config["features"])))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}/config.json does not describe a feature network: {error}") from error
    _load_weights(folder / "features.safetensors", network)
    return MelConfig(**config["mel"]), network


HUB = "hf:"
VGGISH = "a VGGish state dict: features.0.weight ... embeddings.4.bias, 72,141,184 numbers"
LPIPS_STATE = (
    "LPIPS's: torchvision's AlexNet or VGG16 (features.0.weight ...) and the heads (lin0.model.1.weight ... "
    "lin4.model.1.weight), in one file or in two, joined by a comma"
)


def load_vggish(files: str | Path) -> VGGish:
    """Reads VGGish's weights, which timbrel does not bring, from a state dict.

    Args:
        files: see `load_picture_network`.

    Raises:
        ModelError: the file is missing, unreadable or of another network.
        MissingDependencyError: it is on the hub, and the extra [hub] is not installed.
    """
    with _published(files, VGGISH) as tensors:
        return VGGish.from_state_dict(tensors)


def load_picture_network(files: str | Path) -> VGGish | LPIPS:
    """Reads a network trained by others, whose feature maps tell pictures apart: whichever the state dict is of.

    Args:
        files: a .safetensors file or one of torch's (.pth), on this machine, or `hf:OWNER/REPO/FILE` on the Hugging
            Face hub. Of several, joined by commas, the weights are taken together.

    Raises:
        ModelError: a file is missing or unreadable, or they are of another network.
        MissingDependencyError: one is on the hub, and the extra [hub] is not installed.
    """
    with _published(files, f"{VGGISH}; or {LPIPS_STATE}") as tensors:
        return (LPIPS if LPIPS.fits(tensors) else VGGish).from_state_dict(tensors)


@contextmanager
def _published(files: str | Path, expected: str) -> Iterator[dict[str, Tensor]]:
    """The tensors of a state dict, to make a network of: whatever is wrong with them is said."""
    try:
        tensors: dict[str, Tensor] = {}
        for name in [str(files)] if Path(files).exists() else str(files).split(","):
            path = Path(_from_hub(name) if name.startswith(HUB) else name)
            if path.suffix == ".safetensors":
                found = load_file(path)
            else:  # weights_only: a pickle may otherwise run anything
                found = torch.load(path, map_location="cpu", weights_only=True)
            tensors |= {key: t.float() for key, t in found.items()}
        yield tensors
    except TimbrelError:
        raise
    except Exception as error:  # torch.load raises nearly anything on what is no state dict
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ModelError(f"{files} cannot be read as a network's weights ({reason}); expected {expected}") from error


def _from_hub(name: str) -> str:
    """The path of `hf:OWNER/REPO/FILE`, fetched once."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingDependencyError(f"{name} needs huggingface_hub ({error}): pip install 'timbrel[hub]'") from error
    owner, _, rest = name.removeprefix(HUB).partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository and file):
        raise ModelError(f"{name!r} names no file on the hub; expected hf:OWNER/REPO/FILE")
    try:
        return local_first(hf_hub_download, f"{owner}/{repository}", file)
    except (OSError, ValueError) as error:
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ModelError(
            f"{name} is not on this machine and cannot be fetched ({reason}); expected hf:OWNER/REPO/FILE, and a "
            "network the first time, with HF_HUB_OFFLINE unset. Or fetch the file elsewhere, and name it here"
        ) from error


def local_first(fetch: Callable[..., Kind], *args: str) -> Kind:
    """What is on this machine, else from the hub: without a network, asking there takes long to fail."""
    try:
        return fetch(*args, local_files_only=True)
    except (OSError, ValueError):
        return fetch(*args)


def resolve(name_or_folder: str | Path) -> Path:
    """The folder of a shipped model's name, or the folder itself.

    Raises:
        ModelError: neither exists; the shipped names are listed.
    """
    for folder in (Path(name_or_folder), PRETRAINED / str(name_or_folder)):
        if (folder / "config.json").is_file():
            return folder
    shipped = sorted(p.parent.name for p in PRETRAINED.glob("*/config.json"))
    raise ModelError(
        f"model {str(name_or_folder)!r} is neither a model folder (with a config.json) nor a shipped model "
        f"({', '.join(shipped) or 'none ship'})"
    )


def list_models(folder: str | Path | None = None) -> list[ModelInfo]:
    """What ships, and what `folder` holds: itself, a model or run folder in it."""
    found = []
    for place in [PRETRAINED] if folder is None else [PRETRAINED, Path(folder)]:
        for path, config in _models_in(place):
            try:
                instruments = load_instruments(path / "instruments.safetensors")
            except ModelError:
                continue
            if config.get("kind") not in ("transfer", "single", "codec", "features"):
                continue
            info = config.get("info", {})
            found.append(
                ModelInfo(
                    name=path.name,
                    path=path,
                    purpose=info.get("purpose", config["kind"]),
                    size_bytes=sum(f.stat().st_size for f in path.iterdir() if f.is_file()),
                    instruments=[config.get("instrument", "")] if config["kind"] == "single" else sorted(instruments),
                    sample_rate=config["mel"]["sample_rate"],
                    figures=info.get("figures", {}),
                    training=info.get("training", "unknown"),
                )
            )
    return found


def _models_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Model folders and their config.json: the folder itself, those in it, and those of runs in it."""
    for pattern in ("config.json", "*/config.json", "*/model/config.json"):
        for path in sorted(file.parent for file in folder.glob(pattern)):
            if path.suffix in (".new", ".old"):  # left by a killed run
                continue
            try:
                config, _ = _read_config(path)
            except ModelError:
                continue
            yield path, config


def user_instruments_path() -> Path:
    """Where `timbrel instruments add` keeps a user's own: style tokens fit one model, so its name is in the file."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "timbrel" / "instruments.safetensors"


def save_instruments(path: Path, instruments: dict[str, Tensor]) -> None:
    """Writes name -> style tokens [n, width], float16, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _save_tensors(path, {name: tokens.to(torch.float16).contiguous() for name, tokens in instruments.items()})


def load_instruments(path: Path) -> dict[str, Tensor]:
    """Reads `save_instruments`, in float32; nothing where there is no file.

    Raises:
        ModelError: the file is broken.
    """
    if not path.is_file():
        return {}
    try:
        return {name: tokens.float() for name, tokens in load_file(path).items()}
    except SafetensorError as error:
        raise ModelError(f"{path} is broken ({error}); delete it, or make it anew") from error


def fingerprint(module: nn.Module) -> str:
    """Eight hex digits of a network's weights: another network has others."""
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def _save_weights(path: Path, module: nn.Module, dtype: torch.dtype) -> None:
    parameters = {name for name, _ in module.named_parameters()}
    tensors = {
        name: (t.to(dtype) if name in parameters else t).detach().cpu().contiguous()
        for name, t in module.state_dict().items()
    }
    _save_tensors(path, tensors)


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    try:
        save_file(tensors, temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise ModelError(f"{path} cannot be written ({error}); free some space, or name another place") from error


def _load_weights(path: Path, module: nn.Module) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        module.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} does not hold this model's weights: {error}") from error
    module.eval().requires_grad_(False)


def _save_config(folder: Path, config: dict[str, Any]) -> None:
    plain = {k: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for k, v in config.items()}  # type: ignore[arg-type]
    temporary = folder / "config.json.tmp"
    temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, folder / "config.json")


def _read_config(folder: Path) -> tuple[dict[str, Any], Architecture]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        MelConfig(**config["mel"])
        return config, ARCHITECTURES[config.get("architecture", "default")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} is not a timbrel model: {error}") from error


def _of_kind(kind: str, name_or_folder: str | Path) -> tuple[Path, dict[str, Any], Architecture]:
    """A model's folder and what its config.json says; refuses another kind of model."""
    folder = resolve(name_or_folder)
    config, architecture = _read_config(folder)
    if config.get("kind") != kind:
        raise ModelError(f"{folder} holds a {config.get('kind')!r} model; expected a {kind!r} model")
    return folder, config, architecture


def _with_tuples(config: dict[str, Any]) -> dict[str, Any]:
    """What JSON made lists of, as the settings have it."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}


def _architecture(codec: nn.Module) -> str:
    return next(name for name, parts in ARCHITECTURES.items() if isinstance(codec, parts.codec))
