"""The report's figures, drawn from real sounds and trained models, and their sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from timbrel.audio.io import write_audio
from timbrel.audio.level import headroom
from timbrel.experiments.page import Grid, mel_grid, png
from timbrel.experiments.report_002.parts import Mels, Run, drawn, load_generator, made, new_drawer, sound
from timbrel.experiments.report_002.squares import SHAPES, load_drawer
from timbrel.experiments.run import Result
from timbrel.files import write_bytes

SINE = ("sine wave",)
SHOWN = ("piano", "sine wave", "male speech", "dog")  # music, a sine wave, speech, a dog: figure 3.8
VARIED = ("cricket", "bell", "car engine", "bird song")  # figure 4.1 has a frog and a bell


def draw(run: Run) -> Result:
    """Writes figures/*.png and audio/*.flac.

    Returns:
        "sounds": for each figure, titles -> files.
    """
    for folder in ("figures", "audio"):
        (run.out / folder).mkdir(exist_ok=True)
    _figure_4_2(run)
    shown = _present(run, SHOWN)
    grids = {
        "figure-3.4": _figure_3_4(run),
        "figure-3.7": _figure_3_7(run),
        "figure-3.8": [_titled(made(run, load_generator(run), shown), shown)],
        "figure-4.1": [_titled(run.real("train"), _present(run, VARIED))],
    }
    return {"sounds": {name: _mels(run, name, grid) for name, grid in grids.items()}}


def _present(run: Run, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted classes that there are; others in place of those that are missing."""
    present = [label for label in wanted if label in run.labels]
    others = [label for label in run.labels if label not in present]
    return [*present, *others][: len(wanted)]


def _titled(mels: Mels, labels: Sequence[str]) -> list[tuple[str, NDArray]]:
    return [(label, mels[label][0]) for label in labels]


@torch.inference_mode()
def _figure_3_4(run: Run) -> Grid:
    """A sound, its latents, and what the codec gives back."""
    codec, label = load_generator(run).codec, _present(run, VARIED)[0]
    mel = run.real("validation")[label][0]
    latents = codec.encode(torch.from_numpy(mel)[None, None])
    levels = latents[0].mean(0)
    shown = (levels - levels.max()) / (levels.max() - levels.min()).clamp_min(1e-6) * -run.store.config.floor_db
    back = codec.decode(latents)[0, 0].numpy()
    return [[(label, mel), ("its latents, mean of the channels", shown.numpy()), ("reconstruction", back)]]


def _figure_3_7(run: Run) -> Grid:
    """A sine wave: real, by square and wide pictures, and by ours."""
    [label] = _present(run, SINE)
    drawer = load_drawer(run.model("squares"), new_drawer(run))
    pictures = [
        (f"{shape}, {h} x {w}", drawn(run, drawer, shape, [label])[label][0]) for shape, (h, w) in SHAPES.items()
    ]
    ours = made(run, load_generator(run), [label])[label][0]
    return [[(f"{label}, real", run.real("train")[label][0]), *pictures, ("all bands as one vector", ours)]]


def _figure_4_2(run: Run) -> None:
    """Fréchet distance over checkpoints, and its trend after the first two."""
    lines = [line for line in run.curves("generator") if "validation/fd" in line]
    steps, distances = (np.array([line[key] for line in lines]) for key in ("step", "validation/fd"))
    drawing = Figure(figsize=(5.5, 3.2), dpi=90, layout="constrained")
    axis = drawing.subplots()
    axis.plot(steps, distances, "o")
    if len(steps) > 3:
        axis.plot(steps[2:], np.polyval(np.polyfit(steps[2:], distances[2:], 1), steps[2:]), "--")
    axis.set_xlabel("steps of training")
    axis.set_ylabel("FD, timbrel-sounds")
    axis.set_ylim(bottom=0)
    write_bytes(run.out / "figures" / "figure-4.2.png", png(drawing))


def _mels(run: Run, name: str, grid: Grid) -> dict[str, str]:
    """Draws a grid and writes its sounds."""
    write_bytes(run.out / "figures" / f"{name}.png", png(mel_grid(grid, run.store.config.floor_db)))
    sounds = {}
    for title, mel in (panel for row in grid for panel in row):
        if mel.shape[0] != run.store.config.n_mels:  # latents
            continue
        file = f"{name}-{title}.flac".replace(" ", "-").replace(",", "")
        waveform = sound(run, mel)
        waveform *= np.float32(headroom(float(np.abs(waveform).max())))
        write_audio(run.out / "audio" / file, waveform[None], run.store.config.sample_rate, overwrite=True)
        sounds[title] = f"audio/{file}"
    return sounds
