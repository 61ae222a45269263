"""Results of a run, to read: tables (plain text, Markdown, CSV), and a page of text, tables and figures with sound.

A page is one Jinja2 template, `page.html`, over a list of blocks. Nothing here runs a model.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Column:
    """One measure in a table: its key in the results, its heading, how many decimals it is printed with, and what is
    better: "lower", "higher", or a number that is right."""

    name: str
    heading: str
    decimals: int
    better: str = ""

    def mean(self, row: Mapping[str, Any]) -> str:
        """The mean of a row's summary, or its plain figure; nothing where it has none."""
        figure = row.get(self.name)
        if isinstance(figure, Mapping):
            figure = figure["mean"]
        return "" if figure is None else f"{figure:.{self.decimals}f}"

    def bracketed(self, row: Mapping[str, Any]) -> str:
        """The mean and the ends of its interval: 0.95 [0.94, 0.96]."""
        if not isinstance(summary := row.get(self.name), Mapping):
            return self.mean(row)
        low, high = (f"{summary[end]:.{self.decimals}f}" for end in ("low", "high"))
        return f"{self.mean(row)} [{low}, {high}]"

    def plus_minus(self, row: Mapping[str, Any]) -> str:
        """The mean and half its interval, if that is anything: 0.95 ± 0.01."""
        summary = row.get(self.name)
        half = (summary["high"] - summary["low"]) / 2 if isinstance(summary, Mapping) else 0
        return self.mean(row) + (f" ± {half:.{self.decimals}f}" if half > 1e-9 else "")


@dataclass(frozen=True)
class Table:
    """Cells under headings; the first column names the rows. `notes` say more of a heading."""

    kind: ClassVar[str] = "table"
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Aligned, for a terminal."""
        lines = [self.headings, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def markdown(self) -> str:
        head, *body = ["| " + " | ".join(line) + " |" for line in (self.headings, *self.rows)]
        return "\n".join([head, "|---" * len(self.headings) + "|", *body])

    def csv(self) -> str:
        writer = csv.writer(file := io.StringIO(), lineterminator="\n")
        writer.writerows([self.headings, *self.rows])
        return file.getvalue()


def table(
    first: str,
    rows: Mapping[str, Mapping[str, Any]],
    columns: Sequence[Column],
    cell: Callable[[Column, Mapping[str, Any]], str] = Column.mean,
) -> Table:
    """The figures of rows by their names: a line for each row, and the columns that some row has a figure for.

    Args:
        first: the heading over the names.
        cell: how a figure is printed.
    """
    columns = [column for column in columns if any(column.name in row for row in rows.values())]
    lines = [[name, *(cell(column, row) for column in columns)] for name, row in rows.items()]
    notes = {column.heading: f"better: {column.better}" for column in columns if column.better}
    return Table([first, *(column.heading for column in columns)], lines, notes)


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph, of one line or more."""

    kind: ClassVar[str] = "text"
    lines: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """A picture and titled sounds, by their addresses: files beside the page, or `data:` of their own."""

    kind: ClassVar[str] = "figure"
    title: str
    picture: str
    sounds: Mapping[str, str] = field(default_factory=dict)


Block = Heading | Text | Table | Figure


def html(title: str, blocks: Sequence[Block]) -> str:
    """One file; all text in it is escaped."""
    return _template().render(title=title, blocks=blocks)


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


def data_url(content: bytes, kind: str) -> str:
    """An address that holds the content itself; `kind` is "image/png" or "audio/ogg"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def spectrograms(title: str, clips: Mapping[str, NDArray]) -> Figure:
    """Mel spectrograms, one under the other, and the sound of named clips [channels, samples] at 44,100 Hz, in one
    self-contained figure."""
    sounds = {name: data_url(_ogg(clip), "audio/ogg") for name, clip in clips.items()}
    return Figure(title, data_url(_drawn(clips), "image/png"), sounds)


def _drawn(clips: Mapping[str, NDArray]) -> bytes:
    import torch

    from timbrel.audio.mel import MelConfig, mel_spectrogram
    from timbrel.audio.plot import mel_figure

    config = MelConfig()
    mono = {name: torch.from_numpy(np.asarray(clip, np.float32).mean(0)) for name, clip in clips.items()}
    panels = [(name, mel_spectrogram(x[None, None], config)[0, 0]) for name, x in mono.items()]
    return png(mel_figure(panels, config, size=(6.4, 1.8), dpi=72), colours=48)


Grid = Sequence[Sequence[tuple[str, NDArray]]]
"""Titled mels [n_mels, frames] in dB, in rows."""


def mel_grid(grid: Grid, floor_db: float) -> Any:
    """A figure of matplotlib with small mels, without axes."""
    from matplotlib.figure import Figure as Drawing

    columns = max(map(len, grid))
    drawing = Drawing(figsize=(1.9 * columns, 2.1 * len(grid)), dpi=90, layout="constrained")
    axes = drawing.subplots(len(grid), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, row in zip(axes, grid, strict=True):
        for axis, (title, mel) in zip(line, row, strict=False):
            axis.imshow(mel, origin="lower", aspect="auto", cmap="magma", vmin=floor_db, vmax=0)
            axis.set_title(title, fontsize=8)
    return drawing


def png(drawing: Any, *, colours: int = 64) -> bytes:
    """A matplotlib figure as a small PNG, of so many colours."""
    from PIL import Image

    drawing.savefig(large := io.BytesIO(), format="png")
    Image.open(large).convert("RGB").quantize(colours).save(file := io.BytesIO(), format="png", optimize=True)
    return file.getvalue()


def _ogg(clip: NDArray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(clip.mean(0), -1, 1), 44100, format="OGG", subtype="VORBIS", compression_level=0.8)
    return file.getvalue()
