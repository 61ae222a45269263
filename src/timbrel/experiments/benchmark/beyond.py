"""Beyond the benchmark: recordings that are not clean, other sources, targets that training never heard.

The benchmark's scores are played anew by its library. Each of the *variations* changes one thing about the source, as
a real recording would. A change of the performance (rubato, legato, dynamics) is in the target too; a change of the
recording (room, noise, codec) is not. Last, it is the style clip's recording that changes. *Sources* are instruments
that are no target of the benchmark. *Targets* are those that no training renders (`instruments.UNSEEN_INSTRUMENTS`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbrel.audio.io import resample
from timbrel.data.render import render
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.experiments import page
from timbrel.experiments.benchmark import cases as rendered
from timbrel.experiments.benchmark import rows
from timbrel.experiments.benchmark.cases import SAMPLE_RATE, Case, Waveform
from timbrel.experiments.benchmark.manifest import DURATION_S, LIBRARY, NUM_DIRECTIONS, PROGRAMS
from timbrel.experiments.benchmark.measures import Measures, against_truth, classifier
from timbrel.experiments.benchmark.variations import VARIATIONS, Score, Variation, recorded, unit
from timbrel.experiments.page import Column, Table
from timbrel.experiments.run import measure_rows
from timbrel.files import write_text
from timbrel.instruments import INSTRUMENTS, UNSEEN_INSTRUMENTS
from timbrel.metrics import heard, instrument, level, notes, spectral
from timbrel.metrics.summary import mean_interval, ratio_interval

SOURCES = ("flute", "cello", "clarinet", "saxophone", "trumpet", "hammond-organ", "accordion", "voice")
"""Other instruments that the benchmark's library has."""
COLUMNS = (
    Column("lsd_db", "LSD dB", 1, "lower"),
    Column("mfcc_distance", "MFCC distance", 0, "lower"),
    Column("of_unchanged", "of that of doing nothing", 2, "lower"),
    Column("detail", "detail", 2, "1"),
    Column("level_error_db", "level error, dB", 1, "lower"),
    Column("instrument_accuracy", "instrument", 2, "higher"),
    Column("note_f1_ratio", "note F1, ratio", 2, "1"),
    Column("both", "both at once", 2, "higher"),
    Column("heard_as", "heard as", 2, "higher"),
)
RATIOS = {"of_unchanged": ("mfcc_distance", "unchanged_mfcc_distance"), "note_f1_ratio": ("note_f1", "true_note_f1")}
"""Columns that are a mean over another."""


@dataclass(frozen=True)
class Question:
    """One transfer whose answer is known: `case` says score and style; `source` and `target` are programs."""

    row: str
    case: Case
    source: int
    target: int
    label: str | None  # the target's name, where the classifier knows it
    variation: Variation = VARIATIONS["clean"]


def questions(cases: Sequence[Case]) -> dict[str, list[Question]]:
    """The questions of each table, over the benchmark's cases: every one for each variation, those of one source
    instrument for each of the other sources, those of one target for each unheard one."""

    def ask(row: str, case: Case, source: int | None = None, target: int | None = None, **more: Any) -> Question:
        t = case.triplet
        label = t.target if target is None else None
        source = PROGRAMS[t.source] if source is None else source
        return Question(row, case, source, PROGRAMS[t.target] if target is None else target, label, **more)

    from_piano = [case for case in cases if case.triplet.source == "piano" or case.triplet.id.startswith("violin-to-p")]
    to_piano = [case for case in cases if case.triplet.target == "piano" or case.triplet.id.startswith("piano-to-v")]
    return {
        "variations": [ask(name, case, variation=v) for name, v in VARIATIONS.items() for case in cases],
        "sources": [ask(name, case, source=INSTRUMENTS[name].program) for name in SOURCES for case in from_piano],
        "targets": [ask(n, case, target=row.program) for n, row in UNSEEN_INSTRUMENTS.items() for case in to_piano],
    }


def answer(model: str | None, question: Question) -> Measures:
    """Renders a question's source, style and target, transfers, and measures."""
    score, source, style, target = _rendered_question(question)
    result = rows.pipeline(model)(_as_clip(source), to=_as_clip(style), sample_rate=SAMPLE_RATE, seed=0)
    waveforms = (_as_clip(target), resample(result.waveform, result.sample_rate, SAMPLE_RATE), _as_clip(source))
    truth, estimate, unchanged = (spectral.prepare(x, SAMPLE_RATE) for x in waveforms)
    figures = spectral.evaluate(truth, estimate) | level.evaluate(truth, estimate)
    figures["unchanged_mfcc_distance"] = spectral.evaluate(truth, unchanged)["mfcc_distance"]
    if question.label is not None:
        figures |= instrument.evaluate(classifier(), question.label, estimate)
        if heard.available():
            figures |= heard.evaluate(question.label, waveforms[1], SAMPLE_RATE)
    if notes.available():
        reference = np.array([[n.start_s, n.end_s, n.pitch] for n in score])
        of_truth = notes.evaluate(reference, truth)
        figures |= notes.evaluate(reference, estimate) | {"true_note_f1": of_truth["note_f1"]}
        if question.label is not None:
            figures |= against_truth(figures, of_truth)
    return figures


