"""Double-diffusion (report 003, equations 4.2 and 4.3): one idea on two or more instruments.

    noise -> the first instrument's model, some steps -> half-denoised latents
                                                           -> each instrument's model -> mel -> waveform -> band-pass

What the first steps settle (when something sounds, and roughly what) the instruments share; the rest each makes itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.bandpass import BandPass
from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform
from timbrel.audio.level import TARGET_RMS, headroom, level_gain, loudness
from timbrel.checkpoint import SingleModel, load_single_models
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError, ModelError
from timbrel.pipelines.cross import STEPS
from timbrel.pipelines.stems import (
    MIX,
    check_instruments,
    stem_paths,
    stem_writers,
)
from timbrel.pipelines.transfer import Progress

SPLIT = 10
MAX_SECONDS = 600.0


@dataclass(frozen=True)
class Duet:
    """What `duet` gives: waveforms [1, samples] float32 at `sample_rate` in Hz. `mix` is the sum of the `stems`."""

    stems: dict[str, Waveform]
    mix: Waveform
    sample_rate: int

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Path]:
        """Writes INSTRUMENT.wav and mix.wav into `folder`; returns their paths.

        Raises:
            InputError, AudioError: the folder cannot be made, or a file cannot be written there.
        """
        paths = stem_paths(folder, list(self.stems), overwrite=overwrite)
        with stem_writers(paths, self.sample_rate, 1, overwrite=overwrite) as writers:
            for name, waveform in (self.stems | {MIX: self.mix}).items():
                writers[name].write(waveform)
        return paths


@torch.inference_mode()
def duet(
    instruments: Sequence[str],
    *,
    seconds: float = 10.0,
    split: int = SPLIT,
    steps: int = STEPS,
    seed: int = 0,
    models: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Duet:
    """Makes up music that several instruments play together.

    Args:
        instruments: two or more that have a model of their own; the first one's model takes the shared steps.
        seconds: of music, up to 600.
        split: denoising steps that are shared. The more, the more alike; with 0 they share the noise alone.
        steps: denoising steps in all.
        seed: another seed is another idea.
        models: a folder with models of instruments, beside those that ship.
        progress: called with the seconds done, of all instruments together, and the seconds in all.

    Returns:
        Stems and mix, band-pass filtered. The stems are equally loud (-20 dB RMS where they sound), or all alike
        softer where that would clip.

    Raises:
        ModelError: an instrument has no model, or their models do not share a codec and a schedule.
        InputError: a number out of range, or fewer than two instruments.
    """
    check_instruments(instruments, least=2)
    if not 0 < seconds <= MAX_SECONDS:
        raise InputError(f"seconds is {seconds}; expected more than 0, at most {MAX_SECONDS:g}")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}; expected 0 to {2**63 - 1}")
    loaded = load_single_models(instruments, models)
    timesteps = inference_timesteps(loaded[0].schedule, steps)
    if not 0 <= split < steps:
        raise InputError(f"split is {split}; expected 0 to {steps - 1}: of {steps} steps each instrument needs one")
    for other in loaded[1:]:
        _check_alike(loaded[0], other)

    mel, codec = loaded[0].mel, loaded[0].codec
    samples = max(1, round(seconds * mel.sample_rate))
    frames = mel.num_frames(samples)
    shape = (codec.config.latent_channels, mel.n_mels // codec.factor, -(-frames // codec.factor))
    stems = {}
    for number, (model, latents) in enumerate(zip(loaded, _sample(loaded, shape, timesteps, split, seed), strict=True)):
        made = model.decode(latents)[..., :frames]
        waveform = invert_mel(made, mel, length=samples, seed=seed)[0].numpy()
        waveform = BandPass(mel.sample_rate, 1).push(waveform)
        gain = level_gain(loudness([waveform]), TARGET_RMS)
        stems[model.instrument] = waveform * np.float32(gain)
        if progress is not None:
            progress((number + 1) * seconds, len(loaded) * seconds)
    mix = np.sum(list(stems.values()), axis=0)
    common = np.float32(headroom(max(float(np.abs(x).max()) for x in (mix, *stems.values()))))
    return Duet({name: stem * common for name, stem in stems.items()}, mix * common, mel.sample_rate)


def _sample(
    models: Sequence[SingleModel], shape: tuple[int, ...], timesteps: Tensor, split: int, seed: int
) -> list[Tensor]:
    """Latents [1, c, h, w] of each model from one noise: equation 4.2 for the first, 4.3 for the others."""
    schedule = models[0].schedule
    shared = noise = seeded_noise(shape, [seed])

    def keep(step: int, x: Tensor) -> None:
        nonlocal shared
        shared = x if step == split else shared

    first = ddim(models[0].denoiser, noise, schedule, timesteps, callback=keep)
    return [first, *(ddim(model.denoiser, shared, schedule, timesteps[split:]) for model in models[1:])]


def _check_alike(one: SingleModel, other: SingleModel) -> None:
    weights = other.codec.state_dict()
    if (one.mel, one.schedule_config, one.codec.config) != (
        other.mel,
        other.schedule_config,
        other.codec.config,
    ) or any(not torch.equal(tensor, weights[name]) for name, tensor in one.codec.state_dict().items()):
        raise ModelError(
            f"the models of {one.instrument!r} and {other.instrument!r} do not share a codec and a schedule, so they "
            "cannot share a sample; train both over the same codec (--codec) with the same schedule"
        )
