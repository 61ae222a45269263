"""What the run of report 003 measured, to read: tables as text and CSV, heat maps, a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from timbrel.experiments import page
from timbrel.experiments.page import Block, Figure, Heading, Table, Text
from timbrel.experiments.report_003.cells import DIRECTIONS, ROWS, cell_name, cell_of, matched

MEASURES = {
    "fad": "FAD",
    "kad": "KAD",
    "instrument": "instrument",
    "note_f1_ratio": "note F1, ratio",
    "both": "both at once",
}
"""Key in a row of the results -> heading."""
HEAT = {"fad": "viridis_r", "kad": "viridis_r", "instrument": "viridis", "note_f1_ratio": "viridis"}
"""Measures that are drawn, bright where they are good."""
KNOWN = {
    "unchanged": "source unchanged",
    "answer": "true answers",
    "misdealt": "true answers, misdealt",
    "shipped": "source equalised",
    "main": "main method",
}
"""Rows that are named below the maps."""


def _value(figure: dict[str, Any]) -> tuple[float, float]:
    """A mean, or a distance, and its error: a standard error, or half the 95 % interval."""
    if "standard_error" in figure:
        return figure["value"], figure["standard_error"]
    return figure["mean"], (figure["high"] - figure["low"]) / 2


def _used(direction: dict[str, Any]) -> list[str]:
    return [key for key in MEASURES if key in direction["answer"]]


def _text(figure: dict[str, Any], *, with_error: bool = True) -> str:
    """To two decimals, or for a distance, whose scale is the encoder's, to two digits of its error."""
    value, error = _value(figure)
    decimals = 2 if "mean" in figure else max(0, 1 - math.floor(math.log10(max(error, 1e-4))))
    return f"{value:.{decimals}f}" + (f" ± {error:.{decimals}f}" if with_error else "")


def _remarks(results: dict[str, Any]) -> list[str]:
    clips, encoder = results["settings"]["clips"], results["settings"]["encoder"]
    counted = next(iter(results["directions"].values()))["answer"].get("both", {"clips": 0})["clips"]
    lines = [
        f"{clips} clips of 5 s a row, against {clips} true ones of other scores; notes in the first {counted}. FAD and "
        f"KAD by {encoder}, ± the standard error; the others ± half the 95 % interval."
    ]
    if results["partial"]:
        lines.insert(0, "PARTIAL: a quick look, not the tables' figures.")
    lines += [f"FAD: {results['warning']}."] if "warning" in results else []
    return lines + [f"Left out: {name}: {why}." for name, why in results["left_out"].items()]


def text(results: dict[str, Any]) -> str:
    """All figures as Markdown: for each direction the rows whose quality is known, and a grid a measure."""
    parts = ["\n".join(_remarks(results))]
    for name, direction in results["directions"].items():
        parts.append(f"### {name.replace('-', ' ')} (table {DIRECTIONS[name]})")
        parts += [known_rows(direction).markdown(), *(_grid(results, direction, key) for key in _used(direction))]
    return "\n\n".join([*parts, "### speed and memory", speed_table(results["speed"]).markdown()])


def known_rows(direction: dict[str, Any]) -> Table:
    """The rows whose quality is known, with errors."""
    measures = _used(direction)
    rows = [[title, *(_text(direction[name][key]) for key in measures)] for name, title in ROWS.items()]
    return Table(["", *(MEASURES[key] for key in measures)], rows)


def _grid(results: dict[str, Any], direction: dict[str, Any], key: str) -> str:
    """One measure, forward steps down and starts across."""
    rows = [
        [str(forward), *(_text(direction[cell_name(forward, k)][key]) for k in results["starts"])]
        for forward in results["forward_steps"]
    ]
    return Table([MEASURES[key], *(f"start {k}" for k in results["starts"])], rows).markdown()


SPEED = {
    "seconds_a_second": ("s for 1 s of music", ".3f"),
    "cpu_seconds_a_second": ("CPU s for it", ".3f"),
    "shortest_file_s": ("shortest file, s", ".1f"),
    "peak_mb": ("memory, MB", ".0f"),
    "parameters": ("parameters", ","),
    "threads": ("threads", ""),
}
"""Key in the results -> heading and format."""


