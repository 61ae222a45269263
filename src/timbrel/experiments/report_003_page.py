"""What `report_003` found, to read: tables as text and CSV, heat maps, a page."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from timbrel.experiments import page
from timbrel.pipelines.cross import START, STEPS

DIRECTIONS = {"guitar-to-violin": "5.1", "violin-to-guitar": "5.2"}
"""Of what table each is."""
ROWS = {
    "unchanged": "the source unchanged",
    "answer": "the true answers",
    "misdealt": "the true answers, each to another source",
    "codec": "the true answers through the codec",
    "main": "the main method, by name",
    "equalised": "the source equalised first, 300 forward steps, start 20",
    "shipped": f"the source equalised first, matched, start {START}: the default",
}
"""Rows whose quality is known, or that stand beside the cells for comparison -> title."""
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


def cell_name(forward: int, start: int) -> str:
    """What a cell is called among the rows."""
    return f"{forward:03d}-{start:02d}"


def cell_of(name: str) -> tuple[int, int]:
    """Forward steps and start of a cell's name."""
    forward, start = name.split("-")
    return int(forward), int(start)


def matched(forward: int, start: int) -> bool:
    """Whether the source is noised as far as the start expects, of the report's 500 steps."""
    return forward * STEPS == 500 * (STEPS - start)


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
    said = [
        f"{clips} clips of 5 s a row, against {clips} true ones of other scores; notes in the first {counted}. FAD and "
        f"KAD by {encoder}, ± the standard error; the others ± half the 95 % interval."
    ]
    if results["partial"]:
        said.insert(0, "PARTIAL: a quick look, not the tables' figures.")
    said += [f"FAD: {results['warning']}."] if "warning" in results else []
    return said + [f"Left out: {name}: {why}." for name, why in results["left_out"].items()]


def tables(results: dict[str, Any]) -> str:
    """All figures as text: for each direction the rows whose quality is known, and a grid a measure."""
    lines = [*_remarks(results)]
    for name, direction in results["directions"].items():
        used = _used(direction)
        lines += ["", f"### {name.replace('-', ' ')} (table {DIRECTIONS[name]})", ""]
        lines += _markdown("", [MEASURES[key] for key in used], _row_cells(direction, ROWS, used))
        for key in used:
            grid = [
                (str(forward), [_text(direction[cell_name(forward, k)][key]) for k in results["starts"]])
                for forward in results["forward_steps"]
            ]
            lines += ["", *_markdown(MEASURES[key], [f"start {k}" for k in results["starts"]], grid)]
    lines += ["", "### speed and memory", ""]
    return "\n".join([*lines, *_markdown("", _SPEED_HEADINGS, _speed_cells(results["speed"]))])


_SPEED_HEADINGS = ["s for 1 s of music", "CPU s for it", "shortest file, s", "memory, MB", "parameters", "threads"]


def _speed_cells(speed: dict[str, Any]) -> list[tuple[str, list[str]]]:
    decimals = {"seconds_a_second": 3, "cpu_seconds_a_second": 3, "shortest_file_s": 1, "peak_mb": 0}
    rows = {way: taken for way, taken in speed.items() if way != "seconds"}
    cells = {way: [f"{taken[key]:.{n}f}" for key, n in decimals.items()] for way, taken in rows.items()}
    return [(way, [*cells[way], f"{taken['parameters']:,}", str(taken["threads"])]) for way, taken in rows.items()]


def _row_cells(direction: dict[str, Any], titles: dict[str, str], used: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [(title, [_text(direction[name][key]) for key in used]) for name, title in titles.items()]


def _markdown(corner: str, headings: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> list[str]:
    lines = ["| " + " | ".join([corner, *headings]) + " |", "|---" * (1 + len(headings)) + "|"]
    return lines + ["| " + " | ".join([title, *cells]) + " |" for title, cells in rows]


def shown(results: dict[str, Any]) -> dict[str, str]:
    """Rows that the page plays -> title: of the cells those that are matched, and not nearly the source or nothing."""
    cells = [(f, k) for k in results["starts"] for f in results["forward_steps"] if matched(f, k) and 0 < k < 40]
    middle = {cell_name(f, k): f"start {k}" for f, k in cells}
    return {"unchanged": "source"} | middle | {"shipped": "equalised", "main": "main method", "answer": "answer"}


def html(results: dict[str, Any], maps: Mapping[str, bytes], figures: Mapping[str, Sequence[str]]) -> str:
    """One self-contained file: for each direction its heat maps (PNG), known rows, and figures as `page.figure` makes
    them."""
    parts = [f"<p>{'<br>'.join(escape(remark) for remark in _remarks(results))}</p>"]
    for name, direction in results["directions"].items():
        title, used = name.replace("-", " "), _used(direction)
        picture = base64.b64encode(maps[name]).decode()
        parts.append(f'<h2>{title}</h2><img alt="heat maps, {title}" src="data:image/png;base64,{picture}">')
        parts.append(page.html_table([MEASURES[key] for key in used], _row_cells(direction, ROWS, used)))
        parts += figures[name]
    parts += ["<h2>Speed and memory</h2>", page.html_table(_SPEED_HEADINGS, _speed_cells(results["speed"]))]
    return page.document("Report 003", "\n".join(parts))


def csv_text(direction: dict[str, Any]) -> str:
    """A line for each row and cell; errors are standard errors, low and high the ends of 95 % intervals."""
    file = io.StringIO()
    means = [key for key in _used(direction) if key not in ("fad", "kad")]
    head = ["row", "forward_steps", "start", "clips"]
    head += [f"{key}{end}" for key in ("fad", "kad") for end in ("", "_error", "_plain")]
    head += [f"{key}{end}" for key in means for end in ("", "_low", "_high", "_clips")]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for name, row in direction.items():
        steps = ("", "") if name in ROWS else cell_of(name)
        line = [name if name in ROWS else "cross", *steps, row["instrument"]["clips"]]
        line += [f"{row[key][part]:.5g}" for key in ("fad", "kad") for part in ("value", "standard_error", "plain")]
        for key in means:
            line += [*(f"{row[key][part]:.4f}" for part in ("mean", "low", "high")), row[key]["clips"]]
        writer.writerow(line)
    return file.getvalue()


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
        told = [f"{word}: {_text(direction[row][key])}" for row, word in KNOWN.items()]
        axis.set_xlabel("start\n" + "\n".join(told))
    figure.axes[0].set_ylabel("forward steps")
    return page.png(figure)
