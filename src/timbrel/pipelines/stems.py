"""The result of duets and accompaniments: instruments, each with a file of its name, and their mix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from timbrel.audio.io import AudioWriter, check_output
from timbrel.audio.waveform import Audio
from timbrel.errors import InputError
from timbrel.instruments import names_a_file

MIX = "mix"


@dataclass(frozen=True)
class Stems:
    """Several instruments of one length, rate and number of channels.

    Attributes:
        stems: each instrument alone, by its name.
        mix: all stems together, and the voice where they accompany one.
    """

    stems: dict[str, Audio]
    mix: Audio

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Path]:
        """Writes INSTRUMENT.wav and mix.wav into `folder`, all or none; returns their paths by name.

        Raises:
            InputError, AudioError: the folder cannot be made, or a file cannot be written there.
        """
        paths = stem_paths(folder, list(self.stems), overwrite=overwrite)
        rate, channels = self.mix.sample_rate, len(self.mix.waveform)
        with stem_writers(paths, rate, channels, overwrite=overwrite) as writers:
            for name, audio in (self.stems | {MIX: self.mix}).items():
                writers[name].write(audio.waveform)
        return paths


def check_instruments(instruments: Sequence[str], least: int) -> None:
    """Raises InputError for fewer than `least` instruments, one named twice, or one that cannot name a file."""
    if isinstance(instruments, str):
        raise InputError(f"instruments is {instruments!r:.60}; expected a list of names, as [{instruments!r:.60}]")
    if len(instruments) < least:
        raise InputError(f"{len(instruments)} instruments are named; expected at least {least}")
    for name in instruments:
        if instruments.count(name) > 1:
            raise InputError(f"{name!r} is named twice; expected different instruments: each has a file of its name")
        if name == MIX or not names_a_file(name):
            raise InputError(f"{name!r} cannot be an instrument here: each has a file of its name, beside {MIX}.wav")


def stem_paths(
    folder: str | os.PathLike[str],
    instruments: Sequence[str],
    *,
    overwrite: bool,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> dict[str, Path]:
    """NAME.wav of each instrument and of the mix, in `folder`, which need not exist yet.

    Raises:
        InputError, AudioError: the folder cannot be made, or a file cannot be written there.
    """
    folder, inputs = Path(folder), list(inputs)
    paths = {name: folder / f"{name}.wav" for name in (*instruments, MIX)}
    place = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"the folder {folder} cannot be made or written to: {place} is in the way; name another")
    for path in paths.values() if place == folder else ():
        check_output(path, overwrite=overwrite, inputs=inputs)
    return paths


@contextmanager
def stem_writers(
    paths: Mapping[str, Path], sample_rate: int, channels: int, *, overwrite: bool
) -> Iterator[dict[str, AudioWriter]]:
    """Makes the folders of the paths, and yields a writer for each; after an error none of the files is there."""
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(AudioWriter(path, sample_rate, channels, overwrite=overwrite))
            for name, path in paths.items()
        }
