"""The decoders of recordings: libsndfile, and ffmpeg for what libsndfile cannot read.

A file may come from anywhere. So ffmpeg opens no other file and no address, and reads no format that is a list or a
script: formats and protocols have white lists.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

from timbrel.errors import AudioError, warn

FORMATS = (  # of ffmpeg's demuxers those that hold sound in the file itself
    *("aac", "ac3", "ac4", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "dv", "eac3"),
    *("flac", "flv", "gxf", "iff", "ircam", "loas", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts"),
    *("mxf", "nistsphere", "nut", "ogg", "oma", "qoa", "rm", "shn", "sox", "tak", "truehd", "tta", "voc", "w64", "wav"),
    *("wtv", "wv", "xwma"),
)
_ALONE = ["-protocol_whitelist", "file", "-format_whitelist", ",".join(FORMATS)]


LATEST_S = 600.0  # that a video's sound may begin after its pictures: silence costs a header nothing
_SAME_TAGS = ("title", "artist", "album", "comment", "genre", "copyright", "date")
_TAGS = {name: name for name in _SAME_TAGS} | {"track": "tracknumber"}  # ffmpeg's names -> libsndfile's
_SPEAKERS = {"2.1": 0x00B, "4.0": 0x107, "quad(side)": 0x603, "5.0(side)": 0x607, "5.1(side)": 0x60F}
_SPEAKERS |= {"7.1(wide)": 0x0FF}  # of ffmpeg's names
TAIL = 4096  # bytes that may follow the sound: tags, padding
_VORBIS_ORDER = {  # where WAV's channels are among Vorbis's and Opus's of as many
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}


def from_vorbis_order(samples: np.ndarray) -> np.ndarray:
    """Samples [n, channels] in the order of Vorbis and Opus -> in that of WAV, FLAC and all else."""
    order = _VORBIS_ORDER.get(samples.shape[1])
    return samples if order is None else samples[:, order]


def to_vorbis_order(samples: np.ndarray) -> np.ndarray:
    """The inverse of `from_vorbis_order`."""
    order = _VORBIS_ORDER.get(samples.shape[1])
    return samples if order is None else samples[:, np.argsort(order)]


# libsndfile -----------------------------------------------------------------------------------------


class Sndfile:
    """libsndfile; `read` gives [frames, channels], nothing at the end, or raises where the file is damaged."""

    tracks = track = 1

    def __init__(self, file: IO[bytes], sound: soundfile.SoundFile) -> None:
        self._file, self._sound = file, sound
        self.samplerate, self.channels, self.frames = sound.samplerate, sound.channels, sound.frames
        self.subtype: str | None = sound.subtype
        self.tags: dict[str, str] = sound.copy_metadata()
        self._is_reordered = sound.format == "OGG"
        self._before = 0  # where the last read began in the file

    def read(self, frames: int) -> np.ndarray:
        self._before = self._file.tell()
        samples = self._sound.read(frames, dtype="float32", always_2d=True)
        return from_vorbis_order(samples) if self._is_reordered else samples

    @property
    def speakers(self) -> int | None:
        """Of a WAV that says where its channels belong: bits of WAVEFORMATEXTENSIBLE, 4 of the centre, 8 of bass."""
        for name, place, size in chunks(self._file) if self._sound.format in ("WAVEX", "RF64") else ():
            if name == b"fmt " and size >= 40:
                self._file.seek(place + 20)
                return int.from_bytes(self._file.read(4), "little")
        return None

    def bytes_left(self) -> int:
        """How many bytes of the file follow what was read, once a read gave nothing or failed, of a kind of file that
        may be joined or mis-headed."""
        if self._sound.format in ("WAV", "WAVEX"):
            return _bytes_beyond_chunks(self._file)
        if self._sound.format not in ("MP3", "OGG", "FLAC"):
            return 0
        left = self._file.seek(0, os.SEEK_END) - self._before
        return max(left, _bytes_beyond_pages(self._file)) if self._sound.format == "OGG" else left

    def close(self) -> None:
        self._sound.close()
        self._file.close()


class _ForwardOnly(soundfile.SoundFile):
    """soundfile seeks after every read, and in an mp3 libsndfile then lands elsewhere: let it not seek."""

    def seekable(self) -> bool:
        return False


def open_sndfile(path: Path) -> Sndfile | None:
    """None for what libsndfile cannot read."""
    file = path.open("rb")
    try:
        sound = _ForwardOnly(file)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a suffix that soundfile takes for headerless
        if (rest := _bytes_beyond_chunks(file)) >= TAIL:
            warn(f"{path}: {rest} bytes follow the recording in it, as where files are joined; they are not read")
        file.close()
        return None
    if sound.frames > 0:
        return Sndfile(file, sound)
    sound.close()  # a wav written to a pipe says 0 samples: ffmpeg looks further
    file.close()
    return None


def chunks(file: IO[bytes], order: str = "<") -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of each chunk of a WAV, up to one that is none or is not whole; `order` ">" of an AIFF."""
    position, end, long = 12, file.seek(0, os.SEEK_END), 2**32 - 1
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64":  # of an RF64: the size that the chunk of its samples has no room for
            long = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"data" and size == 2**32 - 1:
            size = long
        if name == b"RIFF" or not name.isascii() or not name.decode().isprintable() or position + 8 + size > end:
            return
        yield name, position + 8, size
        position += 8 + size + size % 2


