"""Timbre transfer: a recording in, the same music on another instrument out.

    source file -> blocks -> mono at the model's rate, its loud and soft passages brought to one level
      -> mel windows that overlap -> content latents -> denoised with the style's tokens -> mel, cross-faded
      -> waveform (with the source to start from) -> the source's levels and stereo image -> blocks -> file

Everything flows in blocks, from stage to stage (`timbrel.pipelines.windows`): memory does not grow with length.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.intonation import steady_and_back
from timbrel.audio.inversion import StreamInverter
from timbrel.audio.io import AudioWriter, StreamResampler, Waveform, check_output, check_rate, open_audio
from timbrel.audio.level import FULL_SCALE, SILENT_RMS, Limiter, Ramps, energy
from timbrel.audio.loop import FADE_S, close_loop
from timbrel.audio.mel import mel_spectrogram
from timbrel.audio.pitch import octaves_into
from timbrel.audio.stereo import Scan, StereoImage
from timbrel.audio.waveform import Audio
from timbrel.errors import AudioError, InputError, warn
from timbrel.instruments import INSTRUMENTS, nearest, spelled
from timbrel.pipelines.listen import BLOCK, Recording, Source
from timbrel.pipelines.settings import Progress, TransferSettings, check_instrument
from timbrel.pipelines.windows import CrossFade, Queue, Window, Windows, blend, flow, noise_at, split
from timbrel.systems.base import StyleTransfer
from timbrel.systems.folder import load_system
from timbrel.systems.named import drop_instrument, keep_instrument, own_instruments

DEFAULTS = TransferSettings()
PICTURE_S = 30.0
PIECE = 1 << 14  # samples pushed at a time: so few that windows leave one by one
LEAD_S = 2.0  # that a model hears before and after a loop
NEAR, TOLD = 10 ** (0.25 / 20), 10 ** (1 / 20)  # gains: what is loud enough, and what the user should know
FIFTH = 7  # semitones to either side of a clip's notes: an instrument can play more than the clip shows


class TransferPipeline:
    """A transfer model, ready to play. Make one with `load`.

    Attributes:
        model: the system that plays.
        instruments: the names that `to` takes, beside clips.
    """

    def __init__(self, model: StyleTransfer, instruments: dict[str, Tensor] | None = None) -> None:
        self.model = model
        self._instruments = model.instruments | (instruments or {})
        defaults = model.info.get("sampling", {})
        self.default_steps: int = defaults.get("steps", 1)
        self.default_guidance: float = defaults.get("guidance", 1.0)

    @property
    def instruments(self) -> list[str]:
        return sorted(self._instruments)

    @property
    def sample_rate(self) -> int:
        return self.model.mel.sample_rate

    def __call__(
        self,
        source: Source,
        to: Source,
        *,
        sample_rate: int | None = None,
        progress: Progress | None = None,
        settings: TransferSettings = DEFAULTS,
        **options: Any,
    ) -> Audio:
        """Plays `source` on the instrument `to`.

        Args:
            source: a path, or an array [channels, samples] or [samples] in [-1, 1] with `sample_rate`.
            to: the name of an instrument, or a recording of its sound: a path, or an array at `sample_rate` (at the
                model's own rate where that is None). Of a long recording the loudest 10 s count.
            sample_rate: of arrays, in Hz.
            progress: called with the seconds done and the seconds in all.
            settings: see `TransferSettings`.
            **options: fields of `TransferSettings`, in place of those in `settings`: strength, steps, guidance,
                transpose, seed, mix, intonation, loop, limiter.

        Returns:
            The result at the model's sample rate, as long as the source, with its channels and its RMS (unless
            that would clip).

        Raises:
            InputError: an unknown instrument, a value out of range, an array that is no waveform.
            AudioError: a recording that cannot be read.
        """
        job = self._job(Recording.of(source, sample_rate), to, sample_rate, replace(settings, **options), progress)
        made = list(job.blocks())
        blocks = job.finished(lambda: iter(made), self.sample_rate, is_bounded=True)
        return Audio(np.concatenate(list(blocks), axis=1), self.sample_rate)

    def stream(
        self,
        source: Source,
        to: Source,
        *,
        sample_rate: int | None = None,
        progress: Progress | None = None,
        settings: TransferSettings = DEFAULTS,
        **options: Any,
    ) -> Iterator[Waveform]:
        """As a call, block by block, for what does not fit in memory: yields [channels, n] at the model's rate.

        The loudness of the whole result is not known when the first block leaves. So the gain follows the ratio of the
        source's and the result's energy so far, and a block that would clip is turned down.
        """
        settings = replace(settings, **options)
        if settings.limiter:
            raise InputError("limiter is set, which needs the whole result; expected a call, or transfer_file")
        job = self._job(Recording.of(source, sample_rate), to, sample_rate, settings, progress)
        return job.closed(job.levelled(), self.sample_rate)

    def transfer_file(
        self,
        source: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        to: Source,
        sample_rate: int | None = None,
        output_rate: int | None = None,
        subtype: str | None = None,
        like_source: bool = False,
        track: int | None = None,
        overwrite: bool = False,
        picture: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        settings: TransferSettings = DEFAULTS,
        **options: Any,
    ) -> None:
        """File to file in bounded memory; arguments as for a call. What the source says beside its sound stays: tags,
        and where a WAV belongs in a song.

        Args:
            output: the file to write; its suffix says the format. After an error it is not there.
            output_rate: its sample rate in Hz; None is the model's.
            subtype: libsndfile's name of its samples' type; of "FLOAT" nothing is clipped or turned down, but by a
                limiter.
            like_source: the source's sample rate and type of samples, where the format has them.
            track: of the source's sound tracks, from 1; None is the one that it marks as default, or the first.
            overwrite: replace an existing output. An input is never overwritten.
            picture: also draw source and result (their first 30 s), and a style clip (its loudest 10 s), into this PNG.
        """
        inputs = [source, to] if isinstance(to, str | os.PathLike) else [source]
        if picture is not None:
            check_output(picture, overwrite=overwrite, inputs=inputs, suffixes=[".png"])
        recording = Recording.of(source, None, track)
        with open_audio(source, track=track) as reader:
            metadata = reader.metadata()
            like = (reader.sample_rate, reader.subtype) if like_source else (self.sample_rate, None)
        rate = like[0] if output_rate is None else check_rate("output_rate", output_rate)
        channels = recording.channels
        of_file: dict[str, Any] = {"sample_rate": rate, "channels": channels, "subtype": subtype}
        output = check_output(output, overwrite=overwrite, inputs=inputs, **of_file)
        job = self._job(recording, to, sample_rate, replace(settings, **options), progress)
        try:
            # The gain needs the whole result, which waits in a nameless file on the output's disk.
            with tempfile.TemporaryFile(dir=output.parent) as spool:
                for block in job.blocks():
                    spool.write(np.ascontiguousarray(block.T).tobytes())
                of_file |= {"subtype": subtype or like[1], "metadata": metadata.transposed(job.transpose)}
                writer = AudioWriter(output, **of_file, overwrite=overwrite)
                blocks = job.finished(partial(_spooled, spool, channels), rate, is_bounded=writer.is_bounded)
                with writer:
                    _write_exactly(writer, blocks, job.length(rate))
        except OSError as error:
            raise AudioError(f"{output} cannot be written: {error}; free some space, or name another place") from error
        if picture is not None:
            self._draw(Path(picture), recording, to, output, sample_rate, overwrite)

    def find_transposition(
        self, source: Source, to: Source, *, sample_rate: int | None = None, track: int | None = None
    ) -> int:
        """Semitones, whole octaves, that bring a source into the range of the instrument `to`: 0 where it fits.

        A source's range is that of its first minute; a named instrument's is in `timbrel.instruments`; a clip's is that
        of its notes and a fifth to either side.

        Raises:
            InputError: `to` is a named instrument whose range is not known; an array without a sample rate.
            AudioError: a recording that cannot be read.
        """
        return self._octaves(Recording.of(source, sample_rate, track), to, sample_rate)

    def _octaves(self, source: Recording, to: Source, sample_rate: int | None) -> int:
        target, notes = self._range(to, sample_rate), source.pitch_range(self.sample_rate)
        return octaves_into(notes, target) if notes and target else 0

    def _range(self, to: Source, sample_rate: int | None) -> tuple[float, float] | None:
        name = self.named(to)
        if name is None:
            notes = self._clip(to, sample_rate).pitch_range(self.sample_rate)
            return notes and (notes[0] - FIFTH, notes[1] + FIFTH)
        instrument = INSTRUMENTS.get(name)
        if instrument is None:
            raise InputError(f"the range of {to!r} is not known; give transpose as a number of semitones")
        return instrument.lowest, instrument.highest

    def style_tokens(self, to: Source, *, sample_rate: int | None = None) -> Tensor:
        """Style tokens [n, width] of an instrument's name, or of a clip (path or array).

        Raises:
            InputError: a name that is neither known nor a file, or an array that is no waveform.
            AudioError: a clip that cannot be read, or is silent.
        """
        if name := self.named(to):
            return self._instruments[name]
        mel = self._style_mel(to, sample_rate)
        with torch.inference_mode():
            return self.model.style_tokens(mel.to(self.model.device)).cpu().clone()

    def check_target(self, to: Source) -> None:
        """Raises InputError where `to` is a name that is neither an instrument's nor a file's."""
        if isinstance(to, str | os.PathLike) and self.named(to) is None and not os.path.exists(to):
            meant = nearest(str(to), self._instruments)
            raise InputError(
                f"{str(to)[:200]!r} is neither an instrument ({', '.join(self.instruments) or 'none are named'}) nor a "
                f"file;{f' did you mean {meant!r}?' if meant else ''} name one of those, or a recording of the wanted "
                "sound, or make your own with `timbrel instruments add`"
            )

    def named(self, to: Source) -> str | None:
        """The instrument that `to` names, as it is spelt here; None where `to` is a clip. A file comes before a name
        that is spelt otherwise."""
        if not isinstance(to, str):
            return None
        is_file = to not in self._instruments and os.path.exists(to)
        return None if is_file else spelled(to, self._instruments)

    def _clip(self, to: Source, sample_rate: int | None) -> Recording:
        self.check_target(to)
        return Recording.of(to, self.sample_rate if sample_rate is None else sample_rate)

    def _style_mel(self, to: Source, sample_rate: int | None) -> Tensor:
        clip = self._clip(to, sample_rate).style_clip(self.sample_rate)
        mel = mel_spectrogram(torch.from_numpy(clip)[None], self.model.mel)
        short = max(0, 4 * self.model.codec.factor - mel.shape[-1])
        return torch.nn.functional.pad(mel, (0, short), value=self.model.mel.floor_db)

    def _job(
        self,
        source: Recording,
        to: Source,
        sample_rate: int | None,
        settings: TransferSettings,
        progress: Progress | None,
    ) -> _Job:
        """Checks everything before any work begins."""
        steps = self.default_steps if settings.steps is None else settings.steps
        guidance = self.default_guidance if settings.guidance is None else settings.guidance
        self.model.check_sampling(steps, guidance)
        tokens = self.style_tokens(to, sample_rate=sample_rate)
        auto = settings.transpose == "auto"
        transpose = self._octaves(source, to, sample_rate) if auto else settings.transpose
        tokens = tokens.to(self.model.device)
        sample = partial(self.model.sample, tokens=tokens, steps=steps, guidance=guidance, strength=settings.strength)
        player = _Player(self.model, sample, settings.strength, float(transpose), settings.seed)
        return _Job(source, player, settings, progress)

    def _draw(
        self, picture: Path, source: Recording, to: Source, output: Path, sample_rate: int | None, overwrite: bool
    ) -> None:
        from timbrel.audio.plot import draw_mels

        def mel_of(recording: Recording) -> Tensor:
            beginning = recording.beginning(PICTURE_S, self.sample_rate)
            return mel_spectrogram(torch.from_numpy(beginning)[None, None], self.model.mel)[0, 0]

        named = self.named(to)  # a name stands for tokens: there is no clip to show
        panels = [(f"source: {Path(source.name).name}", mel_of(source))]
        if named is None:
            clip = Path(self._clip(to, sample_rate).name).name
            panels.append((f"style: {clip}", self._style_mel(to, sample_rate)[0, 0]))
        panels.append((f"result{f', {named}' if named else ''}: {output.name}", mel_of(Recording.of(output, None))))
        draw_mels(picture, panels, self.model.mel, overwrite=overwrite)


def load(name_or_folder: str | os.PathLike[str] | None = None, *, device: str | None = None) -> TransferPipeline:
    """A pipeline from the shipped transfer model, the name of a shipped model, or a model folder.

    Args:
        name_or_folder: which model; None is the one that ships.
        device: where it computes: "cpu" (None), "cuda" or "mps".

    Raises:
        ModelError: the folder is missing, broken or holds another kind of model.
        InputError: this machine has no such device.
    """
    model = load_system(None if name_or_folder is None else os.fspath(name_or_folder), StyleTransfer)
    return TransferPipeline(model.to(check_device(device)), own_instruments(model))


def transfer(source: Source, to: Source, *, model: str | os.PathLike[str] | None = None, **options: Any) -> Audio:
    """One transfer: `load(model)(source, to, **options)`. For several, load once.

    Args:
        source: a path, or an array [channels, samples] with `sample_rate=`.
        to: an instrument's name, or a clip: a path or an array.
        model: a shipped name or a folder; None is the shipped transfer model.
        **options: as `TransferPipeline` takes them: strength, steps, guidance, transpose, seed, mix, intonation,
            loop, limiter; and sample_rate.
    """
    return load(model)(source, to, **options)


def add_instrument(
    name: str, clips: Sequence[str | os.PathLike[str]], *, model: str | os.PathLike[str] | None = None
) -> None:
    """Makes a named instrument from clips, for `to=name`, and keeps it in the user's data folder.

    Args:
        name: what to call it; an instrument of the user's own with that name is replaced.
        clips: paths of recordings of the instrument alone.
        model: the model that it is for: a shipped name or a folder; None is the shipped transfer model.

    Raises:
        InputError: a name with a slash or dot, or that the model has already; no list of clips.
        AudioError: a clip that cannot be read, or is silent.
    """
    check_instrument(name, clips)
    pipe = load(model)
    if name in pipe.model.instruments:
        raise InputError(f"{name!r} is an instrument of the model; choose another name, such as my-{name}")
    tokens = torch.cat([pipe.style_tokens(Path(clip)) for clip in clips])
    keep_instrument(pipe.model, name, tokens)


def remove_instrument(name: str, *, model: str | os.PathLike[str] | None = None) -> None:
    """Removes a named instrument of the user's own.

    Args:
        name: as `add_instrument` was given it.
        model: the model that it is for.

    Raises:
        InputError: there is no such instrument of the user's own.
    """
    drop_instrument(load(model).model, name)


def check_device(device: str | None) -> torch.device:
    """Raises InputError for a device that this machine does not have."""
    fits = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not fits.get(device or "cpu"):
        has = ", ".join(name for name, fine in fits.items() if fine)
        raise InputError(f"device is {device!r}; expected one that torch {torch.__version__} has here: {has}")
    return torch.device(device or "cpu")


class _Job:
    """One transfer: the chain from the source's blocks to the result's blocks, and their gain."""

    def __init__(
        self, source: Recording, player: _Player, settings: TransferSettings, progress: Progress | None
    ) -> None:
        self.settings, self.progress, self.rate = settings, progress, player.sample_rate
        self.lead = round(LEAD_S * source.sample_rate) if settings.loop else 0
        self.source = source.around(self.lead) if settings.loop else source
        self.scan = self.source.scan()
        self.samples = round(self.scan.samples * self.rate / self.scan.sample_rate)
        if not self.samples:
            raise AudioError(
                f"the source has {self.scan.samples} samples at {self.scan.sample_rate} Hz; expected enough for one at "
                f"{self.rate} Hz"
            )
        self.transpose = player.transpose
        self.untouched = player.changes_nothing or self.scan.active_rms < SILENT_RMS
        self.voice = _SourceDynamics(self.scan, self._in_tune(player))
        self.energy, self.peak = 0.0, 0.0  # of the blocks so far

    def _in_tune(self, player: _Player) -> _Player | _SourceIntonation:
        if self.untouched or not self.settings.intonation:
            return player
        cents = self.source.intonation(self.scan)
        return _SourceIntonation(cents, self.samples, player) if cents.any() else player

    def length(self, rate: int) -> int:
        """Samples of the source, without what is around a loop, at another rate."""
        return round((self.scan.samples - 2 * self.lead) * rate / self.scan.sample_rate)

    def blocks(self) -> Iterator[Waveform]:
        """The result [channels, n] at the model's rate, before the gain."""
        resampler = StreamResampler(self.source.sample_rate, self.rate, self.source.channels)
        blocks = flow(self.source.blocks(), resampler)
        samples = 0
        for block in blocks if self.untouched else flow(split(blocks, PIECE), self.voice):
            self.energy += energy(block)
            self.peak = max(self.peak, float(np.abs(block).max()))
            samples += block.shape[1]
            if self.progress is not None:
                self.progress(samples / self.rate, self.samples / self.rate)
            yield block

    def finished(self, made: Callable[[], Iterator[Waveform]], rate: int, *, is_bounded: bool) -> Iterator[Waveform]:
        """The whole result, of which `made` gives the blocks: as loud as the source, at `rate`, blended, closed.

        Args:
            made: gives what `blocks` gave, as often as it is called.
            rate: in Hz.
            is_bounded: what is beyond full scale would clip.
        """
        is_bounded |= self.settings.limiter
        loud = self._as_loud(made) if is_bounded else self._times(made, self._wanted_gain())
        return self.closed(flow(loud, StreamResampler(self.rate, rate, self.scan.channels)), rate)

    def closed(self, blocks: Iterator[Waveform], rate: int) -> Iterator[Waveform]:
        """Blended with the source, and a loop made one again; blocks at `rate`."""
        if self.settings.mix < 1:
            dry = flow(self.source.blocks(), StreamResampler(self.source.sample_rate, rate, self.scan.channels))
            blocks = blend(blocks, dry, self.settings.mix)
        if self.settings.loop:
            lead = round(self.lead * rate / self.scan.sample_rate)
            whole = np.concatenate(list(blocks), axis=1)
            return iter([close_loop(whole, lead, self.length(rate), round(FADE_S * rate))])
        return blocks

    def _wanted_gain(self) -> float:
        """The gain that brings the whole result to the source's RMS."""
        if self.untouched or not self.energy:
            return 1.0
        return float(np.sqrt(self.scan.power.sum() * self.samples / self.energy))

    def _as_loud(self, made: Callable[[], Iterator[Waveform]]) -> Iterator[Waveform]:
        """The result at the source's RMS, or as near to it as it is without clipping."""
        wanted = self._wanted_gain()
        room = FULL_SCALE / self.peak if self.energy and not self.untouched else np.inf
        if self.settings.limiter and wanted > room * Limiter.CEILING:
            return self._limited(made, wanted)
        if wanted > room * TOLD:
            warn(
                f"the result is {20 * np.log10(wanted / room):.1f} dB softer than the source, as its highest peak "
                "would clip: a limiter keeps it as loud (--limiter), and so do floating-point samples (--float)"
            )
        return self._times(made, min(wanted, room))

    def _limited(self, made: Callable[[], Iterator[Waveform]], wanted: float) -> Iterator[Waveform]:
        gain, short = wanted, np.inf
        for _ in range(4):  # a limiter takes loudness away; more gain before it gives some back, and 6 dB is enough
            blocks = flow(self._times(made, gain), Limiter(self.scan.channels, self.rate))
            short = wanted * np.sqrt(self.energy / max(sum(map(energy, blocks)), 1e-9))
            if short < NEAR:
                break
            gain = min(gain * float(short), 2 * wanted)
        if short > TOLD:
            warn(f"the limiter leaves the result {20 * np.log10(short):.1f} dB softer than the source")
        return flow(self._times(made, gain), Limiter(self.scan.channels, self.rate))

    def _times(self, made: Callable[[], Iterator[Waveform]], gain: float) -> Iterator[Waveform]:
        return (block * np.float32(gain) for block in made())

    def levelled(self) -> Iterator[Waveform]:
        """The result with a gain that follows the levels so far."""
        if self.untouched:
            yield from self.blocks()
            return
        start = 1e-6 * self.scan.power.sum() * self.rate  # so that silence has gain 1
        ramps = Ramps()
        for block in self.blocks():
            yield from ramps.push(block, float(np.sqrt((self.voice.energy + start) / (self.energy + start))))
        yield from ramps.finish()


