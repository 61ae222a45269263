"""`timbrel instruments`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

Model = Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default: default)")]
Name = Annotated[str, Positional, arg(metavar="NAME")]


def add(
    name: Name,
    clips: Annotated[tuple[Path, ...], Positional, arg(metavar="CLIP...", help_behavior_hint="(required)")],
    *,
    model: Model = None,
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
    from timbrel.cli.shared import plain_warnings
    from timbrel.pipelines.settings import check_instrument

    check_instrument(name, clips)
    for clip in clips:
        open_audio(clip).close()

    import timbrel

    with plain_warnings():
        timbrel.add_instrument(name, clips, model=model)
    print(f"{name} is an instrument now: timbrel transfer SOURCE --to {shlex.quote(name)}")


def list_own(*, model: Model = None) -> None:
    """List the instruments that `--to` takes by name, and which of them are your own.

    For example:

        timbrel instruments list

    Args:
        model: The model that they are for: a shipped name or a folder.
    """
    import timbrel

    pipe = timbrel.load(model)
    own = sorted(set(pipe.instruments) - set(pipe.model.instruments))
    print(f"your own: {', '.join(own) or 'none; `timbrel instruments add` makes one'}")
    print(f"the model's: {', '.join(sorted(pipe.model.instruments)) or 'none'}")


def remove(name: Name, *, model: Model = None) -> None:
    """Remove a named instrument of your own.

    For example:

        timbrel instruments remove my-cello

    Args:
        name: As it was added.
        model: The model that it is for: a shipped name or a folder.
    """
    import timbrel

    timbrel.remove_instrument(name, model=model)
    print(f"{name} is no instrument any more")
