"""What several stages need of data and of the models that they start from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig
from timbrel.data.datasets import Windows
from timbrel.data.render import LIBRARIES
from timbrel.data.store import Entry, MelStore, dequantise
from timbrel.errors import InputError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.systems.base import ScheduleConfig, StyleTransfer
from timbrel.training.recipes import GenerateRecipe, PictureRecipe, Recipe, ReportTransferRecipe, SingleRecipe


def split_windows(store: MelStore, frames: int, style_frames: int | None = None) -> tuple[Windows, Windows]:
    """Windows of training and of validation; `style_frames` are `frames` by default.

    Raises:
        InputError: as `Windows`.
    """
    train, validation = (Windows(store, split, frames, style_frames or frames) for split in ("train", "validation"))
    return train, validation


MOMENT_WINDOWS = 512  # of training data, for `latent_moments`


@torch.no_grad()
def latent_moments(codec: MelAutoencoder, mel: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel and band of the latents of mels [batch, 1, n_mels, frames], each
    [c, h, 1]."""
    latents = codec.encode(mel)
    return latents.mean(dim=(0, 3))[..., None], latents.std(dim=(0, 3))[..., None].clamp_min(0.02)


def schedule_of(recipe: ReportTransferRecipe | SingleRecipe | GenerateRecipe | PictureRecipe) -> ScheduleConfig:
    """A recipe's schedule; with "epsilon" it stops just short of pure noise, where the noise says nothing."""
    return ScheduleConfig(
        kind=recipe.schedule,
        num_train_timesteps=recipe.num_train_timesteps,
        prediction_type=recipe.prediction_type,
        zero_terminal_snr=recipe.prediction_type != "epsilon",
    )


def side_by_side(floor_db: float, *mels: Tensor) -> Tensor:
    """The first of each batch of mels in dB [batch, 1, n_mels, frames], as one picture [height, width] in [0, 1]."""
    return (1 - torch.cat([mel[0, 0] for mel in mels], dim=-1).flip(0) / floor_db).clamp(0, 1).cpu()


def check_mel(mel: MelConfig, store: MelStore) -> None:
    """Raises InputError where a codec's `mel` is another than the store's."""
    if mel != store.config:
        raise InputError(
            f"the codec works on {mel}, but {store.folder} holds {store.config}; prepare the data with the "
            "codec's settings, or train a codec on this data"
        )


def check_recipe(recipe: Recipe, model: dict[str, Any], init_from: str | Path) -> None:
    """Raises InputError where a recipe has other sizes than the model that it goes on from.

    Args:
        model: the model's settings by the names of the recipe's fields; "kind" is its schedule.
    """
    model = model | {"schedule": model.get("kind")}
    fields = dataclasses.asdict(recipe)
    if other := [name for name, value in model.items() if name in fields and fields[name] != value]:
        listed = ", ".join(f"{name} {model[name]} (the recipe: {fields[name]})" for name in other)
        raise InputError(f"{init_from} has {listed}; give the model's values, or train from nothing")


def named_instruments(model: StyleTransfer, windows: Windows, clips: int = 2) -> dict[str, Tensor]:
    """Style tokens [n, width] of each label of the windows, from its `clips` most typical clips: a name and a clip take
    one path."""
    device = next(model.denoiser.parameters()).device
    tokens = {}
    for label in sorted({e.label for e in windows.targets if e.library != "virtual"}):
        levels = typical(windows, windows.voices[label, _best_library(windows, label)], clips)
        mels = (dequantise(clip, model.mel.floor_db)[None, None].to(device) for clip in levels)
        tokens[label] = torch.cat([model.style_tokens(mel) for mel in mels])
    return tokens


def _best_library(windows: Windows, label: str) -> str | None:
    """Recordings or recorded notes, those with most recordings, before the first soundfont in `LIBRARIES`."""
    order = list(LIBRARIES)
    libraries = [e.library for e in windows.targets if e.label == label]
    return min(
        sorted(set(libraries), key=str),
        key=lambda name: (order.index(name) if name in order else -1, -libraries.count(name)),
    )


def typical(windows: Windows, entries: list[Entry], clips: int) -> list[np.ndarray]:
    """The middles [style_frames, n_mels] of recordings whose mean mels are nearest to the mean of all."""
    middles = [(entry.frames - windows.style_frames) // 2 for entry in entries]
    levels = [windows.window(e, m, windows.style_frames) for e, m in zip(entries, middles, strict=True)]
    means = np.stack([clip.mean(axis=0) for clip in levels])
    distances = np.square(means - means.mean(axis=0)).mean(axis=1)
    return [levels[i] for i in distances.argsort(kind="stable")[:clips]]
