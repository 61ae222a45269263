"""Report 001: content enters as the start of sampling alone, noised as far as the report noised it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig
from timbrel.diffusion.samplers import ddim, guided
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import ModelError
from timbrel.models.report import (
    ReportCodec,
    ReportStyle,
    ReportStyleConfig,
    ReportStyleEncoder,
    ReportUNet,
    ReportUNetConfig,
)
from timbrel.systems.base import ScheduleConfig, StyleTransfer, require_equal


@dataclass(kw_only=True)
class Report001System(StyleTransfer):
    """Content is noised to -8 dB of signal to noise: from noise alone, where its training ends now, no content would be
    left. Windows and pieces of the style are as long as what it is trained on, 128 frames of mel: it knows no later
    place.
    """

    parts: ClassVar = {
        "codec": {"report-codec": ReportCodec},
        "style": {"report-style-encoder": ReportStyleEncoder},
        "denoiser": {"report-unet": ReportUNet},
    }
    full_snr_db: ClassVar[float] = -8.0

    codec: ReportCodec
    style: ReportStyleEncoder
    denoiser: ReportUNet

    @classmethod
    def build(
        cls,
        mel: MelConfig,
        codec: ReportCodec,
        style: ReportStyleConfig,
        denoiser: ReportUNetConfig,
        schedule: ScheduleConfig,
    ) -> Report001System:
        """With fresh weights around a codec; the mel's bands are a multiple of 64."""
        return cls(
            mel=mel,
            codec=codec,
            style=ReportStyleEncoder(style),
            denoiser=ReportUNet(denoiser),
            schedule_config=schedule,
        )

    def check(self) -> None:
        super().check()
        style, denoiser = self.style.config, self.denoiser.config
        require_equal("num_filters of style and denoiser", style.num_filters, denoiser.num_filters)
        if self.mel.n_mels % 64:
            raise ModelError(f"mel.n_mels is {self.mel.n_mels}; expected a multiple of 64")
        if denoiser.num_timesteps < self.schedule.num_train_timesteps and denoiser.time_embedding == "learned":
            raise ModelError(
                f"denoiser.num_timesteps is {denoiser.num_timesteps}; expected the schedule's "
                f"{self.schedule.num_train_timesteps}"
            )

    @property
    def window(self) -> int:
        return 128 // self.codec.factor

    @property
    def overlap(self) -> int:
        return 32 // self.codec.factor

    @property
    def token_width(self) -> int:
        return 24 * self.style.config.num_filters

    @property
    def full_start(self) -> float:
        """How far a content is noised, as a share of the timesteps: up to `full_snr_db`."""
        abar = self.schedule.alphas_cumprod
        return float((abar / (1 - abar) > 10 ** (self.full_snr_db / 10)).double().mean())

    def style_tokens(self, mel: Tensor) -> Tensor:
        """A row has one of the coarse tokens, of 64 bands x 64 frames, and the four fine ones of as much."""
        side = self.window * self.codec.factor
        mel = mel.tile(-(-side // mel.shape[-1]))  # a shorter clip goes round
        pieces = mel[0, 0, :, : mel.shape[-1] // side * side].unflatten(1, (-1, side)).transpose(0, 1)
        style = self.style(self.codec.normalise(pieces[:, None]))
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
