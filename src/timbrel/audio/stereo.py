"""A recording's channels: the levels and signs of its mono mix, and its stereo image, which a mono result gets back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from timbrel.audio.io import Waveform
from timbrel.audio.level import HOP, TARGET_RMS_DB, active_rms

LEVEL_S = 1.5  # over which a level is the mean: a passage's, not a note's
LEVEL_RANGE_DB = 30.0  # below the mean; what is softer is not made louder: it may be the noise in a rest


@dataclass
class Scan:
    """The results of a first pass over a recording: sizes, levels, and the polarity of each channel."""

    sample_rate: int
    channels: int
    samples: int
    offset: Waveform  # mean of each channel [channels, 1], which is no sound; levels leave it out
    power: np.ndarray  # mean square of each channel
    mono_powers: np.ndarray  # mean square of each HOP samples of the mono mix
    mono_power: float  # and of the whole mix
    signs: np.ndarray  # +1 or -1 a channel, so that none cancels the loudest in the mix

    def __post_init__(self) -> None:
        self.active_rms = active_rms(self.mono_powers)  # of the mono mix where it sounds
        width = 1 + 2 * round(LEVEL_S / 2 * self.sample_rate / HOP)
        weights = np.hanning(width + 2)[1:-1]
        near = np.convolve(self.mono_powers, weights) / np.convolve(np.ones(len(self.mono_powers)), weights)
        near = near[width // 2 : width // 2 + len(self.mono_powers)]
        softest = (self.active_rms * 10 ** (-LEVEL_RANGE_DB / 20)) ** 2
        self._levels_db = 10 * np.log10(np.maximum(near, max(softest, 1e-20)))

    def mix(self, block: Waveform) -> Waveform:
        """[channels, n] -> mono [n]."""
        return (self.signs[:, None] * (block - self.offset)).mean(axis=0).astype(np.float32)

    def gain(self, start: int, length: int, rate: int) -> Waveform:
        """The gain that brings the mix from sample `start`, at `rate`, to the level that a model hears: [length]."""
        points = (np.arange(start, start + length) / rate) * (self.sample_rate / HOP) - 0.5
        levels = np.interp(points, np.arange(len(self._levels_db)), self._levels_db)
        return (10 ** ((TARGET_RMS_DB - levels) / 20)).astype(np.float32)


def scan_blocks(blocks: Iterable[Waveform], sample_rate: int) -> Scan:
    """Reads a recording through: blocks [channels, n], n a multiple of `HOP` but in the last."""
    products, sums, samples = [], [], 0
    for block in blocks:
        samples += block.shape[1]
        points = np.pad(block.astype(np.float64), ((0, 0), (0, -block.shape[1] % HOP))).reshape(len(block), -1, HOP)
        points = points.transpose(1, 0, 2)
        products.append((points @ points.transpose(0, 2, 1)).astype(np.float32))
        sums.append(points.sum(axis=2))
    product, sum_ = np.concatenate(products), np.concatenate(sums)  # [points, channels, channels], [points, channels]
    counts = np.minimum(HOP, samples - HOP * np.arange(len(product)))
    total, whole = product.sum(axis=0, dtype=np.float64), sum_.sum(axis=0)
    offset = whole / samples
    least = 1e-4 if samples >= sample_rate else 1e-3 * (sample_rate / samples) ** 2  # a part of a wave has a mean, too
    offset[offset**2 < least * total.diagonal() / samples] = 0  # music's own mean
    total += samples * np.outer(offset, offset) - np.outer(whole, offset) - np.outer(offset, whole)
    power = total.diagonal().clip(0) / samples
    loudest, channels = int(power.argmax()), len(power)
    is_inverted = total[loudest] < -0.3 * samples * np.sqrt(power * power[loudest])
    signs = np.where(is_inverted, -1.0, 1.0)
    weights = signs / channels
    mixed = offset @ weights
    mono = (product @ weights @ weights - 2 * mixed * (sum_ @ weights) + counts * mixed**2).clip(0) / counts
    mono_power = max(float(weights @ total @ weights) / samples, 0.0)
    return Scan(sample_rate, channels, samples, offset[:, None].astype(np.float32), power, mono, mono_power, signs)


class StereoImage:
    """Gives a mono result the source's stereo image: each channel is the result times the channel's share of the
    source's level. Levels are smoothed over about 0.1 s as energies, so that a place outlives its note for as long as
    an instrument rings on. Where the source has long been silent, a channel has its share of the whole recording."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.rest = 1e-4 * np.append(scan.power, scan.mono_power)
        self.energy: np.ndarray | None = None
        self.before: np.ndarray | None = None

    def apply(self, mono: Waveform, source: Waveform) -> Waveform:
        """Mono result [n] and source [channels, n] of the same moments -> [channels, n]."""
        scan = self.scan
        if scan.channels == 1:
            return mono[None]
        points = -(-len(mono) // HOP)
        padded = np.pad(source.astype(np.float64), ((0, 0), (0, points * HOP - len(mono))))
        mix = (scan.signs[:, None] * padded).mean(axis=0)
        energy = (np.concatenate([padded, mix[None]]) ** 2).reshape(-1, points, HOP).mean(axis=2).T
        for point in energy:
            point[:] = point if self.energy is None else 0.75 * self.energy + 0.25 * point
            self.energy = point
        level = np.sqrt(energy + self.rest)
        share = (level[:, :-1] / level[:, -1:].clip(1e-10)).clip(0, 2 * scan.channels)
        knots = np.concatenate([share[:1] if self.before is None else self.before[None], share])
        self.before = share[-1]
        at = np.arange(len(mono)) / HOP
        gains = np.stack([np.interp(at, np.arange(points + 1), row) for row in knots.T])
        return (scan.signs[:, None] * gains * mono).astype(np.float32)


def loudest_channel(waveform: Waveform) -> Waveform:
    """[channels, samples] -> [samples]."""
    return waveform[np.square(waveform).mean(axis=1).argmax()]
