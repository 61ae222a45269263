"""`timbrel duet`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from timbrel.cli.shared import FLAGS, progress_bar
from timbrel.instruments import spelled
from timbrel.pipelines.settings import DuetSettings

DEFAULTS = DuetSettings()


def duet(
    instruments: Annotated[
        tuple[str, ...], Positional, arg(metavar="INSTRUMENT INSTRUMENT...", help_behavior_hint="(required)")
    ],
    *,
    settings: Annotated[DuetSettings, FLAGS] = DEFAULTS,
    output_dir: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR", help_behavior_hint="")] = None,
    overwrite: bool = False,
    models: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None,
) -> None:
    """Make up music that two or more instruments play together: one idea, by double-diffusion.

    For example:

        timbrel duet violin guitar --split 10 --seconds 10 --seed 1

    writes violin.wav, guitar.wav and mix.wav into the folder violin-guitar.

    Args:
        instruments: Instruments that have a model of their own: `timbrel models` lists those that ship.
        settings: How they play.
        output_dir: The folder for the files; by default named after the instruments.
        overwrite: Replace files that exist.
        models: A folder with models of instruments (of `timbrel train single`), beside those that ship.
    """
    from timbrel.pipelines.duet import DuetPipeline
    from timbrel.pipelines.stems import stem_paths
    from timbrel.systems.listing import single_models

    begin = time.monotonic()
    known = single_models(models)
    instruments = tuple(spelled(name, known) or name for name in instruments)
    folder = output_dir or Path("-".join(instruments))
    stem_paths(folder, instruments, overwrite=overwrite)  # what is in the way is named before any work begins
    with progress_bar(folder.name) as progress:
        stems = DuetPipeline.load(instruments, models)(settings=settings, progress=progress)
        paths = stems.save(folder, overwrite=overwrite)
    print(f"{', '.join(map(str, paths.values()))} ({time.monotonic() - begin:.1f} s)")
