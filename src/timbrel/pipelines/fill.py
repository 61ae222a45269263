"""Parts of a recording made anew: what is around them stays, and says how they are to sound and how loud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform, resample
from timbrel.audio.level import FULL_SCALE, SILENT_RMS, TARGET_RMS, active_rms, span_powers
from timbrel.audio.mel import band_centres_hz, mel_spectrogram
from timbrel.audio.stereo import LEVEL_RANGE_DB, Scan
from timbrel.diffusion.masks import anchored, inpaint, told
from timbrel.diffusion.samplers import Callback, Model, seeded_generators, seeded_noise
from timbrel.errors import InputError, warn
from timbrel.models.text_unet import sustained
from timbrel.pipelines.recurrence import CONTEXT_S, recurring, relied_on
from timbrel.pipelines.settings import Progress
from timbrel.systems.generate import GenerateSystem

Span = tuple[float, float]
"""Start and end in seconds."""
Hole = tuple[int, int]
"""Start and end in samples."""

NEAR_S = 2.0  # before and after a span, whose level counts
STRETCH_S = 0.5  # what is made is on the whole no louder than the loudest stretch near it, no softer than the softest
FADE_S = 0.03
TEMPERATURE = 1.0  # of the noise in each step: with less, what is made is smoother than what is around it
SLOW_LATENTS = 2.0  # 0.2 s: means over so long are led to those of what is around, the rest to what comes again
REPEATS = 2  # of each step of a model that is not told what is around, so that what is made agrees with it


def check_spans(spans: Sequence[Span], samples: int, sample_rate: int) -> list[Span]:
    """Spans in order; those that touch, or would where they fade in, are one.

    Raises:
        InputError: none; one that is no two numbers, holds no sample or lies outside the recording; all of it covered.
    """
    duration_s = samples / sample_rate
    if not len(spans):
        raise InputError("spans is empty; expected at least one start and end in seconds")
    merged: list[Span] = []
    for start, end in sorted(map(_span, spans)):
        if not 0 <= start < end <= duration_s + 1e-6:
            raise InputError(
                f"the span is {start:g} to {end:g} s; expected a start before its end, within 0 to {duration_s:.3f} s, "
                "where the recording is"
            )
        if round(start * sample_rate) == round(end * sample_rate):
            raise InputError(
                f"the span from {start:g} s is {end - start:.2g} s long; expected at least a sample, "
                f"{1 / sample_rate:.2g} s"
            )
        if merged and start <= merged[-1][1] + 2 * FADE_S:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    if sum(end - start for start, end in merged) > duration_s - 0.05:
        raise InputError(f"the spans cover all {duration_s:.3f} s; expected a part, or use `timbrel generate`")
    return merged


def _span(span: Span) -> Span:
    if not isinstance(span, Sequence) or len(span) != 2 or not all(isinstance(value, Real) for value in span):
        raise InputError(f"a span is {span!r:.60}; expected its start and its end in seconds, such as (3.0, 4.5)")
    return float(span[0]), float(span[1])


def _groups(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans that are made together: each in the other's context."""
    groups: list[list[Span]] = []
    for span in spans:
        if groups and span[0] - groups[-1][-1][1] < 2 * CONTEXT_S:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


