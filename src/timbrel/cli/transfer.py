"""`timbrel transfer`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from timbrel.cli.shared import FLAGS, MethodFlags, TransferFlags, plain_warnings, progress_bar
from timbrel.errors import InputError, TimbrelError

DEFAULTS, MAIN = TransferFlags(), MethodFlags()
LONGEST_NAME = 255  # bytes, of a file


def transfer(
    sources: Annotated[tuple[Path, ...], Positional, arg(metavar="SOURCE...", help_behavior_hint="(required)")],
    *,
    to: Annotated[str, arg(metavar="INSTRUMENT|CLIP")],
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE", help_behavior_hint="")] = None,
    output_dir: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: this one)")] = None,
    settings: Annotated[TransferFlags, FLAGS] = DEFAULTS,
    picture: Annotated[Path | None, arg(metavar="FILE.png", help_behavior_hint="")] = None,
    sample_rate: Annotated[int | None, arg(metavar="HZ", help_behavior_hint="(default: the model's, 44100)")] = None,
    floating: Annotated[bool, arg(name="float")] = False,
    like_source: bool = False,
    track: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the one that is marked so)")] = None,
    overwrite: bool = False,
    method: Annotated[MethodFlags, FLAGS] = MAIN,
) -> int:
    """Put recordings on another instrument: the same melody and rhythm, another sound.

    For example:

        timbrel transfer song.mp3 --to violin
        timbrel transfer song.mp3 --to harp -o harp.flac --strength 0.7 --picture harp.png
        timbrel transfer *.wav --to my-cello.wav --output-dir on-cello

    The first writes song-violin.wav into the current folder. Of several sources one that fails does not stop the
    others. An input is never overwritten.

    Args:
        sources: Recordings of any length: wav, flac, ogg, mp3, m4a, aac, webm, the sound of a video...
        to: The name of an instrument (`timbrel models` lists them), or a recording, some seconds of it alone.
        output: Where the result goes, for a single source; .wav, .flac, .ogg or .mp3 says the format.
        output_dir: The folder where results go, named SOURCE-TARGET.wav; made if it is missing.
        settings: How the sources are transferred.
        picture: Also draw source, style clip and result as mel spectrograms, for a single source.
        sample_rate: Sample rate of the result.
        floating: Write a .wav of 32-bit floating-point samples: nothing is turned down or clipped.
        like_source: Keep the source's sample rate and bit depth, where the format has them.
        track: Which sound track of a video with several, from 1.
        overwrite: Replace results that exist.
        method: Which model plays.
    """
    jobs = _plan(sources, to, output, output_dir, single=picture is not None)
    if picture:
        _check_output(picture, sources, to, overwrite, suffixes=[".png"])
    if _is_clip(to):
        _check_source(Path(to))

    def check(source: Path, output: Path) -> None:
        channels = _check_source(source, track)
        _check_output(output, sources, to, overwrite, sample_rate=sample_rate, channels=channels)

    ready = [job for job in jobs if _succeeds(check, *job)]
    done = 0
    if ready:
        from timbrel.pipelines.cross import load_method

        pipe = load_method(method, [to], steps=settings.steps)[to]
        pipe.check_target(to)

        def run(source: Path, output: Path) -> None:
            begin = time.monotonic()
            semitones = (
                settings.transpose if settings.transpose != "auto" else pipe.find_transposition(source, to, track=track)
            )
            with progress_bar(source.name) as progress, plain_warnings():
                pipe.transfer_file(
                    source,
                    output,
                    to=to,
                    output_rate=sample_rate,
                    subtype="FLOAT" if floating else None,
                    like_source=like_source,
                    track=track,
                    overwrite=overwrite,
                    picture=picture,
                    progress=progress,
                    settings=replace(settings, transpose=semitones),
                )
            moved = f"{semitones:+g} semitones, " if semitones else ""
            print(f"{source} -> {output} ({moved}{time.monotonic() - begin:.1f} s)", flush=True)

        done = sum(_succeeds(run, *job) for job in ready)
    if len(jobs) > 1:
        print(f"{done} of {len(jobs)} done")
    return 0 if done == len(jobs) else TimbrelError.exit_code


def _plan(
    sources: Sequence[Path], to: str, output: Path | None, output_dir: Path | None, *, single: bool
) -> list[tuple[Path, Path]]:
    """Each source with its output."""
    if not sources:
        raise InputError("there is no SOURCE; expected a recording: timbrel transfer song.mp3 --to violin")
    if output and output_dir:
        raise InputError(f"both -o {output} and --output-dir {output_dir} are given; expected one of them")
    if len(sources) > 1 and (output or single):
        raise InputError(
            f"{len(sources)} sources are given, and -o or --picture, which name one file; expected one "
            "source: use --output-dir, or a call for each"
        )
    if output:
        return [(sources[0], output)]
    folder = output_dir or Path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output-dir {folder} cannot be made ({error.strerror}); name another") from error
    target = Path(to).stem if _is_clip(to) else to
    jobs = [(source, folder / f"{source.stem}-{target}.wav") for source in sources]
    named: dict[Path, Path] = {}
    for source, path in jobs:
        if (size := len(os.fsencode(path.name))) > LONGEST_NAME:
            raise InputError(
                f"the result would be called {path.name[:60]}..., {size} bytes; expected at most {LONGEST_NAME}: name "
                "it with -o"
            )
        if (other := named.setdefault(path, source)) is not source:
            raise InputError(f"{other} and {source} would both become {path}; expected different names: make two calls")
    return jobs


def _is_clip(to: str) -> bool:
    """Whether it can only be a recording: a bare word is an instrument's name first."""
    return bool(Path(to).suffix) or Path(to).name != to


def _check_source(path: Path, track: int | None = None) -> int:
    """Its number of channels. Says which track is read of several."""
    from timbrel.audio.io import open_audio

    with open_audio(path, track=track) as reader:
        if reader.tracks > 1 and track is None:
            print(
                f"timbrel: {path} has {reader.tracks} sound tracks; {reader.track} is read, another one with --track",
                file=sys.stderr,
            )
        return reader.channels


def _check_output(path: Path, sources: Sequence[Path], to: str, overwrite: bool, **expected: object) -> None:
    from timbrel.audio.io import check_output

    check_output(path, overwrite=overwrite, inputs=[*sources, Path(to)], **expected)  # type: ignore[arg-type]


def _succeeds(work: Callable[[Path, Path], None], source: Path, output: Path) -> bool:
    """Does one file's part of the work; False, and a message, where it fails."""
    try:
        work(source, output)
    except (TimbrelError, OSError) as error:
        print(f"timbrel: {error}", file=sys.stderr)
        return False
    return True
