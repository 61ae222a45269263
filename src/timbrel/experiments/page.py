"""Results of a run, to read: tables (plain text, Markdown, CSV), and a page of text, tables and figures with sound.

A page is one Jinja2 template, `page.html`, over a list of blocks. Nothing here runs a model.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
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
        """The mean of a row's summary, or nothing."""
        return f"{row[self.name]['mean']:.{self.decimals}f}" if row.get(self.name) else ""

    def bracketed(self, row: Mapping[str, Any]) -> str:
        """The mean and the ends of its interval: 0.95 [0.94, 0.96]."""
        if not row.get(self.name):
            return ""
        low, high = (f"{row[self.name][end]:.{self.decimals}f}" for end in ("low", "high"))
        return f"{self.mean(row)} [{low}, {high}]"

    def plus_minus(self, row: Mapping[str, Any]) -> str:
        """The mean and half its interval, if that is anything: 0.95 ± 0.01."""
        if not row.get(self.name):
            return ""
        half = (row[self.name]["high"] - row[self.name]["low"]) / 2
        return f"{self.mean(row)} ± {half:.{self.decimals}f}" if half else self.mean(row)


def used(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns that some row has a figure for."""
    return [column for column in columns if any(column.name in row for row in rows)]


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
    from matplotlib.figure import Figure as Drawing

    from timbrel.audio.mel import MelConfig, band_centres_hz, mel_spectrogram

    config = MelConfig()
    drawing = Drawing(figsize=(6.4, 1.8 * len(clips)), dpi=72, layout="constrained")
    axes = drawing.subplots(len(clips), sharex=True)
    hz = band_centres_hz(config).numpy()
    ticks = np.array([200, 1000, 4000, 16000])
    for axis, (name, clip) in zip(axes, clips.items(), strict=True):
        mono = torch.from_numpy(np.ascontiguousarray(clip, np.float32)).mean(0)
        mel = mel_spectrogram(mono[None, None], config)[0, 0].numpy()
        extent = (0, clip.shape[-1] / config.sample_rate, 0, len(hz))
        axis.imshow(mel, origin="lower", aspect="auto", cmap="magma", vmin=mel.max() - 80, extent=extent)
        axis.set_yticks(np.interp(ticks, hz, np.arange(len(hz))), [f"{t / 1000:g}" for t in ticks])
        axis.set_ylabel(f"{name}, kHz")
    axes[-1].set_xlabel("s")
    return png(drawing, colours=48)


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
