"""Codecs compared (report 002, section 3.2): KL-VAE, VQ-VAE, masked autoencoder and ours, each trained on the same
sounds by the same loss for as many steps, and what they give back of sounds that no training heard.

Of diffusers' and transformers' networks the sizes are small and the channel is one; no weights are fetched.
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from timbrel.audio.mel import MelConfig
from timbrel.audio.plot import draw_mels
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.sounds.windows import SoundWindows
from timbrel.data.store import MelStore
from timbrel.errors import InputError, InterruptedRunError, MissingDependencyError
from timbrel.experiments.page import Column, Table, table
from timbrel.experiments.run import Result, keep_settings, measure_row
from timbrel.files import write_text
from timbrel.metrics.summary import mean_interval
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.systems.folder import load_codec
from timbrel.systems.stable_diffusion import PictureCodec, from_picture, to_picture
from timbrel.systems.weights import load_weights, save_weights
from timbrel.training.autoencoder import mel_error
from timbrel.training.loop import fit
from timbrel.training.recipes import AutoencoderRecipe
from timbrel.training.stage import Stage

FACTOR, CHANNELS, WIDTHS = 4, 8, (16, 32, 32)  # of the VAEs: the latents are of our codec's size
KL_WEIGHT = 1e-6  # as of Stable Diffusion's
CODES = 1024
PATCH, PATCH_WIDTH, MASKED_SHARE = 8, 128, 0.75
HALF_RANGE_DB = 0.5  # of a floor: the VAEs' own terms are made for pictures from -1 to 1, the common one is in dB
TITLES = {
    "ours": "ours",
    "untrained": "ours before training: the projection alone",
    "kl-vae": "KL-VAE",
    "vq-vae": "VQ-VAE",
    "mae": "masked autoencoder",
    "default": "ours as it ships, trained on music for longer",
}
UNTRAINED = ("untrained", "default")  # by this run
COLUMNS = (
    Column("lsd_db", "LSD, dB", 2, "lower"),
    Column("detail", "detail", 2, "1"),
    Column("latents", "latents / input", 2, "lower"),
    Column("parameters", "parameters", 0),
    Column("train_s", "training, CPU s", 0, "lower"),
    Column("run_s", "there and back, CPU s a minute", 2, "lower"),
)


class OurCodec(MelAutoencoder):
    """Its projection is onto the principal components of mels [batch, 1, n_mels, frames]."""

    def __init__(self, mel: Tensor, floor_db: float) -> None:
        super().__init__(AutoencoderConfig(floor_db=floor_db))
        self.fit_basis(mel)

    def rebuilt(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        return self.decode(self.encode(mel)), mel.new_zeros(())


class KLVAE(PictureCodec):
    """Latents are drawn in training, and cost their distance from a standard normal (Kingma & Welling 2014)."""

    def __init__(self, floor_db: float) -> None:
        super().__init__(_of("diffusers", "AutoencoderKL")(**_vae_settings()), floor_db)

    def rebuilt(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.posterior(mel)
        decoded = self.decode(posterior.sample() * self.config.scaling_factor)
        return decoded, -self.floor_db * HALF_RANGE_DB * KL_WEIGHT * posterior.kl().sum() / mel.numel()


class VQVAE(nn.Module):
    """Latents are the nearest of a book of codes (van den Oord et al. 2017, arXiv 1711.00937). The codes start as
    latents of mels [batch, 1, n_mels, frames]: as diffusers starts them, nearly all would stay unused."""

    def __init__(self, mel: Tensor, floor_db: float) -> None:
        super().__init__()
        book = {"num_vq_embeddings": CODES, "vq_embed_dim": CHANNELS}
        self.network, self.floor_db = _of("diffusers", "VQModel")(**_vae_settings(), **book), floor_db
        with torch.no_grad():
            latents = self.network.encode(to_picture(mel, floor_db)).latents.movedim(1, -1).flatten(0, -2)
            self.network.quantize.embedding.weight.copy_(latents[torch.randperm(len(latents))[:CODES]])

    def rebuilt(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.network(to_picture(mel, self.floor_db))
        own = -self.floor_db * HALF_RANGE_DB * answer.commit_loss
        return from_picture(answer.sample, self.floor_db), own

    def encode(self, mel: Tensor) -> Tensor:
        latents: Tensor = self.network.quantize(self.network.encode(to_picture(mel, self.floor_db)).latents)[0]
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        return from_picture(self.network.decode(latents, force_not_quantize=True).sample, self.floor_db)


class MaskedAutoencoder(nn.Module):
    """A vision transformer that sees some patches of a square mel, and gives back all (He et al. 2022, arXiv
    2111.06377). As a codec it sees all. Its latents [batch, 1 + patches, width] have a class token, too."""

    network: Any
    order: Tensor

    def __init__(self, size: int, floor_db: float) -> None:
        super().__init__()
        config = _of("transformers", "ViTMAEConfig")(
            image_size=size,
            num_channels=1,
            patch_size=PATCH,
            hidden_size=PATCH_WIDTH,
            intermediate_size=4 * PATCH_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            decoder_hidden_size=PATCH_WIDTH,
            decoder_intermediate_size=4 * PATCH_WIDTH,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=4,
        )
        self.network = _of("transformers", "ViTMAEForPreTraining")(config)
        self.floor_db = floor_db
        self.register_buffer("order", torch.arange((size // PATCH) ** 2)[None], persistent=False)

    def rebuilt(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The error is of all patches: of masked ones alone, as in the paper, it would not learn to be a codec."""
        self.network.config.mask_ratio = MASKED_SHARE
        seen = self.network.vit(to_picture(mel, self.floor_db))
        return self._drawn(seen.last_hidden_state, seen.ids_restore), mel.new_zeros(())

    def encode(self, mel: Tensor) -> Tensor:
        self.network.config.mask_ratio = 0.0
        order = self.order.float().expand(len(mel), -1)
        latents: Tensor = self.network.vit(to_picture(mel, self.floor_db), noise=order).last_hidden_state
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        return self._drawn(latents, self.order.expand(len(latents), -1))

    def _drawn(self, latents: Tensor, order: Tensor) -> Tensor:
        return from_picture(self.network.unpatchify(self.network.decoder(latents, order).logits), self.floor_db)


