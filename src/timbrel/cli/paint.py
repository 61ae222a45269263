"""`timbrel paint`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from timbrel.cli.shared import FLAGS, PaintFlags, plain_warnings, progress_bar
from timbrel.errors import InputError
from timbrel.pipelines.settings import MOST_TAKES, check_whole

DEFAULTS = PaintFlags()


def paint(
    song: Annotated[Path, Positional, arg(metavar="SONG")],
    *,
    num_pictures: Annotated[int, arg(aliases=["-n"], metavar="N")] = 1,
    start_s: Annotated[float | None, arg(name="start", metavar="S", help_behavior_hint="(default: the middle)")] = None,
    settings: Annotated[PaintFlags, FLAGS] = DEFAULTS,
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.png", help_behavior_hint="")] = None,
    movie: Annotated[Path | None, arg(metavar="FILE.mp4", help_behavior_hint="")] = None,
    overwrite: bool = False,
    model: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="")] = None,
) -> None:
    """Paint pictures from 30 s of music.

    For example:

        timbrel paint song.mp3 -o out.png
        timbrel paint song.mp3 -n 4 --seed 7 --start 60
        timbrel paint song.mp3 --style-of mine.jpg
        timbrel paint song.mp3 --movie song.mp4

    The second writes song-7.png to song-10.png: the number is the seed that paints the picture again. The last paints
    the whole song, in time with it.

    Args:
        song: The recording.
        num_pictures: How many pictures.
        start_s: From where on it is heard, in seconds.
        settings: How it is painted.
        output: Where the picture goes, by default into this folder with the song's name; several get their seed before
            the suffix.
        movie: Make a movie of the whole song, and no pictures.
        overwrite: Replace what exists.
        model: The model, of `timbrel train picture`.
    """
    from timbrel.audio.io import check_output
    from timbrel.pipelines.picture import PaintPipeline

    begin = time.monotonic()
    if movie is not None:
        given = {"-o": output, "-n": num_pictures if num_pictures != 1 else None, "--start": start_s}
        if misplaced := [f"{flag} {value}" for flag, value in given.items() if value is not None]:
            raise InputError(f"{', '.join(misplaced)} is of pictures, and --movie paints the whole song: leave one out")
        _movie(song, movie, settings, overwrite, model)
        print(f"{song} -> {movie} ({time.monotonic() - begin:.1f} s)")
        return
    check_whole("num_pictures", num_pictures, 1, MOST_TAKES)
    paths = _paths(song, output, settings.seed, num_pictures)
    for path in paths:
        check_output(path, overwrite=overwrite, inputs=[song], suffixes=[".png"])
    pipe = PaintPipeline.load(model)
    with plain_warnings():
        made = pipe.pictures(song, num_pictures=num_pictures, start_s=start_s, settings=settings)
        for path, picture in zip(paths, made, strict=True):
            picture.save(path, overwrite=overwrite)
    print(f"{song} -> {', '.join(map(str, paths))} ({time.monotonic() - begin:.1f} s)")


def _movie(song: Path, path: Path, settings: PaintFlags, overwrite: bool, model: str | None) -> None:
    from timbrel.pipelines.movie import movie
    from timbrel.pipelines.picture import PaintPipeline

    with progress_bar(song.name) as progress, plain_warnings():
        movie(PaintPipeline.load(model), song, path, overwrite=overwrite, progress=progress, settings=settings)


def _paths(song: Path, output: Path | None, seed: int, count: int) -> list[Path]:
    """One path as it is; more have the seed in their names."""
    if output is not None and count == 1:
        return [output]
    base = output or Path(f"{song.stem}.png")
    return [base.with_name(f"{base.stem}-{seed + k}{base.suffix}") for k in range(count)]