def speed_table(speed: dict[str, Any]) -> Table:
    ways = {way: taken for way, taken in speed.items() if way != "seconds"}
    rows = [[way, *(format(taken[key], how) for key, (_, how) in SPEED.items())] for way, taken in ways.items()]
    return Table(["", *(heading for heading, _ in SPEED.values())], rows)


def shown(results: dict[str, Any]) -> dict[str, str]:
    """Rows that the page plays -> title: of the cells those that are matched, and not nearly the source or nothing."""
    cells = [(f, k) for k in results["starts"] for f in results["forward_steps"] if matched(f, k) and 0 < k < 40]
    middle = {cell_name(f, k): f"start {k}" for f, k in cells}
    return {"unchanged": "source"} | middle | {"shipped": "equalised", "main": "main method", "answer": "answer"}


def html(results: dict[str, Any], maps: Mapping[str, bytes], figures: Mapping[str, Sequence[Figure]]) -> str:
    """One self-contained file: for each direction its heat maps (PNG), known rows, and figures."""
    blocks: list[Block] = [Text(_remarks(results))]
    for name, direction in results["directions"].items():
        title = name.replace("-", " ")
        heat_map = Figure(f"heat maps, {title}", page.data_url(maps[name], "image/png"))
        blocks += [Heading(title), heat_map, known_rows(direction), *figures[name]]
    return page.html("Report 003", [*blocks, Heading("Speed and memory"), speed_table(results["speed"])])


def csv_text(direction: dict[str, Any]) -> str:
    """A line for each row and cell; errors are standard errors, low and high the ends of 95 % intervals."""
    means = [key for key in _used(direction) if key not in ("fad", "kad")]
    head = ["row", "forward_steps", "start", "clips"]
    head += [f"{key}{end}" for key in ("fad", "kad") for end in ("", "_error", "_plain")]
    head += [f"{key}{end}" for key in means for end in ("", "_low", "_high", "_clips")]
    lines = []
    for name, row in direction.items():
        steps = ("", "") if name in ROWS else cell_of(name)
        line = [name if name in ROWS else "cross", *steps, row["instrument"]["clips"]]
        line += [f"{row[key][part]:.5g}" for key in ("fad", "kad") for part in ("value", "standard_error", "plain")]
        for key in means:
            line += [*(f"{row[key][part]:.4f}" for part in ("mean", "low", "high")), row[key]["clips"]]
        lines.append([str(cell) for cell in line])
    return Table(head, lines).csv()


def heat_maps(name: str, direction: dict[str, Any], rows: Sequence[int], columns: Sequence[int]) -> bytes:
    """One map a measure, as PNG: forward steps down, starts across, what is matched framed, known rows below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    used = [key for key in HEAT if key in direction["answer"]]
    figure = Figure(figsize=(4.1 * len(used), 0.55 * len(rows) + 2.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"cross-diffusion, {name.replace('-', ' ')}; framed: as much noise as the start expects")
    for axis, key in zip(np.atleast_1d(figure.subplots(1, len(used))), used, strict=True):
        grid = np.array([[_value(direction[cell_name(f, k)][key])[0] for k in columns] for f in rows])
        low, high = (0, 1) if key not in ("fad", "kad") else (min(0.0, grid.min()), grid.max())
        image = axis.imshow(grid, aspect="auto", cmap=HEAT[key], vmin=low, vmax=high)
        for (i, j), value in np.ndenumerate(grid):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
            text = _text(direction[cell_name(rows[i], columns[j])][key], with_error=False)
            axis.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
            if matched(rows[i], columns[j]):
                axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="red", linewidth=2))
        axis.set_title(MEASURES[key])
        axis.set_xticks(range(len(columns)), columns)
        axis.set_yticks(range(len(rows)), rows)
        lines = [f"{word}: {_text(direction[row][key])}" for row, word in KNOWN.items()]
        axis.set_xlabel("start\n" + "\n".join(lines))
    figure.axes[0].set_ylabel("forward steps")
    return page.png(figure)
