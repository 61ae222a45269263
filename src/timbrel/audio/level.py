"""How loud a recording is, and the gains that bring it to a level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from timbrel.audio.io import Waveform

TARGET_RMS_DB = -20.0
"""Every recording in a store, and every source of a transfer, is brought to this `active_rms` (dB of full scale)."""
TARGET_RMS = 10 ** (TARGET_RMS_DB / 20)
SILENT_RMS = 1e-5  # -100 dB of full scale
FULL_SCALE = 0.999
HOP = 1024  # samples between the points at which the level of a stream is taken


def span_powers(waveform: np.ndarray, span: int) -> np.ndarray:
    """Mean power of each whole span of a waveform [samples]: [samples // span], float64."""
    spans = waveform[: len(waveform) // span * span].reshape(-1, span)
    return np.einsum("ij,ij->i", spans, spans, dtype=np.float64) / span  # without a copy of an hour in float64


def active_rms(power: np.ndarray) -> float:
    """RMS of what sounds, from mean powers [n] of spans of about 20 ms: only spans within 40 dB of the mean count, so
    that rests do not. 0 for silence."""
    if not len(power) or power.mean() <= 0:
        return 0.0
    return float(np.sqrt(power[power > 1e-4 * power.mean()].mean()))


def target_gain(waveform: np.ndarray, span: int) -> float:
    """The gain that brings a waveform [samples] to `TARGET_RMS`, by its `active_rms` over spans of `span` samples."""
    return TARGET_RMS / max(active_rms(span_powers(waveform, span)), 1e-6)


def levelled(waveform: np.ndarray, span: int) -> np.ndarray:
    """A waveform [samples] times its `target_gain`; silence stays silence."""
    return waveform * np.float32(target_gain(waveform, span))


def loudness(blocks: Iterable[Waveform]) -> float:
    """RMS of what sounds in blocks [channels, n], over all channels; n is a multiple of `HOP` but in the last."""
    powers = [np.zeros(0)]
    for block in blocks:
        square = np.square(block, dtype=np.float64).mean(axis=0)
        padded = np.pad(square, (0, -len(square) % HOP)).reshape(-1, HOP).sum(axis=1)
        powers.append(padded / np.minimum(HOP, len(square) - HOP * np.arange(len(padded))))
    return active_rms(np.concatenate(powers))


def level_gain(rms: float, target_rms: float) -> float:
    """The gain that brings sound of one loudness to another; silence stays silent."""
    return target_rms / rms if rms >= SILENT_RMS else 0.0


def headroom(peak: float) -> float:
    """The gain that brings a peak below full scale: 1 where it is below already.

    >>> headroom(0.5), headroom(1.998)
    (1.0, 0.5)
    """
    return min(1.0, FULL_SCALE / max(peak, 1e-9))


def energy(block: Waveform) -> float:
    """Sum of squares of a block [channels, n], in float64."""
    return float((block.astype(np.float64) ** 2).sum())


class Ramps:
    """Gains of blocks [channels, n], joined by ramps, so that no block clips. A block waits until the gain of the next
    block is there."""

    def __init__(self) -> None:
        self._block: Waveform | None = None
        self._gain, self._edge = 1.0, 1.0

    def push(self, block: Waveform, gain: float) -> Iterator[Waveform]:
        """The next block, with the gain that it would have alone -> the block before."""
        before, self._gain = self._gain, min(gain, FULL_SCALE / max(float(np.abs(block).max()), 1e-9))
        if self._block is None:
            self._edge = self._gain
        else:
            yield self._up_to(min(before, self._gain))
        self._block = block

    def finish(self) -> Iterator[Waveform]:
        """The last block."""
        if self._block is not None:
            yield self._up_to(self._gain)

    def _up_to(self, edge: float) -> Waveform:
        assert self._block is not None
        gains = np.linspace(self._edge, edge, self._block.shape[1])
        self._edge = edge
        return (self._block * gains).astype(np.float32)


class Limiter:
    """A stage that keeps blocks [channels, n] below full scale, between samples too, for a sound as loud as can be.

    A gain for all channels goes down before a peak and up after it, within 5 ms each. Peaks are those of the waveform
    at four times the rate (ITU-R BS.1770, annex 2).
    """

    CEILING = 10 ** (-1 / 20)  # -1 dB of full scale, as EBU R 128 asks for

    def __init__(self, channels: int, sample_rate: int) -> None:
        self._reach = max(1, round(0.005 * sample_rate))
        self._margin = 2 * self._reach + 32  # samples that a gain sees to either side
        self._waiting = np.zeros((channels, self._margin), np.float32)

    def push(self, block: Waveform) -> Waveform:
        self._waiting = np.concatenate([self._waiting, block], axis=1)
        ready = self._waiting.shape[1] - 2 * self._margin
        if ready <= 0:
            return block[:, :0]
        here = slice(self._margin, self._margin + ready)
        limited = self._waiting[:, here] * self._gains()[here]
        self._waiting = self._waiting[:, ready:]
        return limited

    def finish(self) -> Waveform:
        return self.push(np.zeros((len(self._waiting), self._margin), np.float32))

    def _gains(self) -> Waveform:
        from scipy.ndimage import convolve1d, minimum_filter1d
        from scipy.signal import resample_poly

        between = np.abs(resample_poly(self._waiting, 4, 1, axis=1)).max(axis=0).reshape(-1, 4).max(axis=1)
        needed = np.minimum(1, self.CEILING / np.maximum(between, 1e-9))
        width = 2 * self._reach + 1
        window = np.hanning(width + 2)[1:-1]
        return convolve1d(minimum_filter1d(needed, width), window / window.sum()).astype(np.float32)
