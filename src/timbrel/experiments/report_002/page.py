"""The results of report 002, to read and to hear: tables as CSV, and a page of tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from timbrel.experiments import page
from timbrel.experiments.page import Block, Column, Figure, Heading, Table, Text
from timbrel.experiments.report_002.budget import Budget
from timbrel.experiments.report_002.codecs import codecs_table
from timbrel.experiments.report_002.squares import SHAPES
from timbrel.experiments.run import Result
from timbrel.files import write_text

COLUMNS = (
    Column("fd", "FD[timbrel-sounds]", 1, "lower"),
    Column("relative", "over half's", 2, "lower"),
    Column("accuracy", "class accuracy", 2, "higher"),
    Column("periodicity", "periodicity", 3, "real"),
)
REPORT = {"square": (183.63, 140.00), "wide": (271.93, 72.86)}
"""Shape -> the report's FID before and after training (table 3.1)."""
FIGURES = {
    "figure-3.4": "What a codec gives back (figures 3.3 and 3.4)",
    "figure-3.7": "A sine wave: square, wide, and as one vector (figure 3.7)",
    "figure-3.8": "What is made of four classes (figure 3.8)",
    "figure-4.1": "Real sounds of four classes (figure 4.1)",
    "figure-4.2": "Distance over checkpoints of training (figure 4.2)",
}


def write(out: Path, budget: Budget, parts: Mapping[str, Result]) -> None:
    """tables/*.csv and index.html, of parts that are all done."""
    tables = {
        "findings": Table(["section", "the report", "here"], _findings(parts)),
        "table-3.1": _table_3_1(parts),
        "agreement": _agreement(parts["agreement"]),
    }
    if rows := parts["codecs"].get("rows"):
        tables["codecs"] = codecs_table(rows)
    (out / "tables").mkdir(exist_ok=True)
    for name, table in tables.items():
        write_text(out / "tables" / f"{name}.csv", table.csv())
    write_text(out / "tables" / "budget.txt", _budget(budget, parts) + "\n")
    blocks: list[Block] = [
        Text([_budget(budget, parts)]),
        Heading("The report, and what came out here"),
        tables["findings"],
        Heading("Before and after training, square and wide (table 3.1)"),
        tables["table-3.1"],
        Heading("Mels and waveforms"),
        tables["agreement"],
        Heading("Codecs compared (section 3.2)"),
        *(_codecs(tables["codecs"]) if "codecs" in tables else [Text([parts["codecs"]["left_out"]])]),
    ]
    for name, title in FIGURES.items():
        blocks += [Heading(title), Figure(name, f"figures/{name}.png", parts["figures"]["sounds"].get(name, {}))]
    write_text(out / "index.html", page.html("Report 002", blocks))


def _codecs(table: Table) -> list[Block]:
    return [table, Figure("one sound through each", "codecs/codecs.png")]


def _budget(budget: Budget, parts: Mapping[str, Result]) -> str:
    data, known = parts["data"], parts["known"]
    trained = ", ".join(
        f"{name} {parts[name]['steps']} steps of {parts[name]['batch_size']} ({parts[name]['parameters'] / 1e6:.2f} "
        f"million parameters, {parts[name]['training_minutes']:.1f} min)"
        for name in ("generator", "squares")
    )
    right = known["held-out"]["accuracy"]["mean"]
    return (
        f"Budget {budget.name!r}: {data['sounds']} sounds, {data['classes']} classes. Training from nothing: "
        f"{trained}; the report: 25,000 steps of fine-tuning after 150,000 hours of pre-training. {budget.takes} takes "
        f"of each class, in {budget.sampling_steps} steps with guidance {budget.guidance:g}, beside as many real "
        f"sounds. The judge, trained on the same training sounds, takes {right:.2f} of held-out real sounds for what "
        "they are. FD is the plain Fréchet distance of its last layer but one, too large by what goes with the number "
        "of sounds: the real half shows by how much. Means over the classes, ± half the bootstrap 95 % interval."
    )


def _table_3_1(parts: Mapping[str, Result]) -> Table:
    known, squares, generator = parts["known"], parts["squares"], parts["generator"]
    rows = {
        f"{title}, {shape} {' x '.join(map(str, size))}": squares[when][shape]
        for when, title in (("before", "before training"), ("after", "after"))
        for shape, size in SHAPES.items()
    }
    rows |= {"ours, before training": generator["before"], "ours, after": generator["after"]}
    rows |= {"held-out real sounds": known["held-out"], "real sounds, another half": known["half"]}
    rows |= {"noise": known["noise"]}
    relative = {name: row | {"relative": row["fd"] / known["half"]["fd"]} for name, row in rows.items()}
    return page.table("", relative, COLUMNS, Column.plus_minus)


def _agreement(part: Result) -> Table:
    columns = (
        Column("same", "the judge says the same of both", 2, "1"),
        Column("difference_db", "mean difference of the mels, dB", 1, "lower"),
    )
    rows = {"held-out real sounds": part["held-out"], "ours, after": part["generated"]}
    return page.table("", rows, columns, Column.plus_minus)


def _findings(parts: Mapping[str, Result]) -> list[list[str]]:
    squares, known, generator = parts["squares"], parts["known"], parts["generator"]
    curve = [line["validation/fd"] for line in generator["validation"]]
    repeats = Column("periodicity", "", 3)

    def fids(shape: str) -> str:
        return "FID {:.0f} -> {:.0f}".format(*REPORT[shape])

    def distances(measured: Mapping[str, Result]) -> str:
        return f"FD {measured['before']['fd']:.0f} -> {measured['after']['fd']:.0f}"

    def of(shape: str) -> dict[str, Result]:
        return {when: squares[when][shape] for when in ("before", "after")}

    return [
        ["3.5", f"training brings square pictures nearer: {fids('square')}", distances(of("square"))],
        ["3.5", f"and wide ones more: {fids('wide')}", distances(of("wide"))],
        [
            "3.4",
            "square pictures repeat over frequency, wide ones do not",
            f"square {repeats.plus_minus(squares['after']['square'])}, wide "
            f"{repeats.plus_minus(squares['after']['wide'])}, real {repeats.plus_minus(known['held-out'])}, ours "
            f"{repeats.plus_minus(generator['after'])}",
        ],
        [
            "3.5",
            "no measure of the class",
            f"class accuracy: ours {_accuracy(generator['after'])}, real {_accuracy(known['held-out'])}",
        ],
        ["4", "FID falls slightly over checkpoints", f"FD {curve[0]:.0f} at the first, {curve[-1]:.0f} at the last"],
    ]


def _accuracy(measured: Result) -> str:
    return Column("accuracy", "", 2).plus_minus(measured)
