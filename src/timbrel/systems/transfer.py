"""Timbre transfer, the system of the model that ships: content enters beside the noise, where sampling starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig
from timbrel.diffusion.samplers import ddim, guided
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import ModelError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.denoiser import Condition, DenoiserConfig, TransferDenoiser
from timbrel.models.postfilter import postfilter
from timbrel.models.style import StyleConfig, StyleEncoder
from timbrel.systems.base import ScheduleConfig, StyleTransfer, require_equal


@dataclass(kw_only=True)
class TransferSystem(StyleTransfer):
    parts: ClassVar = {
        "codec": {"mel-autoencoder": MelAutoencoder},
        "style": {"style-encoder": StyleEncoder},
        "denoiser": {"transfer-denoiser": TransferDenoiser},
    }
    window: ClassVar[int] = 256  # 24 s at 44.1 kHz
    overlap: ClassVar[int] = 16

    codec: MelAutoencoder
    style: StyleEncoder
    denoiser: TransferDenoiser

    @classmethod
    def build(
        cls,
        mel: MelConfig,
        codec: MelAutoencoder,
        style: StyleConfig,
        denoiser: DenoiserConfig,
        schedule: ScheduleConfig,
    ) -> TransferSystem:
        """With fresh weights around a codec."""
        network = TransferDenoiser(denoiser, schedule.build().alphas_cumprod)
        return cls(mel=mel, codec=codec, style=StyleEncoder(style), denoiser=network, schedule_config=schedule)

    def check(self) -> None:
        super().check()
        codec, style, denoiser = self.codec.config, self.style.config, self.denoiser.config
        require_equal("latent_channels of codec and style", codec.latent_channels, style.latent_channels)
        require_equal(
            "mel.n_mels / codec.factor and the latent_height of style and denoiser",
            self.mel.n_mels / codec.factor,
            style.latent_height,
            denoiser.latent_height,
        )
        require_equal("style.width and denoiser.token_width", style.width, denoiser.token_width)
        if denoiser.token_width % denoiser.num_heads:
            raise ModelError(
                f"denoiser.num_heads is {denoiser.num_heads}; expected a divisor of {denoiser.token_width}"
            )

    @property
    def token_width(self) -> int:
        return self.denoiser.config.token_width

    def style_tokens(self, mel: Tensor) -> Tensor:
        return self.style(self.codec.encode(mel))[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Sampled latents [batch, c, h, w] -> mel in dB. Of a denoiser that takes no noise this is a mean, which the
        post-filter sharpens; of one that does it is a sample, and stays as it is."""
        mel = self.codec.decode(latents)
        return mel if self.denoiser.config.noise_input else postfilter(mel, self.mel.floor_db)

    def sample(
        self, content: Tensor, tokens: Tensor, noise: Tensor, *, steps: int, guidance: float, strength: float
    ) -> Tensor:
        everywhere = torch.ones(1, len(tokens), dtype=torch.bool, device=tokens.device)
        condition = Condition(content, tokens[None], everywhere)
        null = self.denoiser.null(condition)
        denoise = guided(lambda x, t: self.denoiser(x, t, condition), lambda x, t: self.denoiser(x, t, null), guidance)
        return ddim(denoise, noise, self.schedule, inference_timesteps(self.schedule, steps))
