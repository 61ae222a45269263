"""The report's figures, drawn from the trained models, and their sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from timbrel.audio.io import write_audio
from timbrel.experiments.page import mel_grid, png
from timbrel.experiments.report_001 import budget
from timbrel.experiments.report_001.clips import MEL, generated, mels, noise, sound, transferred
from timbrel.experiments.report_001.parts import Run, load, rebuilt
from timbrel.experiments.run import Result
from timbrel.files import write_bytes

Grid = list[list[tuple[str, Tensor]]]
"""Titled mels [1, 128, 128] in dB, in rows."""
LOSSES = {"codec": ("loss", "mse", "perceptual", "kl"), "transfer": ("diffusion", "mse", "perceptual", "style")}
"""Of figure 2: training run -> terms."""


def draw(run: Run) -> Result:
    """Writes figures/*.png and audio/*.flac.

    Returns:
        "sounds": for each figure, titles -> files; "validation": what stage 2's log says of held-out recordings.
    """
    for folder in ("figures", "audio"):
        (run.out / folder).mkdir(exist_ok=True)
    grid, recordings = _figure_1(run)
    sounds = {"figure-1": _mels(run, "figure-1", grid, recordings)}
    _figure_2(run)
    grids, recordings = _figures_3_to_6(run)
    sounds |= {name: _mels(run, name, grid, recordings) for name, grid in grids.items()}
    return {"sounds": sounds, "validation": [line for line in run.curves("transfer") if "validation/loss" in line]}


def _figure_1(run: Run) -> tuple[Grid, dict[str, Any]]:
    """Clips, and what the codecs give back; the recordings of the clips by title."""
    answers = mels(run.clips, "answer")[: budget.SHOWN]
    decoded, small = (rebuilt(run, name, answers)[1] for name in ("codec", "codec-8x8"))
    names = [f"{clip.target} {k + 1}" for k, clip in enumerate(run.clips[: budget.SHOWN])]
    rows = {"input": answers, "reconstruction": decoded, "from [32, 8, 8]": small}
    grid = [[(f"{name}: {row}", mel) for name, mel in zip(names, mels, strict=True)] for row, mels in rows.items()]
    return grid, {title: clip.answer for (title, _), clip in zip(grid[0], run.clips, strict=False)}


def _figure_2(run: Run) -> None:
    """Losses of both stages: of training as lines, of validation as dots."""
    drawing = Figure(figsize=(10, 4.5), dpi=90, layout="constrained")
    axes = drawing.subplots(2, 4)
    for row, (part, terms) in zip(axes, LOSSES.items(), strict=True):
        curves = run.curves(part)
        for axis, term in zip(row, terms, strict=True):
            for prefix, mark in (("", "-"), ("validation/", "o")):
                points = [
                    (line["step"], value)
                    for line in curves
                    for key, value in line.items()
                    if key.split("[")[0] == prefix + term
                ]
                axis.plot(*zip(*points, strict=True), mark, markersize=3)
            axis.set_title(f"{part}: {term}", fontsize=9)
            axis.set_ylim(bottom=0)
            axis.tick_params(labelsize=7)
    _save(run, "figure-2", drawing)


def _figures_3_to_6(run: Run) -> tuple[dict[str, Grid], dict[str, Any]]:
    """Grids of the first clip; and by title the recordings of those mels that have one."""
    model, clip = load(run, "transfer"), run.clips[0]
    content, style, answer = (mels(run.clips, kind)[:1] for kind in ("content", "style", "answer"))
    with torch.inference_mode():
        latents, chance = model.codec.encode(content), noise(model, 1)
        last = round(model.full_start * model.schedule.num_train_timesteps) - 1
        noised = model.decode(model.schedule.add_noise(latents, chance, last))
        noisiest = model.decode(chance)
    transfers = {steps: transferred(model, content, style, steps) for steps in budget.DDIM_STEPS}
    generations = {steps: generated(model, style, steps) for steps in budget.DDIM_STEPS}
    inputs = [(f"content, {clip.source}", content), (f"style, {clip.target}", style)]
    noisy, random = (f"content at -8 dB (t = {last})", noised), ("noise", noisiest)
    recordings = {inputs[0][0]: clip.content, inputs[1][0]: clip.style, "answer": clip.answer}

    def by_steps(mels: dict[int, Tensor]) -> list[tuple[str, Tensor]]:
        return [(f"{steps} step{'s' if steps > 1 else ''}", mel) for steps, mel in mels.items()]

    figures: dict[str, Grid] = {
        "figure-3": [[*inputs, ("one prediction", transfers[1]), noisy]],
        "figure-4": [[random, inputs[1], ("one prediction", generations[1])]],
        "figure-5": [inputs[1:], by_steps(generations)],
        "figure-6": [[*inputs, noisy, ("answer", answer)], by_steps(transfers)],
    }
    return {name: [[(t, m[0]) for t, m in row] for row in rows] for name, rows in figures.items()}, recordings


def _mels(run: Run, name: str, grid: Grid, recordings: Mapping[str, Any]) -> dict[str, str]:
    """Draws a grid and writes its sounds: the recording of a title in `recordings`, the inverted mel of another."""
    sounds = {}
    for title, mel in (panel for row in grid for panel in row):
        file = f"{name}-{title}.flac".replace(" ", "-").translate(str.maketrans("", "", ":,[]()="))
        waveform = recordings[title] if title in recordings else sound(mel)
        write_audio(run.out / "audio" / file, waveform[None], MEL.sample_rate, overwrite=True)
        sounds[title] = f"audio/{file}"
    arrays = [[(title, mel[0].numpy()) for title, mel in row] for row in grid]
    _save(run, name, mel_grid(arrays, MEL.floor_db))
    return sounds


def _save(run: Run, name: str, drawing: Figure) -> None:
    write_bytes(run.out / "figures" / f"{name}.png", png(drawing))
