"""Pictures of pictures: a few of each label, and of music from outside the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from timbrel.data.paint.labels import NAMES
from timbrel.experiments.report_004.parts import Run
from timbrel.experiments.run import Result

COLUMNS, SIDE, MARGIN = 4, 128, 14


def draw(run: Run) -> Result:
    """Writes figures/*.png: of each row of pictures a grid, four of each label, and one of the music from outside."""
    folder = run.out / "figures"
    folder.mkdir(exist_ok=True)
    labels = {
        NAMES[label]: range(k * run.budget.clips, (k + 1) * run.budget.clips) for k, label in enumerate(run.labels)
    }
    rows = [path for path in sorted((run.out / "pictures").iterdir()) if path.name not in ("outside", "no music")]
    for row in rows:
        grid({name: [row / f"{k:03d}.png" for k in numbers] for name, numbers in labels.items()}).save(
            folder / f"{row.name}.png"
        )
    outside = sorted((run.out / "pictures" / "outside").iterdir())
    grid({kind.name: sorted(kind.glob("*.png")) for kind in outside}).save(folder / "outside.png")
    return {"grids": [row.name for row in rows]}


def grid(rows: Mapping[str, Sequence[Path]]) -> Image.Image:
    """Two columns of rows, a title over each row of up to four pictures."""
    height, width = SIDE + MARGIN + 4, COLUMNS * (SIDE + 2) + 16
    half = -(-len(rows) // 2)
    whole = Image.new("RGB", (2 * width, half * height), "white")
    pen = ImageDraw.Draw(whole)
    for k, (title, paths) in enumerate(rows.items()):
        left, top = k // half * width, k % half * height
        pen.text((left + 2, top + 1), title, fill="black")
        for column, path in enumerate(paths[:COLUMNS]):
            whole.paste(Image.open(path), (left + column * (SIDE + 2), top + MARGIN))
    return whole