def _bytes_beyond_chunks(file: IO[bytes]) -> int:
    """How much of a WAV follows its samples and is no chunk."""
    names, end = [], 12
    for name, place, size in chunks(file):
        names.append(name)
        end = place + size + size % 2
    return max(0, file.seek(0, os.SEEK_END) - end) if b"data" in names else 0


def _bytes_beyond_pages(file: IO[bytes]) -> int:
    """How much of an Ogg follows its last page."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        page = data.rfind(b"OggS")
        segments = data[page + 27 : page + 27 + sum(data[page + 26 : page + 27])]  # the last page may be cut
        return max(0, len(data) - (page + 27 + len(segments) + sum(segments)))


# ffmpeg ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Contents:
    """What ffmpeg says of a file.

    Attributes:
        duration_s: None where nothing is said.
        codecs: of each sound track.
        speakers: of each sound track, as `Sndfile.speakers`; None where they are those of its number of channels.
        default: the track that the file marks as default, from 0; the first where none is marked.
        delay_s: of each sound track, after the start of the pictures; 0 where there are none.
        tags: title, artist and the like.
    """

    duration_s: float | None
    codecs: list[str]
    speakers: list[int | None]
    default: int
    delays_s: list[float]
    tags: dict[str, str]


class Ffmpeg:
    """ffmpeg decodes a sound track into a pipe, as Sun AU: a header of six integers, then float32.

    Silence takes the place of what a video's time stamps leave out, before the first sound and between two.

    Args:
        path: the file.
        track: of the file's sound tracks, from 1; None is the one that the file marks as default.
        whole: read a wav to the end of the file, whatever its header says; ignore time stamps.

    Raises:
        AudioError: no recording, or no such track.
    """

    subtype = None

    def __init__(self, path: Path, track: int | None = None, *, whole: bool = False) -> None:
        contents = _contents(path)
        self.tracks, self.tags = len(contents.codecs), contents.tags
        if track is not None and not 1 <= track <= self.tracks:
            raise AudioError(f"{path} has {self.tracks} sound tracks; expected a track from 1 to that, not {track}")
        self.track = contents.default + 1 if track is None else track
        self.codec, self.speakers = contents.codecs[self.track - 1], contents.speakers[self.track - 1]
        delay_s = contents.delays_s[self.track - 1]
        if delay_s > LATEST_S:
            raise AudioError(f"{path} says that its sound begins at {delay_s:.0f} s; expected {LATEST_S:g} s at most")
        filters = f"aresample=async=1,adelay={delay_s * 1000:.3f}:all=1"
        sound = ["-map", f"0:a:{self.track - 1}", "-c:a", "pcm_f32be", *([] if whole else ["-af", filters])]
        with ExitStack() as undo:
            self._log = undo.enter_context(tempfile.TemporaryFile())
            command = [*ffmpeg_command(path, whole=whole), *sound, "-f", "au", "pipe:1"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log
            )
            undo.callback(self.close)
            header = self._pipe.read(24)
            if len(header) < 24:
                self._process.wait()
                self._log.seek(0)
                raise _unreadable(path, self._log.read())
            _, offset, _, _, self.samplerate, self.channels = struct.unpack(">4s5I", header)
            self._pipe.read(offset - len(header))
            seconds = contents.duration_s
            self.frames: int | None = None if seconds is None else round(seconds * self.samplerate)
            self._ahead = b""
            undo.pop_all()

    @property
    def _pipe(self) -> Any:
        return self._process.stdout

    def holds(self, frames: int) -> bool:
        """Whether so many samples are left."""
        size = frames * self.channels * 4
        self._ahead = self._pipe.read(size)
        return len(self._ahead) == size

    def read(self, frames: int) -> np.ndarray:
        size = frames * self.channels * 4
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        data += self._pipe.read(size - len(data))
        count = len(data) // (self.channels * 4) * self.channels
        return np.frombuffer(data, ">f4", count).reshape(-1, self.channels).astype(np.float32)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._log.close()


def ffmpeg_command(path: Path, *, whole: bool = False) -> list[str]:
    """The start of a command of ffmpeg that reads `path`, and nothing else; AudioError where ffmpeg is missing.

    Args:
        path: the file.
        whole: read a wav to the end of the file, whatever its header says.
    """
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise AudioError(f"{path} needs ffmpeg, which imageio-ffmpeg does not find: {error}") from error
    with path.open("rb") as file:
        length = ["-ignore_length", "1"] if whole and file.read(4) == b"RIFF" else []
    return [program, "-nostdin", "-hide_banner", "-nostats", *_ALONE, *length, "-i", f"file:{path}"]


def to_mp3(path: Path, mp3: Path) -> None:
    """Converts a recording to an mp3 of 192 kbit/s, in place of what a killed conversion left; what is an mp3 already
    stays as it is.

    Raises:
        AudioError: it cannot be read.
    """
    contents = _contents(path)
    codec = ["copy"] if contents.codecs[contents.default] == "mp3" else ["libmp3lame", "-b:a", "192k"]
    command = [
        *ffmpeg_command(path),
        "-y",
        "-map",
        f"0:a:{contents.default}",
        "-c:a",
        *codec,
        "-f",
        "mp3",
        f"file:{mp3}",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise _unreadable(path, done.stderr)


def ffmpeg_tags(path: Path) -> dict[str, str]:
    """Title, artist and the like, by libsndfile's names; AudioError where there is no sound."""
    return _contents(path).tags


