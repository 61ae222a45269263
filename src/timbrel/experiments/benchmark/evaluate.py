"""The benchmark's table: rows measured, summed up, written and shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from timbrel.errors import InputError
from timbrel.experiments.benchmark import longer, measures, page
from timbrel.experiments.benchmark.cases import Case, load
from timbrel.experiments.benchmark.manifest import DURATION_S, manifest
from timbrel.experiments.benchmark.measures import COLUMNS, Measures, against_truth
from timbrel.experiments.benchmark.rows import BASELINES, Output, Row, model_rows, outputs_row
from timbrel.experiments.page import Figure, spectrograms
from timbrel.experiments.run import measure_rows
from timbrel.files import write_text
from timbrel.metrics.summary import Summary, mean_interval, ratio_interval
from timbrel.parallel import answers

SHOWN = 24  # triplets on the page: two of each direction
FEATURED = ("outputs", "model-clip", "model-name", "mel", "target")  # the first that is measured is on the page

Clips = Mapping[str, Measures]
"""The measures of a row, by the triplet's id."""


def evaluate(
    benchmark_folder: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    outputs: str | Path | None = None,
    rows: Iterable[str] | None = None,
    limit: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures a model, or another program's outputs, and writes results.json, clips.json and index.html.

    Prints the table to stdout.

    Args:
        benchmark_folder: what `build` made.
        out: folder for the results.
        model: a shipped name or a model folder; None is the shipped one, or none if `outputs` is given.
        outputs: a folder of audio files named after the triplets' ids.
        rows: names of rows to measure; None is all that can be. The true target is always among them.
        limit: a quick look at the first so many triplets, without seams and speed.
        workers: processes; by default one a core.

    Returns:
        What results.json holds.

    Raises:
        InputError: unknown rows, or a folder that is no benchmark or lacks outputs.
        MissingDependencyError: without the `metrics` extra.
        ModelError: as loading the model.
    """
    every = load(benchmark_folder, limit=limit)
    cases = [case for case in every if case.triplet.content.duration_s == DURATION_S]
    name = None if model is None else str(model)
    with_model = model is not None or outputs is None
    offered = [*BASELINES, *(model_rows(name) if with_model else ())]
    offered += [] if outputs is None else [outputs_row(Path(outputs))]
    chosen = _chosen({row.name: row for row in offered}, rows)
    left_out = {row.name: why for row in chosen if (why := row.left_out(cases))}
    chosen = [row for row in chosen if row.name not in left_out]
    clips = {row.name: _measure(row, row.cases(cases), workers, progress) for row in chosen}
    results = summarise(clips, {row.name: row.title for row in chosen}) | {
        "model": (name or "default") if with_model else None,
        "left_out": measures.left_out() | left_out,
        "benchmark": manifest()["version"],
        "triplets": len(cases),
        "partial": limit is not None,
    }
    if "model-clip" in clips and (long := every[len(cases) :]):
        results |= _longer(name, long)
    [featured] = [row for name in FEATURED for row in chosen if row.name == name][:1]
    _write(Path(out), results, clips, featured, _figures(featured, cases[:SHOWN], workers, progress))
    print(page.text(results))
    return results


def _chosen(offered: Mapping[str, Row], names: Iterable[str] | None) -> list[Row]:
    chosen = list(offered) if names is None else ["target", *names]
    if unknown := [name for name in chosen if name not in offered]:
        raise InputError(f"row {unknown[0]!r} is unknown; expected some of {', '.join(offered)}")
    return [offered[name] for name in dict.fromkeys(chosen)]


def _measure(row: Row, cases: Sequence[Case], workers: int | None, progress: bool) -> Clips:
    """The measures of a row; kept in the benchmark's folder where they change with the code alone."""
    cache = cases[0].folder / "cache" / f"{row.name}-{measures.measured_by()}" if row.kept else None
    title = row.title if progress else ""
    jobs = {case.id: case for case in cases}
    return measure_rows(partial(_measure_case, row.output), jobs, cache, workers=workers, title=title)


def _measure_case(output: Output, case: Case) -> Measures:
    return measures.measure(case, output(case))


def _longer(model: str | None, cases: Sequence[Case]) -> dict[str, Any]:
    seams = longer.seams(model, cases)
    rounded = None if seams is None else {name: _rounded(ratio) for name, ratio in seams.items()}
    return {"seams": rounded, "speed": longer.speed(model, cases)}


def _figures(row: Row, cases: Sequence[Case], workers: int | None, progress: bool) -> list[Figure]:
    """Source, style, result and target of some triplets, in their order."""
    figures = answers(partial(_draw, row.output), cases, workers=workers, progress=progress, name="drawing")
    return sorted(figures, key=lambda figure: [case.id for case in cases].index(figure.title))


def _draw(output: Output, case: Case) -> Figure:
    clips = {"source": case.read("content"), "style": case.read("style"), "result": output(case)}
    return spectrograms(case.id, clips | {"target": case.read("target")})


def _write(
    out: Path, results: dict[str, Any], clips: Mapping[str, Clips], featured: Row, figures: Sequence[Figure]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "results.json", json.dumps(results, indent=1))
    write_text(out / "clips.json", json.dumps(clips))
    write_text(out / "index.html", page.html(results, featured.name, figures))


def summarise(rows: Mapping[str, Clips], titles: Mapping[str, str]) -> dict[str, Any]:
    """The measures of all rows, by row and id -> their means with intervals, and the means of each direction.

    `rows` has the row "target", to which the ratios refer.
    """
    truth = rows["target"]
    full = {
        name: {key: {**clip, **against_truth(clip, truth[key])} for key, clip in clips.items()}
        for name, clips in rows.items()
    }
    table = {
        name: {"title": titles[name], **_means(clips, full["target"]), "directions": _directions(clips)}
        for name, clips in full.items()
    }
    style = {"style_is_heard": _style_is_heard(full)} if {"model-other-style", "model-clip"} <= rows.keys() else {}
    return {"rows": table, **style}


def _means(clips: Clips, truth: Clips) -> dict[str, Any]:
    """For each column the mean over the clips, or over that of the true targets of the same triplets."""
    summary = {}
    for column in COLUMNS:
        name = column.name.removesuffix("_ratio")
        if all(name in clip for clip in clips.values()):
            values = [clip[name] for clip in clips.values()]
            references = [truth[key][name] for key in clips] if name != column.name else None
            summary[column.name] = _rounded(ratio_interval(values, references))
    return summary


def _directions(clips: Clips) -> dict[str, dict[str, float]]:
    names = [c.name for c in COLUMNS if all(c.name in clip for clip in clips.values())]
    return {
        direction: {name: float(np.mean([clips[key][name] for key in keys])) for name in names}
        for direction, group in groupby(sorted(clips), key=lambda key: key.rpartition("-")[0])
        for keys in [list(group)]
    }


def _style_is_heard(rows: Mapping[str, Clips]) -> dict[str, Any]:
    """The MFCC distance with a clip of another library over that with one of the right library."""
    other = rows["model-other-style"]
    distances = [[rows[row][key]["mfcc_distance"] for key in other] for row in ("model-other-style", "model-clip")]
    return {
        "mfcc_distance_other_library": _rounded(mean_interval(distances[0])),
        "mfcc_distance_right_library": _rounded(mean_interval(distances[1])),
        "ratio": _rounded(ratio_interval(*distances)),
    }


def _rounded(summary: Summary) -> dict[str, float]:
    return {name: round(value, 4) for name, value in summary._asdict().items()}
