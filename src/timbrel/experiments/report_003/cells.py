"""The tables' contents: two directions, a cell for each pair of forward steps and start, and rows to compare with."""

from __future__ import annotations

from timbrel.pipelines.cross import START, STEPS

DIRECTIONS = {"guitar-to-violin": "5.1", "violin-to-guitar": "5.2"}
"""Direction -> the number of its table in the report."""
ROWS = {
    "unchanged": "the source unchanged",
    "answer": "the true answers",
    "misdealt": "the true answers, each to another source",
    "codec": "the true answers through the codec",
    "main": "the main method, by name",
    "equalised": "the source equalised first, 300 forward steps, start 20",
    "shipped": f"the source equalised first, matched, start {START}: as `timbrel transfer` has it",
}
"""Rows whose quality is known, or that stand beside the cells for comparison -> title."""


def cell_name(forward: int, start: int) -> str:
    """The name of a cell among the rows."""
    return f"{forward:03d}-{start:02d}"


def cell_of(name: str) -> tuple[int, int]:
    """Forward steps and start of a cell's name."""
    forward, start = name.split("-")
    return int(forward), int(start)


def matched(forward: int, start: int) -> bool:
    """Whether the source is noised as far as the start expects, of the report's 500 steps."""
    return forward * STEPS == 500 * (STEPS - start)
