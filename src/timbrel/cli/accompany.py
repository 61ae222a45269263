"""`timbrel accompany`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from timbrel.cli.shared import FLAGS, AccompanyFlags, MethodFlags, plain_warnings, progress_bar
from timbrel.instruments import spelled

DEFAULTS, CROSS = AccompanyFlags(), MethodFlags("cross")


def accompany(
    voice: Annotated[Path, Positional, arg(metavar="VOICE")],
    *,
    instruments: Annotated[tuple[str, ...], arg(name="with", metavar="INSTRUMENT...")],
    settings: Annotated[AccompanyFlags, FLAGS] = DEFAULTS,
    output_dir: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR", help_behavior_hint="")] = None,
    overwrite: bool = False,
    method: Annotated[MethodFlags, FLAGS] = CROSS,
) -> None:
    """Let instruments accompany a voice: they follow it. The result is a file for each, and a mix with the voice.

    For example:

        timbrel accompany song.wav --with violin guitar
        timbrel accompany song.wav --with harp --method default --level-db -10 -o song-and-harp

    The first writes violin.wav, guitar.wav and mix.wav into the folder song-with-violin-guitar.

    Args:
        voice: A recording of any length: a voice, or whatever is to be accompanied.
        instruments: Who plays.
        settings: How they play.
        output_dir: The folder for the files; by default named after the voice and the instruments.
        overwrite: Replace files that exist; the voice is never overwritten.
        method: Which model plays.
    """
    from timbrel.pipelines.accompany import AccompanyPipeline
    from timbrel.pipelines.stems import stem_paths

    begin = time.monotonic()
    instruments = tuple(spelled(name) or name for name in instruments)
    folder = output_dir or Path(f"{voice.stem}-with-{'-'.join(instruments)}")
    stem_paths(folder, instruments, overwrite=overwrite, inputs=[voice])  # before any work begins
    with progress_bar(voice.name) as progress, plain_warnings():
        band = AccompanyPipeline.load(instruments, method, steps=settings.steps)
        paths = band.accompany_file(voice, folder, overwrite=overwrite, progress=progress, settings=settings)
    print(f"{', '.join(map(str, paths.values()))} ({time.monotonic() - begin:.1f} s)")
