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
TURN_S = 0.005  # at most, by which a loop begins sooner or later: what is above 50 Hz has a zero so near
STRETCH = 0.005  # of the length, at most, by which a period may be off: 9 cents


def stretch_circle(mel: Tensor, frames: int) -> Tensor:
    """A mel that repeats, in another number of frames: [..., n] -> [..., frames], linear in dB.

    >>> stretch_circle(torch.tensor([0.0, 10.0]), 4)
    tensor([ 0.,  5., 10.,  5.])
    """
    place = torch.arange(frames) * (mel.shape[-1] / frames)
    before = place.long()
    after = (before + 1) % mel.shape[-1]
    return torch.lerp(mel[..., before], mel[..., after], (place - before).to(mel))


def invert_loop(mel: Tensor, config: MelConfig, length: int, *, seed: int = 0) -> Waveform:
    """Makes a waveform of one period of a mel that repeats.

    The mel is stretched in time to the length, so that pitch stays, and inverted for more than a period. Where a part
    and that a period later agree best, one is faded into the other. That period may be longer or shorter by up to half
    a hop or 0.5 %, whichever is less, so that partials meet in phase. Then it is resampled, in a circle, to the length,
    and turned by up to 5 ms, so that it begins and ends near zero.

    Args:
        mel: [1, 1, n_mels, frames] in dB, of a whole period.
        config: what the mel was made with.
        length: samples of the result.
        seed: as for `invert_mel`.

    Returns:
        float32 [length].
    """
    from scipy.signal import resample

    hop = config.hop_length
    frames = max(1, round(length / hop))
    choices = min(frames, CHOICES)
    more = torch.arange(-LEAD, frames + choices + LEAD) % frames
    waveform = invert_mel(stretch_circle(mel, frames)[..., more], config, seed=seed)[0, 0].numpy()
    fade = max(1, min(round(FADE_S * config.sample_rate), length // 2, LEAD * hop // 2))
    slack = min(hop // 2, int(STRETCH * length))
    start, period = _best_join(waveform, range(LEAD * hop, (LEAD + choices) * hop, hop), length, slack, fade)
    loop = waveform[start : start + period].copy()
    loop[:fade] = crossfade(waveform[start + period : start + period + fade], loop[:fade])
    whole = np.roll(resample(loop, length), round((start - LEAD * hop) * length / period)).astype(np.float32)
    return _from_zero(whole, round(TURN_S * config.sample_rate))


def _from_zero(loop: Waveform, most: int) -> Waveform:
    """A loop turned by at most so many samples, and by none without need, to where both its ends are nearest to zero: a
    player that begins or stops there clicks less.

    >>> _from_zero(np.array([5.0, 3.0, 1.0, -1.0, -4.0]), 3)
    array([-1., -4.,  5.,  3.,  1.])
    """
    most = min(most, len(loop) // 2)
    places = np.array(sorted(range(-most, most + 1), key=abs))
    ends = np.abs(loop[places]) + np.abs(loop[places - 1])
    return np.roll(loop, -places[ends.argmin()])


def close_loop(waveform: Waveform, lead: int, length: int, fade: int) -> Waveform:
    """A loop with more of itself before and after, as a transfer left it -> the loop, whose end goes on at its start.

    Args:
        waveform: [channels, lead + length + more].
        lead: samples before the loop.
        length: samples of the loop.
        fade: samples at its end that become those before its start, at most `lead`.

    Returns:
        float32 [channels, length].
    """
    fade = min(fade, length)
    loop = waveform[:, lead : lead + length].copy()
    for channel, before in zip(loop, waveform[:, lead - fade : lead], strict=True):
        channel[length - fade :] = crossfade(channel[length - fade :], before)
    return loop


def _best_join(waveform: Waveform, starts: range, period: int, slack: int, fade: int) -> tuple[int, int]:
    """Where to cut, and the samples from there to where the same comes again: the place of the highest correlation."""
    best = (-np.inf, starts[0], period)
    for start in starts:
        head = waveform[start : start + fade]
        later = waveform[start + period - slack : start + period + slack + fade]
        products = np.correlate(later, head, mode="valid")
        powers = np.convolve(later**2, np.ones(fade), mode="valid") * (head @ head)
        alike = products / np.sqrt(powers.clip(1e-12))
        place = int(alike.argmax())
        best = max(best, (float(alike[place]), start, period - slack + place))
    return best[1], best[2]


def crossfade(before: Waveform, after: Waveform) -> Waveform:
    """From one [n] into the other, as loud on the way, however alike they are."""
    down = np.cos(np.linspace(0, np.pi / 2, len(before), dtype=np.float32))
    up = down[::-1]
    alike = float(before @ after) / max(float(np.linalg.norm(before) * np.linalg.norm(after)), 1e-9)
    return ((before * down + after * up) / np.sqrt(1 + 2 * max(alike, 0.0) * up * down)).astype(np.float32)
