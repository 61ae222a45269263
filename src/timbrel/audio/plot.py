"""Mel spectrograms as a picture."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from timbrel.audio.mel import MelConfig, band_centres_hz, hz_to_mel
from timbrel.errors import AudioError
from timbrel.files import write_bytes


def draw_mels(
    path: str | os.PathLike[str],
    panels: Sequence[tuple[str, Tensor]],
    config: MelConfig,
    *,
    overwrite: bool = False,
) -> None:
    """Draws a `mel_figure` into a PNG.

    Raises:
        InputError: the file exists and `overwrite` is False.
        AudioError: the file cannot be written.
    """
    png = io.BytesIO()
    mel_figure(panels, config).savefig(png, format="png")
    try:
        write_bytes(path, png.getvalue(), overwrite=overwrite)
    except OSError as error:
        raise AudioError(f"{path} cannot be written: {error.strerror}") from error


def mel_figure(
    panels: Sequence[tuple[str, Tensor]], config: MelConfig, *, size: tuple[float, float] = (10, 2.6), dpi: int = 110
) -> Any:
    """Mels one under the other, with axes in seconds and Hz, as a figure of matplotlib.

    Args:
        panels: a title and a mel [n_mels, frames] in dB.
        config: what the mels were made with.
        size: width and height of a panel, in inches.
    """
    import torch
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longest = max(mel.shape[-1] for _, mel in panels) / config.frame_rate
    figure = Figure(figsize=(size[0], size[1] * len(panels)), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    marks = torch.tensor([hz for hz in (100, 500, 1000, 2000, 4000, 8000, 16000) if hz < config.upper_hz])
    centres = hz_to_mel(band_centres_hz(config).double())
    places = (hz_to_mel(marks.double()) - centres[0]) / (centres[1] - centres[0])
    for axis, (title, mel) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        axis.set_title(title, loc="left", parse_math=False)
        axis.set_ylabel("Hz")
        axis.set_yticks(places.tolist(), [f"{int(hz)}" for hz in marks])
        top = float(mel.max())
        extent = (0, mel.shape[-1] / config.frame_rate, 0, config.n_mels)
        image = axis.imshow(
            mel.numpy(), origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma"
        )
        figure.colorbar(image, ax=axis, label="dB")
        axis.set_xlim(0, longest)
    figure.axes[len(panels) - 1].set_xlabel("seconds")
    return figure