class _SourceDynamics:
    """A stage around the player, which works on mono at one level: blocks [channels, n] of the source in, blocks of the
    result out, with the source's loud and soft passages and its stereo image."""

    def __init__(self, scan: Scan, player: _Player | _SourceIntonation) -> None:
        self._scan, self._player = scan, player
        self._waiting = Queue(scan.channels)  # the source, until the result of the same moment is there
        self._image = StereoImage(scan)
        self._taken, self._given = 0, 0
        self.energy = 0.0  # of the source, as far as there is a result

    def push(self, block: Waveform) -> Waveform:
        self._waiting.push(block - self._scan.offset)
        mono = self._scan.mix(block) * self._scan.gain(self._taken, block.shape[1], self._player.sample_rate)
        self._taken += block.shape[1]
        return self._restored(self._player.push(mono))

    def finish(self) -> Waveform:
        return self._restored(self._player.finish())

    def _restored(self, mono: Waveform) -> Waveform:
        source = self._waiting.pop(len(mono))
        if not len(mono):
            return source
        self.energy += energy(source)
        mono = mono / self._scan.gain(self._given, len(mono), self._player.sample_rate)
        self._given += len(mono)
        return self._image.apply(mono.astype(np.float32), source)


class _SourceIntonation:
    """A stage around the player, which works on what is in tune and steady: its result has the source's tuning, vibrato
    and slides."""

    def __init__(self, cents: np.ndarray, samples: int, player: _Player) -> None:
        self._player, self.sample_rate = player, player.sample_rate
        self._steady, self._back = steady_and_back(cents, samples, player.sample_rate)

    def push(self, mono: Waveform) -> Waveform:
        return self._back.push(self._player.push(self._steady.push(mono)))

    def finish(self) -> Waveform:
        rest = [self._player.push(self._steady.finish()), self._player.finish()]
        return np.concatenate([*map(self._back.push, rest), self._back.finish()])