def _contents(path: Path) -> _Contents:
    """Raises AudioError where there is no sound."""
    said = subprocess.run(ffmpeg_command(path), stdin=subprocess.DEVNULL, capture_output=True, check=False).stderr
    lines = said.decode(errors="replace").splitlines()
    streams = [line for line in lines if re.match(r"\s+Stream #0:", line)]
    sounds = [line for line in streams if "Audio:" in line]
    if not sounds:
        raise _unreadable(path, said)
    has_pictures = any("Video:" in line and "attached pic" not in line for line in streams)
    duration = next((line for line in lines if re.match(r"\s+Duration:", line)), "")
    begin = _number(r"start: (-?[\d.]+)", duration)
    delays = [max(0.0, _number(r"start (-?[\d.]+)", line, begin) - begin) if has_pictures else 0.0 for line in sounds]
    default = next((number for number, line in enumerate(sounds) if "(default)" in line), 0)
    codecs = [line.partition("Audio: ")[2].partition(" ")[0].strip(",") for line in sounds]
    speakers = [next(filter(None, map(_SPEAKERS.get, line.split(", "))), None) for line in sounds]
    file_says = list(takewhile(lambda line: not re.match(r"\s+Duration:", line), lines))
    alone = not has_pictures and len(sounds) == 1 and not any(re.match(r"\s+Chapter", line) for line in lines)
    tags = _tags(file_says) or (_tags(lines) if alone else {})  # Ogg's tags are its only track's
    return _Contents(_duration_s(duration), codecs, speakers, default, delays, tags)


def _number(pattern: str, text: str, otherwise: float = 0.0) -> float:
    match = re.search(pattern, text)
    return float(match[1]) if match else otherwise


def _duration_s(line: str) -> float | None:
    match = re.search(r"Duration: (\d+):(\d+):([\d.]+)", line)  # else "N/A", or nothing said
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _tags(lines: list[str]) -> dict[str, str]:
    """Those of libsndfile's names; of several the first."""
    pairs = (line.partition(":") for line in lines if line.startswith("    ") and ":" in line)
    tags = {_TAGS.get(name.strip().lower(), ""): value.strip() for name, _, value in reversed(list(pairs))}
    return {name: value for name, value in tags.items() if name and value}


def _unreadable(path: Path, said: bytes) -> AudioError:
    lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
    reason = next((line for line in lines if "whitelist" in line), lines[-1])
    return AudioError(
        f"{path} ({path.stat().st_size} bytes) is no recording that can be read; expected wav, flac, ogg, mp3, m4a, "
        f"aac, webm or the like, with at least its first part whole (ffmpeg: {reason})"
    )
