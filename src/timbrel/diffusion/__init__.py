"""Noise schedules, objectives and samplers over a callable; no audio, no files."""

from timbrel.diffusion.samplers import (
    ddim,
    ddpm,
    dpm_solver_pp_2m,
    guided,
    seeded_generators,
    seeded_noise,
)
from timbrel.diffusion.schedules import (
    NoiseSchedule,
    cosine_schedule,
    inference_timesteps,
    linear_schedule,
    scaled_linear_schedule,
)

__all__ = [
    "NoiseSchedule",
    "cosine_schedule",
    "ddim",
    "ddpm",
    "dpm_solver_pp_2m",
    "guided",
    "inference_timesteps",
    "linear_schedule",
    "scaled_linear_schedule",
    "seeded_generators",
    "seeded_noise",
]
