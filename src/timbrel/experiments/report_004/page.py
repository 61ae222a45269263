"""The results of report 004, to read: tables as CSV, and a page of tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timbrel.data.paint.labels import find_label
from timbrel.experiments import page
from timbrel.experiments.page import Block, Column, Figure, Heading, Table, Text
from timbrel.experiments.report_004.budget import Budget
from timbrel.experiments.run import Result
from timbrel.files import write_text

COLUMNS = (
    Column("ais", "AIS, %", 2, "higher"),
    Column("iis", "IIS, %", 2, "higher"),
    Column("fid", "FID", 2, "lower"),
    Column("over_real", "over true pictures'", 2, "lower"),
    Column("wins", "wins", 2, "higher"),
    Column("accuracy", "label accuracy", 2, "higher"),
    Column("diversity", "diversity in a label", 2, "1"),
)
REPORT: dict[str, dict[str, Any]] = {
    "experiment-1": {"ais": 50.15, "iis": 49.62, "fid": 179.16, "giils": (51.31, 58.70)},
    "experiment-2": {"ais": 49.91, "iis": 50.03, "fid": 191.73, "giils": (50.96, 58.28)},
}
"""The report's tables 5.1 and 5.3, and the ends of its tables 5.2 and 5.4."""
CONTROLS = ("true pictures", "shuffled music", "no music", "shuffled pixels")


def write(out: Path, budget: Budget, painter: str, space: str, parts: Mapping[str, Result]) -> None:
    """tables/*.csv and index.html, of parts that are all done; `painter` is the name of what was measured."""
    tables = {
        "findings": Table(["the report", "here"], _findings(parts, painter)),
        "measures": measures(parts, painter),
        "labels": labels(parts, painter),
        "outside": outside(parts["outside"]["called"]),
        "movies": movies(parts["movies"]),
    }
    (out / "tables").mkdir(exist_ok=True)
    for name, table in tables.items():
        write_text(out / "tables" / f"{name}.csv", table.csv())
    about = _budget(budget, space, parts)
    write_text(out / "tables" / "budget.txt", about + "\n")
    blocks: list[Block] = [
        Text([about]),
        Heading("The report, and what came out here"),
        tables["findings"],
        Heading("AIS, IIS and FID (tables 5.1 and 5.3), and what the report lacks"),
        tables["measures"],
        Heading("Each label: GIILS (tables 5.2 and 5.4), accuracy and music"),
        tables["labels"],
        Heading("Music and sounds of other kinds (appendix): what the judge calls four pictures"),
        tables["outside"],
        Figure("outside", "figures/outside.png"),
        Heading("Movies: F1 of the motion's peaks and the music's onsets"),
        tables["movies"],
    ]
    for name in parts["figures"]["grids"]:
        row = painter if name == "painted" else name
        blocks += [Heading(f"Four pictures of each label: {row}"), Figure(row, f"figures/{name}.png")]
    write_text(out / "index.html", page.html("Report 004", blocks))


def _budget(budget: Budget, space: str, parts: Mapping[str, Result]) -> str:
    names, count, minute = parts["data"]["labels"], len(parts["music"]["works"]), parts["movies"]["minute"]
    trained = ", ".join(
        f"{name} {part['epochs']} epochs of {part['steps_an_epoch']} steps of {part['batch_size']} at "
        f"{part['learning_rate']:g} (the best was {part['best_epoch']}; {part['training_minutes']:.1f} min)"
        for name, part in parts.items()
        if name in REPORT
    )
    return (
        f"Budget {budget.name!r}: {len(names)} labels, {sum(find_label(name).real for name in names)} of them with "
        f"paintings; {budget.clips} clips of held-out music a label and a picture of each, {count} in all; the report: "
        f"335. The space is {space}. FID is the plain Fréchet distance of its picture network's last layer but one "
        f"from {count} true pictures, too large by what goes with their number: that of other true pictures shows by "
        f"how much. The judge never saw what painters train on; chance is {1 / len(names):.3f}. Means, ± half the "
        "bootstrap 95 % interval, over clips; accuracy and diversity over labels."
        + (f" Trained: {trained}." if trained else "")
        + f" A minute of movie at 512 x 512 takes {minute['cpu_s']:.0f} s of one core, listening and ffmpeg apart."
    )


