"""Timbre transfer: a recording in, the same music on another instrument out.

    source file -> blocks -> mono at the model's rate, its loud and soft passages brought to one level
      -> mel windows that overlap -> content latents -> denoised with the style's tokens -> mel, cross-faded
      -> waveform (with the source to start from) -> the source's levels and stereo image -> blocks -> file

Everything flows in blocks: memory does not grow with length.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from timbrel import checkpoint
from timbrel.audio.inversion import StreamInverter
from timbrel.audio.io import (
    AudioWriter,
    StreamResampler,
    Waveform,
    check_output,
    open_audio,
    resample,
    write_audio,
)
from timbrel.audio.level import HOP, SILENT_RMS, TARGET_RMS, energy, ramp
from timbrel.audio.mel import mel_spectrogram
from timbrel.audio.pitch import octaves_into, pitch_range, transposed_mel
from timbrel.audio.stereo import StereoImage, loudest_channel, scan_blocks
from timbrel.checkpoint import TransferModel
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import AudioError, InputError
from timbrel.instruments import INSTRUMENTS

Source = str | os.PathLike[str] | np.ndarray | Tensor
Progress = Callable[[float, float | None], None]

BLOCK = 1 << 16  # samples read at a time, a multiple of HOP
CLIP_S = 10.0  # of a style clip: its loudest stretch
PICTURE_S = 30.0
PITCH_S = 60.0  # of a source, that its range is taken from
MOST_SEMITONES = 36


@dataclass(frozen=True)
class Result:
    """What a transfer gives: `waveform` [channels, samples] float32 and its `sample_rate` in Hz."""

    waveform: Waveform
    sample_rate: int

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes it; the suffix (.wav, .flac, .ogg, .mp3) says the format."""
        write_audio(path, self.waveform, self.sample_rate, overwrite=overwrite)


