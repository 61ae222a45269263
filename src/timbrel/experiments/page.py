"""What the benchmark found, to read: a table of text, and a page with the spectrograms of some triplets."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = {
    "lsd_db": ("LSD dB", 1),
    "mfcc_distance": ("MFCC dist.", 0),
    "detail": ("detail", 2),
    "instrument_accuracy": ("instrument", 2),
    "note_f1": ("note F1", 3),
    "note_f1_ratio": ("ratio", 2),
    "onset_f1": ("onset F1", 3),
    "onset_f1_ratio": ("ratio", 2),
    "chroma": ("chroma", 3),
    "both": ("both at once", 2),
}
"""Key in the results -> heading and decimals."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0 }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #ddd; white-space: nowrap }
div { overflow-x: auto }
figure { display: inline-block; margin: 1rem 1rem 1rem 0; vertical-align: top }
audio { width: 10rem; height: 2rem }
"""


def _cells(row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    cells = []
    for column in columns:
        if value := row.get(column):
            mean, low, high = (f"{value[k]:.{COLUMNS[column][1]}f}" for k in ("mean", "low", "high"))
            cells.append(f"{mean} [{low}, {high}]")
        else:
            cells.append("")
    return cells


def _used(results: dict[str, Any]) -> list[str]:
    return [column for column in COLUMNS if any(column in row for row in results["rows"].values())]


def _remarks(results: dict[str, Any]) -> list[str]:
    """What the table does not say, in sentences."""
    said = [f"{results['triplets']} triplets; means with bootstrap 95 % intervals."]
    if results["partial"]:
        said.insert(0, f"PARTIAL: only {results['triplets']} triplets; not the benchmark's figures.")
    if style := results.get("style_is_heard"):
        right, other = (style[f"mfcc_distance_{which}_library"]["mean"] for which in ("right", "other"))
        low, high = style["ratio"]["low"], style["ratio"]["high"]
        said.append(
            f"Style is heard: MFCC distance {right:.0f} with a clip of the right library, {other:.0f} with "
            f"the same instrument of another ({style['ratio']['mean']:.2f} times [{low:.2f}, {high:.2f}])."
        )
    if seams := results.get("seams"):
        ratios = [f"{s['mean']:.2f} [{s['low']:.2f}, {s['high']:.2f}]" for s in seams.values()]
        said.append(
            f"Seams: LSD where windows join over elsewhere {ratios[0]}; over the same moments within one window "
            f"{ratios[1]}."
        )
    if speed := results.get("speed"):
        said.append(
            f"Speed: real-time factor {speed['real_time_factor']:.2f} on two threads; a 5-s file in "
            f"{speed['five_second_file_s']:.1f} s from the start of the process."
        )
    return said + [f"Left out: {name}: {why}." for name, why in results["left_out"].items()]


def table(results: dict[str, Any]) -> str:
    """The rows of the results as text, and what is to be said about them."""
    columns = _used(results)
    lines = [["", *(COLUMNS[c][0] for c in columns)]]
    lines += [[row["title"], *_cells(row, columns)] for row in results["rows"].values()]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, "", *_remarks(results)])


def html(results: dict[str, Any], featured: str, figures: Sequence[str]) -> str:
    """One self-contained file: the table, the featured row by direction, and figures as `figure` makes them."""
    columns = _used(results)
    rows = [(row["title"], _cells(row, columns)) for row in results["rows"].values()]
    row = results["rows"][featured]
    plain = [c for c in columns if not c.endswith("_ratio")]
    directions = [
        (name, [f"{means[c]:.{COLUMNS[c][1]}f}" if c in means else "" for c in plain])
        for name, means in row["directions"].items()
    ]
    body = f"""<p>{"<br>".join(escape(remark) for remark in _remarks(results))}</p>
{html_table([COLUMNS[c][0] for c in columns], rows)}
<h2>{escape(row["title"])}, by direction</h2>
{html_table([COLUMNS[c][0] for c in plain], directions)}
<h2>Some triplets</h2>
{"".join(figures)}"""
    return document("Benchmark", body)


def document(title: str, body: str) -> str:
    """One self-contained file around a body of HTML."""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>timbrel: {escape(title.lower())}</title>
<style>{_STYLE}</style>
<h1>{escape(title)}</h1>
{body}
</html>
"""


def html_table(headings: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> str:
    """Rows of a title and cells, under headings for the cells, as HTML."""
    head = "".join(f"<th>{escape(heading)}" for heading in headings)
    body = "\n".join(
        f"<tr><td>{escape(title)}" + "".join(f"<td>{escape(cell)}" for cell in cells) for title, cells in rows
    )
    return f"<div><table><tr><th>{head}\n{body}\n</table></div>"


def figure(title: str, clips: dict[str, NDArray]) -> str:
    """Spectrograms, one under the other, and sound of named clips [channels, samples] at 44,100 Hz, as HTML."""
    players = "".join(
        f'{name} <audio controls preload="none" src="data:audio/ogg;base64,{_ogg(clip)}"></audio> '
        for name, clip in clips.items()
    )
    title = escape(title)
    return f"""<figure><figcaption>{title}</figcaption>
<img alt="mel spectrograms of {title}" src="data:image/png;base64,{_spectrograms(clips)}"><br>{players}</figure>
"""


def _spectrograms(clips: dict[str, NDArray]) -> str:
    """Mel spectrograms, one under the other."""
    import torch
    from matplotlib.figure import Figure

    from timbrel.audio.mel import MelConfig, band_centres_hz, mel_spectrogram

    config = MelConfig()
    drawing = Figure(figsize=(6.4, 1.8 * len(clips)), dpi=72, layout="constrained")
    axes = drawing.subplots(len(clips), sharex=True)
    hz = band_centres_hz(config).numpy()
    ticks = np.array([200, 1000, 4000, 16000])
    for axis, (name, clip) in zip(axes, clips.items(), strict=True):
        mono = torch.from_numpy(np.ascontiguousarray(clip, np.float32)).mean(0)
        mel = mel_spectrogram(mono[None, None], config)[0, 0].numpy()
        seconds = clip.shape[-1] / config.sample_rate
        axis.imshow(
            mel,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=mel.max() - 80,
            extent=(0, seconds, 0, len(hz)),
        )
        axis.set_yticks(np.interp(ticks, hz, np.arange(len(hz))), [f"{t / 1000:g}" for t in ticks])
        axis.set_ylabel(f"{name}, kHz")
    axes[-1].set_xlabel("s")
    return base64.b64encode(png(drawing, colours=48)).decode()


def png(drawing: Any, *, colours: int = 64) -> bytes:
    """A matplotlib figure as a small PNG, of so many colours."""
    from PIL import Image

    drawing.savefig(drawn := io.BytesIO(), format="png")
    Image.open(drawn).convert("RGB").quantize(colours).save(file := io.BytesIO(), format="png", optimize=True)
    return file.getvalue()


def _ogg(clip: NDArray) -> str:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(clip.mean(0), -1, 1), 44100, format="OGG", subtype="VORBIS", compression_level=0.8)
    return base64.b64encode(file.getvalue()).decode()
