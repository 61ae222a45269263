"""A model folder <-> objects.

config.json               kind, settings of every part, how it was trained, measured figures
codec.safetensors         the mel autoencoder
style.safetensors         the style encoder        (a transfer model only)
denoiser.safetensors      the denoiser             (a transfer model only)
instruments.safetensors   named instruments: name -> style tokens [n, width]
README.md                 the model card
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from timbrel.audio.mel import MelConfig
from timbrel.diffusion.schedules import NoiseSchedule, cosine_schedule, linear_schedule
from timbrel.errors import ModelError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.denoiser import DenoiserConfig, TransferDenoiser
from timbrel.models.style import StyleConfig, StyleEncoder

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "default"


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
class TransferModel:
    """Everything that a transfer needs: the parts, the settings they work with, and what is known of them."""

    mel: MelConfig
    codec: MelAutoencoder
    style: StyleEncoder
    denoiser: TransferDenoiser
    schedule: NoiseSchedule
    schedule_config: ScheduleConfig
    instruments: dict[str, Tensor] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


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


def build_transfer_model(
    mel: MelConfig,
    codec: MelAutoencoder,
    style: StyleConfig,
    denoiser: DenoiserConfig,
    schedule: ScheduleConfig,
) -> TransferModel:
    """A transfer model with fresh weights around a codec."""
    built = schedule.build()
    return TransferModel(
        mel, codec, StyleEncoder(style), TransferDenoiser(denoiser, built.alphas_cumprod), built, schedule
    )


def save_codec(folder: str | Path, mel: MelConfig, codec: MelAutoencoder, info: dict[str, Any]) -> None:
    """Writes a codec folder; `info` goes into config.json as it is."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / "codec.safetensors", codec, torch.float32)
    config = {"kind": "codec", "mel": mel, "codec": codec.config, "info": info}
    _save_config(folder, config)


def load_codec(folder: str | Path) -> tuple[MelConfig, MelAutoencoder]:
    """Reads the codec of a codec folder, or of any model folder or shipped model.

    Raises:
        ModelError: the folder is missing, broken or holds no codec.
    """
    folder = resolve(folder)
    config = _read_config(folder)
    mel, codec = MelConfig(**config["mel"]), MelAutoencoder(AutoencoderConfig(**config["codec"]))
    _load_weights(folder / "codec.safetensors", codec)
    return mel, codec


def save_transfer_model(
    folder: str | Path, model: TransferModel, *, dtype: torch.dtype = torch.bfloat16
) -> None:
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
    folder = resolve(DEFAULT_MODEL if folder is None else folder)
    config = _read_config(folder)
    if config.get("kind") != "transfer":
        raise ModelError(f"{folder} holds a {config.get('kind')!r} model; expected a 'transfer' model")
    mel, codec = load_codec(folder)
    try:
        denoiser = dict(config["denoiser"])
        denoiser["dilations"] = tuple(denoiser["dilations"])
        model = build_transfer_model(
            mel,
            codec,
            StyleConfig(**config["style"]),
            DenoiserConfig(**denoiser),
            ScheduleConfig(**config["schedule"]),
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder}/config.json does not describe a transfer model: {error}") from error
    _load_weights(folder / "style.safetensors", model.style)
    _load_weights(folder / "denoiser.safetensors", model.denoiser)
    model.instruments = load_instruments(folder / "instruments.safetensors")
    model.info = config.get("info", {})
    return model


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
    """What ships, and what the sub-folders of `folder` (or itself) hold."""
    places = [PRETRAINED] if folder is None else [PRETRAINED, Path(folder)]
    found = []
    for place in places:
        for path in sorted({p.parent for p in [*place.glob("config.json"), *place.glob("*/config.json")]}):
            try:
                config = _read_config(path)
            except ModelError:
                continue
            if config.get("kind") not in ("transfer", "codec"):
                continue
            info = config.get("info", {})
            found.append(
                ModelInfo(
                    name=path.name,
                    path=path,
                    purpose=info.get("purpose", config["kind"]),
                    size_bytes=sum(f.stat().st_size for f in path.iterdir() if f.is_file()),
                    instruments=sorted(load_instruments(path / "instruments.safetensors")),
                    sample_rate=config["mel"]["sample_rate"],
                    figures=info.get("figures", {}),
                    training=info.get("training", "unknown"),
                )
            )
    return found


def user_instruments_path() -> Path:
    """Where `timbrel instruments add` keeps a user's own: style tokens fit one model, so its name is in the file."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "timbrel" / "instruments.safetensors"


def save_instruments(path: Path, instruments: dict[str, Tensor]) -> None:
    """Writes name -> style tokens [n, width], float16, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file(
        {name: tokens.to(torch.float16).contiguous() for name, tokens in instruments.items()}, temporary
    )
    os.replace(temporary, path)


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


def fingerprint(model: TransferModel) -> str:
    """What tells models apart whose style tokens do not fit each other: eight hex digits of the style encoder."""
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(model.style.state_dict().items()):
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()[:8]


def _save_weights(path: Path, module: nn.Module, dtype: torch.dtype) -> None:
    parameters = {name for name, _ in module.named_parameters()}
    tensors = {
        name: (t.to(dtype) if name in parameters else t).detach().cpu().contiguous()
        for name, t in module.state_dict().items()
    }
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary)
    os.replace(temporary, path)


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


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        MelConfig(**config["mel"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} is not a timbrel model: {error}") from error
    return config
