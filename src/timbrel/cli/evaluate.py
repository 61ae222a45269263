"""`timbrel evaluate`: the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

Benchmark = Annotated[Path, Positional, arg(metavar="BENCHMARK")]


def build(folder: Benchmark) -> None:
    """Render the benchmark: 240 triplets of content, style and true answer, by a held-out library.

    For example:

        timbrel evaluate build benchmark

    Needs the extras [data] and [metrics], TiMidity++ and the Freepats instruments.

    Args:
        folder: Where it goes.
    """
    from timbrel.experiments import benchmark

    benchmark.build(folder)


def model(folder: Benchmark, model: Annotated[str | None, Positional, arg(metavar="[MODEL]")] = None) -> None:
    """Measure a model on the benchmark, beside doing nothing, the truth, and other ways to do it.

    For example:

        timbrel evaluate model benchmark
        timbrel evaluate model benchmark runs/mine/model

    Args:
        folder: The benchmark's folder.
        model: A shipped model's name or a model folder. The default one unless given.
    """


def outputs(folder: Benchmark, outputs: Annotated[Path, Positional, arg(metavar="OUTPUTS")]) -> None:
    """Measure a folder of another program's outputs.

    For example:

        timbrel evaluate outputs benchmark their-outputs
    """
