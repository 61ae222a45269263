"""Files of the page: uploads that are checked, results under names that say what they are, and their spectrograms."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
import time
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate, chain, count
from pathlib import Path
from typing import Any

import numpy as np

from timbrel.audio.io import Waveform, open_audio, read_audio
from timbrel.audio.level import SILENT_RMS, loudness
from timbrel.audio.mel import MelConfig
from timbrel.errors import InputError, TimbrelError
from timbrel.pipelines.listen import BLOCK, Recording
from timbrel.pipelines.windows import Window, Windows

DAY_S = 86_400
COLUMNS = 1600  # of a spectrogram's picture, at most
RANGE_DB = 80
SHOWN = MelConfig()
MIDI_S = 600.0  # no longer recording is transcribed


@dataclass(frozen=True)
class Sound:
    """A recording on the page.

    Attributes:
        path: of its file.
        title: what the page calls it.
        duration_s: its length.
        rms: of what sounds.
        picture: path of its spectrogram.
        is_source: it is what the others were made from.
    """

    path: Path
    title: str
    duration_s: float
    rms: float
    picture: Path
    is_source: bool = False


@dataclass(frozen=True)
class Take:
    """A result, with what it came from, to be heard one against the other.

    Attributes:
        label: what the list of takes calls it.
        sounds: the source, if there is one, and what was made.
        settings: all that makes it again.
        notes: what the API warned of.
    """

    label: str
    sounds: tuple[Sound, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its zip, without the suffix."""
        return self.sounds[-1].path.stem if len(self.sounds) < 3 else shortened(self.label, 200)


class Folder:
    """The temporary files of a server, each in a folder of its own with a name that cannot be guessed; see `sweep`.

    Args:
        place: where they are.
        most_minutes: how long an upload may be.
    """

    def __init__(self, place: Path, most_minutes: float) -> None:
        self.place, self.most_minutes = place.resolve(), most_minutes
        self._check_length = lru_cache(maxsize=1024)(self._read_through)

    def new(self, name: str) -> Path:
        """A path for a new file of that name."""
        folder = self.place / "results" / secrets.token_hex(16)
        folder.mkdir(parents=True, mode=0o700)
        return folder / name

    def uploaded(self, path: str | os.PathLike[str]) -> Path:
        """The path of an upload, and nothing else that a client names.

        Raises:
            InputError: it is none, or too long. AudioError: it cannot be read.
        """
        try:
            file = Path(path).resolve()
            is_upload = self.place in file.parents and file.is_file()
        except ValueError:  # no path on any disk
            is_upload = False
        if not is_upload:
            raise InputError(
                f"{Path(path).name!r:.100} is no upload of this page, or older than a day: upload it again"
            )
        self._check_length(file)
        return file

    def _read_through(self, file: Path) -> None:
        """Reads as much as there may be, as a header may say less than there is, or nothing."""
        with open_audio(file) as reader:
            most = round(60 * self.most_minutes * reader.sample_rate)
            frames = reader.frames or 0
            if frames <= most:
                ends = accumulate(block.shape[1] for block in reader.blocks(BLOCK))
                frames = next((end for end in ends if end > most), 0)
            if frames > most:
                raise InputError(
                    f"{file.name} lasts at least {frames / reader.sample_rate / 60:.2g} minutes; expected at most "
                    f"{self.most_minutes:g}: cut it, or use the command `timbrel`"
                )

    def told(self, error: BaseException) -> str:
        """What an error says, without the places of the server's files. A fault of the program goes to the log."""
        if not isinstance(error, TimbrelError | OSError):
            logging.getLogger(__name__).error("a fault", exc_info=error)
            return "It failed by a fault of the program; the log of the server says more."
        return re.sub(re.escape(str(self.place)) + r"/(?:results/)?[0-9a-f]+/", "", str(error))

    def sound(self, path: Path, title: str) -> Sound:
        """What the page shows of a recording."""
        recording, picture = Recording.of(path, None), self.new("spectrogram.png")
        samples = 0

        def counted() -> Iterator[Waveform]:
            nonlocal samples
            for block in recording.blocks():
                samples += block.shape[1]
                yield block

        rms = loudness(counted())
        draw(recording, picture)
        return Sound(path, title, samples / recording.sample_rate, rms, picture)

    def source(self, path: Path) -> Sound:
        """`sound` of what others are made from."""
        return replace(self.sound(path, "Source"), is_source=True)

    def zip(self, take: Take) -> Path:
        """Sounds, what is heard as MIDI where basic-pitch is installed, a picture and the settings, in one file."""
        path = self.new(f"{take.name}.zip")
        with zipfile.ZipFile(path, "w") as file:
            names = numbered(sound.path.name for sound in take.sounds)
            for sound, name in zip(take.sounds, names, strict=True):
                file.write(sound.path, name)
            made, stem = take.sounds[-1], Path(names[-1]).stem
            file.write(made.picture, f"{stem}.png")
            if transcribe(made, midi := self.new("notes.mid")):
                file.write(midi, f"{stem}.mid")
            file.writestr("settings.json", json.dumps(take.settings, indent=2) + "\n")
        return path

    def zip_files(self, name: str, paths: Sequence[Path]) -> Path:
        path = self.new(name)
        with zipfile.ZipFile(path, "w") as file:
            for one, entry in zip(paths, numbered(one.name for one in paths), strict=True):
                file.write(one, entry)
        return path