@dataclass(frozen=True)
class Fill:
    """Fills spans of a recording.

    Attributes:
        system: whose mels and codec are used.
        model: the denoiser of a wording.
        text: the wording; "" is whatever fits.
        unwanted: what is not to be heard; "" is nothing.
        timesteps: of the sampler.
        scan: of what is known of the recording: its levels and its mono mix.
        band: the lowest and the highest frequency that is made, in Hz; None is all above.
        seed: of the noise.
    """

    system: GenerateSystem
    model: Model
    text: str
    unwanted: str
    timesteps: Tensor
    scan: Scan
    band: tuple[float, float | None]
    seed: int

    def __post_init__(self) -> None:
        low, high = self.band[0], self._high_hz
        if not 0 <= low < high or not self._bands().any():
            raise InputError(
                f"low_hz is {low:g} and high_hz {high:g}; expected frequencies in order, at least a band of latents "
                f"apart, and below {self.system.mel.upper_hz:g}"
            )

    @property
    def _high_hz(self) -> float:
        return self.system.mel.upper_hz if self.band[1] is None else self.band[1]

    def _bands(self) -> Tensor:
        """Which bands of mels are made: whole ones of latents, [n_mels]."""
        factor = self.system.codec.factor
        centres = band_centres_hz(self.system.mel).unflatten(0, (-1, factor)).mean(dim=1)
        return ((centres >= self.band[0]) & (centres <= self._high_hz)).repeat_interleave(factor)

    def __call__(self, waveform: Waveform, spans: Sequence[Span], progress: Progress | None = None) -> Waveform:
        """A recording [channels, samples] at `scan.sample_rate` -> the same with the spans made anew."""
        if self.scan.active_rms < SILENT_RMS:
            warn("the recording is silent around the spans; they get the level of the model's own sounds, -20 dB")
        rate, result = self.scan.sample_rate, waveform.copy()
        total_s, done_s = sum(end - start for start, end in spans), 0.0
        for group in _groups(spans):
            first = max(0, round((group[0][0] - CONTEXT_S) * rate))
            last = min(waveform.shape[1], round((group[-1][1] + CONTEXT_S) * rate))
            holes = [(round(start * rate) - first, round(end * rate) - first) for start, end in group]
            group_s = sum(end - start for start, end in group)

            def callback(step: int, _: Tensor, done_s: float = done_s, group_s: float = group_s) -> None:
                if progress is not None:
                    progress(done_s + group_s * step / (len(self.timesteps) + 1), total_s)

            result[:, first:last] = self._filled(waveform[:, first:last], holes, callback)
            done_s += group_s
            if progress is not None:
                progress(done_s, total_s)
        return result

    def _filled(self, waveform: Waveform, holes: Sequence[Hole], callback: Callback) -> Waveform:
        """[channels, n] with the samples of the holes made anew."""
        result, known = waveform.copy(), known_samples(waveform.shape[1], holes)
        wanted = self._banded(waveform - self.scan.offset)
        made = self._made(self._cleared(self.scan.mix(waveform), holes), holes, callback)
        banded, beside = self._banded(made[None])[0], round(NEAR_S * self.scan.sample_rate)
        for start, end in holes:
            near = slice(max(0, start - beside), end + beside)
            around, level = known[near], _rms(banded[start:end])
            swell = level / _rms(banded[near][around])
            levels = self._levels(wanted[:, near][:, around], level / _rms(made[start:end]), swell)
            part, weight = self._weight(len(known), (start, end))
            new = weight * (self.scan.signs * levels / level)[:, None] * banded[part]
            kept = result[:, part] - weight * wanted[:, part]
            result[:, part] = kept + _clip_gain(kept, new, float(np.abs(waveform).max())) * new
        return result

    def _levels(self, near: Waveform, share: float, swell: float) -> np.ndarray:
        """RMS that each channel of a hole gets.

        Args:
            near: what is around the hole, [channels, n]. Where it is far below the recording, the recording's level
                counts.
            share: of the recording that is in the band.
            swell: the hole's level over that of what is near, as the model made both. It counts as far as stretches of
                what is near are so loud or so soft; a silent one is no reason for less than -30 dB.
        """
        scan = self.scan
        if scan.active_rms < SILENT_RMS:
            return np.full(scan.channels, TARGET_RMS * share)
        whole = np.sqrt(scan.power) * share
        if not near.size:
            return whole
        levels = np.sqrt(np.square(near).mean(axis=1))
        if levels.max() < whole.max() * 10 ** (-LEVEL_RANGE_DB / 20):
            return whole
        stretches = _stretch_rms(near, round(STRETCH_S * scan.sample_rate)) / np.sqrt(np.square(levels).mean())
        return levels * np.clip(swell, max(stretches.min(), 10 ** (-LEVEL_RANGE_DB / 20)), stretches.max())

    def _weight(self, samples: int, hole: Hole) -> tuple[slice, np.ndarray]:
        """The samples of a hole and of the cross-fades beside it; their weights, 1 in the hole and from there to 0."""
        fade = max(1, round(FADE_S * self.scan.sample_rate))
        part = slice(max(0, hole[0] - fade), min(samples, hole[1] + fade))
        place = np.arange(part.start, part.stop)
        outside = np.maximum(hole[0] - place, place - (hole[1] - 1)).clip(0)
        return part, (np.cos(np.pi / 2 * outside / (fade + 1)) ** 2).astype(np.float32)

    def _cleared(self, mono: Waveform, holes: Sequence[Hole]) -> Waveform:
        """[n] without what sounds in the holes and in the band: what is made knows nothing of it."""
        result, banded = mono.copy(), self._banded(mono[None])[0]
        for hole in holes:
            part, weight = self._weight(len(mono), hole)
            result[part] -= weight * banded[part]
        return result

    def _banded(self, waveform: Waveform) -> Waveform:
        """What is in the band of frequencies, with slopes of a third of an octave and no delay: [channels, n]."""
        low, high = self.band[0], self.band[1]
        if low <= 0 and high is None:
            return waveform
        padded = np.pad(waveform, ((0, 0), (0, self.scan.sample_rate // 10)))
        octaves = np.log2(np.fft.rfftfreq(padded.shape[1], 1 / self.scan.sample_rate).clip(1.0))
        gain = np.ones_like(octaves)
        for edge, sign in ((low, 1), (high, -1)):
            if edge:
                gain *= (0.5 + 3 * sign * (octaves - np.log2(edge))).clip(0, 1)
        return np.fft.irfft(np.fft.rfft(padded) * gain, padded.shape[1])[:, : waveform.shape[1]].astype(np.float32)

    def _made(self, mono: Waveform, holes: Sequence[Hole], callback: Callback) -> Waveform:
        """[n] at the recording's rate -> the same with the holes made anew, at any level."""
        system, rate = self.system, self.scan.sample_rate
        mel, codec, ratio = system.mel, system.codec, system.mel.sample_rate / rate
        holes = [(round(start * ratio), round(end * ratio)) for start, end in holes]
        audio = resample(mono[None], rate, mel.sample_rate)[0]
        level = active_rms(span_powers(audio[known_samples(len(audio), holes)], mel.hop_length))
        softest = max(SILENT_RMS, self.scan.active_rms * 10 ** (-LEVEL_RANGE_DB / 20))
        audio *= np.float32(TARGET_RMS / (level if level > softest else max(self.scan.active_rms, TARGET_RMS * 1e-3)))
        source = torch.from_numpy(audio)[None, None]
        picture = mel_spectrogram(source, mel)
        frames = picture.shape[-1]
        more = -frames % codec.factor  # to whole patches: as the last frame, which may be in a hole
        padded = nn.functional.pad(picture, (0, more, 0, 0), mode="replicate")
        heard = self._frames(frames, holes)
        mask = self._bands()[:, None] & torch.cat([heard, heard[-1:].expand(more)])
        made = nn.functional.max_pool2d(mask[None].float(), codec.factor)[0] > 0
        latents = self._latents(padded, mask, made, callback)
        picture = torch.where(mask, system.decode(latents), padded)[..., :frames]
        inverted = invert_mel(picture, mel, source=source, seed=self.seed)[0].numpy()
        sound = resample(inverted, mel.sample_rate, rate)[0]
        return np.pad(sound, (0, max(0, len(mono) - len(sound))))[: len(mono)]

    def _latents(self, mel: Tensor, mel_mask: Tensor, mask: Tensor, callback: Callback) -> Tensor:
        """Latents [1, c, h, w] of a mel [1, 1, n_mels, frames], with what a mask leaves open made anew: `mel_mask`
        [n_mels, frames], and `mask` [h, w], all latents that hold some of that."""
        system, noise, known = self.system, seeded_generators([self.seed]), self.system.codec.encode(mel)
        if not system.denoiser.config.masked:
            return inpaint(
                self.model,
                known,
                mask,
                system.schedule,
                self.timesteps,
                noise=noise,
                repeats=REPEATS,
                callback=callback,
            )
        start = seeded_noise(known.shape[1:], noise).to(known)
        model = self._led(mel, mel_mask, known, mask)
        made = system.sample(model, start, self.timesteps, noise, callback, temperature=TEMPERATURE)
        return torch.where(mask, made, known)

    def _led(self, mel: Tensor, mel_mask: Tensor, known: Tensor, mask: Tensor) -> Model:
        """Told what is around, and led to that as far as it is steady, or comes again and again; but for silence, for a
        text that says something else, and where the unwanted text is what is around."""
        alone = told(self.model, known, mask)
        if self.scan.active_rms < SILENT_RMS:
            return alone
        system, denoiser = self.system, self.system.denoiser
        is_known = 1 - mask.expand(1, 1, *known.shape[2:]).to(known)
        mean, reliance = sustained((known - denoiser.mean) / denoiser.std, is_known)
        held = mean * denoiser.std + denoiser.mean
        around = torch.where(mask, held, known)
        for text, fitting in ((self.text, True), (self.unwanted, False)):
            if text and system.fits(text, around, ~mask, self.seed) != fitting:
                return alone
        again, share = recurring(system, mel, mel_mask, SLOW_LATENTS)
        model = told(self.model, known, mask, (again, share)) if denoiser.config.expecting else alone
        model = anchored(model, held, reliance, mask, system.schedule, width=SLOW_LATENTS)
        return anchored(model, again, relied_on(share), mask, system.schedule, width=SLOW_LATENTS, part="fast")

    def _frames(self, frames: int, holes: Sequence[Hole]) -> Tensor:
        """Which frames hear something of a hole, half a window to either side: [frames]."""
        mel, heard = self.system.mel, torch.zeros(frames, dtype=torch.bool)
        for start, end in holes:
            first, last = start - mel.n_fft // 2, end + mel.n_fft // 2
            heard[max(0, first // mel.hop_length) : last // mel.hop_length + 1] = True
        return heard


def known_samples(samples: int, holes: Sequence[Hole]) -> np.ndarray:
    """Which samples lie in no hole: [samples]."""
    known = np.ones(samples, dtype=bool)
    for start, end in holes:
        known[start:end] = False
    return known


def _rms(waveform: Waveform) -> float:
    """Of [n] samples, at least -120 dB, so that it can divide; of none as well."""
    return max(float(np.sqrt(np.square(waveform, dtype=np.float64).sum() / max(1, len(waveform)))), 1e-6)


def _stretch_rms(waveform: Waveform, length: int) -> np.ndarray:
    """Of each stretch of so many samples of [channels, n], of all channels together; each a quarter after the last.

    >>> _stretch_rms(np.array([[1.0, 1, 3, 3, 3]], dtype=np.float32), 2).round(1)
    array([1. , 2.2, 3. , 3. ])
    """
    length = min(length, waveform.shape[1])
    total = np.pad(np.square(waveform, dtype=np.float64).mean(axis=0).cumsum(), (1, 0))
    starts = np.arange(0, waveform.shape[1] - length + 1, max(1, length // 4))
    return np.sqrt((total[starts + length] - total[starts]).clip(0) / length)


def _clip_gain(kept: np.ndarray, new: np.ndarray, peak: float) -> float:
    """The gain of what is new [channels, n] that brings its sum with what is kept below full scale, or below a peak or
    what is kept where these are higher.

    >>> kept, new = np.array([[0.5, -0.5]]), np.array([[1.0, 0.1]])
    >>> round(_clip_gain(kept, new, 0.0), 3)
    0.499
    """
    limit = max(FULL_SCALE, peak, float(np.abs(kept).max()))
    return float(min(1.0, ((limit - kept * np.sign(new)) / np.abs(new).clip(1e-9)).min()))
