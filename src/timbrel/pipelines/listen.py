"""A recording as pipelines read it: its blocks, levels, beginning and pitch range, and the part that makes a style."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor

from timbrel.audio.intonation import StreamIntonation
from timbrel.audio.io import StreamResampler, Waveform, as_waveform, check_rate, open_audio, resample
from timbrel.audio.level import HOP, SILENT_RMS, TARGET_RMS
from timbrel.audio.pitch import pitch_range
from timbrel.audio.stereo import Scan, loudest_channel, scan_blocks
from timbrel.errors import AudioError, InputError, warn
from timbrel.pipelines.windows import flow

Source = str | os.PathLike[str] | np.ndarray | Tensor

BLOCK = 1 << 16  # samples read at a time, a multiple of HOP
CLIP_S = 10.0  # the loudest stretch of a style clip
SHORT_S = 0.5  # of a style clip: less is hardly a note
NOISE_FLATNESS = 0.3  # geometric over arithmetic mean of a spectrum: noise has 0.56, notes below 0.1
NARROW_HZ = 10_000  # a clip that ends below is of a telephone or an old codec
FRAME = 2048
PITCH_S = 60.0  # the beginning of a recording, whose pitch range counts


@dataclass(frozen=True)
class Recording:
    """A recording that can be read more than once, in blocks.

    Attributes:
        audio: the path of a file, or [channels, samples].
        sample_rate: in Hz.
        channels: as many as it has.
        track: of a file's sound tracks, from 1; None is the one that the file marks as default.
    """

    audio: Path | Waveform
    sample_rate: int
    channels: int
    track: int | None = None

    @classmethod
    def of(cls, source: Source, sample_rate: int | None, track: int | None = None) -> Self:
        """From a path, or from an array [channels, samples] or [samples] at `sample_rate` in Hz.

        Raises:
            InputError: an array that is no waveform, or has no rate.
            AudioError: a file that cannot be read.
        """
        if isinstance(source, str | os.PathLike):
            with open_audio(source, track=track) as reader:
                return cls(Path(source), reader.sample_rate, reader.channels, track)
        if sample_rate is None:
            raise InputError("source is an array, and sample_rate is missing; give its rate in Hz")
        waveform = as_waveform(source)
        return cls(waveform, check_rate("sample_rate", sample_rate), len(waveform))

    @property
    def name(self) -> str:
        """The path of the file, or "" for an array."""
        return str(self.audio) if isinstance(self.audio, Path) else ""

    def blocks(self) -> Iterator[Waveform]:
        """Yields [channels, n]."""
        if isinstance(self.audio, Path):
            with open_audio(self.audio, track=self.track) as reader:
                yield from reader.blocks(BLOCK)
        else:
            for start in range(0, self.audio.shape[1], BLOCK):
                yield self.audio[:, start : start + BLOCK]

    def waveform(self) -> Waveform:
        """All of it, [channels, samples]."""
        return np.concatenate(list(self.blocks()), axis=1)

    def around(self, lead: int) -> Recording:
        """The recording as a loop, with so many more samples of it before and after. It is in memory then."""
        waveform = self.waveform()
        samples = np.arange(-lead, waveform.shape[1] + lead) % waveform.shape[1]
        return Recording(waveform[:, samples], self.sample_rate, self.channels)

    def blocks_at(self, sample_rate: int) -> Iterator[Waveform]:
        """Yields [channels, BLOCK] at another rate, the last block shorter."""
        buffer = np.zeros((self.channels, 0), np.float32)
        for part in flow(self.blocks(), StreamResampler(self.sample_rate, sample_rate, self.channels)):
            buffer = np.concatenate([buffer, part], axis=1)
            while buffer.shape[1] >= BLOCK:
                yield buffer[:, :BLOCK]
                buffer = buffer[:, BLOCK:]
        if buffer.shape[1]:
            yield buffer

    def scan(self) -> Scan:
        """Reads the recording through once, for its levels."""
        return scan_blocks(self.blocks(), self.sample_rate)

    def intonation(self, scan: Scan) -> np.ndarray:
        """Reads the recording through once: cents above the semitones, as `timbrel.audio.intonation` has them."""
        follower = StreamIntonation(self.sample_rate)
        for block in self.blocks():
            follower.push(scan.mix(block))
        return follower.finish()

    def beginning(self, seconds: float, sample_rate: int) -> Waveform:
        """The first seconds of the loudest channel, [samples] at another rate."""
        samples, parts, length = int(seconds * sample_rate), [], 0
        for part in flow(self.blocks(), StreamResampler(self.sample_rate, sample_rate, self.channels)):
            parts.append(part)
            length += part.shape[1]
            if length >= samples:
                break
        return loudest_channel(np.concatenate(parts, axis=1)[:, :samples])

    def pitch_range(self, sample_rate: int) -> tuple[float, float] | None:
        """Lowest and highest MIDI pitch of the first minute, or None where hardly anything has a pitch."""
        pitches = pitch_range(self.beginning(PITCH_S, sample_rate), sample_rate)
        return pitches and (pitches[0], pitches[2])

    def excerpt(self, start_s: float | None, seconds: float, sample_rate: int) -> Waveform:
        """So many seconds from a moment on, or fewer where it ends, as mono [samples] at another rate; None is the
        middle.

        Raises:
            InputError: a moment that is not in the recording.
            AudioError: the recording is silent, or has next to no samples.
        """
        scan = self.scan()
        if scan.active_rms < SILENT_RMS:
            raise AudioError(f"{self.name or 'the recording'} is silent; give one with music in it")
        length_s = scan.samples / self.sample_rate
        if start_s is None:
            start_s = max(0.0, (length_s - seconds) / 2)
        if not 0 <= start_s < length_s:
            raise InputError(f"start_s is {start_s:g}; expected 0 to below {length_s:.1f}, the recording's length")
        start = round(start_s * self.sample_rate)
        parts = _between(self.blocks(), start, start + round(seconds * self.sample_rate))
        mono = resample(np.concatenate([scan.mix(part) for part in parts])[None], self.sample_rate, sample_rate)[0]
        if not len(mono):
            raise AudioError(f"{self.name or 'the recording'} has {scan.samples} samples; expected some music")
        return mono

    def style_clip(self, sample_rate: int) -> Waveform:
        """The loudest 10 s, as mono [1, samples] at another rate, at the level that models are trained with.

        Raises:
            AudioError: the recording is silent.
        """
        scan = self.scan()
        if scan.active_rms < SILENT_RMS:
            raise AudioError(f"the style clip {self.name} is silent; give a recording of the wanted instrument")
        keep = round(CLIP_S * self.sample_rate / HOP)
        powers = np.minimum(scan.mono_powers, scan.active_rms**2)
        start = int(np.convolve(powers, np.ones(min(keep, len(powers))), mode="valid").argmax()) * HOP
        parts = [scan.mix(part) for part in _between(self.blocks(), start, start + keep * HOP)]
        mono = np.concatenate(parts)
        for reason in weaknesses(mono, self.sample_rate, min(NARROW_HZ, 0.45 * sample_rate)):
            warn(f"the style clip {self.name} {reason}; expected some seconds of one instrument alone, in full quality")
        loudest = resample(mono[None], self.sample_rate, sample_rate)
        return loudest * np.float32(TARGET_RMS / scan.active_rms)


def weaknesses(mono: Waveform, sample_rate: int, narrow_hz: float = NARROW_HZ) -> Iterator[str]:
    """What makes a clip [samples] a poor example of a sound; a spectrum that ends below `narrow_hz` is cut off."""
    seconds = len(mono) / sample_rate
    if seconds < SHORT_S:
        yield f"lasts {seconds:.2g} s"
        return
    starts = range(0, len(mono) - FRAME + 1, FRAME)
    if not starts:
        return
    frames = np.stack([mono[start : start + FRAME] for start in starts]) * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames)) ** 2
    hz = np.fft.rfftfreq(FRAME, 1 / sample_rate)
    power = power[power.sum(axis=1) > 1e-4 * power.sum(axis=1).max()]  # where it sounds
    heard = power[:, (hz > 100) & (hz < min(8000, sample_rate / 2))] + 1e-20
    if np.median(np.exp(np.log(heard).mean(axis=1)) / heard.mean(axis=1)) > NOISE_FLATNESS:
        yield "is noise, without tones"
    edge_hz = min(_edge_hz(power.mean(axis=0), hz), sample_rate / 2)
    if edge_hz < narrow_hz:
        yield f"has nothing above {edge_hz / 1000:.3g} kHz"


def _edge_hz(power: np.ndarray, hz: np.ndarray) -> float:
    """Where a spectrum [bins] ends as cut off: it falls by over 40 dB within 1 kHz, and nothing follows; else inf."""
    bands = np.array([power[(hz >= low) & (hz < low + 500)].sum() for low in range(0, int(hz[-1]) - 499, 500)])
    bands_db = 10 * np.log10(bands / bands.max() + 1e-20)
    for band in range(4, len(bands_db) - 2):
        if bands_db[band] > -80 and bands_db[band + 2 :].max() < bands_db[band] - 40:
            return 500.0 * (band + 1)
    return np.inf


def _between(blocks: Iterator[Waveform], start: int, stop: int) -> Iterator[Waveform]:
    position = 0
    for block in blocks:
        yield block[:, max(0, start - position) : max(0, stop - position)]
        position += block.shape[1]
        if position >= stop:
            return
