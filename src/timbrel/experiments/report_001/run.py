"""The run: every part that is not done, then the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Literal

from timbrel.data.render import find_library
from timbrel.data.scores import corpus_scores
from timbrel.data.store import MelStore
from timbrel.data.synth import CORE
from timbrel.errors import MissingDependencyError
from timbrel.experiments.report_001 import budget as budgets
from timbrel.experiments.report_001 import figures, page
from timbrel.experiments.report_001.clips import libraries_with
from timbrel.experiments.report_001.parts import Run, check_data, parts
from timbrel.experiments.run import Result, budget_name, check_settings, keep_settings, run_parts
from timbrel.systems.foreign import load_published_network


def reproduce(
    out: str | Path,
    *,
    quick: bool = False,
    budget: Literal["cpu", "gpu"] | None = None,
    data: str | Path | None = None,
    networks: Sequence[str] = (),
    workers: int | None = None,
    progress: bool = True,
) -> Result:
    """Computes the report's table and figures, and the comparisons, into a folder; a second call goes on where the
    first stopped. Stages 1 and 2 and 13 variants of it are trained.

    Args:
        out: the folder; one that holds what was made with other settings is refused.
        quick: minutes, to see that it works.
        budget: "gpu" trains for the report's epochs; "cpu" for some minutes each. By default "gpu" where CUDA
            is, else "cpu".
        data: a mel store to train on, of the report's mels, instead of one that is rendered. Clips are then of none of
            the scores that its train entries name as their `source`.
        networks: weights of VGGish or LPIPS (files, or hf:OWNER/REPO/FILE): each is compared as one more variant.
        workers: processes that render; by default one a core.

    Returns:
        The figures of all parts, by name.

    Raises:
        InputError: a folder made with other settings, or data that do not fit.
        ModelError: `networks` cannot be read.
        MissingDependencyError: without the extras [train] and [data], TiMidity++ or a sample library.
        InterruptedRunError: stopped while it trained; the same call goes on.
    """
    of_run = {"quick": budgets.QUICK, "cpu": budgets.CPU, "gpu": budgets.GPU}[budget_name(quick, budget)]
    run = Run(Path(out).absolute(), of_run, None if data is None else Path(data), networks, workers, progress)
    _check(run)
    jobs = {name: partial(_alone, name, part) for name, part in {**parts(run), "figures": figures.draw}.items()}
    done = run_parts(jobs, run, run.out, progress=progress)
    page.write(run.out, of_run, done)
    print(f"the page is {run.out / 'index.html'}")
    return done


def _alone(name: str, part: Callable[[Run], Result], run: Run) -> Result:
    """A part, without the checkpoints that others left."""
    run.forget_checkpoints(but=name)
    return part(run)


def _check(run: Run) -> None:
    """Checks everything before any long work; then writes down the settings."""
    for network in run.networks:
        load_published_network(network)
    if run.own_data is not None:
        check_data(MelStore(run.own_data))
    check_settings(run.out, run.settings())
    find_library(run.libraries[0])
    for source, target in permutations(CORE, 2):
        libraries_with(run.libraries, source, target)
    corpus_scores(run.budget.composers)
    try:
        import accelerate  # noqa: F401
        import pretty_midi  # noqa: F401
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"this trains and renders, and {error}: pip install 'timbrel[train,data]'"
        ) from error
    keep_settings(run.out, run.settings())
