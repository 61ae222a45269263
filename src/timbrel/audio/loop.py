"""A mel of a loop -> a waveform whose end goes on at its start."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform
from timbrel.audio.mel import MelConfig

LEAD = 16  # frames before and after the loop, so that both ends of it are in the midst of sound
CHOICES = 64  # frames, at most, at each of which the ends might be joined
FADE_S = 0.04


def invert_loop(mel: Tensor, config: MelConfig, length: int, *, seed: int = 0) -> Waveform:
    """Makes a waveform of one period of a mel that repeats.

    The mel is inverted for more than a period. Where a stretch and that a period later agree best, one is faded into
    the other; a period may be longer or shorter by up to half a hop, so that partials meet in phase. Then the period is
    resampled, in a circle, to the length that is asked for.

    Args:
        mel: [1, 1, n_mels, frames] in dB, of a whole period.
        config: what the mel was made with.
        length: samples of the result, about frames * hop_length.
        seed: as for `invert_mel`.

    Returns:
        float32 [length].
    """
    from scipy.signal import resample

    frames, hop = mel.shape[-1], config.hop_length
    choices = min(frames, CHOICES)
    more = torch.arange(-LEAD, frames + choices + LEAD) % frames
    waveform = invert_mel(mel[..., more], config, seed=seed)[0, 0].numpy()
    fade = round(FADE_S * config.sample_rate)
    start, period = _best_join(waveform, LEAD * hop, choices, frames * hop, hop, fade)
    loop = waveform[start : start + period].copy()
    loop[:fade] = _crossfade(waveform[start + period : start + period + fade], loop[:fade])
    return np.roll(resample(loop, length), round((start - LEAD * hop) * length / period)).astype(np.float32)


def _best_join(waveform: Waveform, first: int, choices: int, period: int, hop: int, fade: int) -> tuple[int, int]:
    """Where to cut, and the samples from there to where the same comes again: the place of the highest correlation."""
    best = (-np.inf, first, period)
    for start in range(first, first + choices * hop, hop):
        head = waveform[start : start + fade]
        later = waveform[start + period - hop // 2 : start + period + hop // 2 + fade - 1]
        products = np.correlate(later, head, mode="valid")
        powers = np.convolve(later**2, np.ones(fade), mode="valid") * (head @ head)
        alike = products / np.sqrt(powers.clip(1e-12))
        place = int(alike.argmax())
        best = max(best, (float(alike[place]), start, period - hop // 2 + place))
    return best[1], best[2]


def _crossfade(before: Waveform, after: Waveform) -> Waveform:
    """From one [n] into the other, as loud on the way, however alike they are."""
    down = np.cos(np.linspace(0, np.pi / 2, len(before), dtype=np.float32))
    up = down[::-1]
    alike = float(before @ after) / max(float(np.linalg.norm(before) * np.linalg.norm(after)), 1e-9)
    return ((before * down + after * up) / np.sqrt(1 + 2 * max(alike, 0.0) * up * down)).astype(np.float32)
