"""The run: the judge, every row that is not measured, then the table."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections import Counter
from functools import partial
from pathlib import Path

from timbrel.data.sounds.ontology import Ontology
from timbrel.data.store import MelStore
from timbrel.errors import InputError
from timbrel.experiments.generate.rows import FRAMES, REFERENCE, ROWS, Run, file_name, measure, train_judge
from timbrel.experiments.generate.summary import class_table, summarise, text
from timbrel.experiments.run import Result, keep_settings, measure_rows
from timbrel.files import write_text
from timbrel.metrics import heard, sets
from timbrel.metrics.encoders import load_encoder
from timbrel.pipelines.generate import LISTENER, SHIPPED, GeneratePipeline
from timbrel.systems.folder import resolve
from timbrel.systems.stable_diffusion import is_stable_diffusion

TAKES = 3  # of a class


def evaluate(
    data: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    takes: int = TAKES,
    steps: int | None = None,
    guidance: float | None = None,
    candidates: int | None = None,
    listener: str | Path | None = None,
    encoder: str | None = None,
    weights: str | Path | None = None,
    ontology: str | Path | None = None,
    on_mels: bool = False,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Result:
    """Measures a model on the classes of a set of labelled sounds, prints the table and writes `results.json`,
    `classes.csv` and the takes.

    Args:
        data: a mel store of `timbrel data sounds`, or one like it.
        out: its folder; a run that was stopped goes on there.
        model: a shipped name or a model folder.
        takes: of each class, and real sounds of each class beside them.
        steps, guidance: of sampling; None is the model's.
        candidates: of each take; None is at most as many as `timbrel generate` begins.
        listener: what chooses among them; None is the one that ships.
        encoder, weights: one more that listens for the distances; see `metrics.encoders.load_encoder`.
        ontology: that has the store's labels; None is the shipped one.
        on_mels: judge mels that are not inverted, by the classifier alone: several times faster, and nothing to hear.
        seed: of the takes, of the real sounds that are drawn, and of the judge's training.
        workers: processes; by default one a core.

    Returns:
        What results.json holds.

    Raises:
        InputError: values out of range, candidates without a listener, a set that does not fit, or other settings than
            those in `out`.
        ModelError: as loading the model and the encoder.
        MissingDependencyError: as `load_encoder`.
    """
    if on_mels and encoder:
        raise InputError(f"encoder is {encoder!r}, which listens, and on_mels makes nothing to hear: leave one out")
    if weights and not encoder:
        raise InputError(f"weights is {str(weights)!r}, and no encoder is named; expected one beside it")
    run = Run(
        Path(out),
        str(data),
        None if model is None else str(model),
        None if ontology is None else str(ontology),
        () if on_mels else _encoders(encoder, weights),
        takes,
        steps,
        guidance,
        seed,
        on_mels,
        candidates,
        None if listener is None else str(listener),
    )
    labels = _check(run)
    rows = {
        row: measure_rows(
            partial(measure, run, row),
            {file_name(label): label for label in labels},
            run.out / "rows" / row,
            workers=workers,
            title=row if progress else "",
        )
        for row in (REFERENCE, *ROWS)
    }
    by_class = {row: dict(zip(labels, measured.values(), strict=True)) for row, measured in rows.items()}
    results = summarise(by_class, Ontology.load(run.ontology))
    write_text(run.out / "results.json", json.dumps(results, indent=1))
    write_text(run.out / "classes.csv", class_table(results).csv())
    print(text(results))
    return results


def _encoders(name: str | None, weights: str | Path | None) -> tuple[tuple[str, str | None], ...]:
    """musicnn, if it is installed; the feature network that ships; and one more."""
    own = [("musicnn", None)] if heard.available() else []
    own.append(("timbrel-features", None))
    return (*own, *([] if name is None else [(name, None if weights is None else str(weights))]))


def _check(run: Run) -> list[str]:
    """Checks everything before any long work, writes down the settings and trains the judge.

    Returns:
        The classes: those of the training half.
    """
    store, ontology = MelStore(run.data), Ontology.load(run.ontology)
    pipe = GeneratePipeline.load(run.model, listener=run.listener)
    if run.takes < 2:
        raise InputError(f"takes is {run.takes}; expected at least 2, whose difference is measured")
    if pipe.model.mel != store.config:
        raise InputError(f"{run.data} holds mels made with {store.config}; expected the model's, {pipe.model.mel}")
    counts = Counter((entry.label, entry.split) for entry in store.entries)
    labels = sorted(
        {e.label for e in store.entries if counts[e.label, "validation"] and counts[e.label, "train"] >= 2 * run.takes}
    )
    if len(labels) < 2:
        raise InputError(
            f"{run.data} has {len(labels)} classes of {2 * run.takes} training sounds and a held-out one; expected at "
            "least two: make more with `timbrel data sounds`, or take fewer takes"
        )
    for label in labels:
        ontology.find(label)
    count = pipe.num_candidates(run.candidates, FRAMES)
    if run.listener and count == 1:
        raise InputError(f"listener is {run.listener!r}, and of each take there is one candidate: leave one out")
    settings = dataclasses.asdict(dataclasses.replace(run, out=Path())) | {
        "out": None,
        "model": sets.digest(*_weights(run.model or SHIPPED))[:8],
        "listener": sets.digest(*_weights(run.listener or LISTENER))[:8] if count > 1 else None,
        "encoders": [load_encoder(*encoder).name for encoder in run.encoders],
        "data": zlib.crc32((Path(run.data) / "manifest.jsonl").read_bytes()),
    }
    keep_settings(run.out, settings)
    path = run.out / "classifier.safetensors"
    if not path.exists():
        train_judge(store, labels, run.seed).save(path)
    return labels


def _weights(model: str) -> list[Path]:
    """The files of a model that say how it sounds."""
    folder = Path(model) if is_stable_diffusion(model) else resolve(model)
    return sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
