"""Pictures from music (report 004): a denoiser of pictures attends to a prompt's tokens, and to one token of the music.

music -> moments (a frozen audio encoder) -> one token (the embedder); prompt -> tokens; noise -> latents -> picture
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from timbrel.audio.mel import MelConfig
from timbrel.audio.musicnn import CONFIG, moments
from timbrel.diffusion.samplers import Model, guided
from timbrel.errors import ModelError
from timbrel.models.embedder import EmbedderConfig, MusicEmbedder
from timbrel.models.musicnn import Musicnn, MusicnnConfig
from timbrel.models.picture_autoencoder import PictureAutoencoder
from timbrel.models.picture_unet import PictureUNet, PictureUNetConfig
from timbrel.models.text import WordEncoder, WordsConfig
from timbrel.models.text_unet import Text
from timbrel.systems.base import DiffusionSystem, ScheduleConfig, require_equal


@dataclass(kw_only=True)
class PictureSystem(DiffusionSystem):
    """`mel` is what the audio encoder hears."""

    parts: ClassVar = {
        "codec": {"picture-autoencoder": PictureAutoencoder},
        "audio": {"musicnn": Musicnn},
        "embedder": {"embedder": MusicEmbedder},
        "text": {"words": WordEncoder},
        "denoiser": {"picture-unet": PictureUNet},
    }
    exact: ClassVar = frozenset()

    codec: PictureAutoencoder
    audio: Musicnn
    embedder: MusicEmbedder
    text: WordEncoder
    denoiser: PictureUNet

    @classmethod
    def build(
        cls,
        mel: MelConfig,
        codec: PictureAutoencoder,
        audio: MusicnnConfig,
        embedder: EmbedderConfig,
        text: WordsConfig,
        denoiser: PictureUNetConfig,
        schedule: ScheduleConfig,
    ) -> PictureSystem:
        """With fresh weights around a codec."""
        built = schedule.build()
        return cls(
            mel=mel,
            codec=codec,
            audio=Musicnn(audio),
            embedder=MusicEmbedder(embedder),
            text=WordEncoder(text),
            denoiser=PictureUNet(denoiser, built.alphas_cumprod, built.prediction_type),
            schedule_config=schedule,
        )

    def check(self) -> None:
        super().check()
        if self.mel != CONFIG:
            raise ModelError(f"mel is {self.mel}; expected {CONFIG}, which the audio encoder hears")
        require_equal(
            "audio's features and embedder.input_width", Musicnn.hidden_width, self.embedder.config.input_width
        )
        widths = self.text.width, self.embedder.config.token_width, self.denoiser.config.token_width
        require_equal("text.width, embedder.token_width and denoiser.token_width", *widths)

    @property
    def sample_rate(self) -> int:
        """Of the music that `hear` takes, in Hz."""
        return self.mel.sample_rate

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Latents [c, h, w] of a picture."""
        config = self.denoiser.config
        return config.latent_channels, config.latent_height, config.latent_height

    @property
    def size(self) -> int:
        """Pixels of a picture's sides."""
        return self.denoiser.config.latent_height * self.codec.factor

    def networks(self) -> dict[str, nn.Module]:
        """All but the audio encoder, by name."""
        return {"codec": self.codec, "embedder": self.embedder, "text": self.text, "denoiser": self.denoiser}

    def hear(self, waveform: Tensor) -> Tensor:
        """Music [samples] at `sample_rate`, at any level -> features [moments of 3 s, width]. What is shorter than
        a moment is repeated."""
        return self.audio.hidden(moments(waveform))

    def condition(self, prompt: str, features: Tensor | None) -> Text:
        """Tokens of a prompt and, after them, of music: [1, n, width].

        Args:
            prompt: "" is none.
            features: of `hear`; None is no music.

        Raises:
            InputError: a prompt without a word that is known.
        """
        device, tokens = self.denoiser.null_token.device, []
        if prompt:
            read = self.text.read([prompt])
            tokens.append(self.text(*(part.to(device) for part in read))[0])
        if features is not None:
            tokens.append(self.embedder(features[None])[:, None])
        together = torch.cat(tokens or [self.denoiser.null_token[None, None]], dim=1)
        return Text(together, torch.ones(together.shape[:2], dtype=torch.bool, device=device))

    def joined(self, read: tuple[Tensor, ...], token: Tensor, there: Tensor) -> Text:
        """Prompts, as `text.read` has them, and after them the music's tokens [batch, width] where one is `there`
        [batch]."""
        words, mask = self.text(*read)
        tokens = torch.cat([words, token[:, None].to(words.dtype)], dim=1)
        return Text(tokens, torch.cat([mask, there[:, None]], dim=1))

    def model(self, text: Text, guidance_scale: float = 1.0) -> Model:
        """The denoiser of one condition, for a sampler: `model(x [batch, c, h, w], timesteps [batch])`.

        Args:
            text: of `condition`.
            guidance_scale: 1 is the condition as learned, more exaggerates what sets it apart.
        """
        return guided(self._conditioned(text), self._conditioned(self.condition("", None)), guidance_scale)

    def _conditioned(self, text: Text) -> Model:
        return lambda x, t: self.denoiser(x, t, text.expanded(len(x)))
