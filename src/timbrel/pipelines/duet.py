"""Double-diffusion (report 003, equations 4.2 and 4.3): one idea on two or more instruments.

    noise -> the first instrument's model, some steps -> half-denoised latents
                                                           -> each instrument's model -> mel -> waveform -> band-pass

The first steps settle when something sounds, and roughly what: that much the instruments share. Each makes the rest
itself. They settle the first instrument's average spectrum, too. The others take it away and put their own in its
place, as far as the half-denoised sample has any signal, which the report does not do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.bandpass import BandPass
from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform
from timbrel.audio.level import TARGET_RMS, headroom, level_gain, loudness
from timbrel.audio.waveform import Audio
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import ModelError
from timbrel.pipelines.settings import DuetSettings, Progress
from timbrel.pipelines.stems import Stems, check_instruments
from timbrel.systems.listing import load_single_models
from timbrel.systems.single import SingleSystem

DEFAULTS = DuetSettings()


class DuetPipeline:
    """Two or more instruments, ready to play together. Make one with `load`.

    Args:
        models: one of each instrument; the first takes the shared steps.

    Raises:
        InputError: fewer than two instruments, or one twice.
        ModelError: the models do not share a codec and a schedule.
    """

    def __init__(self, models: Sequence[SingleSystem]) -> None:
        check_instruments([model.instrument for model in models], least=2)
        for other in models[1:]:
            _check_alike(models[0], other)
        self.models = list(models)

    @classmethod
    def load(cls, instruments: Sequence[str], models: str | os.PathLike[str] | None = None) -> Self:
        """From instruments that have a model of their own, in the folder `models` or among those that ship.

        Raises:
            InputError: fewer than two instruments, or one twice.
            ModelError: an instrument has no model, or their models do not share a codec and a schedule.
        """
        check_instruments(instruments, least=2)
        return cls(load_single_models(instruments, models))

    @torch.inference_mode()
    def __call__(self, *, progress: Progress | None = None, settings: DuetSettings = DEFAULTS, **options: Any) -> Stems:
        """Makes up music.

        Args:
            progress: called with the seconds done, of all instruments together, and the seconds in all.
            settings: see `DuetSettings`.
            **options: fields of `DuetSettings`, in place of those in `settings`: seconds, split, steps, seed.

        Returns:
            Mono stems, band-pass filtered, and their sum. The stems are equally loud: -20 dB RMS where they sound, or
            all softer by one gain where something would clip.

        Raises:
            InputError: a number out of range.
        """
        settings = replace(settings, **options)
        mel = self.models[0].mel
        samples = max(1, round(settings.seconds * mel.sample_rate))
        stems = {}
        for number, (model, latents) in enumerate(zip(self.models, self._latents(samples, settings), strict=True)):
            stems[model.instrument] = _sound(model, latents, samples, settings.seed)
            if progress is not None:
                progress((number + 1) * settings.seconds, len(self.models) * settings.seconds)
        mix = np.sum(list(stems.values()), axis=0)
        gain = np.float32(headroom(max(float(np.abs(x).max()) for x in (mix, *stems.values()))))
        rate = mel.sample_rate
        return Stems({name: Audio(stem * gain, rate) for name, stem in stems.items()}, Audio(mix * gain, rate))

    def _latents(self, samples: int, settings: DuetSettings) -> list[Tensor]:
        """Sampled latents of each instrument, [1, c, h, w]."""
        mel, codec = self.models[0].mel, self.models[0].codec
        frames = mel.num_frames(samples)
        shape = (codec.config.latent_channels, mel.n_mels // codec.factor, -(-frames // codec.factor))
        timesteps = inference_timesteps(self.models[0].schedule, settings.steps)
        return _sample(self.models, shape, timesteps, settings)


def duet(instruments: Sequence[str], *, models: str | os.PathLike[str] | None = None, **options: Any) -> Stems:
    """One duet: `DuetPipeline.load(instruments, models)(**options)`. For several, load once.

    For example `duet(["violin", "guitar"], seconds=20, seed=3).save("violin-guitar")`.

    Args:
        instruments: two or more that have a model of their own.
        models: a folder with models of instruments, beside those that ship.
        **options: as `DuetPipeline` takes them: seconds, split, steps, seed, progress.
    """
    return DuetPipeline.load(instruments, models)(**options)


def _sound(model: SingleSystem, latents: Tensor, samples: int, seed: int) -> Waveform:
    """Latents [1, c, h, w] -> [1, samples], filtered, at the level of all stems."""
    mel = model.decode(latents)[..., : model.mel.num_frames(samples)]
    waveform = invert_mel(mel, model.mel, length=samples, seed=seed)[0].numpy()
    waveform = BandPass(model.mel.sample_rate, 1).push(waveform)
    return waveform * np.float32(level_gain(loudness([waveform]), TARGET_RMS))


def _sample(
    models: Sequence[SingleSystem], shape: tuple[int, ...], timesteps: Tensor, settings: DuetSettings
) -> list[Tensor]:
    """Latents [1, c, h, w] of each model from one noise: equation 4.2 for the first, 4.3 for the others."""
    first, schedule, split = models[0], models[0].schedule, settings.split
    shared = noise = seeded_noise(shape, [settings.seed])

    def keep(step: int, x: Tensor) -> None:
        nonlocal shared
        shared = x if step == split else shared

    sampled = [ddim(first.denoiser, noise, schedule, timesteps, callback=keep)]
    signal = schedule.alphas_cumprod[timesteps[split]].sqrt()
    for model in models[1:]:
        spectrum = signal * (model.denoiser.mean - first.denoiser.mean)
        start = shared + spectrum if settings.equalise and split else shared
        sampled.append(ddim(model.denoiser, start, schedule, timesteps[split:]))
    return sampled


def _check_alike(first: SingleSystem, other: SingleSystem) -> None:
    weights = other.codec.state_dict()
    if (first.mel, first.schedule_config, first.codec.config) != (
        other.mel,
        other.schedule_config,
        other.codec.config,
    ) or any(not torch.equal(tensor, weights[name]) for name, tensor in first.codec.state_dict().items()):
        raise ModelError(
            f"the models of {first.instrument!r} and {other.instrument!r} do not share a codec and a schedule, so they "
            "cannot share a sample; train both over the same codec (--codec) with the same schedule"
        )
