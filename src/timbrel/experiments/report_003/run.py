"""Computes both tables, row by row, and writes them as text, CSV, heat maps and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.io import read_audio
from timbrel.errors import InputError
from timbrel.experiments.benchmark.cases import SAMPLE_RATE
from timbrel.experiments.benchmark.measures import NOTES_KEPT
from timbrel.experiments.page import Figure, spectrograms
from timbrel.experiments.report_003 import page, speed
from timbrel.experiments.report_003.cells import DIRECTIONS, ROWS, cell_name
from timbrel.experiments.report_003.clips import clip_path, installed_libraries, make_clips
from timbrel.experiments.report_003.rows import CLIPS, SHOWN, Run, audio_path, measure
from timbrel.experiments.run import Result, check_settings, keep_settings, measure_row, measure_rows
from timbrel.files import write_bytes, write_text
from timbrel.metrics import notes, require
from timbrel.metrics.encoders import load_encoder
from timbrel.metrics.sets import GROUPS
from timbrel.metrics.summary import mean_interval, ratio_interval
from timbrel.pipelines.cross import START, STEPS, CrossSystem
from timbrel.systems.folder import load_system
from timbrel.systems.listing import load_single_models
from timbrel.systems.single import SingleSystem
from timbrel.systems.transfer import TransferSystem
from timbrel.systems.weights import fingerprint

FORWARD_STEPS, STARTS = (0, 100, 200, 300, 400, 500), (0, 10, 20, 30, 40)
QUICK_FORWARD_STEPS, QUICK_STARTS, QUICK_CLIPS = (100, 300, 500), (0, 20, 40), 12
SPEED_S, QUICK_SPEED_S = (10, 70), (5, 35)


def reproduce(
    out: str | Path,
    *,
    quick: bool = False,
    models: str | Path | None = None,
    encoder: str = "timbrel-features",
    weights: str | Path | None = None,
    forward_steps: Sequence[int] | None = None,
    starts: Sequence[int] | None = None,
    clips: int | None = None,
    precision: str = "fp32",
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Result:
    """Computes both tables into a folder and prints them; a second call goes on where the first stopped.

    Args:
        out: the folder; one that holds what was made with other settings is refused.
        quick: nine cells of few clips, to see that it works.
        models: a folder with models of a guitar and a violin, beside those that ship.
        encoder, weights: what listens for the distances; see `metrics.encoders.load_encoder`.
        forward_steps: how far sources are noised, of all the schedule's steps (rows of the tables).
        starts: denoising steps that are skipped, of 50 (columns).
        clips: of each set, at least 10; notes are counted in the first third of them.
        precision: of the denoiser: "fp32", as `timbrel transfer`, or "bf16", as in training: half the time or less
            where the processor has it.
        seed: of the passages, of the noise, and of the parts that FAD cuts sets into.
        workers: processes; by default one a core.

    Returns:
        What results.json holds.

    Raises:
        InputError: values out of range, or a folder made with other settings.
        ModelError: an instrument, or the encoder, has no model.
        MissingDependencyError: without music21, TiMidity++, any of `HEARD`, or the `metrics` extra.
    """
    rows = tuple(forward_steps or (QUICK_FORWARD_STEPS if quick else FORWARD_STEPS))
    columns = tuple(starts or (QUICK_STARTS if quick else STARTS))
    models_path, weights_path = (None if path is None else str(path) for path in (models, weights))
    if clips is None:
        clips = QUICK_CLIPS if quick else CLIPS
    run = Run(Path(out), models_path, encoder, weights_path, clips, precision, seed)
    of_clips, settings = _check(run, [(forward, start) for forward in rows for start in columns])
    make_clips(run.out, run.clips, run.seed, of_clips["libraries"], workers=workers, progress=progress)
    names = [*ROWS, *(cell_name(forward, start) for forward in rows for start in columns)]
    tables = {
        name: measure_rows(
            partial(measure, run, name),
            {row: row for row in names},
            run.out / name / "rows",
            workers=workers,
            title=name if progress else "",
        )
        for name in DIRECTIONS
    }
    results = _summarise(tables) | {
        "forward_steps": rows,
        "starts": columns,
        "partial": quick or rows != FORWARD_STEPS or columns != STARTS or run.clips < CLIPS,
        "settings": of_clips | settings,
        "speed": _speed(run, QUICK_SPEED_S if quick else SPEED_S, progress),
    }
    _write(run, results)
    print(page.text(results))
    return results


# --- before there is work


def _check(run: Run, cells: Sequence[tuple[int, int]]) -> tuple[Result, Result]:
    """Checks everything before any long work; then writes down the settings.

    Returns:
        The settings of the clips; those of the rows, with each direction's own by its name.
    """
    if run.precision not in ("fp32", "bf16"):
        raise InputError(f"precision is {run.precision!r}; expected 'fp32' or 'bf16'")
    if run.clips < GROUPS:
        raise InputError(f"clips is {run.clips}; expected at least {GROUPS} of each set, better {CLIPS}")
    targets = [direction.rpartition("-")[2] for direction in DIRECTIONS]
    singles = dict(zip(DIRECTIONS, load_single_models(targets, run.models), strict=True))
    for single in singles.values():
        for forward, start in cells:
            CrossSystem(single, start=start, forward_steps=forward)  # refuses steps out of range
    ear = load_encoder(run.encoder, run.weights)
    if notes.available():
        require("mir_eval.transcription")
    of_clips = {"clips": run.clips, "seed": run.seed, "libraries": installed_libraries()}
    of_rows = {"encoder": ear.name, "notes": notes.available(), "precision": run.precision, "steps": STEPS}
    of_rows |= {"start": START, "main": _main_fingerprint()}
    of_each = {name: {"model": _fingerprint(single)} for name, single in singles.items()}
    folders = {run.out: of_clips} | {run.out / name: of_rows | own for name, own in of_each.items()}
    for keep in (check_settings, keep_settings):  # all are compared before one is written
        for folder, settings in folders.items():
            keep(folder, settings)
    return of_clips, of_rows | of_each


def _main_fingerprint() -> str:
    main = load_system(None, TransferSystem)
    return fingerprint(_whole(main.codec, main.style, main.denoiser, *main.instruments.values()))


def _fingerprint(single: SingleSystem) -> str:
    return fingerprint(_whole(single.codec, single.denoiser))


def _whole(*parts: torch.nn.Module | Tensor) -> torch.nn.Module:
    """All that a result depends on, as one network."""
    return torch.nn.ModuleList(
        part if isinstance(part, torch.nn.Module) else torch.nn.ParameterList([part]) for part in parts
    )


def _speed(run: Run, lengths_s: tuple[int, int], progress: bool) -> Result:
    """Measured once."""

    def measured() -> Result:
        clips = [read_audio(clip_path(run.out, "content", "guitar", i))[0] for i in range(run.clips)]
        return speed.measure(run.models, lengths_s, np.concatenate(clips, axis=1), progress=progress)

    return measure_row(measured, run.out, f"speed-{lengths_s[0]}-{lengths_s[1]}")


# --- what came out


def _summarise(tables: dict[str, Result]) -> Result:
    directions = {
        name: {row: _summary(measured, rows["answer"]) for row, measured in rows.items()}
        for name, rows in tables.items()
    }
    results: Result = {
        "directions": directions,
        "left_out": {} if notes.available() else {"note_f1": notes.MISSING},
    }
    [warning, *_] = [rows["answer"]["fad"]["warning"] for rows in tables.values()]
    return results | ({"warning": warning} if warning else {})


def _summary(row: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """The means of a row's clips with intervals, and its distances with standard errors."""
    accuracy = mean_interval([clip["instrument_accuracy"] for clip in row["clips"]])
    summary = {"fad": row["fad"], "kad": row["kad"], "instrument": accuracy._asdict()}
    pairs = [(a, b) for a, b in zip(row["clips"], answer["clips"], strict=True) if "note_f1" in a and "note_f1" in b]
    if pairs:
        estimates, truths = zip(*pairs, strict=True)
        f1, true_f1 = ([clip["note_f1"] for clip in clips] for clips in (estimates, truths))
        summary["note_f1_ratio"] = ratio_interval(f1, true_f1)._asdict()
        both = [a["note_f1"] >= NOTES_KEPT * b["note_f1"] and a["clip_is_instrument"] == 1 for a, b in pairs]
        summary["both"] = mean_interval(np.array(both, float))._asdict()
    return summary


def _write(run: Run, results: Result) -> None:
    """results.json, and all that is made of it."""
    maps: dict[str, bytes] = {}
    for name, direction in results["directions"].items():
        write_text(run.out / f"{name}.csv", page.csv_text(direction))
        maps[name] = page.heat_maps(name, direction, results["forward_steps"], results["starts"])
        write_bytes(run.out / f"{name}.png", maps[name])
    figures = {name: _figures(run, name, page.shown(results)) for name in maps}
    write_text(run.out / "results.json", json.dumps(results, indent=1))
    write_text(run.out / "tables.md", page.text(results) + "\n")
    write_text(run.out / "index.html", page.html(results, maps, figures))


def _figures(run: Run, direction: str, rows: dict[str, str]) -> list[Figure]:
    """Of the clips that are kept to be heard, as each of the rows has them."""
    figures = []
    for i in range(SHOWN):
        paths = {title: audio_path(run.out, direction, row, i) for row, title in rows.items()}
        clips = {title: read_audio(path, sample_rate=SAMPLE_RATE)[0] for title, path in paths.items()}
        figures.append(spectrograms(f"{direction.replace('-', ' ')}, clip {i}", clips))
    return figures