def _vae_settings() -> dict[str, Any]:
    return {
        "in_channels": 1,
        "out_channels": 1,
        "down_block_types": ("DownEncoderBlock2D",) * len(WIDTHS),
        "up_block_types": ("UpDecoderBlock2D",) * len(WIDTHS),
        "block_out_channels": WIDTHS,
        "latent_channels": CHANNELS,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
    }


def _of(package: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(package), name)
    except ImportError as error:
        raise MissingDependencyError(
            f"comparing codecs needs {package} ({error}): pip install 'timbrel[hub]'"
        ) from error


class CodecStage(Stage):
    """Trains a codec: our codec's loss, and what the codec's own training adds to it."""

    name = "codec"
    recipe: AutoencoderRecipe

    def __init__(self, recipe: AutoencoderRecipe, codec: Any, train: SoundWindows, validation: SoundWindows) -> None:
        super().__init__(recipe, {"codec": codec})
        self.codec, self.train, self.validation = codec, train, validation

    def batch(self, step: int) -> dict[str, Tensor]:
        return {"mel": self.train.draw(self.rng(step), self.recipe.batch_size, 0.0)["mel"]}

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        decoded, own = self.codec.rebuilt(batch["mel"])
        error = mel_error(decoded - batch["mel"], self.recipe.difference_weight)
        return {"loss": error + own, "error": error, "own": own}

    def validate(self) -> dict[str, float]:
        mel = self.validation.draw(np.random.default_rng(0), 2, 0.0)["mel"].to(self.device)
        return {"error": float(mel_error(self.codec.decode(self.codec.encode(mel)) - mel, 0.0))}

    def save(self, folder: Path) -> None:
        save_weights(folder / "codec.safetensors", self.codec, torch.float32)


