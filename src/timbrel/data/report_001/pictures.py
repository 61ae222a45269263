"""Report 001's pictures (its section 3.3): grey PNGs of mels, 130 frames wide, 128 bands high, low ones on top.

The pixels are the report's: 255 is the picture's own maximum, 0 is 80 dB below it or less, so that level is lost and
digital silence is white. The maximum itself stands in the PNG's metadata, as the text `peak_db`: with it a picture
has its level again (`read_mel`).
"""

from __future__ import annotations

import io
import json
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform
from timbrel.audio.mel import MelConfig
from timbrel.errors import InputError
from timbrel.files import write_bytes

# The floor is librosa's: a power of 1e-10 of an STFT that is not scaled by its window's sum over 2, here 512.
CONFIG = MelConfig(22050, 2048, 512, 128, norm="slaney", floor_db=-100 - 20 * math.log10(512))
"""The report's mel: what librosa's `melspectrogram` does when nothing but n_mels = 128 is said."""
RANGE_DB = 80.0
SIDE = 128  # a picture is cropped to this width and height when it is read
CHUNK_S = 3
CHUNK = CHUNK_S * CONFIG.sample_rate
USUAL_PEAK_DB = -30.0  # of a picture that does not say it: about that of a piano at -23 dB RMS
MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Picture:
    """One line of the manifest: `file` is its path below the folder, `start_s` its place in the recording `source`."""

    file: str
    label: str
    split: str
    source: str
    start_s: float


# one picture ----------------------------------------------------------------------------------------


def write_picture(path: str | os.PathLike[str], mel: Tensor) -> None:
    """Writes a mel [n_mels, frames], in dB, as a grey PNG (listing 6 of the report), whole or not at all."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    peak_db = float(mel.max())
    levels = ((mel - peak_db + RANGE_DB) * (255 / RANGE_DB)).clamp(0, 255) + 0.5
    info, png = PngInfo(), io.BytesIO()
    info.add_text("peak_db", f"{peak_db:.3f}")
    Image.fromarray(levels.byte().numpy()).save(png, "PNG", pnginfo=info)
    write_bytes(Path(path), png.getvalue())


def read_picture(path: str | os.PathLike[str]) -> Tensor:
    """Reads a picture as listing 8 of the report does: its first 128 frames, scaled to [0, 1].

    Returns:
        Tensor [1, 128, 128], float32; row 0 is the lowest band.

    Raises:
        InputError: it is no PNG that can be read, or not 128 high and at least 128 wide.
    """
    levels, _ = _read(path)
    if levels.shape[1] < SIDE:
        raise InputError(f"{path} is {levels.shape[1]} wide; expected at least {SIDE}, as the report's pictures are")
    return torch.from_numpy(levels[:, :SIDE] / np.float32(255))[None]


def read_mel(path: str | os.PathLike[str]) -> Tensor:
    """Reads a picture with its level: mel [n_mels, frames] in dB, of `CONFIG`, at least 80 dB below its maximum.

    The maximum of a picture that does not say it is taken for -30 dB.

    Raises:
        InputError: as `read_picture`, but for the width.
    """
    levels, peak_db = _read(path)
    return torch.from_numpy(levels / np.float32(255) - 1) * RANGE_DB + peak_db


def invert_picture(path: str | os.PathLike[str], *, seed: int = 0) -> Waveform:
    """Makes sound of a picture: waveform [1, samples] at 22,050 Hz, 3 s of the report's 130 frames.

    Args:
        seed: of the random first phases (`invert_mel`).

    Raises:
        InputError: as `read_mel`.
    """
    mel = read_mel(path)
    length = CHUNK if CONFIG.num_frames(CHUNK) == mel.shape[1] else None
    return invert_mel(mel[None, None], CONFIG, length=length, seed=seed)[0].numpy()


def _read(path: str | os.PathLike[str]) -> tuple[np.ndarray, float]:
    """Pixels [128, width], uint8, and the peak in dB."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            levels = np.asarray(image.convert("L"))
            peak_db = float(image.info.get("peak_db", USUAL_PEAK_DB))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); expected a grey PNG, as `timbrel data pictures` makes them"
        ) from error
    if levels.shape[0] != SIDE:
        raise InputError(f"{path} is {levels.shape[0]} high; expected {SIDE}, a row for each mel band")
    if not CONFIG.floor_db - 1 <= peak_db <= 60:
        raise InputError(f"{path} says that its peak_db is {peak_db}; expected {CONFIG.floor_db:.0f} to 60 dB")
    return levels, peak_db


# a folder of them -----------------------------------------------------------------------------------


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, list[Picture]]:
    """Each label's pictures, sorted by name: the place of one is the number that `ImageFolder` would give it.

    Raises:
        InputError: `folder` is not what `prepare_pictures` makes, or lacks one of its pictures.
    """
    by_label: dict[str, list[Picture]] = defaultdict(list)
    try:
        for line in (Path(folder) / MANIFEST).read_text(encoding="utf-8").splitlines():
            picture = Picture(**json.loads(line))
            by_label[picture.label].append(picture)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder} is no folder of pictures ({error}); make one with `timbrel data pictures RECORDINGS FOLDER`"
        ) from error
    for picture in chain.from_iterable(by_label.values()):
        if not (Path(folder) / picture.file).exists():
            raise InputError(
                f"{folder} lacks {picture.file}, which its manifest names; run the same `timbrel data pictures` again"
            )
    return {label: sorted(by_label[label], key=lambda picture: picture.file) for label in sorted(by_label)}
