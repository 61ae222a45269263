"""Sound from a text (report 002): made up, painted into a recording, or going on from its end.

    text -> tokens; noise, or a noised recording -> latents -> mel -> waveform

Of a short sound candidates are begun in turn, until one fits the text; that one is made. A long sound is one take: the
denoiser sees it in windows that overlap. A loop is a circle to the denoiser (its attention aside), the codec and the
inversion.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform
from timbrel.audio.level import TARGET_RMS, headroom, level_gain, levelled, loudness
from timbrel.audio.loop import invert_loop, stretch_circle
from timbrel.audio.mel import mel_spectrogram
from timbrel.audio.stereo import Scan, scan_blocks
from timbrel.audio.waveform import Audio
from timbrel.diffusion.masks import circular, windowed
from timbrel.diffusion.samplers import Callback, Model, derived_seed, seeded_generators, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError, ModelError, warn
from timbrel.pipelines.fill import Fill, Span, check_spans, known_samples
from timbrel.pipelines.listen import Recording, Source
from timbrel.pipelines.settings import (
    MOST_SECONDS,
    MOST_SEED,
    MOST_TAKES,
    GenerateSettings,
    Progress,
    check_range,
    check_whole,
)
from timbrel.systems.alone import ListenerSystem
from timbrel.systems.folder import load_system
from timbrel.systems.generate import GenerateSystem
from timbrel.systems.stable_diffusion import is_stable_diffusion, load_stable_diffusion

Hearing = Callable[[int | None], Model]
"""What samplers call, as the take of a seed hears the text; of None, as it stands."""

DEFAULTS = GenerateSettings()
SHIPPED = "generate"
LISTENER = "listener"
DURATION_S, STRENGTH = 10.0, 0.6
USUAL_CANDIDATES, MOST_CANDIDATES = 8, 64
SKETCHED = 0.85  # as a share of the timesteps: what a sound will be is settled with this much noise left
FITTING = math.log(0.5)  # the agreement from which a candidate is what was asked for, rather than not


class GeneratePipeline:
    """A model that makes sound from a text, ready to use. Make one with `load`.

    Attributes:
        model: the system that makes it.
        listener: what chooses among candidates; without it there is one.
    """

    def __init__(self, model: GenerateSystem, listener: ListenerSystem | None = None) -> None:
        self.model, self.listener = model, listener
        self._sampling = model.sampling

    @classmethod
    def load(
        cls, model: str | os.PathLike[str] | None = None, *, listener: str | os.PathLike[str] | None = None
    ) -> Self:
        """From a model folder, or the name of a model that ships (by default the one that makes sound); or from
        Stable Diffusion in diffusers' layout, that `timbrel train generate report` has trained on sounds.

        Args:
            model: the model.
            listener: of `timbrel train listener`; None is the one that ships, where it hears mels such as the model's.

        Raises:
            ModelError: a folder is missing, broken or holds another kind of model; the listener hears other mels.
        """
        folder = os.fspath(model or SHIPPED)
        made = load_stable_diffusion(folder) if is_stable_diffusion(folder) else load_system(folder, GenerateSystem)
        heard = load_system(os.fspath(listener or LISTENER), ListenerSystem)
        if heard.mel == made.mel:
            return cls(made, heard)
        if listener is None:
            return cls(made)
        raise ModelError(f"the listener {listener} hears mels made with {heard.mel}; expected the model's, {made.mel}")

    @property
    def sample_rate(self) -> int:
        return self.model.mel.sample_rate

    def __call__(self, prompt: str, **options: Any) -> list[Audio]:
        """Makes sound from a text: the same arguments as `takes`, and all takes as a list."""
        return list(self.takes(prompt, **options))

    @torch.inference_mode()
    def takes(
        self,
        prompt: str,
        *,
        duration_s: float | None = None,
        num_takes: int = 1,
        num_candidates: int | None = None,
        loop: bool = False,
        init: Source | None = None,
        strength: float = STRENGTH,
        sample_rate: int | None = None,
        progress: Progress | None = None,
        settings: GenerateSettings = DEFAULTS,
        **options: Any,
    ) -> Iterator[Audio]:
        """Makes sound from a text.

        Args:
            prompt: what is to be heard, in English: "a harp melody".
            duration_s: up to 600 s; None is 10 s, or the length of `init`.
            num_takes: how many, each with its own seed; a take is the same alone as among others.
            num_candidates: at most so many are begun for each take, until the listener takes one for what the text
                says; where it takes none, the one that fits best is made. None is as many as last 48 s together (what
                the denoiser sees at once), and no more than 8. 1 is the sound of the seed itself.
            loop: the end goes on at the start, without a step.
            init: a recording to start from: a path, or an array [channels, samples] with `sample_rate`. It is noised,
                and what is made keeps what outlives that.
            strength: how far it is noised: from 0 (the recording through the codec) to 1 (nothing of it is left).
            sample_rate: of an array, in Hz.
            progress: called with the seconds done and the seconds in all.
            settings: see `GenerateSettings`.
            **options: its fields, in place of those in `settings`: negative_prompt, num_inference_steps,
                guidance_scale, seed.

        Yields:
            A mono sound for each take as soon as it is made, at the model's rate, -20 dB RMS where it sounds.

        Raises:
            InputError: a text without a word that is known, or a value out of range.
            AudioError: `init` cannot be read.
        """
        settings = replace(settings, **options)
        prompt = _wanted(prompt)
        check_range("strength", strength, 0, 1)
        num_takes = check_whole("num_takes", num_takes, 1, MOST_TAKES)
        check_whole("seed", settings.seed + num_takes - 1, 0, MOST_SEED)
        start = None if init is None else self._mono(Recording.of(init, sample_rate))
        samples = self._samples(duration_s, start)
        frames = self._loop_frames(samples) if loop else self.model.mel.num_frames(samples)
        latents = None if start is None else self._latents(start, samples, frames, loop=loop)
        count = self.num_candidates(num_candidates, frames)
        hearing = self._hearing(prompt, settings, loop=loop)
        timesteps = self._timesteps(settings, 1.0 if latents is None else strength)
        seconds, count = samples / self.sample_rate, count if len(timesteps) else 1
        choosing = count * len(self._sketched(timesteps)) if count > 1 else 0
        steps = choosing + len(timesteps) + 1  # the last one is the inversion
        make = partial(self._mel, hearing, frames=frames, latents=latents, loop=loop)

        def telling(before: int) -> Callback:
            done = itertools.count(before + 1)

            def callback(_step: int, _: Tensor) -> None:
                if progress is not None:
                    progress(next(done) / steps * seconds, num_takes * seconds)

            return callback

        for k in range(num_takes):
            seeds = candidate_seeds(settings.seed + k, count)
            seed = self._fitting(prompt, seeds, timesteps, partial(make, callback=telling(k * steps)))
            mel = make(timesteps, seed, callback=telling(k * steps + choosing))
            take = self._audio(mel, samples, seed, loop=loop)
            if progress is not None:
                progress((k + 1) * seconds, num_takes * seconds)
            yield take

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
        """Makes parts of a recording anew, so that they fit what is around them and, where there is one, a text. What
        sounds steadily around them goes on, and a beat keeps its time, unless the text says something else.

        Args:
            source: a path, or an array [channels, samples] with `sample_rate`.
            spans: starts and ends in seconds.
            prompt: what is to be heard there; "" is whatever fits.
            low_hz, high_hz: only these frequencies; what else sounds there stays.
            sample_rate, progress, settings, **options: as for a call.

        Returns:
            The recording at its own rate and with its channels. More than 30 ms outside the spans it is as before, to
            the sample. A span is as loud as the model makes it beside what is near, but on the whole no louder than the
            loudest half second of the 2 s on either side, and no softer than the softest. Where these are far softer
            than the recording, it is as loud as that. All of this unless it would clip.

        Raises:
            InputError: a span outside the recording, no frequencies, an unknown text, or a value out of range.
            AudioError: a recording that cannot be read.
        """
        recording = Recording.of(source, sample_rate)
        waveform, rate = recording.waveform(), recording.sample_rate
        spans = check_spans(spans, waveform.shape[1], rate)
        known = known_samples(waveform.shape[1], [(round(start * rate), round(end * rate)) for start, end in spans])
        scan = scan_blocks([waveform[:, known]], rate)
        return self._filled(waveform, scan, spans, prompt, (low_hz, high_hz), replace(settings, **options), progress)

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
        _check_seconds("seconds", seconds)
        recording = Recording.of(source, sample_rate)
        waveform = recording.waveform()
        known, more = waveform.shape[1], max(1, round(seconds * recording.sample_rate))
        waveform = np.pad(waveform, ((0, 0), (more, 0) if before else (0, more)))
        first = 0 if before else known
        span = (first / recording.sample_rate, (first + more) / recording.sample_rate)
        settings = replace(settings, **options)
        return self._filled(waveform, recording.scan(), [span], prompt, (0.0, None), settings, progress)

    def _filled(
        self,
        waveform: Waveform,
        scan: Scan,
        spans: Sequence[Span],
        prompt: str,
        band: tuple[float, float | None],
        settings: GenerateSettings,
        progress: Progress | None,
    ) -> Audio:
        text = _text(prompt)
        model, timesteps = self._hearing(text, settings)(None), self._timesteps(settings)
        unwanted = settings.negative_prompt.strip()
        fill = Fill(self.model, model, text, unwanted, timesteps, scan, band, settings.seed)
        return Audio(fill(waveform, spans, progress), scan.sample_rate)

    def _hearing(self, prompt: str, settings: GenerateSettings, *, loop: bool = False) -> Hearing:
        """Of a text, for a sound of any length. What is wrong with the text is said here."""
        negative, scale = settings.negative_prompt.strip(), settings.guidance_scale
        if scale is None:
            scale = self._sampling.guidance if prompt or negative else 1.0
        if negative and scale == 1:
            raise InputError(
                f"guidance_scale is 1, at which negative_prompt, {negative!r:.60}, does not count; expected a higher "
                "guidance_scale, or no negative_prompt"
            )
        if not (prompt or negative or self.model.denoiser.config.masked):
            scale = 1.0  # nothing to guide by, and half the time

        def heard(seed: int | None) -> Model:
            made = self.model.model(prompt, negative_prompt=negative, guidance_scale=scale, seed=seed)
            model = windowed(made, self.model.window, self.model.overlap)
            return circular(model, self.model.denoiser.reach) if loop else model

        plain = heard(None)
        if unknown := [word for text in (prompt, negative) for word in self.model.text.unknown_words(text)]:
            warn(f"the model does not know {', '.join(unknown)}; left out")
        return heard if self.model.moves_words else lambda _: plain

    def _timesteps(self, settings: GenerateSettings, strength: float = 1.0) -> Tensor:
        steps = settings.num_inference_steps or self._sampling.steps
        shift = self._sampling.timestep_shift
        return inference_timesteps(self.model.schedule, steps, start=strength, shift=shift)

    def _mono(self, recording: Recording) -> Waveform:
        """[samples] at the model's rate and level, no longer than can be made."""
        mono = recording.beginning(MOST_SECONDS, self.sample_rate)
        return levelled(mono, self.model.mel.hop_length)

    def _samples(self, duration_s: float | None, start: Waveform | None) -> int:
        if duration_s is None:
            return round(DURATION_S * self.sample_rate) if start is None else len(start)
        _check_seconds("duration_s", duration_s)
        return max(1, round(duration_s * self.sample_rate))

    def _loop_frames(self, samples: int) -> int:
        """The nearest number to so many samples that the codec and each level of the denoiser divide: only then are its
        convolutions a circle, too."""
        multiple = self.model.codec.factor * 2 ** (len(self.model.denoiser.config.widths) - 1)
        return max(1, round(samples / (self.model.mel.hop_length * multiple))) * multiple

    def _latents(self, start: Waveform, samples: int, frames: int, *, loop: bool) -> Tensor:
        """Latents [1, c, h, w] of a recording, with silence after its end; of a loop, in so many frames."""
        mel, factor = self.model.mel, self.model.codec.factor
        padded = torch.from_numpy(np.pad(start, (0, max(0, samples - len(start))))[:samples])
        picture = mel_spectrogram(padded[None, None], mel)
        if loop:
            picture = stretch_circle(picture[..., : max(1, round(samples / mel.hop_length))], frames)
        missing = -frames % factor
        return self.model.codec.encode(torch.nn.functional.pad(picture, (0, missing), value=mel.floor_db))

    @torch.inference_mode()
    def mel(
        self, prompt: str, frames: int, *, num_candidates: int | None = None, settings: GenerateSettings = DEFAULTS
    ) -> Tensor:
        """A take of so many frames before it is inverted: dB [1, 1, n_mels, frames]. As `takes`, otherwise."""
        prompt, frames = _wanted(prompt), check_whole("frames", frames, 1)
        seeds = candidate_seeds(settings.seed, self.num_candidates(num_candidates, frames))
        hearing, timesteps = self._hearing(prompt, settings), self._timesteps(settings)
        make = partial(self._mel, hearing, frames=frames)
        return make(timesteps, self._fitting(prompt, seeds, timesteps, make))

    def num_candidates(self, asked: int | None, frames: int) -> int:
        """Of a take of so many frames: as many as are asked for, or the usual number.

        Raises:
            InputError: out of range, or more than one where there is no listener.
        """
        if asked is None:
            window = self.model.window * self.model.codec.factor  # what the denoiser sees at once
            return max(1, min(window // frames, USUAL_CANDIDATES)) if self.listener else 1
        asked = check_whole("num_candidates", asked, 1, MOST_CANDIDATES)
        if asked > 1 and not self.listener:
            raise InputError(
                f"num_candidates is {asked}, and the model has no listener to choose among them; expected 1, or a "
                "listener that `timbrel train listener` trained on mels such as the model's"
            )
        return asked

    def _sketched(self, timesteps: Tensor) -> Tensor:
        """Those of the first steps: what they leave is blurred, and tells what the sound will be."""
        noisy = int((timesteps >= SKETCHED * self.model.schedule.num_train_timesteps).sum())
        return timesteps[: noisy + 1]

    def _fitting(
        self, prompt: str, seeds: Sequence[int], timesteps: Tensor, make: Callable[[Tensor, int], Tensor]
    ) -> int:
        """The first seed whose sound, as `make` begins it, the listener takes for what a text says rather than not; or,
        without one, the seed whose sound fits best. To look for the best in any case makes takes more alike, and no
        more of them what was asked for."""
        if self.listener is None or len(seeds) == 1:
            return seeds[0]
        text, sketched = self.model.text.simplified(prompt), self._sketched(timesteps)
        fits: list[float] = []
        for seed in seeds:
            fits.append(self.listener.agreement(make(sketched, seed), text).item())
            if fits[-1] >= FITTING:
                return seed
        return seeds[int(np.argmax(fits))]

    def _mel(
        self,
        hearing: Hearing,
        timesteps: Tensor,
        seed: int,
        *,
        frames: int,
        latents: Tensor | None = None,
        callback: Callback | None = None,
        loop: bool = False,
    ) -> Tensor:
        """The sound of a seed: [1, 1, n_mels, frames] in dB."""
        factor, noise = self.model.codec.factor, seeded_generators([seed])
        model, x = hearing(seed), seeded_noise(self.model.latent_shape(frames), noise)
        if latents is not None:
            x = self.model.schedule.add_noise(latents, x, timesteps[0]) if len(timesteps) else latents
        x = self.model.sample(model, x, timesteps, noise, callback)
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


def candidate_seeds(seed: int, count: int) -> list[int]:
    """The seeds of a take's candidates: its own, and others that are no other take's.

    >>> candidate_seeds(7, 2)
    [7, 6314274172161667299]
    """
    return [seed, *(derived_seed(seed, k) for k in range(1, count))]


def _wanted(prompt: str) -> str:
    """As `_text`, of what is not empty."""
    if not (prompt := _text(prompt)):
        raise InputError(f"the text is {prompt!r}; expected at least one English word that names a sound")
    return prompt


def _text(prompt: str) -> str:
    """A wording without the blanks around it. Raises InputError for what is no str."""
    if not isinstance(prompt, str):
        raise InputError(f"the text is {prompt!r:.60}; expected a str")
    return prompt.strip()


def _check_seconds(name: str, seconds: float) -> None:
    if not isinstance(seconds, Real) or not 0 < seconds <= MOST_SECONDS:
        raise InputError(f"{name} is {seconds!r}; expected more than 0, at most {MOST_SECONDS:g}")
