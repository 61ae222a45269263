"""`timbrel push` and `timbrel pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

Repository = Annotated[str, Positional, arg(metavar="USER/NAME")]


def push(
    model: Annotated[str, Positional, arg(metavar="MODEL")],
    repository: Repository,
    *,
    licence: Annotated[
        str | None, arg(name="license", metavar="ID", help_behavior_hint="(default: the card's)")
    ] = None,
    private: bool = False,
) -> None:
    """Put a model on the Hugging Face hub, with its card.

    For example:

        timbrel push runs/mine/model anna/cello-transfer --license cc-by-4.0

    Needs the extra [hub], and an account: hf auth login.

    Args:
        model: A model folder, or a model that ships.
        repository: Where it goes; made if it is missing.
        licence: As the hub names it: mit, cc0-1.0, cc-by-4.0, ...
        private: A repository that is made is seen by its user alone.
    """
    from timbrel.systems import hub

    print(hub.push(model, repository, licence=licence, private=private))


def pull(
    repository: Repository,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="DIR")],
    revision: Annotated[str | None, arg(metavar="BRANCH|TAG|COMMIT", help_behavior_hint="(default: main)")] = None,
    most_megabytes: float = 500.0,
    sources: Annotated[tuple[str, ...], arg(metavar="FOLDER|USER/NAME...", help_behavior_hint="(default: none)")] = (),
) -> None:
    """Fetch a model from the Hugging Face hub into a folder: weights, settings and card, and no code.

    For example:

        timbrel pull anna/cello-transfer -o cello-transfer
        timbrel transfer song.mp3 --to cello --model cello-transfer

    Or without a folder: --model hf:anna/cello-transfer. Needs the extra [hub].

    Args:
        repository: Where it is.
        output: The new folder.
        revision: Another one than the newest.
        most_megabytes: How large its files may be together.
        sources: From where a model may take a network that is not in its repository.
    """
    from timbrel.systems import hub

    hub.pull(repository, output, revision=revision, most_megabytes=most_megabytes, sources=sources)
    print(f"{output}: timbrel models {output} says what it is")
