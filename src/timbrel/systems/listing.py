"""Which models there are: those that ship, and those in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timbrel.errors import InputError, ModelError
from timbrel.instruments import nearest, spelled
from timbrel.systems import folder as folders
from timbrel.systems.folder import describe, load_system, read_config
from timbrel.systems.single import SingleSystem


@dataclass(frozen=True)
class ModelInfo:
    """What `timbrel models` prints of one model. `error` says why it cannot be loaded, if so."""

    name: str
    path: Path
    purpose: str
    size_bytes: int
    instruments: list[str] = field(default_factory=list)
    sample_rate: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    training: str = ""
    error: str = ""


def list_models(folder: str | Path | None = None) -> list[ModelInfo]:
    """What ships, and what `folder` holds: itself, a model or run folder in it.

    Raises:
        InputError: `folder` is none.
    """
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"{folder} is not a folder; expected a model folder, or a folder of them")
    return [_listed(path) for place in _places(folder) for path in _models_in(place)]


def _listed(path: Path) -> ModelInfo:
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    try:
        described = describe(path)
        system = described.load()
    except ModelError as error:
        return ModelInfo(path.name, path, "cannot be loaded", size, error=str(error))
    info = described.info
    return ModelInfo(
        name=path.name,
        path=path,
        purpose=info.get("purpose", described.name),
        size_bytes=size,
        instruments=system.instrument_names(),
        sample_rate=system.mel.sample_rate,
        figures=info.get("figures", {}),
        training=info.get("training", "unknown"),
    )


def single_models(folder: str | os.PathLike[str] | None = None) -> dict[str, list[Path]]:
    """The single models of each instrument: of `folder` (itself, a model or run folder in it), else of what ships.

    Raises:
        ModelError: `folder` is none.
    """
    singles: dict[str, list[Path]] = {}
    for place in _places(folder):
        if not place.is_dir():
            raise ModelError(f"{place} is not a folder; expected one with models of `timbrel train single` in it")
        here: dict[str, list[Path]] = {}
        for path in _models_in(place):
            try:
                described = describe(path)
            except ModelError:
                continue
            if described.system is SingleSystem:
                here.setdefault(described.settings["instrument"], []).append(path)
        singles |= here
    return singles


def load_single_models(instruments: Sequence[str], folder: str | os.PathLike[str] | None = None) -> list[SingleSystem]:
    """The instruments' models, as `single_models` has them; all are looked up before one is read. Names are those that
    `instruments.spelled` understands.

    Raises:
        ModelError: an instrument has none (those that exist are listed) or several, or one is broken.
    """
    singles = single_models(folder)
    names = [spelled(name, singles) or name for name in instruments]
    if missing := [name for name in names if name not in singles]:
        meant = nearest(missing[0], singles)
        raise ModelError(
            f"there is no model of {' or '.join(map(repr, missing))}, only of {', '.join(sorted(singles)) or 'nothing'}"
            f"{f' (did you mean {meant!r}?)' if meant else ''}; `timbrel train single` makes one, and --models "
            "(models=) says in which folder they are"
        )
    for name in names:
        if len(singles[name]) > 1:
            raise ModelError(
                f"{' and '.join(map(str, singles[name]))} are all models of {name!r}; expected one: name the folder of "
                "one, or move the others away"
            )
    return [load_system(singles[name][0], SingleSystem) for name in names]


def _places(folder: str | os.PathLike[str] | None) -> list[Path]:
    return [folders.PRETRAINED] if folder is None else [folders.PRETRAINED, Path(folder)]


def _models_in(folder: Path) -> Iterator[Path]:
    """Model folders: the folder itself, those in it, and those of runs in it."""
    for pattern in ("config.json", "*/config.json", "*/model/config.json"):
        for path in sorted(file.parent for file in folder.glob(pattern)):
            if _is_model(path):
                yield path


def _is_model(folder: Path) -> bool:
    """Whether a folder is meant to be a model's, broken or not: other folders have a config.json too."""
    try:
        return read_config(folder)["system"] is not None or any(folder.glob("*.safetensors"))
    except ModelError:
        return any(folder.glob("*.safetensors"))
