"""Samplers: free functions that walk a callable from noise to signal. They know neither audio nor pictures.

All share one contract: `model(x, t) -> prediction` with `x` `[batch, ...]` and `t` `[batch]` long;
`timesteps` descending (`schedules.inference_timesteps`); `x` the sample at `timesteps[0]`; the answer is
`x_0`. After each step `callback(step, x)` tells how many steps are done (from 1) and where the sample
stands. Coefficients are computed in float64 and applied in the type of `x`.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from timbrel.diffusion.schedules import NoiseSchedule
from timbrel.errors import InputError

Model = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[int, Tensor], None]


@torch.no_grad()
def ddim(
    model: Model,
    x: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    eta: float = 0.0,
    temperature: float = 1.0,
    noise: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16).

    Args:
        model: see the module.
        x: `[batch, ...]`, the sample at `timesteps[0]`.
        schedule: the schedule the model was trained with.
        timesteps: `[n]` long, descending.
        eta: 0 is deterministic; 1 draws as much new noise in each step as DDPM does.
        temperature: scale of that noise. Less than 1 leaves out what the model finds least likely: samples are less
            varied, and more of them are what was asked for.
        noise: one generator for each sample (`seeded_generators`); needed where `eta > 0`.
        callback: see the module.

    Raises:
        InputError: `timesteps` do not descend within the schedule; `eta` outside [0, 1]; too few generators.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta is {eta}; expected 0 (deterministic) to 1 (DDPM)")
    if eta and (noise is None or len(noise) != len(x)):
        raise InputError(
            f"eta is {eta} and there are {len(noise or ())} generators for {len(x)} samples; "
            "give one each: noise=seeded_generators(seeds)"
        )
    for step, t, abar_t, abar_s in _steps(schedule, timesteps):
        prediction = model(x, _batch(t, x))
        x0, epsilon = schedule.to_x0(prediction, x, t), schedule.to_epsilon(prediction, x, t)
        sigma = eta * math.sqrt((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s))
        x = math.sqrt(abar_s) * x0 + math.sqrt(max(1 - abar_s - sigma**2, 0.0)) * epsilon
        if sigma and noise is not None:
            x = x + temperature * sigma * seeded_noise(x.shape[1:], noise).to(x)
        if callback:
            callback(step, x)
    return x


def ddpm(
    model: Model,
    x: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    noise: Sequence[torch.Generator],
    callback: Callback | None = None,
) -> Tensor:
    """DDPM with the posterior's variance (Ho et al. 2020, arXiv 2006.11239, eq. 6 and 7).

    This is DDIM at `eta = 1`, term by term (Song et al. 2021, section 4.1), for any subset of the timesteps.
    Arguments and errors as in `ddim`.
    """
    return ddim(model, x, schedule, timesteps, eta=1.0, noise=noise, callback=callback)


@torch.no_grad()
def dpm_solver_pp_2m(
    model: Model,
    x: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M), second order, deterministic (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    The first step, the last one (into zero noise) and one after a start at zero signal are of first order:
    at both ends lambda, the log of alpha / sigma, is infinite, and the limit of the formula is taken.
    Arguments and errors as in `ddim`.
    """
    previous: Tensor | None = None
    h_previous = math.inf
    for step, t, abar_t, abar_s in _steps(schedule, timesteps):
        h = _lambda(abar_s) - _lambda(abar_t)
        D = x0 = schedule.to_x0(model(x, _batch(t, x)), x, t)
        if previous is not None and math.isfinite(h):
            D = x0 + (0.5 * h / h_previous) * (x0 - previous)  # 1 / 2r, r = h_previous / h
        x = math.sqrt((1 - abar_s) / (1 - abar_t)) * x - math.sqrt(abar_s) * math.expm1(-h) * D
        previous, h_previous = x0, h
        if callback:
            callback(step, x)
    return x


def guided(model: Model, model_null: Model, guidance_scale: float, *, interval: tuple[int, int] | None = None) -> Model:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598, eq. 6), for any prediction type.

    Args:
        model: the callable with its condition.
        model_null: the same with the null condition.
        guidance_scale: 1 is the condition as learned (one evaluation a step instead of two), 0 none of it,
            more than 1 exaggerates it.
        interval: the first timestep at which there is guidance, and the first above at which there is none again: where
            next to nothing but noise is left, it drives what is rare in a sample out of it, and where hardly any is
            left, it costs time alone (Kynkäänniemi et al. 2024, arXiv 2404.07724). None: it is always there.
    """
    if guidance_scale == 1:
        return model

    def predict(x: Tensor, t: Tensor) -> Tensor:
        wanted = model(x, t)
        if interval is not None and not interval[0] <= int(t.min()) < interval[1]:
            return wanted
        null = model_null(x, t)
        return null + guidance_scale * (wanted - null)

    return predict


def seeded_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator for each sample: neither batch size nor device changes what a seed gives."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def derived_seed(seed: int, what: object) -> int:
    """Another seed, of 63 bits, for something that is not to be drawn as the seed itself draws.

    >>> derived_seed(7, 1)
    6314274172161667299
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{what}".encode()).digest()[:8]) % 2**63


def seeded_noise(
    shape: Sequence[int],
    seeds: Sequence[int] | Sequence[torch.Generator],
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal noise `[len(seeds), *shape]`, float32, each sample from its own seed or generator.

    Give generators (`seeded_generators`) where a sampler goes on drawing from them: the same seed twice is
    the same noise twice.
    """
    generators = [g if isinstance(g, torch.Generator) else torch.Generator().manual_seed(g) for g in seeds]
    return torch.stack([torch.randn(*shape, generator=g) for g in generators]).to(device)


def _steps(schedule: NoiseSchedule, timesteps: Tensor) -> Iterator[tuple[int, int, float, float]]:
    """Number of the step, timestep t, abar at t and at the next timestep s (1, clean, after the last)."""
    ts: list[int] = timesteps.tolist()
    if any(s >= t for t, s in pairwise(ts)) or (ts and not (ts[-1] >= 0 and ts[0] < schedule.num_train_timesteps)):
        raise InputError(
            f"timesteps are {ts}; expected descending values within 0 to {schedule.num_train_timesteps - 1} "
            "(see inference_timesteps)"
        )
    abar = [*schedule.alphas_cumprod[timesteps.cpu()].tolist(), 1.0]
    for i, t in enumerate(ts):
        yield i + 1, t, abar[i], abar[i + 1]


def _lambda(abar: float) -> float:
    """log(alpha / sigma), infinite at the ends."""
    if 0 < abar < 1:
        return 0.5 * math.log(abar / (1 - abar))
    return math.inf if abar else -math.inf


def _batch(t: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.long, device=x.device)
