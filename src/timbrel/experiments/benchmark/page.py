"""The benchmark's results, to read: a table of text, and a page with the spectrograms of some triplets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timbrel.experiments import page
from timbrel.experiments.benchmark.measures import COLUMNS
from timbrel.experiments.page import Block, Column, Figure, Heading, Table, Text


def text(results: dict[str, Any]) -> str:
    """The rows of the results as text, and what is to be said about them."""
    return "\n".join([_rows(results).text(), "", *remarks(results)])


def html(results: dict[str, Any], featured: str, figures: Sequence[Figure]) -> str:
    """One self-contained file: the table, the featured row by direction, and figures."""
    title = f"{results['rows'][featured]['title']}, by direction"
    directions = page.table("", results["rows"][featured]["directions"], COLUMNS)
    tables: list[Block] = [Text(remarks(results)), _rows(results), Heading(title), directions]
    return page.html("Benchmark", [*tables, Heading("Some triplets"), *figures])


def _rows(results: dict[str, Any]) -> Table:
    return page.table("", {row["title"]: row for row in results["rows"].values()}, COLUMNS, Column.bracketed)


def remarks(results: dict[str, Any]) -> list[str]:
    """What the table does not say, in sentences."""
    lines = [f"{results['triplets']} triplets; means with bootstrap 95 % intervals."]
    if results["partial"]:
        lines.insert(0, f"PARTIAL: only {results['triplets']} triplets; not the benchmark's figures.")
    if style := results.get("style_is_heard"):
        right, other = (style[f"mfcc_distance_{which}_library"]["mean"] for which in ("right", "other"))
        lines.append(
            f"Style is heard: MFCC distance {right:.0f} with a clip of the right library, {other:.0f} with "
            f"the same instrument of another ({_ratio(style['ratio'])} times)."
        )
    if seams := results.get("seams"):
        lines.append(
            f"Seams: LSD where windows join over elsewhere {_ratio(seams['elsewhere'])}; over the same moments within "
            f"one window {_ratio(seams['unjoined'])}."
        )
    if speed := results.get("speed"):
        lines.append(
            f"Speed: real-time factor {speed['real_time_factor']:.2f} on two threads; a 5-s file in "
            f"{speed['five_second_file_s']:.1f} s from the start of the process."
        )
    return lines + [f"Left out: {name}: {why}." for name, why in results["left_out"].items()]


def _ratio(summary: dict[str, float]) -> str:
    return f"{summary['mean']:.2f} [{summary['low']:.2f}, {summary['high']:.2f}]"
