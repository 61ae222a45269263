"""What came out: figures of rows and classes, and how they are printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from timbrel.data.sounds.ontology import Ontology
from timbrel.experiments.generate.rows import REFERENCE, ROWS
from timbrel.experiments.page import Column, Table, table
from timbrel.experiments.run import Result
from timbrel.metrics import diversity, fad, heard, sets
from timbrel.metrics.sets import Embeddings
from timbrel.metrics.summary import mean_interval, ratio_interval

Sounds = Mapping[str, Sequence[Result]]
"""Class -> its sounds, as `rows.measure` judged them."""
REACHED = 0.8  # of the classifier's accuracy on real sounds of the class
COPY_PERCENTILE = 90  # of what training sounds differ from themselves through the codec: what is nearer is a copy
COLUMNS = (
    Column("accuracy", "class accuracy", 3, "higher"),
    Column("parent_accuracy", "a class of its parent", 3, "higher"),
    Column("top_5", "among the first five", 3, "higher"),
    Column("heard_as", "musicnn hears it", 2, "higher"),
    Column("nearest_db", "nearest training sound, dB", 1),
    Column("copies", "as near as a copy", 2, "lower"),
)


def summarise(rows: Mapping[str, Sounds], ontology: Ontology) -> Result:
    """Of each row means over the classes, with intervals (the takes of a class are alike: a class counts as one), and
    its distances from `REFERENCE`; of each class means over its takes."""
    copy_db = float(np.percentile([s["nearest_db"] for some in rows["copies"].values() for s in some], COPY_PERCENTILE))
    measures = _measures(ontology, copy_db)
    summaries = {row: _means(rows[row], measures) | _distances(rows[REFERENCE], rows[row]) for row in ROWS}
    made, real = (_by_class(rows[row], measures["accuracy"]) for row in ("generated", "real"))
    labels = [label for label in made if label in real]
    relative = ratio_interval([made[label] for label in labels], [real[label] for label in labels])
    return {
        "rows": summaries,
        "relative_accuracy": relative._asdict(),
        "classes_reached": sum(made[label] >= REACHED * real[label] for label in labels),
        "classes": {label: _of_class(rows, label, measures) for label in labels},
        "copy_db": copy_db,
        "left_out": {} if heard.available() else {"heard_as": heard.MISSING},
    }


Measure = Callable[[str, Result], float | None]


def _measures(ontology: Ontology, copy_db: float) -> dict[str, Measure]:
    """Figures of a sound of a class; None where it has none."""

    def parent(label: str, sound: Result) -> float:
        taken_for = sound["taken_for"][0]
        return float(taken_for == label or bool({*ontology.parents(label)} & {*ontology.parents(taken_for)}))

    return {
        "accuracy": lambda label, sound: float(sound["taken_for"][0] == label),
        "parent_accuracy": parent,
        "top_5": lambda label, sound: float(label in sound["taken_for"]),
        "heard_as": lambda label, sound: sound.get("heard_as"),
        "nearest_db": lambda label, sound: sound.get("nearest_db"),
        "copies": lambda label, sound: float(sound["nearest_db"] <= copy_db) if "nearest_db" in sound else None,
    }


def _by_class(sounds: Sounds, measure: Measure) -> dict[str, float]:
    """Means of the classes that have the figure."""
    measured = {label: [measure(label, sound) for sound in some] for label, some in sounds.items()}
    values = {label: [value for value in some if value is not None] for label, some in measured.items()}
    return {label: float(np.mean(some)) for label, some in values.items() if some}


def _means(sounds: Sounds, measures: Mapping[str, Measure]) -> Result:
    figures = {name: list(_by_class(sounds, measure).values()) for name, measure in measures.items()}
    return {name: mean_interval(values)._asdict() for name, values in figures.items() if values}


def _distances(reference: Sounds, sounds: Sounds) -> Result:
    """For each encoder the Fréchet distance, and where classes have two sounds their diversity."""
    figures: Result = {"sounds": sum(map(len, sounds.values())), "fad": {}, "diversity": {}}
    for encoder in next(sound for some in reference.values() for sound in some)["embeddings"]:
        real, other = (_embeddings(each, encoder) for each in (reference, sounds))
        sizes = [sum(map(len, each.values())) for each in (real, other)]
        if min(sizes) >= sets.GROUPS:
            both = (Embeddings(encoder, [rows for some in each.values() for rows in some]) for each in (real, other))
            figures["fad"][encoder] = dataclasses.asdict(fad.frechet_audio_distance(*both))
        if any(len(some) >= 2 for some in other.values()):
            figures["diversity"][encoder] = diversity.evaluate(real, other)._asdict()
    return figures


def _embeddings(sounds: Sounds, encoder: str) -> dict[str, list[NDArray]]:
    """Class -> the windows [n, d] of each sound."""
    return {label: [np.array(sound["embeddings"][encoder]) for sound in some] for label, some in sounds.items()}


def _of_class(rows: Mapping[str, Sounds], label: str, measures: Mapping[str, Measure]) -> Result:
    """Accuracies of a class, and what its takes are taken for."""
    figures: Result = {
        row: _by_class({label: rows[row].get(label, ())}, measures["accuracy"]).get(label)
        for row in ("generated", "wordings", "aliases", "real")
    }
    figures["taken_for"] = [sound["taken_for"][0] for sound in rows["generated"][label]]
    for encoder in rows["generated"][label][0]["embeddings"]:
        both = ({label: _embeddings(rows[row], encoder)[label]} for row in (REFERENCE, "generated"))
        figures[f"diversity[{encoder}]"] = diversity.evaluate(*both).mean
    return figures


# --- as text


def text(results: Result) -> str:
    """The tables, and what is to be said about them."""
    lines = [row_table(results).text(), "", distance_table(results).text(), "", verdict(results)]
    lines += [f"Left out: {name}: {why}." for name, why in results["left_out"].items()]
    return "\n".join(lines)


def row_table(results: Result) -> Table:
    """A line for each row, with its number of sounds."""
    rows = {f"{title} ({results['rows'][row]['sounds']})": results["rows"][row] for row, title in ROWS.items()}
    return table("", rows, COLUMNS, Column.bracketed)


def verdict(results: Result) -> str:
    """Class accuracy over that of real sounds, in a sentence."""
    relative, reached = results["relative_accuracy"], results["classes_reached"]
    return (
        f"Class accuracy over that of held-out real sounds: {relative['mean']:.3f} [{relative['low']:.3f}, "
        f"{relative['high']:.3f}]; {reached} of {len(results['classes'])} classes reach {REACHED} of it."
    )


def distance_table(results: Result) -> Table:
    """Fréchet distances from the reference as they are, over that of the real half, and diversities."""
    encoders = list(results["rows"]["generated"]["diversity"])
    names = [encoder.partition(":")[0] for encoder in encoders]
    headings = [f"{what}[{name}]" for name in names for what in ("FD", "over half's", "diversity")]
    return Table(["", *headings], [[title, *_cells(results, row, encoders)] for row, title in ROWS.items()])


def _cells(results: Result, row: str, encoders: Sequence[str]) -> list[str]:
    figures, half = results["rows"][row], results["rows"]["half"]["fad"]
    cells = []
    for encoder in encoders:
        plain, least = (fad.get(encoder, {}).get("plain") for fad in (figures["fad"], half))
        cells += ["", ""] if plain is None else [f"{plain:.4g}", f"{plain / least:.3g}" if least else ""]
        cells.append(Column(encoder, "", 2).bracketed(figures["diversity"]))
    return cells


def class_table(results: Result) -> Table:
    """A line for each class, the worst first."""
    classes = results["classes"]
    keys = [key for key in next(iter(classes.values())) if key != "taken_for"]
    lines = [
        [label, *("" if row[key] is None else f"{row[key]:.2f}" for key in keys), ", ".join(row["taken_for"])]
        for label, row in sorted(classes.items(), key=lambda item: item[1]["generated"])
    ]
    return Table(["class", *keys, "taken for"], lines)
