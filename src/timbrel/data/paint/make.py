"""Makes a music-picture set: paintings and procedural pictures, and music as an audio encoder hears it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from timbrel.audio.musicnn import SAMPLE_RATE, moments
from timbrel.data.paint.labels import LABELS, NAMES
from timbrel.data.paint.music import render_label
from timbrel.data.paint.paintings import label_pictures
from timbrel.data.paint.store import ENCODER, save_music, save_pictures, split_of
from timbrel.errors import InputError
from timbrel.files import whole
from timbrel.models.musicnn import Musicnn
from timbrel.parallel import answers


@torch.inference_mode()
def make_set(
    out: str | Path,
    paintings: str | Path | None,
    encoder: Musicnn,
    *,
    works: int = 48,
    procedural: int = 400,
    workers: int | None = None,
) -> None:
    """Writes the set into a folder, which then has all that the training of a picture model needs.

    Args:
        out: the folder.
        paintings: with STYLE/*.jpg for each of `labels.STYLES`; None leaves the labels of paintings out.
        encoder: hears the music; its weights are kept in the folder.
        works: how many pieces of music a label has, 30 s of each.
        procedural: how many pictures a label without paintings has.
        workers: processes.

    Raises:
        InputError: no works, or a style without paintings.
        MissingDependencyError: a synthesiser, a sample library or music21 is not installed.
    """
    if works < 1 or procedural < 1:
        raise InputError(f"works is {works} and procedural {procedural}; expected 1 or more of both")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    save_pictures(folder, label_pictures(paintings, procedural))
    numbers = [number for number, label in enumerate(LABELS) if paintings is not None or not label.real]
    jobs = [(number, work) for work in range(works) for number in numbers]
    labels, splits, features = [], [], []
    for label, work, waveform in answers(_clip, jobs, workers=workers, unit="clip"):
        labels.append(label)
        splits.append(split_of(work))
        features.append(encoder.hidden(moments(waveform)))
    save_music(folder, torch.stack(features), labels, splits)
    with whole(folder / ENCODER) as temporary:
        save_file(encoder.state_dict(), temporary)


def _clip(job: tuple[int, int]) -> tuple[int, str, Tensor]:
    """The number of a label, the name of one of its works, and 30 s of that."""
    number, work = job
    name, waveform = render_label(NAMES[number], work, sample_rate=SAMPLE_RATE)
    return number, name, torch.from_numpy(waveform)
