"""Sound from a text (report 002): made up, painted into a recording, or going on from its end.

    text -> tokens; noise, or a noised recording -> latents -> mel -> waveform

A long sound is one take: the denoiser sees it in windows that overlap. A loop is a circle to the denoiser, to the codec
and to the inversion.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform
from timbrel.audio.level import TARGET_RMS, headroom, level_gain, levelled, loudness
from timbrel.audio.loop import invert_loop
from timbrel.audio.mel import mel_spectrogram
from timbrel.audio.waveform import Audio
from timbrel.diffusion.masks import circular, windowed
from timbrel.diffusion.samplers import Model, dpm_solver_pp_2m, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError, ModelError
from timbrel.pipelines.fill import Fill, Span, check_spans
from timbrel.pipelines.listen import Recording, Source
from timbrel.pipelines.settings import MOST_SECONDS, MOST_SEED, GenerateSettings, Progress, check_range, check_whole
from timbrel.systems.base import Sampling
from timbrel.systems.folder import PRETRAINED, load_system
from timbrel.systems.generate import GenerateSystem

DEFAULTS = GenerateSettings()
SHIPPED = "generate"
DURATION_S, STRENGTH = 10.0, 0.6
WINDOW, OVERLAP = 512, 64  # of latents: 48 s and 6 s at 44.1 kHz
MARGIN = 64  # latents to either side that are more than the shipped denoiser sees
MOST_TAKES = 100


class GeneratePipeline:
    """A model that makes sound from a text, ready to use. Make one with `load`.

    Attributes:
        model: the system that makes it.
    """

    def __init__(self, model: GenerateSystem) -> None:
        self.model = model
        self._sampling = Sampling(**model.info.get("sampling", {}))

    @classmethod
    def load(cls, model: str | os.PathLike[str] | None = None) -> Self:
        """From a model folder, or the name of a model that ships.

        Raises:
            ModelError: the folder is missing, broken or holds another kind of model; none is named, and none ships.
        """
        if model is None and not (PRETRAINED / SHIPPED).is_dir():
            raise ModelError(
                "no model that makes sound ships yet; `timbrel train generate` makes one, and --model (model=) says "
                "where it is"
            )
        return cls(load_system(os.fspath(model or SHIPPED), GenerateSystem))

    @property
    def sample_rate(self) -> int:
        return self.model.mel.sample_rate

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str,
        *,
        duration_s: float | None = None,
        num_takes: int = 1,
        loop: bool = False,
        init: Source | None = None,
        strength: float = STRENGTH,
        sample_rate: int | None = None,
        progress: Progress | None = None,
        settings: GenerateSettings = DEFAULTS,
        **options: Any,
    ) -> list[Audio]:
        """Makes sound from a text.

        Args:
            prompt: what is to be heard, in English: "a slow harp melody".
            duration_s: up to 600 s; None is 10 s, or the length of `init`.
            num_takes: how many, each with its own seed; a take is the same alone as among others.
            loop: the end goes on at the start, without a step.
            init: a recording to start from: a path, or an array [channels, samples] with `sample_rate`. It is noised,
                and what is made keeps what outlives that.
            strength: how far it is noised: from 0 (the recording through the codec) to 1 (nothing of it is left).
            sample_rate: of an array, in Hz.
            progress: called with the seconds done and the seconds in all.
            settings: see `GenerateSettings`.
            **options: its fields, in place of those in `settings`: negative_prompt, num_inference_steps,
                guidance_scale, seed.

        Returns:
            A mono sound for each take, at the model's rate, -20 dB RMS where it sounds.

        Raises:
            InputError: a text without a word that is known, or a value out of range.
            AudioError: `init` cannot be read.
        """
        settings = replace(settings, **options)
        if not prompt.strip():
            raise InputError(f"the text is {prompt!r}; expected at least one English word that names a sound")
        check_range("strength", strength, 0, 1)
        num_takes = check_whole("num_takes", num_takes, 1, MOST_TAKES)
        check_whole("seed", settings.seed + num_takes - 1, 0, MOST_SEED)
        start = None if init is None else self._mono(Recording.of(init, sample_rate))
        samples = self._samples(duration_s, start)
        frames = self._loop_frames(samples) if loop else self.model.mel.num_frames(samples)
        latents = None if start is None else self._latents(start, samples, frames)
        model = self._denoiser(prompt, settings, loop=loop)
        takes = []
        for k in range(num_takes):
            mel = self._mel(model, frames, latents, strength, settings, settings.seed + k, loop=loop)
            takes.append(self._audio(mel, samples, settings.seed + k, loop=loop))
            if progress is not None:
                progress((k + 1) * samples / self.sample_rate, num_takes * samples / self.sample_rate)
        return takes

    @torch.inference_mode()
    def inpaint(
        self,
        source: Source,
        spans: Sequence[Span],
        prompt: str = "",
        *,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        sample_rate: int | None = None,
        progress: Progress | None = None,
        settings: GenerateSettings = DEFAULTS,
        **options: Any,
    ) -> Audio:
        """Makes parts of a recording anew, so that they fit what is around them and, where there is one, a text.

        Args:
            source: a path, or an array [channels, samples] with `sample_rate`.
            spans: starts and ends in seconds.
            prompt: what is to be heard there; "" is whatever fits.
            low_hz, high_hz: only these frequencies; what else sounds there stays.
            sample_rate, progress, settings, **options: as for a call.

        Returns:
            The recording at its own rate and with its channels. More than 30 ms outside the spans it is as before, to
            the sample; within, as loud as the 2 s on either side (unless that would clip).

        Raises:
            InputError: a span outside the recording, no frequencies, an unknown text, or a value out of range.
            AudioError: a recording that cannot be read.
        """
        recording = Recording.of(source, sample_rate)
        waveform = np.concatenate(list(recording.blocks()), axis=1)
        spans = check_spans(spans, waveform.shape[1] / recording.sample_rate)
        return self._filled(
            waveform, recording, spans, prompt, (low_hz, high_hz), replace(settings, **options), progress
        )

    @torch.inference_mode()
    def extend(
        self,
        source: Source,
        seconds: float,
        prompt: str = "",
        *,
        before: bool = False,
        sample_rate: int | None = None,
        progress: Progress | None = None,
        settings: GenerateSettings = DEFAULTS,
        **options: Any,
    ) -> Audio:
        """Goes on from the end of a recording, or `before` leads to its start; otherwise as `inpaint`.

        Raises:
            InputError: `seconds` out of range; otherwise as `inpaint`.
        """
        if not 0 < seconds <= MOST_SECONDS:
            raise InputError(f"seconds is {seconds}; expected more than 0, at most {MOST_SECONDS:g}")
        recording = Recording.of(source, sample_rate)
        waveform = np.concatenate(list(recording.blocks()), axis=1)
        known, more = waveform.shape[1], max(1, round(seconds * recording.sample_rate))
        waveform = np.pad(waveform, ((0, 0), (more, 0) if before else (0, more)))
        first = 0 if before else known
        span = (first / recording.sample_rate, (first + more) / recording.sample_rate)
        settings = replace(settings, **options)
        return self._filled(waveform, recording, [span], prompt, (0.0, None), settings, progress)

    def _filled(
        self,
        waveform: Waveform,
        recording: Recording,
        spans: Sequence[Span],
        prompt: str,
        band: tuple[float, float | None],
        settings: GenerateSettings,
        progress: Progress | None,
    ) -> Audio:
        model, timesteps = self._denoiser(prompt, settings), self._timesteps(settings)
        fill = Fill(self.model, model, timesteps, recording.scan(), band, settings.seed)
        return Audio(fill(waveform, spans, progress), recording.sample_rate)

    def _denoiser(self, prompt: str, settings: GenerateSettings, *, loop: bool = False) -> Model:
        """What samplers call, for a sound of any length."""
        for text in (prompt, settings.negative_prompt):
            if unknown := self.model.text.unknown_words(text):
                warnings.warn(f"the model does not know {', '.join(unknown)}; they are left out", stacklevel=3)
        scale = self._sampling.guidance if settings.guidance_scale is None else settings.guidance_scale
        model = self.model.model(
            prompt, negative_prompt=settings.negative_prompt, guidance_scale=scale if prompt else 1.0
        )
        model = windowed(model, WINDOW, OVERLAP)
        return circular(model, MARGIN) if loop else model

    def _timesteps(self, settings: GenerateSettings, strength: float = 1.0) -> Tensor:
        steps = settings.num_inference_steps or self._sampling.steps
        return inference_timesteps(self.model.schedule, steps, start=strength)

    def _mono(self, recording: Recording) -> Waveform:
        """[samples] at the model's rate and level, no longer than can be made."""
        mono = recording.beginning(MOST_SECONDS, self.sample_rate)
        return levelled(mono, self.model.mel.hop_length)

    def _samples(self, duration_s: float | None, start: Waveform | None) -> int:
        if duration_s is None:
            return round(DURATION_S * self.sample_rate) if start is None else len(start)
        if not 0 < duration_s <= MOST_SECONDS:
            raise InputError(f"duration_s is {duration_s}; expected more than 0, at most {MOST_SECONDS:g}")
        return max(1, round(duration_s * self.sample_rate))

    def _loop_frames(self, samples: int) -> int:
        """The whole patches of the codec that come nearest to so many samples."""
        factor = self.model.codec.factor
        return max(1, round(samples / (self.model.mel.hop_length * factor))) * factor

    def _latents(self, start: Waveform, samples: int, frames: int) -> Tensor:
        """Latents [1, c, h, w] of a recording, with silence after its end."""
        mel, factor = self.model.mel, self.model.codec.factor
        padded = torch.from_numpy(np.pad(start, (0, max(0, samples - len(start))))[:samples])
        picture = mel_spectrogram(padded[None, None], mel)[..., :frames]
        missing = -(-frames // factor) * factor - picture.shape[-1]
        return self.model.codec.encode(torch.nn.functional.pad(picture, (0, missing), value=mel.floor_db))

    def _mel(
        self,
        model: Model,
        frames: int,
        latents: Tensor | None,
        strength: float,
        settings: GenerateSettings,
        seed: int,
        *,
        loop: bool,
    ) -> Tensor:
        """One take: [1, 1, n_mels, frames] in dB."""
        schedule, factor = self.model.schedule, self.model.codec.factor
        x = seeded_noise(self.model.latent_shape(frames), [seed])
        timesteps = self._timesteps(settings, 1.0 if latents is None else strength)
        if latents is not None:
            x = schedule.add_noise(latents, x, timesteps[0]) if len(timesteps) else latents
        x = dpm_solver_pp_2m(model, x, schedule, timesteps)
        if loop:
            width, beside = x.shape[-1], min(8, x.shape[-1])
            mel = self.model.decode(x[..., torch.arange(-beside, width + beside) % width])
            return mel[..., beside * factor : (beside + width) * factor]
        return self.model.decode(x)[..., :frames]

    def _audio(self, mel: Tensor, samples: int, seed: int, *, loop: bool) -> Audio:
        if loop:
            waveform = invert_loop(mel, self.model.mel, samples, seed=seed)[None]
        else:
            waveform = invert_mel(mel, self.model.mel, length=samples, seed=seed)[0].numpy()
        waveform = waveform * np.float32(level_gain(loudness([waveform]), TARGET_RMS))
        return Audio(waveform * np.float32(headroom(float(np.abs(waveform).max()))), self.sample_rate)
