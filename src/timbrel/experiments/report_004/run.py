"""The run: every part that is not done, then the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from timbrel.audio.io import open_audio
from timbrel.data.paint.store import load_music
from timbrel.data.render import find_library
from timbrel.errors import InputError, MissingDependencyError
from timbrel.experiments.report_004 import budget as budgets
from timbrel.experiments.report_004 import figures, page
from timbrel.experiments.report_004.parts import SIZE, Run, check_data, parts
from timbrel.experiments.run import Result, budget_name, check_settings, keep_settings, run_parts
from timbrel.metrics import require
from timbrel.metrics.spaces import ClapClipSpace, PaintSpace, Space
from timbrel.pipelines.picture import PaintPipeline
from timbrel.training.picture import check_set

SPACE = Path(__file__).with_name("space.safetensors")
SHIPPED_ROW = "the model that ships"


def reproduce(
    out: str | Path,
    *,
    quick: bool = False,
    budget: Literal["cpu", "gpu"] | None = None,
    data: str | Path | None = None,
    paintings: str | Path | None = None,
    model: str | None = None,
    space: Literal["timbrel-paint", "clap-clip"] = "timbrel-paint",
    clap: str | Path | None = None,
    clip: str | Path | None = None,
    outside: Sequence[str | Path] = (),
    workers: int | None = None,
    progress: bool = True,
) -> Result:
    """Computes the report's tables and pictures into a folder; a second call goes on where the first stopped.

    Args:
        out: the folder; one that holds what was made with other settings is refused.
        quick: minutes, to see that it works.
        budget: "gpu" trains for the report's 25 and 50 epochs, "cpu" for 2 each. By default "gpu" where CUDA is, else
            "cpu".
        data: a set of `timbrel data paint`, instead of one that is made.
        paintings: with STYLE/*.jpg, for the set that is made; without, it has the labels of procedural pictures alone.
        model: the painter that is measured; by default the one that ships.
        space: where likeness is measured (`metrics.spaces`); of "clap-clip", `clap` and `clip` are the models: hub ids
            or folders. Its map is fitted on training works that are rendered, and on the set's training pictures.
        outside: recordings that are painted, too, beside those that are made.
        workers: processes that render and paint; by default one a core.

    Returns:
        The figures of all parts, by name.

    Raises:
        InputError: a folder made with other settings, or data that do not fit.
        ModelError: `model`, CLAP or CLIP cannot be read.
        AudioError: a recording cannot be read.
        MissingDependencyError: without the extras [train], [data] and [metrics], TiMidity++ or a sample library.
        InterruptedRunError: stopped while it trained; the same call goes on.
    """
    of_run = {"quick": budgets.QUICK, "cpu": budgets.CPU, "gpu": budgets.GPU}[budget_name(quick, budget)]
    run = Run(
        Path(out).absolute(),
        of_run,
        None if data is None else Path(data),
        None if paintings is None else Path(paintings),
        model,
        [Path(path) for path in outside],
        _space(space, clap, clip),
        workers,
        progress,
    )
    _check(run)
    done = run_parts({**parts(run), "figures": figures.draw}, run, run.out, progress=progress)
    page.write(run.out, of_run, painter_row(model), run.space.name, done)
    print(f"the page is {run.out / 'index.html'}")
    return done


def painter_row(model: str | None) -> str:
    """The name of the measured model's row, which no other row has."""
    name = SHIPPED_ROW if model is None else Path(model).name
    return f"{name} (the model)" if name in (*page.REPORT, *page.CONTROLS) else name


def _space(name: str, clap: str | Path | None, clip: str | Path | None) -> Callable[[], Space]:
    if name == "clap-clip":
        return partial(ClapClipSpace, clap, clip)
    if name != "timbrel-paint" or clap or clip:
        raise InputError(f"space is {name!r}, clap {clap}, clip {clip}; expected timbrel-paint alone, or clap-clip")
    return partial(PaintSpace, SPACE)


def _check(run: Run) -> None:
    """Checks everything before any long work; then writes down the settings."""
    if run.own_data is not None and run.paintings is not None:
        raise InputError(f"data is {run.own_data} and paintings {run.paintings}; give one of them")
    try:
        import accelerate  # noqa: F401
        import music21  # noqa: F401
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"this trains and renders, and {error}: pip install 'timbrel[train,data]'"
        ) from error
    require("sklearn.svm")
    find_library("fluidr3")
    painter = PaintPipeline.load(run.model).model
    if run.own_data is None and painter.size != SIZE:
        raise InputError(
            f"{run.model} paints {painter.size} pixels a side, and the set that is made has {SIZE}: give data, a set "
            f"that `timbrel data paint` made with --size {painter.size}"
        )
    for path in run.outside:
        with open_audio(path):
            pass
    if run.own_data is not None:
        check_data(run)
        check_set(painter, run.side, run.pictures, load_music(run.data))
    check_settings(run.out, run.settings())
    keep_settings(run.out, run.settings())
