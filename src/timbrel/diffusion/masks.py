"""Sampling around what is kept, in a circle, and through windows; on the samplers' contract (`diffusion.samplers`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from timbrel.diffusion.samplers import Callback, Model, _batch, _steps, seeded_noise
from timbrel.diffusion.schedules import NoiseSchedule
from timbrel.errors import InputError


@torch.no_grad()
def inpaint(
    model: Model,
    known: Tensor,
    mask: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    noise: Sequence[torch.Generator],
    repeats: int = 1,
    callback: Callback | None = None,
) -> Tensor:
    """RePaint (Lugmayr et al. 2022, arXiv 2201.09865, algorithm 1) by steps of DDIM: samples what a mask leaves open.

    Before each step what is known takes its place in the sample, at the step's noise level. With `repeats` a step is
    taken more than once, and noise is put back in between: what is made comes to agree with what is known. The known
    part's noise is one throughout, so that with one repeat nothing is drawn but the start.

    Args:
        model, schedule, timesteps, callback: as for `ddim`.
        known: the clean sample [batch, ...]; where the mask is True it does not count.
        mask: bool, broadcastable to `known`: True where something is to be made, in any number of regions.
        noise: one generator for each sample.
        repeats: of each step but the last.

    Returns:
        The sample; outside the mask it is `known`, bit for bit.

    Raises:
        InputError: `repeats` below 1, another number of generators than of samples; or as `ddim`.
    """
    if repeats < 1 or len(noise) != len(known):
        raise InputError(
            f"repeats is {repeats}, and {len(noise)} generators are for {len(known)} samples; expected at least 1, and "
            "a generator for each sample"
        )
    x = start = seeded_noise(known.shape[1:], noise).to(known)
    for step, t, abar_t, abar_s in _steps(schedule, timesteps):
        for repeat in range(repeats if abar_s < 1 else 1):
            if repeat:
                again = seeded_noise(known.shape[1:], noise).to(known)
                x = math.sqrt(abar_t / abar_s) * x + math.sqrt(1 - abar_t / abar_s) * again
            x = torch.where(mask, x, schedule.add_noise(known, start, t))
            prediction = model(x, _batch(t, x))
            x0, epsilon = schedule.to_x0(prediction, x, t), schedule.to_epsilon(prediction, x, t)
            x = math.sqrt(abar_s) * x0 + math.sqrt(1 - abar_s) * epsilon
        if callback:
            callback(step, x)
    return torch.where(mask, x, known)


def told(model: Model, known: Tensor, mask: Tensor, more: Sequence[Tensor] = ()) -> Model:
    """A model that was trained to heed what is around the part that it makes, for a sampler: besides a noisy sample
    [batch, c, ...] it gets the mask and what is known, as Stable Diffusion's networks for inpainting do, [batch,
    2 c + 1, ...]. What it says of what is known does not count: there the sample goes where it will.

    Args:
        model: takes 2 c + 1 channels, and those of `more`.
        known: the clean sample [batch, c, ...].
        mask: bool, broadcastable to `known`, of one channel: True where something is to be made.
        more: that it is told, each [batch, c, ...].
    """
    shape = (len(known), 1, *known.shape[2:])
    around = torch.cat([mask.expand(shape).to(known), torch.where(mask, 0.0, known), *more], dim=1)
    return lambda x, t: model(torch.cat([x, around], dim=1), t)


def anchored(
    model: Model,
    reference: Tensor,
    weight: Tensor,
    mask: Tensor,
    schedule: NoiseSchedule,
    *,
    width: float,
    part: Literal["slow", "fast"] = "slow",
) -> Model:
    """A model whose answers, where something is to be made, are led to a reference in what changes slowly along the
    last axis, while what changes fast stays its own; or the other way round. After iterative latent variable refinement
    (Choi et al. 2021, arXiv 2108.02938), but on the clean signal that an answer stands for, and with a reference that
    is relied on more in one place than in another.

    Args:
        model, schedule: as for `ddim`.
        reference: the clean sample [batch, ...] as far as it can be told.
        weight: how far it is relied on, broadcastable to `reference`: 0 leaves the model's answer; with 1 that part of
            the reference takes the place of the answer's own.
        mask: bool, broadcastable to `reference`: True where something is to be made.
        width: as for `slow_part`.
        part: what is led to the reference.
    """
    made = mask.expand_as(reference).to(reference)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        x0 = schedule.to_x0(model(x, t), x, t)
        change = (reference - x0) * made
        slow = slow_part(change, made, width) * made
        return schedule.to_prediction(x0 + weight * (slow if part == "slow" else change - slow), x, t)

    return predict


def slow_part(x: Tensor, weight: Tensor, width: float) -> Tensor:
    """What changes slowly of `x` along the last axis: its means over a Gaussian window.

    Args:
        weight: how much each place counts, broadcastable to `x`; where nothing around counts, the mean is 0.
        width: standard deviation of the window.
    """
    reach = math.ceil(4 * width)
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    window = (-0.5 * (at / width).square()).exp()[None, None]

    def summed(x: Tensor) -> Tensor:
        return nn.functional.conv1d(x.reshape(-1, 1, x.shape[-1]), window, padding=reach).view_as(x)

    weight = weight.expand_as(x).to(x)
    return summed(x * weight) / summed(weight).clamp_min(torch.finfo(x.dtype).tiny)


def circular(model: Model, margin: int) -> Model:
    """A model to which the end of a sample is beside its start, along the last axis: what it makes is a loop.

    It is given so much of the sample once more on either side. Where it sees no further than `margin`, that is
    convolution in a circle; for a model that strides, `margin` and the sample's length have to be multiples of its
    strides. (A random shift in each step, the other way, has a seam in each step.)
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        length = x.shape[-1]
        around = torch.arange(-margin, length + margin, device=x.device) % length
        return model(x[..., around], t)[..., margin : margin + length]

    return predict


def windowed(model: Model, length: int, overlap: int) -> Model:
    """A model that sees a long sample in windows along the last axis, and makes one take of it: in each step, answers
    of windows that overlap are averaged (MultiDiffusion: Bar-Tal et al. 2023, arXiv 2302.08113, eq. 5), with weights
    that rise over the overlap. The windows cover the sample evenly, so that they overlap by `overlap` at least.

    Raises:
        InputError: not 0 < overlap < length.
    """
    if not 0 < overlap < length:
        raise InputError(f"overlap is {overlap}; expected more than 0 and less than the windows' length, {length}")
    ramp = torch.arange(1, length + 1).clamp_max(overlap) / overlap
    weight = torch.minimum(ramp, ramp.flip(0))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        total = x.shape[-1]
        if total <= length:
            return model(x, t)
        count = 1 + math.ceil((total - length) / (length - overlap))
        firsts = [round(k * (total - length) / (count - 1)) for k in range(count)]
        answers = [model(x[..., first : first + length], t) for first in firsts]
        weights, seen = weight.to(x), torch.zeros(total, device=x.device, dtype=x.dtype)
        whole = answers[0].new_zeros(*answers[0].shape[:-1], total)
        for first, answer in zip(firsts, answers, strict=True):
            whole[..., first : first + length] += weights * answer
            seen[first : first + length] += weights
        return whole / seen

    return predict