def measures(parts: Mapping[str, Result], painter: str) -> Table:
    """The rows of tables 5.1 and 5.3, and the controls."""
    rows = {painter: parts["painted"]}
    rows |= {name: parts[name]["measured"] for name in REPORT if name in parts}
    rows |= {name: parts["controls"][name] for name in CONTROLS}
    real = parts["controls"]["true pictures"]["fid"]
    over = {name: row | {"over_real": row["fid"] and row["fid"] / real} for name, row in rows.items()}
    return page.table("", over, COLUMNS, Column.plus_minus)


def labels(parts: Mapping[str, Result], painter: str) -> Table:
    """Each label, the painter's highest GIILS first, as in the report's tables 5.2 and 5.4."""
    columns = {painter: parts["painted"]}
    columns |= {name: parts[name]["measured"] for name in REPORT if name in parts}
    true, shuffled = parts["controls"]["true pictures"], parts["controls"]["shuffled music"]
    columns |= {"true pictures": true, "shuffled music": shuffled}
    order = sorted(parts["painted"]["giils"], key=lambda name: -parts["painted"]["giils"][name])
    lines = [
        [
            name,
            "paintings" if find_label(name).real else "procedural",
            *(f"{row['giils'][name]:.2f}" for row in columns.values()),
            f"{parts['painted']['accuracies'][name]:.2f}",
            f"{true['accuracies'][name]:.2f}",
        ]
        for name in order
    ]
    giils = [f"GIILS, {name}" for name in columns]
    return Table(["label", "pictures", *giils, f"accuracy, {painter}", "accuracy, true pictures"], lines)


def outside(called: Mapping[str, list[str]]) -> Table:
    """What the judge calls the pictures of each kind."""
    lines = []
    for kind, names in called.items():
        counts = sorted(((names.count(name), name) for name in set(names)), key=lambda pair: (-pair[0], pair[1]))
        lines.append([kind, ", ".join(f"{name} ({count})" for count, name in counts)])
    return Table(["music", "called, of four"], lines)


def movies(part: Result) -> Table:
    """Beat F1 of each movie, under its own sound and under that with its seconds shuffled."""
    columns = (
        Column("beat_f1", "beat F1", 2, "higher"),
        Column("beat_f1_shuffled", "under shuffled sound", 2, "lower"),
    )
    return page.table("", {row["label"]: row for row in part["rows"]} | {"mean": part}, columns, Column.plus_minus)


def _findings(parts: Mapping[str, Result], painter: str) -> list[list[str]]:
    ours, controls = parts["painted"], parts["controls"]
    cell = {column.name: column for column in COLUMNS}

    def spread(row: Result) -> str:
        return f"{min(row['giils'].values()):.1f} to {max(row['giils'].values()):.1f}"

    lines = []
    for name, figures in REPORT.items():
        here = f"{painter}: AIS {cell['ais'].plus_minus(ours)}, IIS {cell['iis'].plus_minus(ours)}"
        if name in parts:
            row = parts[name]["measured"]
            here += f"; trained: AIS {cell['ais'].plus_minus(row)}, IIS {cell['iis'].plus_minus(row)}"
        lines.append([f"{name}: AIS {figures['ais']}, IIS {figures['iis']}; 50 is chance", here])
    lines.append(
        [
            "FID 179 and 192, of Inception",
            f"FID {ours['fid']:.2f}; true pictures {controls['true pictures']['fid']:.2f}, shuffled pixels "
            f"{controls['shuffled pixels']['fid']:.2f}",
        ]
    )
    low, high = REPORT["experiment-1"]["giils"]
    lines.append(
        [
            f"GIILS {low} to {high}: music of one label gives alike pictures",
            f"{spread(ours)}; true pictures {spread(controls['true pictures'])}; under shuffled music "
            f"{spread(controls['shuffled music'])}",
        ]
    )
    lines.append(
        [
            "no measure of the label",
            f"label accuracy {cell['accuracy'].plus_minus(ours)}, true pictures "
            f"{cell['accuracy'].plus_minus(controls['true pictures'])}, shuffled music "
            f"{cell['accuracy'].plus_minus(controls['shuffled music'])}",
        ]
    )
    return lines
