"""A run of rows that goes on where it was stopped.

FOLDER/settings.json   what the rows are measured with; other settings are refused
FOLDER/NAME.json       a row, as soon as it is measured
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from timbrel.data.store import refuse_other_settings
from timbrel.errors import InputError
from timbrel.files import write_text
from timbrel.parallel import answers

Job = TypeVar("Job")
Run = TypeVar("Run")
Result = dict[str, Any]
"""JSON."""


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuses to go on in a folder that was made with other settings.

    Raises:
        InputError: the folder has other settings or damaged ones, or is a file.
    """
    path = folder / "settings.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder, new or of an earlier run")
    if not path.exists():
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete the folder, or use another") from error
    refuse_other_settings(folder, before, settings)


def keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes a run's folder and writes down its settings; errors as `check_settings`."""
    check_settings(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "settings.json").exists():
        write_text(folder / "settings.json", json.dumps(settings, indent=1) + "\n")


def measure_rows(
    measure: Callable[[Job], Any],
    jobs: Mapping[str, Job],
    folder: Path | None = None,
    *,
    workers: int | None = None,
    title: str = "",
) -> Result:
    """Measures the rows that `folder` lacks, and writes each into it.

    Args:
        measure: a function job -> value that JSON can hold; another process can import it, unless `workers` is 1.
        jobs: a job for each row, by the row's name.
        folder: where rows are written; None writes nothing.
        workers: processes, each with one torch thread; None is one a core.
        title: of the progress bar; without one there is none.

    Returns:
        All rows by name, in the order of `jobs`, as they are read back from JSON.
    """
    rows = {} if folder is None else {name: _read(folder, name) for name in jobs if _path(folder, name).exists()}
    missing = [(name, job) for name, job in jobs.items() if name not in rows]
    options = {"workers": workers, "progress": bool(title and missing), "name": title}
    for name, row in answers(partial(_named, measure), missing, **options):
        rows[name] = _keep(folder, name, row)
    return {name: rows[name] for name in jobs}


def measure_row(measure: Callable[[], Any], folder: Path, name: str) -> Any:
    """One row, measured in this process with all its threads, unless `folder` has it."""
    return _read(folder, name) if _path(folder, name).exists() else _keep(folder, name, measure())


def budget_name(quick: bool, budget: str | None) -> Literal["quick", "cpu", "gpu"]:
    """How long a report's trainings take: `budget`, or without one "gpu" where CUDA is.

    Raises:
        InputError: both are given, or `budget` is unknown.
    """
    import torch

    if quick and budget:
        raise InputError(f"quick is a budget of its own, and budget is {budget!r}; give one of them")
    if budget not in (None, "cpu", "gpu"):
        raise InputError(f"budget is {budget!r}; expected 'cpu', 'gpu' or None")
    on_gpu = budget == "gpu" or (budget is None and torch.cuda.is_available())
    return "quick" if quick else "gpu" if on_gpu else "cpu"


def run_parts(parts: Mapping[str, Callable[[Run], Result]], run: Run, out: Path, *, progress: bool = True) -> Result:
    """A report's parts one after the other: of each that OUT/parts lacks, its figures and the minutes that it took.

    Args:
        parts: functions of the run by name, each of which may need those before it.
        progress: a line on stderr for each part.
    """
    done = {}
    for number, (name, part) in enumerate(parts.items(), 1):
        if progress:
            print(f"part {number} of {len(parts)}: {name}", file=sys.stderr, flush=True)
        done[name] = measure_row(partial(_timed, part, run), out / "parts", name)
    return done


def _timed(part: Callable[[Run], Result], run: Run) -> Result:
    begin = time.monotonic()
    return part(run) | {"minutes": round((time.monotonic() - begin) / 60, 2)}


def _named(measure: Callable[[Job], Any], item: tuple[str, Job]) -> tuple[str, Any]:
    name, job = item
    return name, measure(job)


def _keep(folder: Path | None, name: str, row: Any) -> Any:
    text = json.dumps(row)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(_path(folder, name), text + "\n")
    return json.loads(text)


def _read(folder: Path, name: str) -> Any:
    return json.loads(_path(folder, name).read_text(encoding="utf-8"))


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"
