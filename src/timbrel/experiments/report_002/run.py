"""The run: every part that is not done, then the page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from timbrel.data.sounds.make import SoundsConfig, find_makers
from timbrel.data.sounds.ontology import Ontology
from timbrel.errors import MissingDependencyError
from timbrel.experiments.report_002 import budget as budgets
from timbrel.experiments.report_002 import figures, page
from timbrel.experiments.report_002.parts import Run, check_data, parts
from timbrel.experiments.run import Result, budget_name, check_settings, keep_settings, run_parts


def reproduce(
    out: str | Path,
    *,
    quick: bool = False,
    budget: Literal["cpu", "gpu"] | None = None,
    data: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Result:
    """Computes the report's table and figures into a folder; a second call goes on where the first stopped.

    Args:
        out: the folder; one that holds what was made with other settings is refused.
        quick: minutes, on computed sounds, to see that it works.
        budget: "gpu" trains for the report's 25,000 steps, "cpu" ours for 2,000 and the report's kind for 1,000. By
            default "gpu" where CUDA is, else "cpu".
        data: a mel store of labelled sounds instead of one that is made.
        workers: processes that make sounds; by default one a core.

    Returns:
        The figures of all parts, by name.

    Raises:
        InputError: a folder made with other settings, or data that do not fit.
        MissingDependencyError: without the extra [train].
        InterruptedRunError: stopped while it trained; the same call goes on.
    """
    of_run = {"quick": budgets.QUICK, "cpu": budgets.CPU, "gpu": budgets.GPU}[budget_name(quick, budget)]
    run = Run(Path(out).absolute(), of_run, None if data is None else Path(data), workers, progress)
    _check(run)
    done = run_parts({**parts(run), "figures": figures.draw}, run, run.out, progress=progress)
    page.write(run.out, of_run, done)
    print(f"the page is {run.out / 'index.html'}")
    return done


def _check(run: Run) -> None:
    """Checks everything before any long work; then writes down the settings."""
    try:
        import accelerate  # noqa: F401
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"this trains, and {error}: pip install 'timbrel[train]'") from error
    if run.own_data is None:
        find_makers(SoundsConfig(sources=run.budget.sources), Ontology.load())
    else:
        check_data(run)
    check_settings(run.out, run.settings())
    keep_settings(run.out, run.settings())
