"""The painter of report 004 at full size: Stable Diffusion 1.x, an audio encoder, and an embedder that was trained.

The music's token stands after the prompt's tokens in the text encoder's input (AudioToken: Yariv et al. 2023, arXiv
2305.13050). A model folder has what was trained, and says where the rest is:

timbrel.json            where Stable Diffusion and the audio encoder are, the embedder's settings, and `info`
embedder.safetensors    the embedder
stable-diffusion/       diffusers' layout, where all of it was trained (experiment 2); else it is only pointed to
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from timbrel.audio.musicnn import CONFIG
from timbrel.bounds import parse
from timbrel.errors import InputError, ModelError
from timbrel.files import write_text
from timbrel.models.embedder import EmbedderConfig, MusicEmbedder
from timbrel.models.text_unet import Text
from timbrel.systems.base import require_equal
from timbrel.systems.ears import Ear, load_ear
from timbrel.systems.foreign import CLIPText, CLIPTextConfig
from timbrel.systems.picture import PictureSystem
from timbrel.systems.stable_diffusion import DiffusersUNet, load_pipeline, schedule_of, vae_factor
from timbrel.systems.weights import check_weights, load_weights, save_weights

OWN = "stable-diffusion"  # the folder in a model folder


@dataclass(frozen=True)
class AudioSource:
    kind: str
    source: str


@dataclass(frozen=True)
class PainterSettings:
    """What timbrel.json says."""

    stable_diffusion: str
    audio: AudioSource
    embedder: EmbedderConfig
    info: dict

    def sources(self) -> dict[str, str]:
        """The parts that are elsewhere, and where; an encoder without a source is the published one."""
        elsewhere = {"stable_diffusion": self.stable_diffusion, "audio": self.audio.source}
        return {name: source for name, source in elsewhere.items() if source not in ("", OWN)}


class PictureVAE(nn.Module):
    """diffusers' AutoencoderKL as codec (contract of the package) of pictures [batch, 3, h, w] in [-1, 1]."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae, self.config, self.factor = vae, vae.config, vae_factor(vae)

    def encode(self, picture: Tensor) -> Tensor:
        latents: Tensor = self.vae.encode(picture).latent_dist.mode() * self.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        picture: Tensor = self.vae.decode(latents / self.config.scaling_factor).sample
        return picture


