"""`timbrel accompany`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from timbrel.cli.transfer import _progress, _semitones


def accompany(
    voice: Annotated[Path, Positional, arg(metavar="VOICE")],
    *,
    instruments: Annotated[tuple[str, ...], arg(name="with", metavar="INSTRUMENT...")],
    level_db: float = -6.0,
    transpose: Annotated[str, arg(metavar="auto|N")] = "0",
    method: Literal["cross", "default"] = "cross",
    start: Annotated[int | None, arg(metavar="K", help_behavior_hint="(cross; default: 15)")] = None,
    forward_steps: Annotated[int | None, arg(metavar="F", help_behavior_hint="(cross; default: matched)")] = None,
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the method's)")] = None,
    seed: int = 0,
    output_dir: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR", help_behavior_hint="")] = None,
    overwrite: bool = False,
    models: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(cross)")] = None,
    model: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default method)")] = None,
) -> None:
    """Let instruments accompany a voice: they follow it, in a mix under it and in a file each.

    For example:

        timbrel accompany song.wav --with violin guitar
        timbrel accompany song.wav --with harp --method default --level-db -10 -o song-and-harp

    The first writes violin.wav, guitar.wav and mix.wav into the folder song-with-violin-guitar.

    Args:
        voice: A recording of any length: a voice, or whatever is to be accompanied.
        instruments: Who plays.
        level_db: How loud each instrument is against the voice, in dB where they sound.
        transpose: Semitones to move what they play by, or "auto": each by the octaves that bring it into its range.
        method: Cross-diffusion, with a model for each instrument, or the main model, by the instrument's name.
        start: How many denoising steps are skipped: the fewer, the freer the accompaniment.
        forward_steps: How far the voice is noised, of the model's 500 steps; by default as --start expects.
        steps: Sampler steps; 50 in cross-diffusion.
        seed: The same seed gives the same result; another is another take.
        output_dir: The folder for the files; by default named after the voice and the instruments.
        overwrite: Replace files that exist; the voice is never overwritten.
        models: A folder with models of instruments (of `timbrel train single`), beside those that ship.
        model: A model that ships (see `timbrel models`) or a model folder.
    """
    import timbrel

    begin = time.monotonic()
    folder = output_dir or Path(f"{voice.stem}-with-{'-'.join(instruments)}")
    with _progress(voice.name) as progress:
        paths = timbrel.accompany(
            voice,
            instruments,
            folder,
            level_db=level_db,
            transpose=_semitones(transpose),
            method=method,
            start=start,
            forward_steps=forward_steps,
            steps=steps,
            seed=seed,
            models=models,
            model=model,
            overwrite=overwrite,
            progress=progress,
        )
    print(f"{', '.join(map(str, paths.values()))} ({time.monotonic() - begin:.1f} s)")
