"""Does a transfer hear the instrument of a clip that is recorded badly?

    python -m tools.measure_clips BENCHMARK OUT.csv TITLE=MODEL [TITLE=MODEL ...] [--per-direction 2] [--workers 2]

BENCHMARK is what `timbrel evaluate build` made. Its scores are played anew, and for each MODEL and each of the
variations that change the clip's recording OUT.csv has, under its TITLE, what `timbrel evaluate beyond` measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from timbrel.experiments.benchmark import beyond
from timbrel.experiments.benchmark.variations import VARIATIONS
from timbrel.experiments.page import Table
from timbrel.files import write_text

CLIPS = ("clean", *(name for name, variation in VARIATIONS.items() if variation.clip))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", metavar="TITLE=MODEL", type=lambda word: word.split("=", 1))
    parser.add_argument("--per-direction", type=int, default=2)
    parser.add_argument("--workers", type=int)
    args = parser.parse_args()
    tables = {}
    for title, model in args.models:
        with TemporaryDirectory() as scratch:
            results = beyond.evaluate(
                args.benchmark,
                scratch,
                model=model,
                per_direction=args.per_direction,
                tables=["variations"],
                variations=CLIPS,
                workers=args.workers,
            )
        tables[title] = beyond.table("variations", results["variations"])
    rows = [[title, *row] for title, one in tables.items() for row in one.rows]
    table = Table(["model", *next(iter(tables.values())).headings], rows)
    write_text(args.out, table.csv())
    print(table.text())


if __name__ == "__main__":
    main()
