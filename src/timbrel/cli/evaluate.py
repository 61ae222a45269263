"""`timbrel evaluate`: the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

Benchmark = Annotated[Path, Positional, arg(metavar="BENCHMARK")]
Number = Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")]
Rows = Annotated[tuple[str, ...], arg(metavar="ROW...", help_behavior_hint="(default: all)")]


def build(benchmark: Benchmark, *, limit: Number = None, workers: Number = None) -> None:
    """Render the benchmark: 240 triplets of content, style and true answer, by a held-out library.

    For example:

        timbrel evaluate build benchmark

    Needs the extra [data], TiMidity++ and the Freepats library; takes about 550 MB. What is there already is
    not made again.

    Args:
        benchmark: The folder to make.
        limit: Only the first so many triplets, for a quick look.
        workers: Processors to use.
    """
    from timbrel.experiments import benchmark as module

    print(f"{benchmark}: {len(module.build(benchmark, workers=workers, limit=limit))} triplets")


def model(
    benchmark: Benchmark,
    model: Annotated[str | None, Positional, arg(metavar="[MODEL]", help_behavior_hint="(default: default)")] = None,
    *,
    out: Path = Path("evaluation"),
    rows: Rows = (),
    limit: Number = None,
    workers: Number = None,
) -> None:
    """Measure a model beside doing nothing, the truth, and other ways: a table, JSON and a page of pictures.

    For example, after timbrel evaluate build benchmark:

        timbrel evaluate model benchmark
        timbrel evaluate model benchmark runs/mine/model --out mine --limit 12 --rows model-clip

    Needs the extra [metrics].

    Args:
        benchmark: The folder that `timbrel evaluate build` made.
        model: A model that ships or a model folder.
        out: The folder for results.json, clips.json and index.html.
        rows: Only these rows of the table, and the true target.
        limit: Only the first so many triplets, without seams and speed.
        workers: Processors to use.
    """
    from timbrel.experiments.benchmark import evaluate

    evaluate(benchmark, out, model=model, rows=rows or None, limit=limit, workers=workers)


def outputs(
    benchmark: Benchmark,
    outputs: Annotated[Path, Positional, arg(metavar="OUTPUTS")],
    *,
    out: Path = Path("evaluation"),
    rows: Rows = (),
    limit: Number = None,
    workers: Number = None,
) -> None:
    """Measure what another program made of the benchmark, beside doing nothing, the truth, and other ways.

    For example:

        timbrel evaluate outputs benchmark their-outputs --out theirs

    Needs the extra [metrics].

    Args:
        benchmark: The folder that `timbrel evaluate build` made.
        outputs: A recording for each triplet: piano-to-harp-00.wav of the content and style of that name, ...
        out: The folder for results.json, clips.json and index.html.
        rows: Only these rows of the table, and the true target.
        limit: Only the first so many triplets.
        workers: Processors to use.
    """
    from timbrel.experiments.benchmark import evaluate

    evaluate(benchmark, out, outputs=outputs, rows=rows or None, limit=limit, workers=workers)
