"""How a recording is in tune, and the recording without that: tuning, vibrato, slides as one curve of cents.

A curve is measured, `TimeWarp` plays the recording slower where it is sharp and faster where it is flat, and a second
`TimeWarp` undoes that on what was made of it. The two are each other's inverse: nothing moves in time.

    recording -> `StreamIntonation` -> cents -> `steady_and_back` -> recording on the semitones -> ... -> result in tune
    with the recording
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from timbrel.audio.io import StreamResampler, Waveform

RATE, HOP, FRAME = 22050, 256, 1024
SHORTEST, LONGEST = 8, 400  # lags in samples: 2756 to 55 Hz
CURVE_HZ = RATE / HOP
AT_ONCE = 2048  # frames
PARTIALS_FRAME = 8192
VOICED = 0.06  # YIN's aperiodicity of one voice: below; of chords and noise: above, mostly
ALONE, ALONE_S = 0.55, 4.0  # share of what sounds, over so long, that is one voice where the voice is followed
JUMP = 0.8  # semitones from a note's own to the next note
STEP = 0.5  # semitones from frame to frame: what moves faster is another note
SHORTEST_NOTE = 6  # frames
GAP_S = 0.15  # that a voice's last cents hold on, and its next ones begin before it
SILENCE = 1e-3  # of the mean power
TUNING_BINS, TUNING_WIDTH = 100, 12  # cents of a semitone; a peak's width
CLEAR_PEAK = 1.3  # times the mean of all tunings: without, there is no tuning
LEAST_CENTS = 3.0  # a tuning that nobody hears as another
LEAST_BEND_CENTS = 6.0  # root mean square, by which a voice moves around its tuning where it is followed


class StreamIntonation:
    """Follows pitch by YIN (de Cheveigné and Kawahara 2002), and how all partials lie to the semitones of A = 440 Hz.

    Args:
        sample_rate: of the mono blocks [n] that are pushed, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._resampler = StreamResampler(sample_rate, RATE, 1)
        self._rest = np.zeros(FRAME // 2, np.float32)
        self._pitch: list[NDArray] = []
        self._aperiodicity: list[NDArray] = []
        self._power: list[NDArray] = []
        self._unheard = np.zeros(0, np.float32)  # of partials, so far
        self._tunings = np.zeros(TUNING_BINS)

    def push(self, block: Waveform) -> None:
        self._follow(self._resampler.push(block[None])[0])

    def finish(self) -> NDArray:
        """Cents above the semitones, [frames] at `CURVE_HZ`; zeros where nobody would hear them.

        Where one voice sounds, the cents follow it; elsewhere they are the recording's tuning.
        """
        self._follow(np.append(self._resampler.finish()[0], np.zeros(FRAME // 2, np.float32)))
        self._hear_partials(np.zeros(PARTIALS_FRAME // 2, np.float32))
        pitch, aperiodicity, power = map(np.concatenate, (self._pitch, self._aperiodicity, self._power))
        voice = _voice(pitch, aperiodicity, power)
        cents = _away(voice, _tuning(voice, self._tunings))
        is_heard = len(cents) > SHORTEST_NOTE and np.abs(cents).max() > LEAST_CENTS
        return cents if is_heard else np.zeros(len(cents))

    def _follow(self, samples: NDArray) -> None:
        self._hear_partials(samples)
        samples = np.concatenate([self._rest, samples])
        count = max(0, (len(samples) - FRAME) // HOP + 1)
        self._rest = samples[count * HOP :]
        for first in range(0, count, AT_ONCE):
            part = samples[first * HOP :][: (AT_ONCE - 1) * HOP + FRAME]
            frames = np.lib.stride_tricks.sliding_window_view(part, FRAME)[::HOP]
            pitch, aperiodicity = yin(frames)
            self._pitch.append(pitch)
            self._aperiodicity.append(aperiodicity)
            self._power.append(np.square(frames).mean(axis=1))

    def _hear_partials(self, samples: NDArray) -> None:
        samples = np.concatenate([self._unheard, samples])
        step = PARTIALS_FRAME // 2
        count = max(0, (len(samples) - step) // step)
        if count:
            self._tunings += _partials(samples[: (count + 1) * step])
        self._unheard = samples[count * step :]


def yin(frames: NDArray) -> tuple[NDArray, NDArray]:
    """Pitch of frames [n, FRAME] at `RATE` in semitones above A = 440 Hz, sometimes some octaves too low, and how far
    each is from periodic: [n] each, 0 to about 1."""
    x = torch.from_numpy(np.array(frames, np.float32))
    window = FRAME - LONGEST
    size = 2048
    spectrum = torch.fft.rfft(x, size)
    head = torch.fft.rfft(x[:, :window], size)
    correlation = torch.fft.irfft(spectrum * head.conj(), size)[:, : LONGEST + 1]
    energy = torch.nn.functional.pad(x.double().square().cumsum(1), (1, 0))
    energy = (energy[:, window : window + LONGEST + 1] - energy[:, : LONGEST + 1]).float()
    difference = (energy[:, :1] + energy - 2 * correlation).clamp(min=0)
    mean = difference[:, 1:].cumsum(1) / torch.arange(1, LONGEST + 1)
    normal = torch.nn.functional.pad(difference[:, 1:] / mean.clamp(min=1e-9), (1, 0), value=1.0)
    lag = _first_dip(normal)
    aperiodicity = normal.gather(1, lag[:, None])[:, 0]
    period = _refined(difference, lag)
    return (12 * torch.log2(RATE / period / 440)).double().numpy(), aperiodicity.double().numpy()


def _first_dip(normal: torch.Tensor) -> torch.Tensor:
    """The lag [n] of the first minimum nearly as deep as the deepest."""
    inner = normal[:, SHORTEST:LONGEST]
    is_dip = (inner <= normal[:, SHORTEST - 1 : LONGEST - 1]) & (inner <= normal[:, SHORTEST + 1 : LONGEST + 1])
    deep = is_dip & (inner <= torch.clamp(1.5 * inner.amin(1, keepdim=True), min=VOICED))
    return torch.where(deep.any(1), deep.float().argmax(1), inner.argmin(1)) + SHORTEST


def _refined(difference: torch.Tensor, lag: torch.Tensor) -> torch.Tensor:
    """The period [n] in samples to a fraction: from a multiple of the lag, where its errors weigh less."""
    period = _vertex(difference, lag)
    for most in (LONGEST // 4, LONGEST - 2):
        times = torch.clamp(most / period, min=1).floor()
        near = (times * period).round().long().clamp(2, LONGEST - 1)
        around = torch.stack([difference.gather(1, (near + k)[:, None])[:, 0] for k in (-1, 0, 1)], 1)
        moved = (near + around.argmin(1) - 1).clamp(1, LONGEST - 1)
        period = _vertex(difference, moved) / times
    return period


def _vertex(difference: torch.Tensor, lag: torch.Tensor) -> torch.Tensor:
    """The minimum of the parabola through three neighbours."""
    before, at, after = (difference.gather(1, (lag + k)[:, None])[:, 0] for k in (-1, 0, 1))
    bend = (before - 2 * at + after).clamp(min=1e-9)
    return lag + (0.5 * (before - after) / bend).clamp(-0.5, 0.5)


def _partials(samples: NDArray) -> NDArray:
    """How strongly partials of samples [n], a frame or more, lie at each of 100 cents of a semitone: [TUNING_BINS]."""
    size = PARTIALS_FRAME
    x = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    spectrum = torch.stft(x, size, size // 2, window=torch.hann_window(size), center=False, return_complex=True)
    level = torch.log(spectrum.abs() + 1e-9)
    low, high = (round(hz * size / RATE) for hz in (100, 1500))
    at, before, after = (level[low + k : high + k] for k in (0, -1, 1))
    loud = at > torch.log(spectrum.abs().amax(0, keepdim=True) + 1e-6) - math.log(30)
    peak = (at > before) & (at >= after) & loud
    shift = 0.5 * (before - after) / (before - 2 * at + after).clamp(max=-1e-9)
    hz = (torch.arange(low, high)[:, None] + shift) * RATE / size
    cents = (1200 * torch.log2(hz[peak] / 440) % 100).numpy()
    weight = spectrum.abs()[low:high][peak].sqrt().numpy()
    return np.histogram(cents, TUNING_BINS, (0, 100), weights=weight)[0]


def _tuning(voice: NDArray, strengths: NDArray) -> float:
    """Cents from A = 440 Hz, -50 to 50: the mean of the pitches of a voice where there is mostly one, else where most
    partials lie; 0 where they lie anywhere."""
    pitches = voice[~np.isnan(voice)]
    if len(pitches) > ALONE * len(voice):
        mean = np.exp(2j * np.pi * pitches).mean()
        return float(np.angle(mean) * 100 / (2 * np.pi)) if abs(mean) > 0.2 else 0.0
    smooth = _filtered(strengths, np.hanning(2 * TUNING_WIDTH + 1), "wrap")
    if smooth.max() <= CLEAR_PEAK * smooth.mean():
        return 0.0
    best = int(smooth.argmax())
    near = np.arange(-TUNING_WIDTH, TUNING_WIDTH + 1)
    weights = strengths[(best + near) % TUNING_BINS]
    cents = best + 0.5 + float((weights * near).sum() / weights.sum())
    return (cents + 50) % 100 - 50


def _voice(pitch: NDArray, aperiodicity: NDArray, power: NDArray) -> NDArray:
    """Pitch [frames] where one voice sounds, NaN elsewhere."""
    sounding = power > max(SILENCE * power.mean(), 1e-10)
    voiced = sounding & (aperiodicity < VOICED)
    near = np.ones(round(ALONE_S * CURVE_HZ))
    alone = _filtered(voiced, near, "symmetric") > ALONE * _filtered(sounding, near, "symmetric")
    return np.where(voiced & alone, pitch, np.nan)


def _away(pitch: NDArray, tuning: float) -> NDArray:
    """Cents [frames] of each note's pitch from its semitone; the tuning where there is no voice."""
    cents = np.full(len(pitch), np.nan)
    ends = np.flatnonzero(~(np.abs(np.diff(pitch, prepend=np.nan)) < STEP))
    for start, stop in zip(ends, [*ends[1:], len(pitch)], strict=True):
        if stop - start >= SHORTEST_NOTE and not np.isnan(pitch[start]):
            cents[start:stop] = 100 * _from_notes(pitch[start:stop], tuning / 100)
    moves = cents[~np.isnan(cents)] - tuning
    if not len(moves) or np.sqrt(np.square(moves).mean()) < LEAST_BEND_CENTS:
        return np.full(len(pitch), tuning)
    return _filtered(_bridged(cents, tuning), np.array([0.25, 0.5, 0.25]), "edge")


def _filtered(x: NDArray, weights: NDArray, beyond: Literal["wrap", "symmetric", "edge"]) -> NDArray:
    """Sums [n] of the values near each, by weights that are the same from both ends. (To import SciPy's filters takes
    0.3 s.)"""
    before = len(weights) // 2
    return np.convolve(np.pad(x.astype(float), (before, len(weights) - 1 - before), beyond), weights, "valid")


def _from_notes(pitch: NDArray, tuning: float) -> NDArray:
    """A pitch that moves without a break, less the semitone on which it is: [frames]. It goes on to another when it is
    nearly there."""
    notes = np.empty(len(pitch))
    note = np.round(np.median(pitch[:SHORTEST_NOTE]) - tuning)
    for frame, place in enumerate(pitch - tuning):
        if abs(place - note) >= JUMP:
            note = np.round(place)
        notes[frame] = note
    return pitch - notes


def _bridged(cents: NDArray, tuning: float) -> NDArray:
    """Cents [frames] with short gaps bridged, and the tuning in long ones."""
    frames, sounding = np.arange(len(cents)), np.flatnonzero(~np.isnan(cents))
    after = np.searchsorted(sounding, frames).clip(max=len(sounding) - 1)
    nearest = np.minimum(abs(sounding[after] - frames), abs(sounding[(after - 1).clip(0)] - frames))
    known = np.where(nearest > GAP_S * CURVE_HZ, tuning, cents)
    places = np.flatnonzero(~np.isnan(known))
    return np.interp(frames, places, known[places])


class TimeWarp:
    """A stage: samples [n] in, samples out, of which number k is read at the place `np.interp(k, knots, places)`.

    Args:
        knots, places: sample numbers of the result and of what is pushed, both rising.
        samples: of the result, in all.
    """

    OVERSAMPLING = 4

    def __init__(self, knots: NDArray, places: NDArray, samples: int) -> None:
        self._knots, self._places, self._samples = knots, places, samples
        self._resampler = StreamResampler(RATE, self.OVERSAMPLING * RATE, 1)  # any rate will do
        self._dense = np.zeros(1, np.float32)  # from number `_first` on
        self._first, self._given = -1, 0

    def push(self, samples: Waveform) -> Waveform:
        self._dense = np.append(self._dense, self._resampler.push(samples[None])[0])
        ready = (self._first + len(self._dense) - 3) / self.OVERSAMPLING
        stop = int(np.interp(ready, self._places, self._knots)) if ready > self._places[0] else 0
        return self._read(min(stop, self._samples))

    def finish(self) -> Waveform:
        """The rest; silence where nothing was pushed."""
        self._dense = np.append(self._dense, self._resampler.finish()[0])
        missing = self.OVERSAMPLING * self._places[-1] + 4 - self._first - len(self._dense)
        self._dense = np.pad(self._dense, (0, max(0, math.ceil(missing))))
        return self._read(self._samples)

    def _read(self, stop: int) -> Waveform:
        if stop <= self._given:
            return np.zeros(0, np.float32)
        place = self.OVERSAMPLING * np.interp(np.arange(self._given, stop), self._knots, self._places) - self._first
        self._given = stop
        low = np.floor(place).astype(np.int64)
        result = _cubic(self._dense, low, (place - low).astype(np.float32))
        done = max(0, int(low[-1]) - 2)
        self._dense, self._first = self._dense[done:].copy(), self._first + done
        return result


def _cubic(dense: NDArray, low: NDArray, t: NDArray) -> NDArray:
    """Lagrange's cubic through the four samples around each place."""
    a, b, c, d = (dense[low + k] for k in (-1, 0, 1, 2))
    return b + t * (c - a / 3 - b / 2 - d / 6) + t * t * ((a + c) / 2 - b) + t * t * t * ((d - a) / 6 + (b - c) / 2)


def steady_and_back(cents: NDArray, samples: int, sample_rate: int) -> tuple[TimeWarp, TimeWarp]:
    """Two stages: from a recording of so many samples to one on the semitones, and from that one's result back.

    Args:
        cents: [frames] at `CURVE_HZ`.
    """
    step = sample_rate / CURVE_HZ
    frames = max(len(cents), math.ceil(samples / step) + 1)
    cents = np.pad(cents, (0, frames - len(cents)), mode="edge")
    ratio = 2 ** (cents / 1200)
    recording = np.arange(frames) * step
    steady = np.append(0, np.cumsum((ratio[1:] + ratio[:-1]) / 2)) * step
    length = math.ceil(np.interp(samples, recording, steady))
    return TimeWarp(steady, recording, length), TimeWarp(recording, steady, samples)
