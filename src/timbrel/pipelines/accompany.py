"""Accompaniment (report 003, section 5.2): instruments that follow a voice, cleaned, levelled and mixed under it.

    voice -> one transfer an instrument -> band-pass -> as loud as the voice, and `level_db` -> stems
    voice + stems -> mix

Transfers wait in files, and everything else flows in blocks: in `accompany_file` memory does not grow with length.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from timbrel.audio.bandpass import BandPass
from timbrel.audio.io import Waveform
from timbrel.audio.level import SILENT_RMS, headroom, level_gain, loudness
from timbrel.audio.waveform import Audio
from timbrel.errors import AudioError, InputError, warn
from timbrel.files import temporary_folder
from timbrel.pipelines.cross import load_method
from timbrel.pipelines.listen import Recording
from timbrel.pipelines.settings import AccompanySettings, Method, Progress, TransferSettings
from timbrel.pipelines.stems import MIX, Stems, check_instruments, stem_paths, stem_writers
from timbrel.pipelines.transfer import TransferPipeline

CROSS, DEFAULTS = Method("cross"), AccompanySettings()


class AccompanyPipeline:
    """Instruments, ready to accompany a voice. Make one with `load`.

    Args:
        pipes: the transfer pipeline that plays each instrument, by its name; all of one sample rate.

    Raises:
        InputError: no instrument, or one that its pipeline does not know.
    """

    def __init__(self, pipes: Mapping[str, TransferPipeline]) -> None:
        check_instruments(list(pipes), least=1)
        for name, pipe in pipes.items():
            if pipe.named(name) is None:
                names = ", ".join(pipe.instruments)
                raise InputError(f"{name!r} is no instrument of the model; expected one of {names}")
        self.pipes = dict(pipes)

    @classmethod
    def load(cls, instruments: Sequence[str], method: Method = CROSS, *, steps: int | None = None) -> Self:
        """From the names of instruments.

        Args:
            instruments: who plays.
            method: which models play: by cross-diffusion one of each instrument, or the main one.
            steps: of the sampler; None is the method's own.

        Raises:
            ModelError: an instrument has no model.
            InputError: an unknown instrument, one twice, or none.
        """
        check_instruments(instruments, least=1)
        return cls(load_method(method, instruments, steps=steps))

    @property
    def sample_rate(self) -> int:
        return next(iter(self.pipes.values())).sample_rate

    def __call__(
        self,
        voice: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        settings: AccompanySettings = DEFAULTS,
        **options: Any,
    ) -> Stems:
        """Plays to a recording.

        Args:
            voice: a recording of any length: a voice, or whatever is to be accompanied.
            progress: called with the seconds done, of all instruments together, and the seconds in all.
            settings: see `AccompanySettings`.
            **options: fields of `AccompanySettings`, in place of those in `settings`: level_db, transpose, steps, seed.

        Returns:
            Stems at the models' sample rate, with the voice's channels, at their level beside the voice. The mix is
            the voice plus the stems. Where it would clip, it is softer, and a warning says so.

        Raises:
            InputError: a number out of range; "auto" for an instrument whose range is not known.
            AudioError: a voice that cannot be read or is silent.
        """
        recording, settings = Recording.of(voice, None), replace(settings, **options)
        rms, transfers = self._loudness(recording), self._settings(recording, settings)
        stem_rms = rms * 10 ** (settings.level_db / 20)
        with tempfile.TemporaryDirectory() as folder:
            blocks = list(self._sounds(recording, transfers, stem_rms, Path(folder), progress))
        sounds = {name: np.concatenate([block[name] for block in blocks], axis=1) for name in blocks[0]}
        audio = {name: Audio(waveform, self.sample_rate) for name, waveform in sounds.items()}
        return Stems({name: audio[name] for name in self.pipes}, audio[MIX])

    def accompany_file(
        self,
        voice: str | os.PathLike[str],
        output_dir: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        settings: AccompanySettings = DEFAULTS,
        **options: Any,
    ) -> dict[str, Path]:
        """File to files in bounded memory: INSTRUMENT.wav of each, and mix.wav; arguments as for a call.

        Args:
            output_dir: where the files go; made if it is missing.
            overwrite: replace results that exist. The voice is never overwritten.

        Returns:
            The path of each instrument and of "mix".

        Raises:
            InputError, AudioError: as a call; a file that exists, or cannot be written.
        """
        recording, settings = Recording.of(voice, None), replace(settings, **options)
        paths = stem_paths(output_dir, list(self.pipes), overwrite=overwrite, inputs=[voice])
        rms, transfers = self._loudness(recording), self._settings(recording, settings)
        stem_rms = rms * 10 ** (settings.level_db / 20)
        with (
            stem_writers(paths, self.sample_rate, recording.channels, overwrite=overwrite) as writers,
            temporary_folder(output_dir) as folder,
        ):
            for sounds in self._sounds(recording, transfers, stem_rms, folder, progress):
                for name, block in sounds.items():
                    writers[name].write(block)
        return paths

    def _settings(self, voice: Recording, settings: AccompanySettings) -> dict[str, TransferSettings]:
        """The settings of each instrument's transfer, with the transposition that it needs."""
        transfers = dict.fromkeys(self.pipes, settings.transfer)
        if settings.transpose == "auto":
            for name, pipe in self.pipes.items():
                transfers[name] = replace(transfers[name], transpose=pipe.find_transposition(voice.audio, name))
        return transfers

    def _loudness(self, voice: Recording) -> float:
        rms = loudness(voice.blocks_at(self.sample_rate))
        if rms < SILENT_RMS:
            raise AudioError(f"{voice.name} is silent; expected a recording to play to")
        return rms

    def _sounds(
        self,
        voice: Recording,
        transfers: Mapping[str, TransferSettings],
        stem_rms: float,
        folder: Path,
        progress: Progress | None,
    ) -> Iterator[dict[str, Waveform]]:
        """Block by block, each stem, as loud as `stem_rms`, and the mix; transfers wait in the folder."""
        raw = {name: folder / f"{number}.wav" for number, name in enumerate(self.pipes)}
        for number, (name, pipe) in enumerate(self.pipes.items()):
            part = progress and _part(progress, number, len(self.pipes))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # how loud a transfer is does not matter here
                pipe.transfer_file(voice.name, raw[name], to=name, settings=transfers[name], progress=part)
        levels = {name: np.float32(level_gain(loudness(_cleaned(path)), stem_rms)) for name, path in raw.items()}

        def mixed() -> Iterator[dict[str, Waveform]]:
            for sung, *blocks in zip(voice.blocks_at(self.sample_rate), *map(_cleaned, raw.values()), strict=True):
                stems = {name: block * levels[name] for name, block in zip(raw, blocks, strict=True)}
                yield stems | {MIX: sum(stems.values(), start=sung)}

        peaks = dict.fromkeys((*raw, MIX), 0.0)
        for sounds in mixed():
            peaks = {name: max(peaks[name], float(np.abs(block).max(initial=0))) for name, block in sounds.items()}
        of_stems = headroom(max(peaks[name] for name in raw))  # one gain, so that stems stay beside each other
        gains = dict.fromkeys(raw, np.float32(of_stems)) | {MIX: np.float32(headroom(peaks[MIX]))}
        for what, gain in (("the mix", gains[MIX]), ("each stem", of_stems)):
            if gain < 1:
                warn(f"{what} is {-20 * np.log10(gain):.1f} dB softer than beside the voice as it is, or it would clip")
        for sounds in mixed():
            yield {name: block * gains[name] for name, block in sounds.items()}


