"""Cross-diffusion (report 003, equation 4.1): X_B = G_B^0(... G_B^t(D_t(X_A))).

A recording is noised, and the model of the wanted instrument takes the noise away again: what is loud and slow in the
recording outlives the noise, the rest is made up. No model of the recording's own instrument is needed. Everything
around that is the transfer pipeline's.

What outlives the noise best is the average spectrum, and with it the sound of the old instrument. So the recording is
first given the average spectrum that the wanted instrument's model was trained on, which the report does not do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timbrel.audio.level import TARGET_RMS_DB
from timbrel.diffusion.samplers import ddim
from timbrel.diffusion.schedules import NoiseSchedule, inference_timesteps
from timbrel.errors import InputError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.systems.base import StyleTransfer
from timbrel.systems.single import SingleSystem

STEPS, START = 50, 15
SOUNDING_DB = -60.0  # of full scale, in the loudest band of a frame
POWER_OF_RMS = 3.0  # sum of a mel's powers over the mean square: 2 for a sine, times 1.5 for the Hann window
SMOOTHING = 3  # bands of latents to either side: less would take notes for the instrument's spectrum


class CrossSystem(StyleTransfer):
    """One instrument's model as a transfer model whose only style is that instrument.

    Args:
        single: the model.
        start: the denoising steps that are skipped (k of the report's tables).
        forward_steps: how far the source is noised, of all the schedule's timesteps (F); None: as far as `start`
            expects.
        steps: denoising steps, the skipped ones among them, where a call says nothing else.
        equalise: give the source the instrument's average spectrum first; False is the report's way.
    """

    window, overlap, token_width = 256, 16, 0
    codec: MelAutoencoder

    def __init__(
        self,
        single: SingleSystem,
        *,
        start: int = START,
        forward_steps: int | None = None,
        steps: int = STEPS,
        equalise: bool = True,
    ) -> None:
        cross_timesteps(single.schedule, steps, start, forward_steps)
        super().__init__(
            mel=single.mel,
            codec=single.codec,
            denoiser=single.denoiser,
            schedule_config=single.schedule_config,
            instruments={single.instrument: torch.empty(0, 0)},
            info=single.info | {"sampling": {"steps": steps}},
        )
        self.single, self.start, self.forward_steps, self.equalise = single, start, forward_steps, equalise

    def decode(self, latents: Tensor) -> Tensor:
        return self.single.decode(latents)

    def style_tokens(self, mel: Tensor) -> Tensor:
        raise InputError(
            f"the style is a clip; cross-diffusion knows {', '.join(self.instruments)} alone: name that, or use the "
            "main model (--method default)"
        )

    def check_sampling(self, steps: int, guidance: float) -> None:
        cross_timesteps(self.schedule, steps, self.start, self.forward_steps)
        if guidance != 1:
            raise InputError(f"guidance is {guidance}; a model of one instrument has no condition: leave it out")

    def sample(
        self, content: Tensor, tokens: Tensor, noise: Tensor, *, steps: int, guidance: float, strength: float
    ) -> Tensor:
        noised, timesteps = cross_timesteps(self.schedule, steps, self.start, self.forward_steps)
        content = self.equalised(content) if self.equalise else content
        x = self.schedule.add_noise(content, noise, noised - 1) if noised else content
        return ddim(self.denoiser, x, self.schedule, timesteps)

    def equalised(self, content: Tensor) -> Tensor:
        """Latents [batch, c, h, w] of a source with the average spectrum (rests counted, smoothed over bands) that the
        model was trained on; each sample as loud as before, and its rests as they were."""
        codec, mel = self.codec, self.codec.decode(content)
        sounding = mel.amax(dim=(1, 2)) > SOUNDING_DB
        power = (10 ** (mel / 10)).sum(dim=(1, 2)) * sounding
        rms_db = 10 * torch.log10(power.sum(dim=1) / sounding.sum(dim=1).clamp_min(1) / POWER_OF_RMS + 1e-12)
        kept = sounding.unflatten(1, (-1, codec.factor)).any(dim=2)[:, None, None]
        mean = (content * kept).sum(dim=3, keepdim=True) / kept.sum(dim=3, keepdim=True).clamp_min(1)
        one_db = (codec.basis.sum(dim=1) / codec.scale)[:, None, None]
        wanted = self.single.denoiser.mean + (rms_db - TARGET_RMS_DB)[:, None, None, None] * one_db
        lacking = (wanted - mean).flatten(0, 1).transpose(1, 2)  # [batch * c, 1, h]
        kernel = torch.hann_window(2 * SMOOTHING + 3, periodic=False, device=content.device)[None, None, 1:-1]
        padded = nn.functional.pad(lacking, (SMOOTHING, SMOOTHING), mode="replicate")
        lacking = nn.functional.conv1d(padded, kernel / kernel.sum()).view_as(mean)
        return torch.where(kept, content + lacking, content)


def cross_timesteps(schedule: NoiseSchedule, steps: int, start: int, forward_steps: int | None) -> tuple[int, Tensor]:
    """How many forward steps noise the source, and the timesteps [steps - start] at which it is denoised.

    Matched, which is usual, the noise is what the first of them expects: T (1 - start / steps) steps of T. Any
    other pair works too, as in the report's tables: less noise leaves the model to smooth, more leaves noise.

    Raises:
        InputError: `steps`, `start` or `forward_steps` is out of range.
    """
    timesteps = inference_timesteps(schedule, steps)
    if not 0 <= start < steps:
        raise InputError(f"start is {start}; expected 0 to {steps - 1}: of {steps} steps at least one is left")
    total = schedule.num_train_timesteps
    noised = int(timesteps[start]) + 1 if forward_steps is None else forward_steps
    if not 0 <= noised <= total:
        raise InputError(f"forward_steps is {noised}; expected 0 (no noise) to {total} (nothing but noise)")
    return noised, timesteps[start:]
