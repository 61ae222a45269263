"""Named instruments: name -> style tokens [n, width]. Those of a model lie in its folder, the user's own beside all."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from timbrel.errors import InputError, ModelError
from timbrel.files import lock
from timbrel.systems.base import StyleTransfer
from timbrel.systems.weights import fingerprint, load_tensors, save_tensors


def save_instruments(path: Path, instruments: dict[str, Tensor]) -> None:
    """Writes name -> style tokens [n, width], float16, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, {name: tokens.to(torch.float16).contiguous() for name, tokens in instruments.items()})


def load_instruments(path: Path, width: int | None = None) -> dict[str, Tensor]:
    """Reads `save_instruments`, in float32; nothing where there is no file.

    Args:
        path: the file.
        width: of the tokens, where it is known.

    Raises:
        ModelError: the file is broken, or tokens are not finite or of another shape.
    """
    if not path.is_file():
        return {}
    tensors = load_tensors(path)
    for name, tokens in tensors.items():
        if tokens.ndim != 2 or not len(tokens) or tokens.shape[1] != (width or tokens.shape[1]):
            raise ModelError(
                f"{path} is broken: {name!r} has the shape {tuple(tokens.shape)}; expected [n, {width or 'width'}]"
            )
    return {name: tokens.float() for name, tokens in tensors.items()}


def user_instruments_path() -> Path:
    """Where `timbrel instruments add` keeps a user's own: style tokens fit one model, so its name is in the file."""
    from platformdirs import user_data_path

    path = user_data_path("timbrel", appauthor=False) / "instruments.safetensors"
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    old = Path(base, "timbrel", path.name)  # where it was on every system once; Linux keeps the place
    return old if old.exists() and not path.exists() else path


def own_instruments(system: StyleTransfer) -> dict[str, Tensor]:
    """The user's own instruments, those whose tokens are of this system.

    Raises:
        ModelError: their file is broken.
    """
    own = load_instruments(user_instruments_path())
    return {
        name.removeprefix(prefix): tokens
        for prefix in _prefixes(system)
        for name, tokens in own.items()
        if name.startswith(prefix)
    }


def keep_instrument(system: StyleTransfer, name: str, tokens: Tensor) -> None:
    """Adds one to the user's own, or replaces it: tokens [n, token_width] of this system."""
    path = user_instruments_path()
    with lock(path):  # nothing that another process adds meanwhile is lost
        save_instruments(path, load_instruments(path) | {_prefixes(system)[-1] + name: tokens})


def drop_instrument(system: StyleTransfer, name: str) -> None:
    """Removes one of the user's own.

    Raises:
        InputError: there is none of that name for this system.
    """
    path = user_instruments_path()
    with lock(path):
        every, named = load_instruments(path), {prefix + name for prefix in _prefixes(system)}
        kept = {key: tokens for key, tokens in every.items() if key not in named}
        if len(kept) == len(every):
            own = ", ".join(sorted(own_instruments(system))) or "none"
            raise InputError(f"{name!r:.60} is no instrument of your own for this model; expected one of: {own}")
        save_instruments(path, kept)


def _prefixes(system: StyleTransfer) -> list[str]:
    """Of the names of tokens that a system can play: those of earlier style encoders (`train style`), and its own."""
    own = [] if system.style is None else [fingerprint(system.style)]
    return [f"{encoder}." for encoder in (*system.info.get("earlier_styles", ()), *own)] or [""]