def numbered(names: Iterable[str]) -> list[str]:
    """File names of which no two are equal on any disk, such as those that know no case.

    >>> numbered(["a.wav", "b.wav", "A.wav", "a-2.wav"])
    ['a.wav', 'b.wav', 'A-2.wav', 'a-2-2.wav']
    """
    made: dict[str, str] = {}  # as a disk may compare it -> name
    for name in names:
        stem, suffix = os.path.splitext(name)
        for one in chain([name], (f"{stem}-{k}{suffix}" for k in count(2))):
            if (alike := unicodedata.normalize("NFC", one).casefold()) not in made:
                made[alike] = one
                break
    return list(made.values())


def shortened(name: str, most_bytes: int) -> str:
    """The start of a file's name, that has so many bytes at most.

    >>> shortened("müde", 2), shortened("müde", 3)
    ('m', 'mü')
    """
    return name.encode(errors="ignore")[:most_bytes].decode(errors="ignore")


def sweep(place: Path, *, older_than_s: float = DAY_S) -> None:
    """Removes files that nobody has touched for so long, and folders that are empty then, from beside `place` too.

    `place` is touched and so stays: made again by an upload, others could read it.
    """
    with suppress(OSError):
        os.utime(place)
    limit = time.time() - older_than_s
    for folder, _, names in os.walk(place.parent, topdown=False):
        for name in names:
            with suppress(OSError):
                if os.lstat(os.path.join(folder, name)).st_mtime < limit:
                    os.unlink(os.path.join(folder, name))
        with suppress(OSError):
            if os.stat(folder).st_mtime < limit:
                os.rmdir(folder)


def sweep_hourly(place: Path) -> None:
    """`sweep` now and every hour, until the process ends."""

    def work() -> None:
        while True:
            sweep(place)
            time.sleep(3600)

    threading.Thread(target=work, daemon=True).start()


def gains(sounds: Sequence[Sound]) -> list[float]:
    """Of each, at most 1: with them all are as loud as the softest."""
    softest = min((sound.rms for sound in sounds if sound.rms >= SILENT_RMS), default=0.0)
    return [min(1.0, softest / sound.rms) if sound.rms >= SILENT_RMS else 1.0 for sound in sounds]


def draw(recording: Recording, path: Path, config: MelConfig = SHOWN) -> None:
    """A mel spectrogram as a PNG without axes: as wide as there are frames, at most `COLUMNS`."""
    from matplotlib import colormaps
    from PIL import Image

    image = Image.fromarray(np.concatenate(list(_levels(recording, config)), axis=1)[::-1])
    if image.width > COLUMNS:
        image = image.resize((COLUMNS, image.height), Image.Resampling.BOX)
    below_db = (np.asarray(image).max() - np.asarray(image, np.float32)) / 2
    shades = (255 * (1 - below_db / RANGE_DB)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(shades).convert("P")
    image.putpalette((colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    image.save(path, "PNG", optimize=True)


def _levels(recording: Recording, config: MelConfig) -> Iterator[np.ndarray]:
    """[n_mels, frames] in half decibels above -100 dB as uint8, window by window."""
    windows = Windows(config, COLUMNS, overlap=1)

    def cut() -> Iterator[Window]:
        for block in recording.blocks_at(config.sample_rate):
            yield from windows.push(block.mean(axis=0))
        yield from windows.finish()

    for window in cut():
        frames = window.mel[0, 0, :, : max(1, len(window.samples) // config.hop_length)]
        yield ((frames.numpy() + 100) * 2).clip(0, 255).astype(np.uint8)


def transcribe(sound: Sound, path: Path) -> bool:
    """Writes a MIDI file of the notes that are heard; not without basic-pitch, or of a long recording."""
    from timbrel.data.render import write_midi
    from timbrel.data.scores import Note
    from timbrel.metrics import notes
    from timbrel.metrics.spectral import prepare

    if not notes.available() or sound.duration_s > MIDI_S:
        return False
    with suppress(TimbrelError, ImportError):  # no onnxruntime, no pretty_midi
        heard = notes.transcribe(prepare(*read_audio(sound.path)))
        played = [Note(start, end, int(pitch), 1 + round(126 * min(1, level))) for start, end, pitch, level in heard]
        write_midi(path, played, program=0)
        return True
    return False