@dataclass(frozen=True)
class Comparison:
    """Where the sounds are, where the rows go, and how much is computed. A window is a square of as many frames as
    bands, as the report's."""

    data: Path
    out: Path
    steps: int
    batch_size: int
    windows: int
    seed: int

    def settings(self) -> Result:
        fields = dataclasses.asdict(self) | {"data": str(self.data.resolve())}
        return {name: value for name, value in fields.items() if name != "out"}

    @cached_property
    def splits(self) -> dict[str, SoundWindows]:
        store = MelStore(self.data)
        sounds = partial(SoundWindows, store, frames=store.config.n_mels, ontology=Ontology.load())
        return {split: sounds(split=split) for split in ("train", "validation")}

    @property
    def mel(self) -> MelConfig:
        return self.splits["train"].store.config

    def fresh(self, name: str) -> Any:
        """A codec of random weights, that knows of the sounds what it needs to know before it is trained."""
        torch.manual_seed(self.seed)
        sounds = self.splits["train"].draw(np.random.default_rng(self.seed), 32, 0.0)["mel"]
        make: dict[str, Callable[[float], nn.Module]] = {
            "ours": partial(OurCodec, sounds),
            "untrained": partial(OurCodec, sounds),
            "kl-vae": KLVAE,
            "vq-vae": partial(VQVAE, sounds),
            "mae": partial(MaskedAutoencoder, self.mel.n_mels),
        }
        return make[name](self.mel.floor_db)

    def recipe(self) -> AutoencoderRecipe:
        return AutoencoderRecipe(
            steps=self.steps,
            batch_size=self.batch_size,
            frames=self.mel.n_mels,
            learning_rate=1e-3,
            warmup_steps=self.steps // 10,
            ema_decay=0.95,
            precision="fp32",
            seed=self.seed,
            validate_every=max(1, self.steps // 4),
            num_workers=0,
        )

    def trained(self, name: str) -> Any:
        """A codec as `train` left it, or as it is known without."""
        if name == "default":
            return load_codec(name, MelAutoencoder)[1]
        codec = self.fresh(name)
        if name != "untrained":
            load_weights(self.out / name / "model" / "codec.safetensors", codec)
        return codec.eval()

    def train(self, name: str) -> Result:
        begin = time.process_time()
        if not fit(CodecStage(self.recipe(), self.fresh(name), **self.splits), self.out / name, resume=False):
            raise InterruptedRunError(f"stopped while it trained {name}; the same command trains it anew")
        return {"train_s": time.process_time() - begin}

    def measure(self, name: str) -> Result:
        """What a codec, which is trained first, gives back of held-out sounds."""
        trained = {} if name in UNTRAINED else self.train(name)
        return trained | self.judge(self.trained(name))

    @torch.no_grad()
    def judge(self, codec: Any) -> Result:
        rows, seconds = [], 0.0
        for mel in self.held_out().split(4):
            begin = time.process_time()
            latents = codec.encode(mel)
            decoded = codec.decode(latents)
            seconds += time.process_time() - begin
            rows += [(distance(*pair), detail(*pair)) for pair in zip(mel, decoded, strict=True)]
        distances, details = zip(*rows, strict=True)
        return {
            "lsd_db": mean_interval(distances)._asdict(),
            "detail": mean_interval(details)._asdict(),
            "latents": latents.numel() / mel.numel(),
            "parameters": sum(parameter.numel() for parameter in codec.parameters()),
            "run_s": seconds / (self.windows * self.mel.n_mels / self.mel.frame_rate / 60),
        }

    def held_out(self) -> Tensor:
        """Windows of sounds that no training hears: [windows, 1, n_mels, n_mels] in dB."""
        return self.splits["validation"].draw(np.random.default_rng(self.seed), self.windows, 0.0)["mel"]


def distance(mel: Tensor, decoded: Tensor) -> float:
    """LSD in dB between two mels [1, n_mels, frames]: the mean, over the frames that are not silent, of the RMS over
    the bands."""
    return float((decoded - mel)[..., _heard(mel)].square().mean(dim=1).sqrt().mean())


def detail(mel: Tensor, decoded: Tensor) -> float:
    """Mean absolute difference of neighbouring bands of what is given back, over that of the truth; of the same
    frames."""
    steps, right = (each[..., _heard(mel)].diff(dim=1).abs().mean() for each in (decoded, mel))
    return float(steps / right.clamp_min(1e-9))


def _heard(mel: Tensor) -> Tensor:
    """Which frames of a mel [1, n_mels, frames] are not silent."""
    return mel.amax(dim=(0, 1)) > mel.min()


def compare(
    data: str | Path, out: str | Path, *, steps: int = 400, batch_size: int = 2, windows: int = 96, seed: int = 0
) -> Result:
    """Trains each codec on a mel store of sounds, and measures all on its held-out sounds; a second call goes on with
    the codecs that are not done.

    Args:
        data: the store, of `timbrel data sounds`; `n_mels` frames of it are a window.
        out: the folder: rows (*.json), models, `codecs.csv`, and `codecs.png`, one sound through each.
        steps, batch_size: of each training.
        windows: of held-out sounds, that each gives back.
        seed: of networks and windows.

    Returns:
        The figures of each codec of `TITLES`; without "default" where the store's mels are not those of the codec that
        ships.

    Raises:
        InputError: a store without train or validation sounds, or of a number of bands that the masked autoencoder's
            patches do not divide; a folder made with other settings.
        MissingDependencyError: without diffusers or transformers, or the extra [train].
        InterruptedRunError: stopped while it trained; the same call goes on.
    """
    run = Comparison(Path(data), Path(out), steps, batch_size, windows, seed)
    if run.mel.n_mels % PATCH:
        raise InputError(f"{data} has mels of {run.mel.n_mels} bands; expected a multiple of {PATCH}")
    names = [name for name in TITLES if name != "default" or load_codec(name, MelAutoencoder)[0] == run.mel]
    keep_settings(run.out, run.settings())
    rows = {name: measure_row(partial(run.measure, name), run.out, name) for name in names}
    write_text(run.out / "codecs.csv", codecs_table(rows).csv())
    _draw(run, names)
    return rows


def codecs_table(rows: Mapping[str, Any]) -> Table:
    """What `compare` measured."""
    return table("codec", {TITLES[name]: row for name, row in rows.items()}, COLUMNS, Column.plus_minus)


@torch.no_grad()
def _draw(run: Comparison, names: Sequence[str]) -> None:
    """The held-out sound of most detail along both axes, and what each codec gives back of it."""
    held_out = run.held_out()
    across, along = (held_out.diff(dim=axis).abs().mean(dim=(1, 2, 3)) for axis in (2, 3))
    busiest = held_out[(across * along).argmax()][None]
    codecs = {TITLES[name]: run.trained(name) for name in names}
    mels = {title: codec.decode(codec.encode(busiest))[0, 0] for title, codec in codecs.items()}
    draw_mels(run.out / "codecs.png", [("a sound", busiest[0, 0]), *mels.items()], run.mel, overwrite=True)
