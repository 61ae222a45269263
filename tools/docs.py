"""Writes the measured tables into the README, the docs and the model cards: `python -m tools.docs`.

A table stands between <!-- NAME --> and <!-- /NAME --> and is made of a file of figures in the tree: what a run wrote,
copied there. `python -m tools.docs --check` only says which pages are not as their figures, and a test does.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from timbrel.experiments.benchmark import beyond
from timbrel.experiments.benchmark.measures import COLUMNS
from timbrel.experiments.generate.summary import distance_table, row_table, verdict
from timbrel.experiments.page import Column, Table, table
from timbrel.experiments.report_003 import page as report_003_page
from timbrel.experiments.report_003.cells import ROWS, cell_name, cell_of, matched

ROOT = Path(__file__).parents[1]
MODELS = "src/timbrel/pretrained"
Block = Callable[[], str]

BENCHMARK_ROWS = {
    "unchanged": "nothing done",
    "other-piece": "another piece, right instrument",
    "transcribe-timgm6mb": "transcribe, render: timgm6mb",
    "transcribe-freepats": "transcribe, render: freepats (the answer's own library)",
    "score-fluidr3": "true score on fluidr3",
    "score-musescore": "true score on musescore",
    "model-clip": "**the shipped model, by clip**",
    "model-name": "**the shipped model, by name**",
    "mel": "target through mel and back",
    "target": "the true target",
}


def blocks() -> dict[tuple[str, str], Block]:
    """Page and name of each block -> what it says."""
    card, report_001, report_003 = f"{MODELS}/default/README.md", "docs/report-001.md", "docs/report-003.md"
    made: dict[tuple[str, str], Block] = {
        ("README.md", "benchmark"): benchmark,
        (card, "benchmark"): benchmark,
        (card, "directions"): directions,
        (card, "other figures"): other_figures,
        (f"{MODELS}/generate/README.md", "sounds"): sounds,
        (card, "real"): partial(from_csv, "docs/benchmark/real.csv"),
        (card, "intonation"): partial(from_csv, "docs/benchmark/intonation.csv"),
        (card, "registers"): partial(from_csv, "docs/benchmark/registers.csv"),
        ("docs/cross-diffusion.md", "stems"): partial(from_csv, "docs/cross-diffusion/stems.csv"),
        ("docs/benchmark.md", "libraries"): libraries,
        ("docs/cluster.md", "cluster"): partial(from_csv, "docs/cluster/cluster.csv"),
        ("docs/benchmark.md", "clips"): partial(from_csv, "docs/benchmark/clips.csv"),
        ("docs/how-it-works.md", "cost"): partial(from_csv, "docs/how-it-works/cost.csv"),
        ("docs/onnx.md", "onnx"): partial(from_csv, "docs/onnx/onnx.csv"),
        ("docs/reliability.md", "fuzz"): partial(from_csv, "docs/reliability/fuzz.csv"),
        ("docs/reliability.md", "kill"): partial(from_csv, "docs/reliability/kill.csv"),
        (report_003, "speed"): lambda: report_003_page.speed_table(_json("docs/report-003/speed.json")).markdown(),
    }
    for name in ("variations", "sources", "targets"):
        made["docs/benchmark.md", name] = partial(beyond_table, name)
    for name in ("designs", "variations", "longer", "treble", "levels"):
        made["docs/designs.md", name] = partial(from_csv, f"docs/designs/{name}.csv")
    for name in ("findings", "table-2", "codecs", "steps", "bands", "variants"):
        made[report_001, name] = partial(from_csv, f"docs/report-001/{name}.csv")
    for name in ("findings", "table-3.1", "agreement", "codecs"):
        made["docs/report-002.md", name] = partial(from_csv, f"docs/report-002/{name}.csv")
    for name in ("findings", "measures", "labels", "movies", "outside"):
        made["docs/report-004.md", name] = partial(from_csv, f"docs/report-004/{name}.csv")
    made["docs/paint.md", "measures"] = partial(from_csv, "docs/report-004/measures.csv")
    for report in ("002", "004"):
        made[f"docs/report-{report}.md", "budget"] = partial(from_text, f"docs/report-{report}/budget.txt")
    for name in ("guitar-to-violin", "violin-to-guitar"):
        made[report_003, f"{name} cells"] = partial(cells, name)
        made[report_003, f"{name} rows"] = partial(known_rows, name)
    return made


# --- generated sounds


def sounds() -> str:
    """What `timbrel evaluate generate` said of the model that ships."""
    results = _json(f"{MODELS}/generate/evaluation.json")
    tables = row_table(results).markdown(), distance_table(results).markdown()
    return "\n\n".join([*tables, verdict(results)])


# --- the benchmark


def benchmark() -> str:
    """What README and card show of the shipped model's results.json."""
    results = _json(f"{MODELS}/default/benchmark.json")
    rows = {title: results["rows"][name] for name, title in BENCHMARK_ROWS.items()}
    measured = table("", rows, list(_columns()), Column.plus_minus)
    return f"{measured.markdown()}\n\n*{results['triplets']} triplets; means, ± half the bootstrap 95 % interval.*"


def _columns() -> Iterator[Column]:
    """Those of the benchmark; of what has a ratio to the true target's, that alone."""
    headings = {column.name: column.heading for column in COLUMNS}
    for column in COLUMNS:
        name = column.name.removesuffix("_ratio")
        if name != column.name:
            yield replace(column, heading=f"{headings[name]}, ratio")
        elif f"{name}_ratio" not in headings:
            yield column


