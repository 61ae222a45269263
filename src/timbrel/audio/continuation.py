"""What is around a hole in a mel says what was in it: a hit that came every half second came there, too."""

from __future__ import annotations

import torch
from torch import Tensor

NUGGET = 0.1  # of a band's variance, on top of it: what no other moment knows of
USUAL_S = 1.1  # moments so far apart agree by 1 / e in sounds of which nothing is known
USUAL_PAIRS_S = 1.0  # so many seconds of pairs of known moments count as much as what is usual
BEAT_S = 6.0  # how long a beat keeps its time: moments so far apart count by 1 / e for one another
LEAST_VARIANCE = 1e-3  # dB squared, of all bands together; less is none


def expected(mel: Tensor, is_known: Tensor, frame_rate: float) -> Tensor:
    """The mean of what each moment of a mel may be, by the moments that are known: the best one that is linear, by
    how these vary together over time (ordinary kriging: Cressie 1993, "Statistics for Spatial Data", section 3.2). What
    goes on, goes on there; what comes again and again, comes there in its turn.

    How two moments vary together depends on their distance: it is a mean over all bands and all pairs of known moments
    so far apart. The fewer these are, the more it is as in sounds of which nothing is known.

    Args:
        mel: dB, [n_mels, frames].
        is_known: bool, [frames], True for some: where it is False, the mel does not count.
        frame_rate: frames a second.

    Returns:
        The mean, [n_mels, frames], in dB; where the mel is known, that itself.
    """
    mel, at = mel.double(), torch.arange(mel.shape[-1], dtype=torch.float64, device=mel.device)
    mean = mel[:, is_known].mean(dim=1, keepdim=True)
    deviation = torch.where(is_known, mel - mean, 0.0)
    covariance = _covariance(deviation, is_known, frame_rate)
    known, unknown = at[is_known], at[~is_known]
    within, across = (covariance[(known[:, None] - other).abs().long()] for other in (known, unknown))
    within += NUGGET * torch.eye(len(known), dtype=within.dtype, device=mel.device)
    solved = torch.linalg.solve(within, torch.cat([across, torch.ones_like(within[:, :1])], dim=1))
    weights, constant = solved[:, :-1], solved[:, -1:]
    weights = weights + constant * (1 - weights.sum(dim=0)) / constant.sum()  # so that they are 1 together
    guess = mel.clone()
    guess[:, ~is_known] = mean + deviation[:, is_known] @ weights
    return guess.float()


def _covariance(deviation: Tensor, is_known: Tensor, frame_rate: float) -> Tensor:
    """Of two moments, by their distance, over the variance: [frames]."""
    frames, known = deviation.shape[-1], is_known[None].to(deviation)

    def pairs(x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x, 2 * frames).abs().square().sum(dim=0), 2 * frames)[:frames]

    count, away_s = pairs(known), torch.arange(frames, dtype=torch.float64, device=deviation.device) / frame_rate
    here = pairs(deviation) / (deviation.square().sum() / count[0]).clamp_min(LEAST_VARIANCE)
    usual = USUAL_PAIRS_S * frame_rate
    covariance = (here * (-away_s / BEAT_S).exp() + usual * (-away_s / USUAL_S).exp()) / (count + usual)
    return _possible(covariance)


def _possible(covariance: Tensor) -> Tensor:
    """The same without what is negative of its spectrum, as no sum of moments has a variance below 0; 1 at first."""
    circle = torch.cat([covariance, covariance[-1:], covariance[1:].flip(0)])
    spectrum = torch.fft.rfft(circle).real.clamp_min(0)
    possible = torch.fft.irfft(spectrum.to(torch.complex128), len(circle))[: len(covariance)]
    return possible / possible[0]