class TransferPipeline:
    """A transfer model, ready to play. Make one with `load`.

    Attributes:
        model: the parts.
        instruments: the names that `to` takes, beside clips.
    """

    def __init__(self, model: TransferModel, instruments: dict[str, Tensor] | None = None) -> None:
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
        strength: float = 1.0,
        steps: int | None = None,
        guidance: float | None = None,
        transpose: int = 0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Result:
        """Plays `source` on the instrument `to`.

        Args:
            source: a path, or an array [channels, samples] or [samples] in [-1, 1] with `sample_rate`.
            to: the name of an instrument, or a recording of the wanted sound: a path, or an array at
                `sample_rate` (the model's own where the source is a path). Of a long one the loudest 10 s count.
            sample_rate: of the arrays given, in Hz.
            strength: from 0, the source as it is, to 1, the whole of the new sound: a line between their mels.
            steps: of the sampler. 1 is the middle of what the model holds possible, and best with the shipped one;
                more are other takes, further from the answer.
            guidance: classifier-free guidance on style: 1 is as learned; other values cost twice the time.
            transpose: semitones to move the music by, -36 to 36, time kept; `find_transposition` suggests octaves.
            seed: with `steps` of 2 or more another seed is another take. With one step the shipped model draws
                nothing; what is left to the seed are phases where the source has none, which are hardly heard.
            progress: called with the seconds done and the seconds in all (None if unknown).

        Returns:
            The result at the model's sample rate, as long as the source, with its channels and its RMS (unless
            that would clip).

        Raises:
            InputError: an unknown instrument, a value out of range, an array that is no waveform.
            AudioError: a recording that cannot be read.
        """
        job = _Job(self, source, to, sample_rate, strength, steps, guidance, transpose, seed, progress)
        out = np.concatenate(list(job.blocks()), axis=1)
        return Result(out * np.float32(job.final_gain()), self.sample_rate)

    def stream(
        self,
        source: Source,
        to: Source,
        *,
        sample_rate: int | None = None,
        strength: float = 1.0,
        steps: int | None = None,
        guidance: float | None = None,
        transpose: int = 0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[Waveform]:
        """As a call, block by block, for what does not fit in memory: yields [channels, n] at the model's rate.

        The whole result's loudness is not known when its first block leaves: the gain follows the ratio of what
        the source and the result have had so far, and a block that would clip is turned down.
        """
        return _Job(self, source, to, sample_rate, strength, steps, guidance, transpose, seed, progress).levelled()

    def transfer_file(
        self,
        source: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        to: Source,
        strength: float = 1.0,
        steps: int | None = None,
        guidance: float | None = None,
        transpose: int = 0,
        seed: int = 0,
        sample_rate: int | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
        picture: str | os.PathLike[str] | None = None,
    ) -> None:
        """File to file in bounded memory; arguments as for a call.

        Args:
            output: its suffix says the format; nothing is left of it if anything fails.
            sample_rate: of the output, in Hz (default: the model's).
            overwrite: replace an existing output. An input is never overwritten.
            picture: also draw source and result (their first 30 s), and a style clip (its loudest 10 s), into this PNG.
        """
        rate = self.sample_rate if sample_rate is None else sample_rate
        inputs = [source, to] if isinstance(to, str | os.PathLike) else [source]
        if picture is not None:
            check_output(picture, overwrite=overwrite, inputs=inputs, suffixes=[".png"])
        job = _Job(self, source, to, None, strength, steps, guidance, transpose, seed, progress)
        output = check_output(output, overwrite=overwrite, inputs=inputs, sample_rate=rate, channels=job.scan.channels)
        try:
            # The gain needs the whole result, so that waits in a nameless file on the output's disk.
            with tempfile.TemporaryFile(dir=output.parent) as spool:
                for block in job.blocks():
                    spool.write(np.ascontiguousarray(block.T).tobytes())
                spool.seek(0)
                exact = round(job.scan.samples * rate / job.scan.sample_rate)
                with AudioWriter(output, rate, job.scan.channels, overwrite=overwrite) as writer:
                    _write_spool(spool, writer, self.sample_rate, job.final_gain(), exact)
        except OSError as error:
            raise AudioError(f"{output} cannot be written: {error}; free some space, or name another place") from error
        if picture is not None:
            self._draw(Path(picture), source, to, output, overwrite)

    def find_transposition(self, source: Source, to: Source, *, sample_rate: int | None = None) -> int:
        """Semitones, whole octaves, that bring a source into the range of the instrument `to`: 0 where it fits.

        The source's range is that of its first minute. An instrument's is known by its name; a clip's is what it
        plays and a fifth to either side.

        Raises:
            InputError: `to` is a named instrument whose range is not known; an array without a sample rate.
            AudioError: a recording that cannot be read.
        """
        if isinstance(to, str) and to in self._instruments:
            if to not in INSTRUMENTS:
                raise InputError(f"the range of {to!r} is not known; give transpose as a number of semitones")
            target = (float(INSTRUMENTS[to].lowest), float(INSTRUMENTS[to].highest))
        else:
            found = pitch_range(self._start(to, sample_rate), self.sample_rate)
            if found is None:
                return 0
            target = (found[0] - 7, found[2] + 7)
        found = pitch_range(self._start(source, sample_rate), self.sample_rate)
        return 0 if found is None else octaves_into((found[0], found[2]), target)

    def _start(self, source: Source, sample_rate: int | None) -> np.ndarray:
        """The first minute of the loudest channel, [samples] at the model's rate."""
        if isinstance(source, str | os.PathLike):
            waveform = self._beginning(source, PITCH_S)
        elif sample_rate is None:
            raise InputError("source is an array, and sample_rate is missing; give its rate in Hz")
        else:
            array = _as_waveform(source)[:, : int(PITCH_S * sample_rate)]
            waveform = resample(array, sample_rate, self.sample_rate)
        return loudest_channel(waveform)

    def _beginning(self, path: str | os.PathLike[str], seconds: float) -> Waveform:
        """The start of a recording, [channels, samples] at the model's rate."""
        with open_audio(path) as reader:
            resampler = StreamResampler(reader.sample_rate, self.sample_rate, reader.channels)
            parts: list[np.ndarray] = []
            for block in reader.blocks(BLOCK):
                parts.append(resampler.push(block))
                if sum(p.shape[1] for p in parts) > seconds * self.sample_rate:
                    break
        return np.concatenate([*parts, resampler.finish()], axis=1)[:, : int(seconds * self.sample_rate)]

    def style_tokens(self, to: Source, *, sample_rate: int | None = None) -> Tensor:
        """Style tokens [n, width] of an instrument's name, or of a clip (path or array).

        Raises:
            InputError: a name that is neither known nor a file, or an array that is no waveform.
            AudioError: a clip that cannot be read, or is silent.
        """
        if isinstance(to, str) and to in self._instruments:
            return self._instruments[to]
        if isinstance(to, str | os.PathLike) and not Path(to).exists():
            raise InputError(
                f"{str(to)!r} is neither an instrument ({', '.join(self.instruments) or 'none are named'}) nor a file; "
                "name one of those, or a recording of the wanted sound"
            )
        mel = self._style_mel(to, sample_rate)
        with torch.inference_mode():
            return self.model.style_tokens(mel).clone()

    def _style_mel(self, to: Source, sample_rate: int | None) -> Tensor:
        rate = self.sample_rate if sample_rate is None else sample_rate
        clip = to if isinstance(to, str | os.PathLike) else _as_waveform(to)
        scan = scan_blocks(_read(clip, rate))
        if scan.active_rms < SILENT_RMS:
            raise AudioError(f"the style clip {to if isinstance(to, str | os.PathLike) else ''} is silent; give a "
                             "recording of the wanted instrument")  # fmt: skip
        keep = round(CLIP_S * scan.sample_rate / HOP)
        powers = np.minimum(scan.mono_powers, scan.active_rms**2)
        start = int(np.convolve(powers, np.ones(min(keep, len(powers))), mode="valid").argmax()) * HOP
        position, parts = 0, []
        for block, _ in _read(clip, rate):
            parts.append(scan.mix(block[:, max(0, start - position) : max(0, start + keep * HOP - position)]))
            position += block.shape[1]
            if position >= start + keep * HOP:
                break
        loudest = resample(np.concatenate(parts)[None], scan.sample_rate, self.sample_rate)
        level = np.float32(TARGET_RMS / scan.active_rms)
        mel = mel_spectrogram(torch.from_numpy(loudest * level)[None], self.model.mel)
        short = max(0, 4 * self.model.codec.factor - mel.shape[-1])
        return torch.nn.functional.pad(mel, (0, short), value=self.model.mel.floor_db)

    def _draw(self, picture: Path, source: str | os.PathLike[str], to: Source, output: Path, overwrite: bool) -> None:
        from timbrel.audio.plot import draw_mels

        def mel_of(path: str | os.PathLike[str]) -> Tensor:
            mono = loudest_channel(self._beginning(path, PICTURE_S))
            return mel_spectrogram(torch.from_numpy(mono)[None, None], self.model.mel)[0, 0]

        panels = [(f"source: {Path(source).name}", mel_of(source))]
        named = isinstance(to, str) and to in self._instruments  # which is tokens: there is no clip to show
        if not named:
            panels.append((f"style: {Path(str(to)).name}", self._style_mel(to, None)[0, 0]))
        panels.append((f"result{f', {to}' if named else ''}: {output.name}", mel_of(output)))
        draw_mels(picture, panels, self.model.mel, overwrite=overwrite)


def check_transposition(semitones: int) -> None:
    """Raises InputError where music would be moved further than `MOST_SEMITONES`."""
    if not isinstance(semitones, int) or not -MOST_SEMITONES <= semitones <= MOST_SEMITONES:
        raise InputError(f"transpose is {semitones!r}; expected {-MOST_SEMITONES} to {MOST_SEMITONES} whole semitones")


def load(name_or_folder: str | os.PathLike[str] | None = None) -> TransferPipeline:
    """A pipeline from the shipped default, the name of a shipped model, or a model folder.

    Raises:
        ModelError: the folder is missing, broken or holds another kind of model.
    """
    model = checkpoint.load_transfer_model(None if name_or_folder is None else os.fspath(name_or_folder))
    prefix = checkpoint.fingerprint(model.style) + "."
    own = checkpoint.load_instruments(checkpoint.user_instruments_path())
    return TransferPipeline(model, {k.removeprefix(prefix): v for k, v in own.items() if k.startswith(prefix)})


def add_instrument(
    name: str, clips: Sequence[str | os.PathLike[str]], *, model: str | os.PathLike[str] | None = None
) -> None:
    """Keeps an instrument of one's own, made from clips, for `to=name`: in the user's data folder.

    Raises:
        InputError: no name, one that the model has, or no clips.
        AudioError: a clip that cannot be read, or is silent.
    """
    if not name or not clips:
        raise InputError(f"name is {name!r} with {len(clips)} clips; expected a name and at least one clip")
    pipe = load(model)
    if name in pipe.model.instruments:
        raise InputError(f"{name!r} is an instrument of the model; choose another name, such as my-{name}")
    tokens = torch.cat([pipe.style_tokens(Path(clip)) for clip in clips])
    path = checkpoint.user_instruments_path()
    own = checkpoint.load_instruments(path)
    checkpoint.save_instruments(path, own | {f"{checkpoint.fingerprint(pipe.model.style)}.{name}": tokens})


def _read(source: str | os.PathLike[str] | Waveform, sample_rate: int | None) -> Iterator[tuple[Waveform, int]]:
    """Blocks [channels, n] of a file, or of an array at `sample_rate`, and their rate."""
    if isinstance(source, str | os.PathLike):
        with open_audio(source) as reader:
            for block in reader.blocks(BLOCK):
                yield block, reader.sample_rate
    else:
        for start in range(0, source.shape[1], BLOCK):
            yield source[:, start : start + BLOCK], sample_rate or 0


class _Job:
    """One transfer: source, style and settings, checked; `blocks` does the work."""

    def __init__(
        self,
        pipe: TransferPipeline,
        source: Source,
        to: Source,
        sample_rate: int | None,
        strength: float,
        steps: int | None,
        guidance: float | None,
        transpose: int,
        seed: int,
        progress: Progress | None,
    ) -> None:
        if not 0 <= strength <= 1:
            raise InputError(f"strength is {strength}; expected 0 (the source) to 1 (the whole transfer)")
        self.steps = pipe.default_steps if steps is None else steps
        self.guidance = pipe.default_guidance if guidance is None else guidance
        if not 0 <= self.guidance <= 20:
            raise InputError(f"guidance is {guidance}; expected 0 to 20 (1 is as learned)")
        check_transposition(transpose)
        if not isinstance(source, str | os.PathLike) and sample_rate is None:
            raise InputError("source is an array, and sample_rate is missing; give its rate in Hz")
        if sample_rate is not None and sample_rate < 1:
            raise InputError(f"sample_rate is {sample_rate}; expected at least 1 Hz")
        if not 0 <= seed < 2**63:
            raise InputError(f"seed is {seed}; expected 0 to {2**63 - 1}")
        self.model, self.strength, self.seed, self.progress = pipe.model, strength, seed, progress
        self.transpose = transpose
        inference_timesteps(pipe.model.schedule, self.steps)  # refuses what it cannot do, before there is work
        self.source = source if isinstance(source, str | os.PathLike) else _as_waveform(source)
        self.source_rate = sample_rate
        self.tokens = pipe.style_tokens(to, sample_rate=sample_rate)
        self.scan = scan_blocks(_read(self.source, sample_rate))
        self.total = round(self.scan.samples * pipe.sample_rate / self.scan.sample_rate)
        if not self.total:
            raise AudioError(
                f"the source has {self.scan.samples} samples at {self.scan.sample_rate} Hz; expected enough for one at "
                f"{pipe.sample_rate} Hz"
            )
        self.untouched = (strength == 0 and transpose == 0) or self.scan.active_rms < SILENT_RMS
        self.source_energy, self.energy, self.peak = 0.0, 0.0, 0.0  # of the blocks so far

    def blocks(self) -> Iterator[Waveform]:
        """The result [channels, n] at the model's rate, before the final gain."""
        for block in self._blocks():
            self.energy += energy(block)
            self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
            yield block

    def final_gain(self) -> float:
        """What brings the whole result to the source's RMS, or to just below clipping."""
        if self.untouched or not self.energy:
            return 1.0
        return float(min(np.sqrt(self.scan.power.sum() * self.total / self.energy), 0.999 / self.peak))

    def levelled(self) -> Iterator[Waveform]:
        """The result with a gain that follows what went by. A block is held back until the next one's gain is known:
        from block to block the gain runs in ramps that clip neither."""
        start = 1e-6 * self.scan.power.sum() * self.model.mel.sample_rate  # so that silence has gain 1
        held, gain, edge = None, 1.0, None
        for block in self.blocks():
            before = gain
            if not self.untouched:
                wanted = np.sqrt((self.source_energy + start) / (self.energy + start))
                gain = float(min(wanted, 0.999 / max(float(np.abs(block).max(initial=0)), 1e-9)))
            if held is not None:
                yield ramp(held, before if edge is None else edge, min(before, gain))
                edge = min(before, gain)
            held = block
        if held is not None:
            yield ramp(held, gain if edge is None else edge, gain)

    @torch.inference_mode()  # of a generator: between blocks it is off, for whoever streams them
    def _blocks(self) -> Iterator[Waveform]:
        scan, rate, total = self.scan, self.model.mel.sample_rate, self.total
        resampler = StreamResampler(scan.sample_rate, rate, scan.channels)

        def resampled() -> Iterator[Waveform]:
            for block, _ in _read(self.source, self.source_rate):
                yield resampler.push(block)
            yield resampler.finish()

        if self.untouched:
            yield from resampled()
            return
        waiting = _Queue(scan.channels)  # the source, until the result of its moment is there
        image = StereoImage(scan)
        inverter = StreamInverter(self.model.mel, seed=self.seed)
        taken, given = 0, 0

        def mono_blocks() -> Iterator[Waveform]:
            nonlocal taken
            for block in resampled():
                waiting.push(block - scan.offset)
                yield scan.mix(block) * scan.gain(taken, block.shape[1], rate)
                taken += block.shape[1]

        def finished(part: Tensor) -> Iterator[Waveform]:
            nonlocal given
            mono = part[0, 0].numpy()[: total - given]
            given += len(mono)
            if len(mono):
                heard = waiting.pop(len(mono))
                self.source_energy += energy(heard)
                mono = mono / scan.gain(given - len(mono), len(mono), rate)
                yield image.apply(mono.astype(np.float32), heard)
            if self.progress is not None:
                self.progress(given / rate, total / rate)

        for mel, source in self._windows(mono_blocks(), total):
            yield from finished(inverter.push(mel, source))
        yield from finished(inverter.finish(total))

    def _windows(self, mono: Iterator[Waveform], total: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Transferred mel [1, 1, n_mels, k] and the source's samples [1, 1, n] that go with it, in order; none where
        the music is moved: its phases are not those of the result."""
        config, factor = self.model.mel, self.model.codec.factor
        hop, reach = config.hop_length, config.n_fft / 2 * max(1.0, 2 ** (self.transpose / 12))
        margin = math.ceil(reach / hop)
        frames = config.num_frames(total)
        window, overlap = self.model.window * factor, self.model.overlap * factor
        buffer = np.zeros(margin * hop, np.float32)  # from the sample of frame `start - margin`
        start, told, faded = 0, 0, None
        fade = torch.linspace(0, 1, overlap)
        while start < frames:
            stop = min(start + window, frames)
            if frames - stop < overlap:
                stop = frames  # rather one longer window than a last one that is all fade
            need = (stop - start + 2 * margin) * hop
            while len(buffer) < need and (block := next(mono, None)) is not None:
                buffer = np.concatenate([buffer, block])
            buffer = np.pad(buffer, (0, max(0, need - len(buffer))))
            piece = torch.from_numpy(buffer[: need - 1])[None, None]
            content = transposed_mel(piece, config, self.transpose)[..., margin : margin + stop - start]
            result = self._transfer(content, start // factor)
            if faded is not None:
                result[..., :overlap] = torch.lerp(faded, result[..., :overlap], fade)
            last = stop == frames
            keep = stop - start if last else stop - start - overlap
            faded = None if last else result[..., keep:]
            upto = total if last else (start + keep) * hop
            begin = told - start * hop + margin * hop
            samples = torch.from_numpy(buffer[begin : begin + upto - told].copy())
            yield result[..., :keep], None if self.transpose else samples[None, None]
            told, start = upto, start + keep
            buffer = buffer[keep * hop :]

    def _transfer(self, content: Tensor, first: int) -> Tensor:
        """One window: content mel [1, 1, n_mels, frames] -> transferred mel of the same shape."""
        model, floor = self.model, self.model.mel.floor_db
        if bool((content <= floor + 1).all()):
            return content.clone()
        frames, factor = content.shape[-1], model.codec.factor
        padded = torch.nn.functional.pad(content, (0, -frames % factor), value=floor)
        latents = model.codec.encode(padded)
        noise = self._noise(latents.shape, first)
        steps, guidance, strength = self.steps, self.guidance, self.strength
        latents = model.sample(latents, self.tokens, noise, steps=steps, guidance=guidance, strength=strength)
        mel = model.decode(latents)[..., :frames]
        return torch.lerp(content, mel, self.strength)

    def _noise(self, shape: Sequence[int], first: int) -> Tensor:
        """Noise that belongs to the moment, so that windows agree where they overlap."""
        parts, size = [], self.model.overlap
        for block in range(first // size, (first + shape[-1]) // size + 1):
            seed = np.random.SeedSequence((self.seed, block)).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(seed) >> 1)
            parts.append(torch.randn(*shape[1:-1], size, generator=generator))
        skip = first % size
        return torch.cat(parts, dim=-1)[None, ..., skip : skip + shape[-1]]


class _Queue:
    """Blocks [channels, n] in, any number of samples out."""

    def __init__(self, channels: int) -> None:
        self.parts: list[Waveform] = [np.zeros((channels, 0), np.float32)]

    def push(self, block: Waveform) -> None:
        self.parts.append(block)

    def pop(self, samples: int) -> Waveform:
        while len(self.parts) > 1 and self.parts[0].shape[1] < samples:
            self.parts[:2] = [np.concatenate(self.parts[:2], axis=1)]
        head, self.parts[0] = self.parts[0][:, :samples], self.parts[0][:, samples:]
        return np.pad(head, ((0, 0), (0, samples - head.shape[1])))


def _as_waveform(array: np.ndarray | Tensor) -> Waveform:
    """[samples] or [channels, samples], finite -> float32 [channels, samples]."""
    waveform = np.atleast_2d(np.asarray(array))
    if waveform.ndim != 2 or not np.issubdtype(waveform.dtype, np.floating):
        raise InputError(
            f"waveform is {waveform.dtype} of shape {waveform.shape}; expected floats [channels, samples] in [-1, 1]"
        )
    if waveform.shape[0] > waveform.shape[1] and waveform.shape[0] > 64:
        raise InputError(f"waveform has shape {waveform.shape}; expected [channels, samples]: transpose it")
    if not waveform.size:
        raise InputError(f"waveform has shape {waveform.shape}; expected at least one sample")
    with np.errstate(over="ignore"):
        waveform = waveform.astype(np.float32)
    if not np.isfinite(waveform).all():
        raise InputError("waveform holds NaN or infinite samples; expected finite ones")
    return waveform


def _write_spool(spool: IO[bytes], writer: AudioWriter, from_rate: int, gain: float, left: int) -> None:
    """Raw float32 samples, times a gain, to `left` samples of a file at its own rate."""
    resampler = StreamResampler(from_rate, writer.sample_rate, writer.channels)
    while data := spool.read(BLOCK * writer.channels * 4):
        block = np.frombuffer(data, np.float32).reshape(-1, writer.channels).T
        part = resampler.push(block * np.float32(gain))[:, :left]
        writer.write(part)
        left -= part.shape[1]
    rest = resampler.finish()[:, :left]
    writer.write(np.pad(rest, ((0, 0), (0, left - rest.shape[1]))))