class _Player:
    """Mono at one level in, the same music on another instrument out: samples [n] at the model's rate."""

    def __init__(
        self, model: StyleTransfer, sample: Callable[..., Tensor], strength: float, transpose: float, seed: int
    ) -> None:
        self._model, self._sample, self._strength, self._seed = model, sample, strength, seed
        frames, overlap = model.window * model.codec.factor, model.overlap * model.codec.factor
        self._windows = Windows(model.mel, frames, overlap, transpose)
        self._fade = CrossFade(overlap)
        self._inverter = StreamInverter(model.mel, seed=seed)
        self.transpose = transpose  # in semitones; but for 0 the result has other phases than the source
        self.changes_nothing = strength == 0 and transpose == 0
        self.sample_rate = model.mel.sample_rate

    @torch.inference_mode()
    def push(self, samples: Waveform) -> Waveform:
        windows = self._windows.push(samples)
        return self._inverted(windows, self.mels(windows)).numpy() if windows else np.zeros(0, np.float32)

    @torch.inference_mode()
    def finish(self) -> Waveform:
        windows = self._windows.finish()
        rest = self._inverted(windows, [*self.mels(windows), self._fade.finish()])
        return torch.cat([rest, self._inverter.finish(self._windows.samples)[0, 0]]).numpy()

    def mels(self, windows: Iterable[Window]) -> list[Tensor]:
        """Transferred, cross-faded: [1, 1, n_mels, frames] each."""
        return [self._fade.push(self._transferred(window)) for window in windows]

    def _inverted(self, windows: list[Window], mels: list[Tensor]) -> Tensor:
        samples = np.concatenate([window.samples for window in windows])
        source = None if self.transpose else torch.from_numpy(samples)[None, None]
        return self._inverter.push(torch.cat(mels, dim=-1), source)[0, 0]

    def _transferred(self, window: Window) -> Tensor:
        """Mel [1, 1, n_mels, frames] of a window -> transferred mel of the same shape."""
        model, content, floor = self._model, window.mel, self._model.mel.floor_db
        if bool((content <= floor + 1).all()):
            return content
        frames, factor = content.shape[-1], model.codec.factor
        padded = torch.nn.functional.pad(content, (0, -frames % factor), value=floor)
        latents = model.codec.encode(padded.to(model.device))
        noise = noise_at(self._seed, window.first_frame // factor, latents.shape, model.overlap).to(latents.device)
        mel = model.decode(self._sample(latents, noise=noise)).cpu()[..., :frames]
        return torch.lerp(content, mel, self._strength)


def _spooled(spool: IO[bytes], channels: int) -> Iterator[Waveform]:
    """Blocks [channels, n] of raw float32 samples, from the beginning."""
    spool.seek(0)
    while data := spool.read(BLOCK * channels * 4):
        yield np.frombuffer(data, np.float32).reshape(-1, channels).T


def _write_exactly(writer: AudioWriter, blocks: Iterable[Waveform], samples: int) -> None:
    """Writes so many samples: fewer are filled up with silence, more are cut off."""
    for block in blocks:
        writer.write(block[:, :samples])
        samples -= min(samples, block.shape[1])
    writer.write(np.zeros((writer.channels, samples), np.float32))
