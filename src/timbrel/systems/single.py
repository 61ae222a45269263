"""One instrument's diffusion model (report 003): its denoiser has no condition, it knows how `instrument` sounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from timbrel.audio.mel import MelConfig
from timbrel.errors import ModelError
from timbrel.instruments import names_a_file
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.postfilter import postfilter
from timbrel.models.unet import BandsUNet, BandsUNetConfig, UNet, UNetConfig
from timbrel.systems.base import DiffusionSystem, ScheduleConfig, require_equal


@dataclass(kw_only=True)
class SingleSystem(DiffusionSystem):
    """Those over one codec and schedule take each other's noisy latents."""

    parts: ClassVar = {
        "codec": {"mel-autoencoder": MelAutoencoder},
        "denoiser": {"unet": UNet, "bands-unet": BandsUNet},
    }

    instrument: str
    codec: MelAutoencoder
    denoiser: UNet | BandsUNet

    @classmethod
    def build(
        cls,
        instrument: str,
        mel: MelConfig,
        codec: MelAutoencoder,
        denoiser: UNetConfig | BandsUNetConfig,
        schedule: ScheduleConfig,
    ) -> SingleSystem:
        """With fresh weights around a codec."""
        built = schedule.build()
        levels = built.alphas_cumprod, built.prediction_type
        network = UNet(denoiser, *levels) if isinstance(denoiser, UNetConfig) else BandsUNet(denoiser, *levels)
        return cls(instrument=instrument, mel=mel, codec=codec, denoiser=network, schedule_config=schedule)

    def settings(self) -> dict[str, Any]:
        return {"instrument": self.instrument} | super().settings()

    def instrument_names(self) -> list[str]:
        return [self.instrument]

    def check(self) -> None:
        super().check()
        if not names_a_file(self.instrument):
            raise ModelError(f"instrument is {self.instrument!r:.60}; expected a name without slashes, as violin")
        height = self.mel.n_mels / self.codec.factor
        require_equal(
            "mel.n_mels / codec.factor and denoiser.latent_height", height, self.denoiser.config.latent_height
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Sampled latents [batch, c, h, w] -> mel in dB, as it is to be heard: single cells stand out of what is made
        up by up to 20 dB, and everything else would be soft beside them; attacks are late."""
        return postfilter(self.codec.decode(latents), self.mel.floor_db, attack_lead=0.5, peak_ratio=0.3)