def _rendered_question(question: Question) -> tuple[Score, NDArray, NDArray, NDArray]:
    """The score as it is performed, and source, style and target [samples] at RMS 1."""
    case, variation = question.case, question.variation
    rng = np.random.default_rng(int(case.triplet.content.digest, 16))
    score: Score = case.score()
    for change in variation.performance:
        score = change(score, rng)
    source = recorded(_play(score, question.source, variation.vibrato_cents), variation.recording, rng)
    style, target = _play(case.score(case.triplet.style), question.target), _play(score, question.target)
    if variation.style_too:  # the answer then sounds as the clip does: in one room, through one microphone
        style, target = (recorded(x, variation.recording, np.random.default_rng(len(score))) for x in (style, target))
    style = recorded(style, variation.clip, rng)
    return score, source, style, target


def evaluate(
    benchmark_folder: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    per_direction: int = 2,
    tables: Sequence[str] = (),
    variations: Sequence[str] = (),
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures a model beyond the benchmark, prints the tables and writes `beyond.json` into `out`.

    Args:
        benchmark_folder: what `timbrel evaluate build` made.
        per_direction: how many of the benchmark's 20 scores of each direction are taken, 1 to 20.
        tables: some of "variations", "sources", "targets"; all by default.
        variations: some of `VARIATIONS`; all by default.

    Returns:
        For each table and row the means with intervals, and the number of clips.

    Raises:
        InputError: a folder that is no benchmark, or values out of range.
        MissingDependencyError: without TiMidity++, the library or the `metrics` extra.
    """
    if not 1 <= per_direction <= 20:
        raise InputError(f"per_direction is {per_direction}; expected 1 to 20 scores of each direction")
    every = questions(rendered.load(benchmark_folder, limit=NUM_DIRECTIONS * per_direction))
    if unknown := [name for name in tables if name not in every]:
        raise InputError(f"table {unknown[0]!r} is unknown; expected some of {', '.join(every)}")
    if variations and tables and "variations" not in tables:
        raise InputError(f"variations are given, and tables {', '.join(tables)}; expected 'variations' among these")
    if unknown := [name for name in variations if name not in VARIATIONS]:
        raise InputError(f"variation {unknown[0]!r} is unknown; expected some of {', '.join(VARIATIONS)}")
    every["variations"] = [q for q in every["variations"] if q.row in (variations or VARIATIONS)]
    results: dict[str, Any] = {}
    measure = partial(answer, None if model is None else str(model))
    for name in tables or every:
        jobs = {f"{question.row} {question.case.id}": question for question in every[name]}
        answers = measure_rows(measure, jobs, workers=workers, title=name if progress else "")
        clips: dict[str, list[Measures]] = {}
        for key in sorted(jobs):
            clips.setdefault(jobs[key].row, []).append(answers[key])
        results[name] = {question.row: _summary(clips[question.row]) for question in every[name]}
        print(f"{table(name, results[name]).markdown()}\n")
    Path(out).mkdir(parents=True, exist_ok=True)
    write_text(Path(out) / "beyond.json", json.dumps(results, indent=1))
    return results


def _summary(clips: Sequence[Measures]) -> dict[str, Any]:
    summary: dict[str, Any] = {"clips": len(clips)}
    for column in COLUMNS:
        names = RATIOS.get(column.name, (column.name,))
        if all(name in clips[0] for name in names):
            values = [[clip[name] for clip in clips] for name in names]
            interval = ratio_interval(*values) if len(values) > 1 else mean_interval(*values)
            summary[column.name] = interval._asdict()
    return summary


def table(name: str, results: Mapping[str, Any]) -> Table:
    """The means of a table's rows."""
    titles = {row: f"{row}: {VARIATIONS[row].title}" if name == "variations" else row for row in results}
    return page.table(name, {titles[row]: summary for row, summary in results.items()}, COLUMNS)


def _play(score: Score, program: int, vibrato_cents: float = 0.0) -> NDArray:
    """float64 [samples], RMS 1."""
    return unit(_rendered(tuple(score), program, vibrato_cents).astype(np.float64))


@lru_cache(maxsize=32)
def _rendered(score: tuple[Note, ...], program: int, vibrato_cents: float) -> Waveform:
    return render(score, program, LIBRARY, sample_rate=SAMPLE_RATE, duration_s=DURATION_S, vibrato_cents=vibrato_cents)


def _as_clip(x: NDArray) -> Waveform:
    """[1, samples] float32, peak 0.5."""
    return (0.5 * x / np.abs(x).max())[None].astype(np.float32)
