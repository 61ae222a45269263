"""What comes again and again around a hole comes there in its turn: as latents, and how far that is to be relied on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from timbrel.audio.continuation import expected
from timbrel.diffusion.masks import slow_part
from timbrel.systems.generate import GenerateSystem

CONTEXT_S = 8.0  # of the recording that counts before and after a hole
FARTHEST_S = 12.0  # from an end; beyond it nothing is expected
VAGUE = 0.4  # share of what changes fast that is expected of a beat that hardly keeps time: its mean is a smear
CLEAR = 0.7  # that of one that keeps time
NEAR_S = 0.75  # standard deviation of the window over which that share is taken
LEAST_KNOWN_S = 1.0  # of what is near, in whole patches; less says nothing of what comes again
LEAST_VARIANCE = 1e-3  # of latents, over that of all sounds; less is none


def relied_on(share: Tensor) -> Tensor:
    """How far to rely on what is expected in what changes fast, 0 to 1, where that is so lively (`recurring`)."""
    return ((share - VAGUE) / (CLEAR - VAGUE)).clamp(0, 1)


def recurring(system: GenerateSystem, mel: Tensor, mask: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """What is expected in the holes of a mel, the mean of all sounds where that is nothing; and how lively that is: its
    variance in what changes fast over that of what is around, channel by channel and band by band, 0 to 1. Both latents
    [1, c, h, w], that count in the holes alone.

    Args:
        mel: dB, [1, 1, n_mels, frames], whole patches of the codec.
        mask: bool, [n_mels, frames]: some bands, at the frames of the holes.
        width: of the means that are not fast, in latents (`diffusion.masks.slow_part`).
    """
    factor, frame_rate = system.codec.factor, system.mel.frame_rate
    shape = (1, *system.latent_shape(mel.shape[-1]))
    latents = system.denoiser.mean.to(mel).expand(shape).clone()
    share = torch.zeros_like(latents)
    bands, known = mask.any(dim=1), ~mask.any(dim=0)
    context = round(CONTEXT_S * frame_rate)
    for start, end in _within_reach(known, round(FARTHEST_S * frame_rate)):
        near = slice(max(0, start - context) // factor * factor, -(-min(len(known), end + context) // factor) * factor)
        if known[near].unflatten(0, (-1, factor)).all(dim=1).sum() * factor < LEAST_KNOWN_S * frame_rate:
            continue
        part = slice(start // factor, -(-end // factor))
        within = slice(part.start - near.start // factor, part.stop - near.start // factor)
        found = _recurring(system, mel[..., near], bands, known[near], width)
        latents[..., part], share[..., part] = (x[..., within] for x in found)
    return latents, share


def _within_reach(known: Tensor, reach: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of the runs of frames that are not known; of a long one, of what is in reach of each end."""
    edges = F.pad((~known).int(), (1, 1)).diff().nonzero()[:, 0].tolist()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield from [(start, end)] if end - start <= 2 * reach else [(start, start + reach), (end - reach, end)]


def _recurring(
    system: GenerateSystem, mel: Tensor, bands: Tensor, known: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """As `recurring`, of what is near one hole; `known` [frames]."""
    guess = mel.clone()
    guess[0, 0, bands] = expected(mel[0, 0, bands], known, system.mel.frame_rate)
    latents, heard = system.codec.encode(guess), system.codec.encode(mel)
    open_share = F.avg_pool1d((~known).float()[None, None], system.codec.factor)[0, 0].to(mel)
    around, within = (open_share == 0).to(mel), (open_share == 1).to(mel)
    usual, square = (
        (x - slow_part(x, weight, width)).div(system.denoiser.std).square() * weight
        for x, weight in ((heard, around), (latents, within))
    )
    usual = usual.sum(dim=-1, keepdim=True) / around.sum()
    share = slow_part(square, within, NEAR_S * system.mel.frame_rate / system.codec.factor) / (usual + LEAST_VARIANCE)
    return latents, share.clamp(0, 1)
