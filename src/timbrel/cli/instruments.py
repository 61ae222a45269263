"""`timbrel instruments`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def add(
    name: Annotated[str, Positional, arg(metavar="NAME")],
    clips: Annotated[tuple[Path, ...], Positional, arg(metavar="CLIP...", help_behavior_hint="(required)")],
    *,
    model: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default: default)")] = None,
) -> None:
    """Make a named instrument of your own from clips of it, for `timbrel transfer --to NAME`.

    For example:

        timbrel instruments add my-cello cello-1.wav cello-2.wav
        timbrel transfer song.mp3 --to my-cello

    Args:
        name: What to call it; an instrument of your own with that name is replaced.
        clips: Recordings of that instrument alone, some seconds or more, best of different notes.
        model: The model that it is for: a shipped name or a folder.
    """
    from timbrel.audio.io import open_audio
    from timbrel.pipelines.settings import check_instrument

    check_instrument(name, clips)
    for clip in clips:
        open_audio(clip).close()

    import timbrel

    timbrel.add_instrument(name, clips, model=model)
    print(f"{name} is an instrument now: timbrel transfer SOURCE --to {name}")
