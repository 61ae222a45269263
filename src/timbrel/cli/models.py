"""`timbrel models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from timbrel.errors import ModelError


def models(
    folder: Annotated[Path | None, Positional, arg(metavar="[FOLDER]", help_behavior_hint="")] = None,
) -> None:
    """List the models that ship, and those in a folder: purpose, size, instruments, measured figures.

    For example:

        timbrel models
        timbrel models runs

    Args:
        folder: A model folder, or a folder of them, listed beside what ships.
    """
    import timbrel

    listing = timbrel.list_models(folder)
    if folder is not None and not any(model.path.is_relative_to(folder) for model in listing):
        print(f"{folder} holds no model; `timbrel train` makes one")
    for model in listing:
        rate = f", {model.sample_rate} Hz" if model.sample_rate else ""
        print(f"{model.name}: {model.purpose}, {model.size_bytes / 1e6:.1f} MB{rate}")
        figures = ", ".join(f"{name} {value}" for name, value in model.figures.items())
        for title, text in (
            ("instruments", ", ".join(model.instruments)),
            ("measured", figures),
            ("training", model.training),
            ("error", model.error),
            ("folder", str(model.path)),
        ):
            if text:
                print(f"  {title:<12}{text}")
    if broken := [model.name for model in listing if model.error]:
        raise ModelError(f"{', '.join(broken)} cannot be loaded: make the model anew, or move the folder away")