class TokenText(CLIPText):
    """CLIP's text model, into whose input a token of music may be put."""

    @property
    def network(self) -> nn.Module:
        network: nn.Module = self._load()[0]
        return network

    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as numbers of tokens [n, length], and mask [n, length], True from the first token to the last.

        Raises:
            InputError: a text too long for a token more.
        """
        _, tokenizer = self._load()
        for text in texts:
            self.check_length(text)
        ids, _ = self._numbers(texts)
        lengths = torch.tensor([len(tokenizer(text).input_ids) for text in texts])
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    def check_length(self, text: str) -> None:
        """Raises InputError where a text is too long for a token more."""
        tokenizer = self._load()[1]
        count, most = len(tokenizer(text).input_ids), tokenizer.model_max_length - 1
        if count > most:
            raise InputError(
                f"prompt is {text!r:.60}..., of {count - 2} tokens; expected at most {most - 2}, so that the music's "
                "fits"
            )

    def with_token(self, ids: Tensor, mask: Tensor, token: Tensor, there: Tensor) -> Tensor:
        """Tokens [batch, length, width] of texts, as `read` has them, with a music's token [batch, width] after the
        words of those where it is `there` [batch]."""
        rows = torch.nonzero(there)[:, 0]
        place = mask.sum(1)[rows] - 1  # of the end, which moves by one
        longer = ids.clone()
        longer[rows, place + 1] = ids[rows, place]

        def put(module: nn.Module, args: Any, embedded: Tensor) -> Tensor:
            changed = embedded.clone()
            changed[rows, place] = token[rows].to(embedded.dtype)
            return changed

        handle = self._load()[0].get_input_embeddings().register_forward_hook(put)
        try:
            tokens: Tensor = self._load()[0](longer).last_hidden_state
        finally:
            handle.remove()
        return tokens.float()


@dataclass(kw_only=True)
class StablePainter(PictureSystem):
    """`pipeline`: diffusers' pipeline, whose networks the parts share; `source`: where it is."""

    parts: ClassVar = {}

    codec: PictureVAE  # type: ignore[assignment]
    audio: Ear  # type: ignore[assignment]
    text: TokenText  # type: ignore[assignment]
    denoiser: DiffusersUNet  # type: ignore[assignment]
    pipeline: Any
    source: str

    def check(self) -> None:
        require_equal("audio's features and embedder.input_width", self.audio.width, self.embedder.config.input_width)
        require_equal("text.width and embedder.token_width", self.text.width, self.embedder.config.token_width)

    @property
    def sample_rate(self) -> int:
        return self.audio.sample_rate

    def networks(self) -> dict[str, nn.Module]:
        return super().networks() | {"text": self.text.network}

    def hear(self, waveform: Tensor) -> Tensor:
        return self.audio.hear(waveform)

    def condition(self, prompt: str, features: Tensor | None) -> Text:
        device = self.denoiser.null_token.device
        if not prompt and features is None:
            nothing = self.denoiser.null_token[None]
            return Text(nothing, torch.ones(nothing.shape[:2], dtype=torch.bool, device=device))
        read = tuple(part.to(device) for part in self.text.read([prompt]))
        token = self.embedder((torch.zeros(1, 1, self.audio.width) if features is None else features[None]).to(device))
        return self.joined(read, token, torch.tensor([features is not None], device=device))

    def joined(self, read: tuple[Tensor, ...], token: Tensor, there: Tensor) -> Text:
        ids, mask = read
        tokens = self.text.with_token(ids, mask, token, there)
        return Text(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


def is_stable_painter(folder: str | Path) -> bool:
    """Whether a folder holds such a model."""
    return (Path(folder) / "timbrel.json").is_file() and (Path(folder) / "embedder.safetensors").is_file()


def new_stable_painter(source: str, audio: Ear) -> StablePainter:
    """Stable Diffusion and an audio encoder with an embedder that knows nothing yet.

    Args:
        source: a folder in diffusers' layout, or OWNER/REPO on the Hugging Face hub.

    Raises:
        ModelError: as `load_stable_diffusion`.
        MissingDependencyError: the extra [hub] is not installed.
    """
    pipeline = load_pipeline(source)
    schedule = schedule_of(source, dict(pipeline.scheduler.config))
    text = TokenText(CLIPTextConfig(source, pipeline.text_encoder.config.hidden_size))
    text._loaded = [pipeline.text_encoder.eval().requires_grad_(False), pipeline.tokenizer]
    system = StablePainter(
        mel=CONFIG,
        codec=PictureVAE(pipeline.vae),
        audio=audio,
        embedder=MusicEmbedder(EmbedderConfig(audio.width, text.width)),
        text=text,
        denoiser=DiffusersUNet(pipeline.unet, text.nothing()),
        schedule_config=schedule,
        pipeline=pipeline,
        source=source,
    )
    for part in (system.codec, system.denoiser):
        part.eval().requires_grad_(False)
    system.check()
    return system


def save_stable_painter(folder: Path, system: StablePainter, *, whole: bool) -> None:
    """Writes a model folder; `whole` puts Stable Diffusion into it, which was trained, too."""
    if whole:
        system.pipeline.save_pretrained(folder / OWN)
    save_weights(folder / "embedder.safetensors", system.embedder, torch.float32)
    audio = AudioSource(system.audio.kind, system.audio.source)
    settings = PainterSettings(OWN if whole else system.source, audio, system.embedder.config, system.info)
    write_text(folder / "timbrel.json", json.dumps(dataclasses.asdict(settings), indent=2) + "\n")


def read_painter_settings(folder: Path) -> PainterSettings:
    """What a folder's timbrel.json says, checked.

    Raises:
        ModelError: it is missing, or cannot be read as such.
    """
    path = folder / "timbrel.json"
    try:
        return parse(PainterSettings, json.loads(path.read_text(encoding="utf-8")), "timbrel.json")
    except (OSError, RecursionError, ValueError, ModelError) as error:
        raise ModelError(f"{path} cannot be read ({error!r}); train the model anew") from error


def load_stable_painter(folder: str | Path) -> StablePainter:
    """Reads what `save_stable_painter` wrote.

    Raises:
        ModelError: the folder is broken, or what it points to cannot be read: the message says which and from where.
        MissingDependencyError: the extra [hub] is not installed.
    """
    folder = Path(folder)
    settings = read_painter_settings(folder)
    source = settings.stable_diffusion
    try:
        audio = load_ear(settings.audio.kind, settings.audio.source)
    except InputError as error:
        raise ModelError(f"{folder / 'timbrel.json'} names no audio encoder: {error}") from error
    system = new_stable_painter(str((folder / OWN).absolute()) if source == OWN else source, audio)
    system.source, system.info, system.embedder = source, settings.info, MusicEmbedder(settings.embedder)
    system.check()
    check_weights(folder / "embedder.safetensors", system.embedder)
    load_weights(folder / "embedder.safetensors", system.embedder)
    return system
