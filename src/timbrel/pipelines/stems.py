"""What duets and accompaniments share: instruments of one level, each in a file, and their mix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from timbrel.audio.io import AudioWriter, Waveform, check_output
from timbrel.data.store import active_rms
from timbrel.errors import InputError
from timbrel.pipelines.transfer import HOP, SILENT_RMS

MIX = "mix"
FULL_SCALE = 0.999


def check_instruments(instruments: Sequence[str], least: int) -> None:
    """Raises InputError for fewer than `least` instruments, one named twice, or one that cannot name a file."""
    if len(instruments) < least:
        raise InputError(f"{len(instruments)} instruments are named; expected at least {least}")
    for name in instruments:
        if instruments.count(name) > 1:
            raise InputError(f"{name!r} is named twice; expected different instruments: each has a file of its name")
        if name in (MIX, "", ".", "..") or Path(name).name != name:
            raise InputError(f"{name!r} cannot be an instrument here: each has a file of its name, beside {MIX}.wav")


def stem_paths(
    folder: str | os.PathLike[str],
    instruments: Sequence[str],
    *,
    overwrite: bool,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> dict[str, Path]:
    """NAME.wav of each instrument and of the mix, in `folder`, which is made.

    Raises:
        InputError, AudioError: the folder cannot be made, or a file cannot be written there.
    """
    folder = Path(folder)
    paths = {name: folder / f"{name}.wav" for name in (*instruments, MIX)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made ({error.strerror}); name another") from error
    inputs = list(inputs)
    for path in paths.values():
        check_output(path, overwrite=overwrite, inputs=inputs)
    return paths


@contextmanager
def stem_writers(
    paths: Mapping[str, Path], sample_rate: int, channels: int, *, overwrite: bool
) -> Iterator[dict[str, AudioWriter]]:
    """A writer for each path; what fails while they are written leaves nothing."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(AudioWriter(path, sample_rate, channels, overwrite=overwrite))
            for name, path in paths.items()
        }


def loudness(blocks: Iterable[Waveform]) -> float:
    """RMS of what sounds in blocks [channels, n], over all channels; n is a multiple of `HOP` but in the last."""
    powers = [np.zeros(0)]
    for block in blocks:
        square = np.square(block, dtype=np.float64).mean(axis=0)
        padded = np.pad(square, (0, -len(square) % HOP)).reshape(-1, HOP).sum(axis=1)
        powers.append(padded / np.minimum(HOP, len(square) - HOP * np.arange(len(padded))))
    return active_rms(np.concatenate(powers))


def level_gain(rms: float, wanted_rms: float) -> float:
    """What brings sound of one loudness to another; silence stays silent."""
    return wanted_rms / rms if rms >= SILENT_RMS else 0.0


def headroom(peak: float) -> float:
    """What keeps a peak below full scale: 1 where it is."""
    return min(1.0, FULL_SCALE / max(peak, 1e-9))
