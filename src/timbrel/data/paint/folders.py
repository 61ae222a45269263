"""The report's own kind of set (section 3.2): folders of pictures and of music, one for each label.

PICTURES/Heavy metal/*.jpg and MUSIC/Heavy metal/*.mp3: a folder is named as its label, in small letters and with
hyphens or underscores as well. A recording gives 30 s from its middle, a shorter one all of itself, repeated. Pictures
split by the picture and music by the recording, 80, 10 and 10 of a hundred. There may be fewer than 18 labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.io import read_audio
from timbrel.data.paint.labels import EXCERPT_S, NAMES
from timbrel.data.paint.store import save_music, save_pictures, split_of
from timbrel.data.recordings import only_recordings
from timbrel.errors import InputError, TimbrelError, warn

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"))
Hear = Callable[[Tensor], Tensor]
"""Music [samples] -> features [moments, width]."""


def read_set(
    out: str | Path,
    pictures: str | Path,
    music: str | Path,
    hear: Hear,
    sample_rate: int,
    *,
    ear: tuple[str, str] = ("musicnn", ""),
    size: int = 128,
) -> None:
    """Writes a set of folders of one's own, for training. What cannot be read is left out with a warning.

    Args:
        out: the folder.
        pictures, music: folders with a folder for each label.
        hear: the audio encoder; `ear` is its kind, and where its weights are.
        sample_rate: of the music that it hears, in Hz.
        size: pixels of the pictures' sides.

    Raises:
        InputError: a folder that is no label's, or none; no picture or no recording.
    """
    seen, heard = (list(label_folders(Path(root))) for root in (pictures, music))
    clips = [clip for number, own in heard for clip in _clips(number, own, hear, sample_rate)]
    if not clips:
        raise InputError(f"{music} holds no recording that can be read; expected some in the labels' folders")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    features, labels, splits = zip(*clips, strict=True)
    save_music(folder, torch.stack(features), labels, splits, ear)
    save_pictures(folder, (picture for number, own in seen for picture in _pictures(number, own, size)))


def label_folders(root: Path) -> Iterator[tuple[int, Path]]:
    """The number of each label that has a folder, and the folder.

    Raises:
        InputError: as `read_set`.
    """
    plain = {_plain(name): number for number, name in enumerate(NAMES)}
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not folders:
        raise InputError(f"{root} holds no folders; expected one for each label: {', '.join(NAMES)}")
    for path in folders:
        if _plain(path.name) not in plain:
            raise InputError(f"{path} is no label's folder; expected one of {', '.join(NAMES)}")
        yield plain[_plain(path.name)], path


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())


def _pictures(number: int, folder: Path, size: int) -> Iterator[tuple[np.ndarray, int, int]]:
    from PIL import Image, UnidentifiedImageError

    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
        except (OSError, UnidentifiedImageError) as error:
            warn(f"{path} is left out: {error}")
            continue
        yield pixels, number, split_of(f"{NAMES[number]}/{path.stem}")


def _clips(number: int, folder: Path, hear: Hear, sample_rate: int) -> Iterator[tuple[Tensor, int, int]]:
    length = round(EXCERPT_S * sample_rate)
    for name in only_recordings(folder, folder.rglob("*")):
        try:
            waveform = read_audio(folder / name, sample_rate=sample_rate, mono=True)[0][0]
        except TimbrelError as error:
            warn(f"{folder / name} is left out: {error}")
            continue
        start = max(0, (len(waveform) - length) // 2)
        whole = np.resize(waveform[start : start + length], length)
        yield hear(torch.from_numpy(whole)).float(), number, split_of(f"{NAMES[number]}/{Path(name).stem}")
