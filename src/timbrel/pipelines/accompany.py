"""Accompaniment (report 003, section 5.2): instruments that follow a voice, cleaned, levelled and mixed under it.

    voice -> one transfer an instrument -> band-pass -> as loud as the voice, and `level_db` -> stems
    voice + stems -> mix

Transfers wait in files beside the result, and all else flows in blocks: memory does not grow with length.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from timbrel.audio.bandpass import BandPass
from timbrel.audio.io import StreamResampler, Waveform, open_audio
from timbrel.audio.level import SILENT_RMS, headroom, level_gain, loudness
from timbrel.errors import AudioError, InputError
from timbrel.pipelines.cross import START, STEPS, check_method, load_cross
from timbrel.pipelines.stems import (
    MIX,
    check_instruments,
    stem_paths,
    stem_writers,
)
from timbrel.pipelines.transfer import BLOCK, Progress, check_transposition, load

LEVEL_DB = -6.0


def accompany(
    voice: str | os.PathLike[str],
    instruments: Sequence[str],
    output_dir: str | os.PathLike[str],
    *,
    level_db: float = LEVEL_DB,
    transpose: int | Literal["auto"] = 0,
    method: Literal["cross", "default"] = "cross",
    start: int | None = None,
    forward_steps: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    models: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Writes an accompaniment to a recording: INSTRUMENT.wav for each, and mix.wav with the recording itself.

    Args:
        voice: a recording of any length: a voice, or whatever is to be accompanied.
        instruments: who plays.
        output_dir: where the files go; made if it is missing.
        level_db: of each instrument against the voice, as RMS where they sound: -6 is half as strong.
        transpose: semitones to move what they play by; "auto", each by the octaves that bring the voice into its range.
        method: "cross" makes it by cross-diffusion, with a model for each instrument; "default" by the main transfer.
        start, forward_steps: of cross-diffusion (`CrossModel`); None is its own.
        steps: of the sampler; None is the method's own.
        seed: another seed is another take.
        models: a folder with models of instruments, beside those that ship (cross).
        model: a transfer model's name or folder (default).
        overwrite: replace results that exist. The voice is never overwritten.
        progress: called with the seconds done, of all instruments together, and the seconds in all (None if unknown).

    Returns:
        The path of each instrument and of "mix", at the model's sample rate, with the voice's channels. The mix is the
        voice plus the stems; where it would clip, all are alike softer.

    Raises:
        ModelError: an instrument has no model.
        InputError: an unknown instrument or method, a number out of range, a file that exists; "auto" for an instrument
            whose range is not known.
        AudioError: a voice that cannot be read or is silent, or results that cannot be written.
    """
    check_instruments(instruments, least=1)
    if not -60 <= level_db <= 20:
        raise InputError(f"level_db is {level_db}; expected -60 (hardly there) to 20 (ten times as strong)")
    if transpose != "auto":
        check_transposition(transpose)
    check_method(method, {"start": start, "forward_steps": forward_steps, "models": models}, {"model": model})
    if method == "cross":
        start, steps = START if start is None else start, STEPS if steps is None else steps
        pipes = {
            name: load_cross(name, start=start, forward_steps=forward_steps, steps=steps, models=models)
            for name in instruments
        }
    else:
        pipes = dict.fromkeys(instruments, load(model))
    for name, pipe in pipes.items():
        if name not in pipe.instruments:
            raise InputError(f"{name!r} is no instrument of the model; expected one of {', '.join(pipe.instruments)}")
    moves = {
        name: pipe.find_transposition(voice, name) if transpose == "auto" else transpose for name, pipe in pipes.items()
    }
    rate = next(iter(pipes.values())).sample_rate
    with open_audio(voice) as reader:
        channels = reader.channels
    paths = stem_paths(output_dir, instruments, overwrite=overwrite, inputs=[voice])

    voice_rms = loudness(_voice(voice, rate))
    if voice_rms < SILENT_RMS:
        raise AudioError(f"{voice} is silent; expected a recording to play to")
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".timbrel-") as folder:
        raw = {name: Path(folder) / f"{number}.wav" for number, name in enumerate(instruments)}
        for number, (name, pipe) in enumerate(pipes.items()):
            pipe.transfer_file(
                voice,
                raw[name],
                to=name,
                transpose=moves[name],
                steps=steps,
                seed=seed,
                sample_rate=rate,
                progress=progress and _part(progress, number, len(pipes)),
            )
        wanted = voice_rms * 10 ** (level_db / 20)
        gains = {name: level_gain(loudness(_cleaned(path)), wanted) for name, path in raw.items()}
        gain = np.float32(headroom(max(_peak(sounds) for sounds in _sounds(voice, rate, raw, gains))))
        with stem_writers(paths, rate, channels, overwrite=overwrite) as writers:
            for sounds in _sounds(voice, rate, raw, gains):
                for name, block in sounds.items():
                    writers[name].write(block * gain)
    return paths


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one of several alike."""

    def update(done_s: float, total_s: float | None) -> None:
        progress(number * (total_s or 0) + done_s, total_s and parts * total_s)

    return update


def _voice(path: str | os.PathLike[str], sample_rate: int) -> Iterator[Waveform]:
    """At `sample_rate`, in blocks of `BLOCK` samples."""
    with open_audio(path) as reader:
        resampler = StreamResampler(reader.sample_rate, sample_rate, reader.channels)

        def parts() -> Iterator[Waveform]:
            yield from map(resampler.push, reader.blocks(BLOCK))
            yield resampler.finish()

        held = np.zeros((reader.channels, 0), np.float32)
        for part in parts():
            held = np.concatenate([held, part], axis=1)
            while held.shape[1] >= BLOCK:
                yield held[:, :BLOCK]
                held = held[:, BLOCK:]
        if held.shape[1]:
            yield held


def _cleaned(path: Path) -> Iterator[Waveform]:
    with open_audio(path) as reader:
        band_pass = BandPass(reader.sample_rate, reader.channels)
        for block in reader.blocks(BLOCK):
            yield band_pass.push(block)


def _sounds(
    voice: str | os.PathLike[str], sample_rate: int, raw: Mapping[str, Path], gains: Mapping[str, float]
) -> Iterator[dict[str, Waveform]]:
    """Block by block, each stem and the mix."""
    for heard, *blocks in zip(_voice(voice, sample_rate), *map(_cleaned, raw.values()), strict=True):
        stems = {name: block * np.float32(gains[name]) for name, block in zip(raw, blocks, strict=True)}
        yield stems | {MIX: sum(stems.values(), start=heard)}


def _peak(sounds: Mapping[str, Waveform]) -> float:
    return max(float(np.abs(block).max(initial=0)) for block in sounds.values())
