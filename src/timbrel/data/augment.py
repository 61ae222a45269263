"""Mel windows, varied by chance as instruments, players, rooms and microphones vary them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig, band_centres_hz, hz_to_mel
from timbrel.data.augmentation import Augmentation, Recording


def augment(
    content: Tensor,
    target: Tensor,
    style: Tensor,
    how: Augmentation,
    config: MelConfig,
    rng: np.random.Generator,
) -> list[Tensor]:
    """Augments mels [batch, n_mels, frames] in dB, where they are, as `Augmentation` says."""

    def sound(mel: Tensor, factor: Tensor, attack_s: Tensor, gain_db: Tensor, room: tuple[Tensor, Tensor]) -> Tensor:
        return shape(soften(warp(mel, factor, config), attack_s, config), gain_db, *room, config.floor_db)

    draws = _Draws(how, config, len(content), content.shape[-1], rng, content.device)
    factor, gain_db = draws.transposition(), draws.gains()
    bent = factor * draws.vibrato()
    equaliser, room, level = draws.equaliser(), draws.room(), draws.dynamics()
    attack_s = draws.attack(how.shared_attack_probability).mean(dim=2, keepdim=True)
    content, target = (torch.where(mel <= config.floor_db + 0.5, mel, mel + level) for mel in (content, target))
    content = sound(
        content,
        bent * draws.intonation(),
        draws.attack(how.attack_probability),
        draws.equaliser() + gain_db[0, :, None],
        draws.room(),
    )
    target = sound(target, bent, attack_s, equaliser, room)
    style = sound(style, factor * draws.style_tuning(), attack_s, equaliser + gain_db[1, :, None], room)
    content = torch.maximum(content, draws.noise())
    if how.style_recording_probability:
        recorded = torch.from_numpy(draws.chance(how.style_recording_probability)).to(style.device)
        style[recorded] = record(style[recorded], Recording(clean_probability=0.0), config, rng)
    return [content, target, style]


def record(mel: Tensor, how: Recording, config: MelConfig, rng: np.random.Generator) -> Tensor:
    """Mels [batch, n_mels, frames] in dB as they may be recorded; what is nearby is another of the batch."""
    if not len(mel):
        return mel
    draws = _Draws(how, config, len(mel), mel.shape[-1], rng, mel.device)
    x = warp(mel, draws.vibrato(), config)
    x = torch.where(x <= config.floor_db + 0.5, x, x + draws.dynamics())
    x = _sum_db(
        x,
        mel.roll(int(rng.integers(1, max(2, len(mel)))), 0) + draws.level(how.neighbour_probability, how.neighbour_db),
    )
    keep, wet, comb_db = draws.reflections()
    x = shape(x, comb_db + draws.microphone(), keep, wet, config.floor_db)
    x = _sum_db(x, draws.hiss())
    x = torch.where(x < draws.level(how.codec_probability, how.codec_db), config.floor_db, x)
    as_it_is = torch.from_numpy(draws.chance(how.clean_probability)).to(mel.device)
    return torch.where(as_it_is[:, None, None], mel, x).clamp(config.floor_db, 0)


def _sum_db(a: Tensor, b: Tensor) -> Tensor:
    """The level in dB of two sounds that have nothing to do with each other."""
    return 10 * torch.log10(10 ** (a / 10) + 10 ** (b / 10))


NOTHING_DB = -200.0


@dataclass(frozen=True)
class _Draws:
    """What chance says of a batch of windows; every call says something else."""

    how: Any  # an `Augmentation`, or a `Recording`
    config: MelConfig
    batch: int
    frames: int
    rng: np.random.Generator
    device: torch.device

    def chance(self, probability: float) -> np.ndarray:
        """bool [batch]."""
        return self.rng.random(self.batch) < probability

    def transposition(self) -> Tensor:
        """Factor [batch, 1] on every frequency."""
        semitones = self.rng.uniform(-self.how.warp_semitones, self.how.warp_semitones, self.batch)
        return self._tensor(2 ** (semitones * self.chance(self.how.warp_probability) / 12))[:, None]

    def vibrato(self) -> Tensor:
        """Factor [batch, frames] on every frequency: a vibrato whose depth and rate come and go."""
        deepest = self.rng.uniform(0, self.how.vibrato_cents, self.batch) * self.chance(self.how.vibrato_probability)
        knots = (self.batch, self._knots(1.5))
        depth = _curves(self._tensor(self.rng.uniform(-0.3, 1, knots) * deepest[:, None]), self.frames).clamp_min(0)
        rate_hz = self.rng.uniform(4.2, 7.2, (self.batch, 1)) * (1 + 0.06 * self.rng.standard_normal(knots))
        turns = _curves(self._tensor(rate_hz), self.frames).cumsum(dim=1) / self.config.frame_rate
        begins = self._tensor(self.rng.random((self.batch, 1)))
        return 2 ** (depth * torch.sin(2 * torch.pi * (turns + begins)) / 1200)

    def gains(self) -> Tensor:
        """dB [2, batch], of the source and of the style."""
        return self._tensor(self.rng.uniform(-self.how.gain_db, self.how.gain_db, (2, self.batch)))

    def equaliser(self) -> Tensor:
        """Gain in dB [batch, n_mels]."""
        knots = self.rng.normal(0, self.how.equaliser_db, (self.batch, 8))
        return self._curve(knots * self.chance(self.how.equaliser_probability)[:, None], self.config.n_mels)

    def room(self) -> tuple[Tensor, Tensor]:
        """`keep` and `wet` of `shape`, [batch] each."""
        decay_s, level_db = np.exp(self.rng.uniform(-2.0, 0.4, self.batch)), self.rng.uniform(-25, -8, self.batch)
        wet = 10 ** (level_db / 10) * self.chance(self.how.room_probability)
        return self._tensor(np.exp(-13.8 / (decay_s * self.config.frame_rate))), self._tensor(wet)

    def attack(self, probability: float) -> Tensor:
        """Seconds [batch, n_mels, frames] that a rise takes: smooth over bands, anew for every 20 frames."""
        low, high = np.log(self.how.attack_s)
        knots = self.rng.uniform(low, high, (self.batch, 1)) + self.rng.normal(0, 0.3, (self.batch, 8))
        moments = self._tensor(self.rng.normal(0, 0.4, (self.batch, 1, 1 + self.frames // 20)))
        changes = moments.repeat_interleave(20, dim=2)[..., : self.frames]
        curve = self._curve(knots, self.config.n_mels)[..., None] + changes
        return curve.exp() * self._tensor(self.chance(probability))[:, None, None]

    def intonation(self) -> Tensor:
        """Factor [batch, frames] on every frequency: another about four times a second."""
        knots = self.rng.normal(0, self.how.intonation_cents, (self.batch, self._knots(4)))
        knots *= self.chance(self.how.intonation_probability)[:, None]
        return 2 ** (self._curve(knots, self.frames) / 1200)

    def style_tuning(self) -> Tensor:
        """Factor [batch, 1] on every frequency of the style: a clip's tuning is not the music's."""
        cents = self.rng.uniform(-self.how.style_tuning_cents, self.how.style_tuning_cents, self.batch)
        return self._tensor(2 ** (cents * self.chance(self.how.style_tuning_probability) / 1200))[:, None]

    def dynamics(self) -> Tensor:
        """Gain in dB [batch, 1, frames], another about every 0.7 s."""
        knots = self.rng.normal(0, self.how.dynamics_db, (self.batch, self._knots(1.5)))
        return self._curve(knots * self.chance(self.how.dynamics_probability)[:, None], self.frames)[:, None]

    def noise(self) -> Tensor:
        """Level in dB [batch, n_mels, frames], -200 or so where there is none."""
        level = self.level(self.how.noise_probability, (-95, -50))
        colour = self._curve(self.rng.normal(0, 5, (self.batch, 8)), self.config.n_mels)
        return level + colour[..., None] + self._grain()

    # --- of a `Recording`

    def level(self, probability: float, db: tuple[float, float]) -> Tensor:
        """A level in dB [batch, 1, 1]; -200 where chance has none."""
        drawn = np.where(self.chance(probability), self._uniform(db), NOTHING_DB)
        return self._tensor(drawn)[:, None, None]

    def reflections(self) -> tuple[Tensor, Tensor, Tensor]:
        """`keep` and `wet` of `shape`, [batch] each, and what single reflections do to bands, dB [batch, n_mels]."""
        has_room = self.chance(self.how.room_probability)
        decay_s = np.exp(self._uniform(np.log(self.how.room_decay_s)))
        keep = np.exp(-13.8 / (decay_s * self.config.frame_rate))
        wet = 10 ** (self._uniform(self.how.room_db) / 10) * (1 - keep) * has_room
        knots = self.rng.normal(0, self.how.comb_db, (self.batch, 40)) * has_room[:, None]
        return self._tensor(keep), self._tensor(wet), self._curve(knots, self.config.n_mels)

    def microphone(self) -> Tensor:
        """Gain in dB [batch, n_mels]: a colour, and cuts below and above."""
        how = self.how
        knots = self.rng.normal(0, how.colour_db, (self.batch, 6)) * self.chance(how.colour_probability)[:, None]
        low = self._cut(how.low_cut_probability, how.low_cut_hz, (6, 18), -1)
        high = self._cut(how.high_cut_probability, how.high_cut_hz, (12, 60), 1)
        return self._curve(knots, self.config.n_mels) + low + high

    def _cut(self, probability: float, hz: tuple[float, float], slope: tuple[float, float], side: int) -> Tensor:
        """Gain in dB [batch, n_mels] that falls by `slope` an octave above (`side` 1) or below (-1) a corner."""
        octaves = np.log2(np.maximum(band_centres_hz(self.config).numpy(), 20))
        beyond = np.maximum(side * (octaves - self._uniform(np.log2(hz))[:, None]), 0)
        return -self._tensor(beyond * (self._uniform(slope) * self.chance(probability))[:, None])

    def hiss(self) -> Tensor:
        """Noise in dB [batch, n_mels, frames]: mostly dark, as a room's and an amplifier's is."""
        octaves = np.log2(np.maximum(band_centres_hz(self.config).numpy(), 30) / 1000)
        tilt = self._tensor(self._uniform((-6, 1.5))[:, None] * octaves)
        colour = self._curve(self.rng.normal(0, 4, (self.batch, 8)), self.config.n_mels) + tilt
        level = self.level(self.how.noise_probability, self.how.noise_db)
        return _sum_db(level + colour[..., None] + self._grain(), self.hum())

    def hum(self) -> Tensor:
        """The mains in dB [batch, n_mels, 1]: some of the harmonics of 50 or 60 Hz."""
        centres_hz = band_centres_hz(self.config).numpy()
        harmonics = self.rng.choice([50, 60], (self.batch, 1)) * np.arange(1, 9)
        apart = np.abs(centres_hz[:, None] - harmonics[:, None]) / np.diff(centres_hz).min()
        low, high = self.how.hum_db
        level = self.rng.uniform(low, high, (self.batch, 1, 8)) - 20 * apart**2
        level = np.where(self.chance(self.how.hum_probability)[:, None], level.max(axis=2), NOTHING_DB)
        return self._tensor(level)[..., None]

    def _grain(self) -> Tensor:
        """dB [batch, n_mels, frames] by which noise comes and goes."""
        grain = torch.Generator(self.device).manual_seed(int(self.rng.integers(2**62)))
        size = (self.batch, self.config.n_mels, self.frames)
        return 3 * torch.randn(size, generator=grain, device=self.device)

    def _uniform(self, between: Sequence[float] | np.ndarray) -> np.ndarray:
        """float [batch]."""
        low, high = between
        return self.rng.uniform(low, high, self.batch)

    def _knots(self, per_second: float) -> int:
        return 2 + int(per_second * self.frames / self.config.frame_rate)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).float().to(self.device)

    def _curve(self, knots: np.ndarray, size: int) -> Tensor:
        return _curves(self._tensor(knots), size)


def _curves(knots: Tensor, size: int) -> Tensor:
    """Curves [batch, size] through knots [batch, k] spread evenly over bands or frames."""
    return torch.nn.functional.interpolate(knots[:, None], size=size, mode="linear", align_corners=True)[:, 0]


def warp(mel: Tensor, factor: Tensor, config: MelConfig) -> Tensor:
    """Mel in dB [batch, n_mels, frames] with each frequency multiplied by `factor` [batch, frames or 1]."""
    if bool((factor == 1).all()):
        return mel
    centres_hz = band_centres_hz(config).double()
    lowest, second = hz_to_mel(centres_hz[:2]).tolist()
    source = (hz_to_mel(centres_hz.to(mel.device)[:, None] / factor[:, None]) - lowest) / (second - lowest)
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
    towards = (1 - torch.exp(-1 / (config.frame_rate * attack_s[slow].clamp_min(1e-4)))).expand_as(amplitude).clone()
    towards[..., 0] = 1
    # Each frame is min(most, keep * the frame before + add), and so is a run of frames: runs are doubled.
    most, keep, add, span = amplitude.clone(), 1 - towards, towards * amplitude, 1
    while span < mel.shape[-1]:
        before, now = (..., slice(None, -span)), (..., slice(span, None))
        most[now] = torch.minimum(most[now], keep[now] * most[before] + add[now])
        add[now] = keep[now] * add[before] + add[now]
        keep[now] = keep[now] * keep[before]
        span *= 2
    mel = mel.clone()
    mel[slow] = (20 * torch.log10(torch.minimum(most, add).clamp_min(1e-6))).clamp_min(config.floor_db)
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
    factor = torch.from_numpy(2 ** (rng.uniform(-semitones, semitones, (size, 1)) / 12)).to(mel.device)
    gain = torch.from_numpy(rng.uniform(-gain_db, gain_db, (size, 1, 1, 1))).float().to(mel.device)
    mel = warp(mel[:, 0], factor, config)[:, None]
    return torch.where(mel > floor + 0.5, mel + gain, mel).clamp(floor, 0)
