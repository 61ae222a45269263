"""Mel windows, varied by chance as instruments, players, rooms and microphones vary them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig, band_centres_hz, hz_to_mel
from timbrel.data.augmentation import Augmentation


def augment(
    content: Tensor,
    target: Tensor,
    style: Tensor,
    how: Augmentation,
    config: MelConfig,
    rng: np.random.Generator,
) -> list[Tensor]:
    """Augments mels [batch, n_mels, frames] in dB, as `Augmentation` says."""

    def sound(mel: Tensor, factor: Tensor, attack_s: Tensor, gain_db: Tensor, room: tuple[Tensor, Tensor]) -> Tensor:
        return shape(soften(warp(mel, factor, config), attack_s, config), gain_db, *room, config.floor_db)

    draws = _Draws(how, config, len(content), content.shape[-1], rng)
    factor, gain_db = draws.transposition(), draws.gains()
    equaliser, room, level = draws.equaliser(), draws.room(), draws.dynamics()
    attack_s = draws.attack(how.shared_attack_probability).mean(dim=2, keepdim=True)
    content, target = (torch.where(mel <= config.floor_db + 0.5, mel, mel + level) for mel in (content, target))
    content = sound(
        content,
        factor * draws.intonation(),
        draws.attack(how.attack_probability),
        draws.equaliser() + gain_db[0, :, None],
        draws.room(),
    )
    target = sound(target, factor, attack_s, equaliser, room)
    style = sound(style, factor * draws.style_tuning(), attack_s, equaliser + gain_db[1, :, None], room)
    return [torch.maximum(content, draws.noise()), target, style]


@dataclass(frozen=True)
class _Draws:
    """What chance says of a batch of windows; every call says something else."""

    how: Augmentation
    config: MelConfig
    batch: int
    frames: int
    rng: np.random.Generator

    def chance(self, probability: float) -> np.ndarray:
        """bool [batch]."""
        return self.rng.random(self.batch) < probability

    def transposition(self) -> Tensor:
        """Factor [batch, 1] on every frequency."""
        semitones = self.rng.uniform(-self.how.warp_semitones, self.how.warp_semitones, self.batch)
        return torch.from_numpy(2 ** (semitones * self.chance(self.how.warp_probability) / 12))[:, None]

    def gains(self) -> Tensor:
        """dB [2, batch], of the source and of the style."""
        return torch.from_numpy(self.rng.uniform(-self.how.gain_db, self.how.gain_db, (2, self.batch))).float()

    def equaliser(self) -> Tensor:
        """Gain in dB [batch, n_mels]."""
        knots = self.rng.normal(0, self.how.equaliser_db, (self.batch, 8))
        return _curves(knots * self.chance(self.how.equaliser_probability)[:, None], self.config.n_mels)

    def room(self) -> tuple[Tensor, Tensor]:
        """`keep` and `wet` of `shape`, [batch] each."""
        decay_s, level_db = np.exp(self.rng.uniform(-2.0, 0.4, self.batch)), self.rng.uniform(-25, -8, self.batch)
        keep = torch.from_numpy(np.exp(-13.8 / (decay_s * self.config.frame_rate))).float()
        wet = torch.from_numpy(10 ** (level_db / 10)).float() * torch.from_numpy(self.chance(self.how.room_probability))
        return keep, wet

    def attack(self, probability: float) -> Tensor:
        """Seconds [batch, n_mels, frames] that a rise takes: smooth over bands, anew for every 20 frames."""
        low, high = np.log(self.how.attack_s)
        knots = self.rng.uniform(low, high, (self.batch, 1)) + self.rng.normal(0, 0.3, (self.batch, 8))
        moments = torch.from_numpy(self.rng.normal(0, 0.4, (self.batch, 1, 1 + self.frames // 20))).float()
        changes = moments.repeat_interleave(20, dim=2)[..., : self.frames]
        curve = _curves(knots, self.config.n_mels)[..., None] + changes
        return curve.exp() * torch.from_numpy(self.chance(probability))[:, None, None]

    def intonation(self) -> Tensor:
        """Factor [batch, frames] on every frequency: another about four times a second."""
        knots = self.rng.normal(0, self.how.intonation_cents, (self.batch, self._knots(4)))
        return 2 ** (_curves(knots * self.chance(self.how.intonation_probability)[:, None], self.frames) / 1200)

    def style_tuning(self) -> Tensor:
        """Factor [batch, 1] on every frequency of the style: a clip's tuning is not the music's."""
        cents = self.rng.uniform(-self.how.style_tuning_cents, self.how.style_tuning_cents, self.batch)
        return torch.from_numpy(2 ** (cents * self.chance(self.how.style_tuning_probability) / 1200))[:, None]

    def dynamics(self) -> Tensor:
        """Gain in dB [batch, 1, frames], another about every 0.7 s."""
        knots = self.rng.normal(0, self.how.dynamics_db, (self.batch, self._knots(1.5)))
        return _curves(knots * self.chance(self.how.dynamics_probability)[:, None], self.frames)[:, None]

    def noise(self) -> Tensor:
        """Level in dB [batch, n_mels, frames], -200 or so where there is none."""
        level = torch.from_numpy(self.rng.uniform(-95, -50, self.batch)).float()
        level = torch.where(torch.from_numpy(self.chance(self.how.noise_probability)), level, torch.tensor(-200.0))
        level = level[:, None] + _curves(self.rng.normal(0, 5, (self.batch, 8)), self.config.n_mels)
        size = (self.batch, self.config.n_mels, self.frames)
        return level[..., None] + 3 * torch.from_numpy(self.rng.standard_normal(size, dtype=np.float32))

    def _knots(self, per_second: float) -> int:
        return 2 + int(per_second * self.frames / self.config.frame_rate)


def _curves(knots: np.ndarray, size: int) -> Tensor:
    """Curves [batch, size] through knots [batch, k] spread evenly over bands or frames."""
    return torch.nn.functional.interpolate(
        torch.from_numpy(knots).float()[:, None], size=size, mode="linear", align_corners=True
    )[:, 0]


def warp(mel: Tensor, factor: Tensor, config: MelConfig) -> Tensor:
    """Mel in dB [batch, n_mels, frames] with each frequency multiplied by `factor` [batch, frames or 1]."""
    if bool((factor == 1).all()):
        return mel
    centres = hz_to_mel(band_centres_hz(config).double())
    step = float(centres[1] - centres[0])
    source = (hz_to_mel(band_centres_hz(config).double()[:, None] / factor[:, None]) - centres[0]) / step
    source = source.clamp(0, config.n_mels - 1.001)
    low = source.long()
    index = low.expand_as(mel)
    return torch.lerp(mel.gather(1, index), mel.gather(1, index + 1), (source - low).float().expand_as(mel))


def soften(mel: Tensor, attack_s: Tensor, config: MelConfig) -> Tensor:
    """Lets each band's amplitude rise no faster than a one-pole filter of time constant `attack_s` [batch, n_mels,
    frames or 1] (0: as it was); what falls, falls as before. Mel in dB [batch, n_mels, frames] -> the same shape."""
    slow = (attack_s > 0).flatten(1).any(dim=1)
    if not bool(slow.any()):
        return mel
    amplitude = 10 ** (mel[slow] / 20)
    towards = (1 - torch.exp(-1 / (config.frame_rate * attack_s[slow].clamp_min(1e-4)))).expand_as(amplitude)
    amplitudes, shares = amplitude.movedim(-1, 0).contiguous(), towards.movedim(-1, 0).contiguous()
    for before, now, share in zip(amplitudes, amplitudes[1:], shares[1:], strict=False):
        now.copy_(torch.minimum(now, torch.lerp(before, now, share)))  # a fall is below the line, and stays
    mel = mel.clone()
    mel[slow] = (20 * torch.log10(amplitudes.movedim(0, -1).clamp_min(1e-6))).clamp_min(config.floor_db)
    return mel


def shape(mel: Tensor, gain_db: Tensor, keep: Tensor, wet: Tensor, floor_db: float) -> Tensor:
    """Equaliser `gain_db` [batch, n_mels], then an exponential room: what a frame leaves to the next is `keep`
    [batch], its level against the direct sound `wet` [batch] (0: no room). Silence stays silent."""
    mel = torch.where(mel <= floor_db + 0.5, mel, mel + gain_db[..., None]).clamp(floor_db, 0)
    rooms = wet > 0
    if not bool(rooms.any()):
        return mel
    power = 10 ** (mel[rooms] / 10)
    tail, span = torch.nn.functional.pad(power, (1, 0))[..., :-1], 1
    while span < mel.shape[-1]:  # sum of keep^k x[t - k] by doubling
        shifted = torch.nn.functional.pad(tail, (span, 0))[..., : tail.shape[-1]]
        tail = tail + keep[rooms, None, None] ** span * shifted
        span *= 2
    mel = mel.clone()
    mel[rooms] = (10 * torch.log10(power + wet[rooms, None, None] * tail)).clamp(floor_db, 0)
    return mel


def varied(mel: Tensor, rng: np.random.Generator, config: MelConfig, semitones: float, gain_db: float) -> Tensor:
    """Mels [batch, 1, n_mels, frames] in other tunings and at other levels, each at most so far from its own."""
    size, floor = len(mel), config.floor_db
    factor = 2 ** (rng.uniform(-semitones, semitones, (size, 1)) / 12)
    gain = torch.from_numpy(rng.uniform(-gain_db, gain_db, (size, 1, 1, 1))).float()
    mel = warp(mel[:, 0], torch.from_numpy(factor), config)[:, None]
    return torch.where(mel > floor + 0.5, mel + gain, mel).clamp(floor, 0)
