"""The decoders of recordings: libsndfile, and ffmpeg for what libsndfile cannot read.

A file may come from anywhere. So ffmpeg opens no other file and no address, and reads no format that is a list or a
script: formats and protocols have white lists.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from timbrel.errors import AudioError

FORMATS = (  # of ffmpeg's demuxers those that hold sound in the file itself
    *("aac", "ac3", "ac4", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "dv", "eac3"),
    *("flac", "flv", "gxf", "iff", "ircam", "loas", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts"),
    *("mxf", "nistsphere", "nut", "ogg", "oma", "qoa", "rm", "shn", "sox", "tak", "truehd", "tta", "voc", "w64", "wav"),
    *("wtv", "wv", "xwma"),
)
_ALONE = ["-protocol_whitelist", "file", "-format_whitelist", ",".join(FORMATS)]


def ffmpeg_command(path: Path) -> list[str]:
    """The start of a command of ffmpeg that reads `path`, and nothing else; AudioError where ffmpeg is missing."""
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise AudioError(f"{path} needs ffmpeg, which imageio-ffmpeg does not find: {error}") from error
    return [program, "-nostdin", "-hide_banner", "-nostats", *_ALONE, "-i", f"file:{path}"]


def to_mp3(path: Path, mp3: Path) -> None:
    """Converts a recording to an mp3 of 192 kbit/s; what is an mp3 already stays as it is.

    Raises:
        AudioError: it cannot be read.
    """
    decoder = Ffmpeg(path)
    decoder.close()
    codec = ["copy"] if decoder.codec == "mp3" else ["libmp3lame", "-b:a", "192k"]
    command = [*ffmpeg_command(path), "-map", "0:a:0", "-c:a", *codec, "-f", "mp3", f"file:{mp3}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise _unreadable(path, done.stderr.decode(errors="replace"))


class Sndfile:
    """libsndfile; `read` gives [frames, channels], nothing at the end, or raises where the file is damaged."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.samplerate, self.channels, self.frames = file.samplerate, file.channels, file.frames
        self.close = file.close

    def read(self, frames: int) -> np.ndarray:
        return self._file.read(frames, dtype="float32", always_2d=True)


class _ForwardOnly(soundfile.SoundFile):
    """soundfile seeks after every read, and in an mp3 libsndfile then lands elsewhere: let it not seek."""

    def seekable(self) -> bool:
        return False


def open_sndfile(path: Path) -> Sndfile | None:
    """None for what libsndfile cannot read."""
    try:
        file = _ForwardOnly(os.fsencode(path))  # as bytes: a name need not be UTF-8
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a suffix that soundfile takes for headerless
        return None
    if file.frames > 0:
        return Sndfile(file)
    file.close()  # a wav written to a pipe says 0 samples: ffmpeg looks further
    return None


class Ffmpeg:
    """ffmpeg decodes the first sound track into a pipe, as Sun AU: a header of six integers, then float32."""

    def __init__(self, path: Path) -> None:
        with ExitStack() as undo:
            self._log = undo.enter_context(tempfile.TemporaryFile())
            command = [*ffmpeg_command(path), "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log
            )
            undo.callback(self.close)
            header = self._pipe.read(24)
            if len(header) < 24:
                self._process.wait()
                raise _unreadable(path, self._said())
            _, offset, _, _, self.samplerate, self.channels = struct.unpack(">4s5I", header)
            self._pipe.read(offset - len(header))
            said = self._said()
            self.frames = _duration_frames(said, self.samplerate)
            self.codec = said.partition("Audio: ")[2].partition(" ")[0].strip(",")
            undo.pop_all()

    @property
    def _pipe(self) -> Any:
        return self._process.stdout

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()

    def read(self, frames: int) -> np.ndarray:
        data = self._pipe.read(frames * self.channels * 4)
        count = len(data) // (self.channels * 4) * self.channels
        return np.frombuffer(data, ">f4", count).reshape(-1, self.channels).astype(np.float32)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._log.close()


def _duration_frames(said: str, sample_rate: int) -> int | None:
    try:
        hours, minutes, seconds = said.partition("Duration: ")[2].split(",")[0].split(":")
        return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * sample_rate)
    except ValueError:  # "N/A", or nothing said
        return None


def _unreadable(path: Path, said: str) -> AudioError:
    lines = said.strip().splitlines() or ["no reason given"]
    return AudioError(
        f"{path} ({path.stat().st_size} bytes) is no recording that can be read; expected wav, flac, ogg, mp3, m4a, "
        f"aac, webm or the like, with at least its first part whole (ffmpeg: {lines[-1]})"
    )