def directions() -> str:
    """The shipped model by clip, each direction."""
    by_direction = _json(f"{MODELS}/default/benchmark.json")["rows"]["model-clip"]["directions"]
    return table("from, to", {name.replace("-", " "): row for name, row in by_direction.items()}, COLUMNS).markdown()


def other_figures() -> str:
    """Style, seams and speed, those that were measured."""
    results = _json(f"{MODELS}/default/benchmark.json")
    lines = []
    if style := results.get("style_is_heard"):
        right, other = style["mfcc_distance_right_library"], style["mfcc_distance_other_library"]
        lines.append(f"""\
- Style is heard: the MFCC distance with a clip of the right instrument from another library is {_mean(style["ratio"])}
  times that with the right library ({other["mean"]:.0f} against {right["mean"]:.0f}, {right["clips"]} triplets).""")
    if seams := results.get("seams"):
        lines.append(f"""\
- Seams (30-s excerpts): LSD at the joins of windows over that elsewhere {_mean(seams["elsewhere"])}; over that of the
  same frames without a join {_mean(seams["unjoined"])}.""")
    if speed := results.get("speed"):
        lines.append(f"""\
- Speed, 2 CPU cores: real-time factor {speed["real_time_factor"]:.3f} of a 60-s file, start-up apart; a 5-s file in
  {speed["five_second_file_s"]:.1f} s from process start.""")
    return "\n".join(lines)


def _mean(summary: dict[str, float]) -> str:
    return f"{summary['mean']:.2f}"


def beyond_table(name: str) -> str:
    """One table of the shipped model's beyond.json."""
    return beyond.table(name, _json(f"{MODELS}/default/beyond.json")[name]).markdown()


def libraries() -> str:
    """As what the libraries of sounds are heard: a row each, a column for each instrument."""
    _, *rows = _csv("docs/benchmark/libraries.csv")
    instruments = list(dict.fromkeys(instrument for instrument, *_ in rows))
    shares = {}
    for instrument, library, share, _ in rows:
        name = library.removesuffix("*")
        shares[name, instrument] = share + library.removeprefix(name)
    names = list(dict.fromkeys(library for library, _ in shares))
    cells = [[name, *(shares.get((name, instrument), "") for instrument in instruments)] for name in names]
    return Table(["", *instruments], cells).markdown()


# --- report 003


def cells(direction: str) -> str:
    """The report's FAD, ours, and both at once, of each cell."""
    rows, theirs = _direction(direction), _json("docs/report-003/report.json")[direction]
    pairs = [cell_of(name) for name in rows if name not in ROWS]
    steps, starts = (sorted({pair[i] for pair in pairs}) for i in (0, 1))

    def cell(forward: int, start: int) -> str:
        row, report = rows[cell_name(forward, start)], theirs[steps.index(forward)][starts.index(start)]
        text = f"{report:.3f} / {row['fad']['value']:.0f} / {row['both']['mean']:.2f}"
        return f"**{text}**" if matched(forward, start) else text

    lines = [[str(forward), *(cell(forward, start) for start in starts)] for forward in steps]
    return Table(["forward steps", *(f"start {start}" for start in starts)], lines).markdown()


def known_rows(direction: str) -> str:
    return report_003_page.known_rows(_direction(direction)).markdown()


def _direction(name: str) -> dict[str, Any]:
    """The rows of a table that `report_003_page.csv_text` wrote, of as many digits as it has."""
    direction: dict[str, Any] = {}
    head, *lines = _csv(f"docs/report-003/{name}.csv")
    for cells in lines:
        line = dict(zip(head, cells, strict=True))
        row = {
            key: {"value": float(line[key]), "standard_error": float(line[f"{key}_error"])} for key in ("fad", "kad")
        }
        for key in ("instrument", "note_f1_ratio", "both"):
            if key in line:
                row[key] = {"mean": float(line[key])} | {e: float(line[f"{key}_{e}"]) for e in ("low", "high")}
        name = cell_name(int(line["forward_steps"]), int(line["start"])) if line["row"] == "cross" else line["row"]
        direction[name] = row
    return direction


# --- files


def from_csv(path: str) -> str:
    """A table that a run wrote as it is printed."""
    head, *rows = _csv(path)
    return Table(head, rows).markdown()


def from_text(path: str) -> str:
    """A paragraph that a run wrote."""
    return (ROOT / path).read_text(encoding="utf-8").strip()


def _csv(path: str) -> list[list[str]]:
    with (ROOT / path).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _json(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def filled(text: str, name: str, content: str) -> str:
    """A page with what stands between a block's marks replaced.

    Raises:
        ValueError: it has no such marks.
    """
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- /{re.escape(name)} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(
            f"<!-- {name} --> ... <!-- /{name} --> stands {len(pattern.findall(text))} times; expected once"
        )
    return pattern.sub(lambda match: match[1] + content + match[2], text)


def pages() -> dict[str, str]:
    """Each page as it should be."""
    texts: dict[str, str] = {}
    for (page, name), block in blocks().items():
        text = texts.get(page) or (ROOT / page).read_text(encoding="utf-8")
        texts[page] = filled(text, name, block())
    return texts


def main(arguments: Sequence[str]) -> int:
    changed = {page: text for page, text in pages().items() if (ROOT / page).read_text(encoding="utf-8") != text}
    for page, text in changed.items():
        print(page)
        if "--check" not in arguments:
            (ROOT / page).write_text(text, encoding="utf-8")
    return 1 if changed and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