def accompany(
    voice: str | os.PathLike[str],
    instruments: Sequence[str],
    *,
    method: Literal["cross", "default"] = "cross",
    model: str | os.PathLike[str] | None = None,
    models: str | os.PathLike[str] | None = None,
    start: int | None = None,
    forward_steps: int | None = None,
    equalise: bool = True,
    steps: int | None = None,
    **options: Any,
) -> Stems:
    """One accompaniment, in memory. For several, or for a long voice, make an `AccompanyPipeline`.

    For example `accompany("song.wav", ["violin", "guitar"], level_db=-10).save("song-with-violin-guitar")`.

    Args:
        voice: a recording: a voice, or whatever is to be accompanied.
        instruments: who plays.
        method, model, models, start, forward_steps, equalise: see `Method`.
        steps: of the sampler; None is the method's own.
        **options: as `AccompanyPipeline` takes them: level_db, transpose, seed, progress.
    """
    chosen = Method(method, model=model, models=models, start=start, forward_steps=forward_steps, equalise=equalise)
    return AccompanyPipeline.load(instruments, chosen, steps=steps)(voice, steps=steps, **options)


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one of several equal parts, as progress of the whole."""

    def update(done_s: float, total_s: float | None) -> None:
        progress(number * (total_s or 0) + done_s, total_s and parts * total_s)

    return update


def _cleaned(path: Path) -> Iterator[Waveform]:
    recording = Recording.of(path, None)
    return map(BandPass(recording.sample_rate, recording.channels).push, recording.blocks())
