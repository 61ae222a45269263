"""Recordings in and out.

libsndfile reads and writes wav, flac, ogg and mp3. The ffmpeg of the imageio-ffmpeg wheel decodes what libsndfile
cannot read (m4a, aac, webm, wma, the sound of a video). Both work in blocks, so length never matters.
A waveform here is a float32 array [channels, samples], full scale at 1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from timbrel import files
from timbrel.audio.decoders import TAIL, Ffmpeg, Sndfile, open_sndfile, to_vorbis_order
from timbrel.audio.metadata import Metadata, append_chunks, read_metadata
from timbrel.errors import AudioError, InputError, warn

if TYPE_CHECKING:
    from torch import Tensor

Waveform = npt.NDArray[np.float32]
PathLike = str | os.PathLike[str]

# Suffix -> container, encoding, and libsndfile's settings of quality (0.0 is the best).
_WRITERS: dict[str, dict[str, Any]] = {
    ".wav": {"format": "WAV", "subtype": "PCM_24"},
    ".flac": {"format": "FLAC", "subtype": "PCM_24"},
    ".ogg": {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.2},
    ".mp3": {
        "format": "MP3",
        "subtype": "MPEG_LAYER_III",
        "compression_level": 0.0,
        "bitrate_mode": "VARIABLE",
    },
}
OUTPUT_SUFFIXES = tuple(_WRITERS)
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_WAV_BYTES = 2**32 - 2**16  # what fits behind WAV's 32-bit sizes; a longer file becomes RF64
RATES = (1000, 10_000_000)  # Hz, lowest and highest: a header that says another rate is damaged
MOST_CHANNELS = 24  # of 22.2; a header that says more is damaged, and levels are kept of each pair of channels
_LARGEST = 2.0**31  # integers that were written as floats; the squares of much larger samples have no sum
FLOATS = ("FLOAT", "DOUBLE")  # samples that may be beyond full scale
_WIDTHS = {"PCM_U8": 1, "PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # bytes
_SPEAKERS = {3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}  # of so many channels, as WAVEFORMATEXTENSIBLE has
_MASK_PLACE = 40  # bytes, in what libsndfile writes
_REST_S = 0.25  # more sound than the header says is shorter: a decoder's own padding
_FREE_S, _LEAST_BYTES_S = 600, 8  # what a file may last whatever its size, and what a second more takes at least
_READ_FRAMES = 4096  # a broken FLAC loses the whole read in which it breaks, so reads are small
_WRITE_FRAMES = 16384  # libsndfile's Vorbis encoder overflows the stack on a write of some million frames


# reading ------------------------------------------------------------------------------------------


class AudioReader:
    """A recording read block by block, once. Use `open_audio`, in a `with` statement.

    Attributes:
        sample_rate: in Hz.
        channels: as many as the file has.
        frames: samples a channel as the header says: a good guess (a truncated or compressed file may hold
            fewer or more), None where it says nothing. What `blocks` yields is what there is.
        tracks: how many sound tracks the file has; `track` is the one that is read, from 1.
        subtype: libsndfile's name of the samples' type, such as "PCM_16"; None where ffmpeg decodes.
    """

    def __init__(self, path: PathLike, *, track: int | None = None) -> None:
        self.path = _existing_file(path)
        sndfile = open_sndfile(self.path) if track in (None, 1) else None
        self._decoder: Sndfile | Ffmpeg = sndfile or Ffmpeg(self.path, track)
        self._position, self._size = 0, self.path.stat().st_size
        self.sample_rate: int = self._decoder.samplerate
        self.channels: int = self._decoder.channels
        self.frames: int | None = self._decoder.frames
        self.tracks, self.track = self._decoder.tracks, self._decoder.track
        self.subtype = self._decoder.subtype
        try:
            self._check_header()
        except AudioError:
            self.close()
            raise

    def metadata(self) -> Metadata:
        """Tags, where a WAV or AIFF belongs in a song, and where its channels belong."""
        return read_metadata(self.path, self._decoder.tags, self.sample_rate, self._decoder.speakers)

    def _check_header(self) -> None:
        """What follows costs memory and time by these numbers: a damaged header must not decide over them."""
        low, high = RATES
        if not low <= self.sample_rate <= high:
            raise AudioError(
                f"{self.path} says that its sample rate is {self.sample_rate} Hz; expected {low} to {high}: export the "
                "recording again, or correct its header"
            )
        if self.channels > MOST_CHANNELS:
            raise AudioError(
                f"{self.path} says that it has {self.channels} channels; expected at most {MOST_CHANNELS}: export "
                "fewer of them, or correct its header"
            )

    def blocks(self, frames_per_block: int) -> Iterator[Waveform]:
        """Yields [channels, frames_per_block] float32, the last block shorter.

        A truncated or damaged file yields what can be decoded.

        Raises:
            AudioError: no samples at all; samples that are NaN, infinite or beyond 2**31 (full scale is 1).
        """
        if frames_per_block < 1:
            raise InputError(f"frames_per_block is {frames_per_block}; expected at least 1")
        position = 0
        while len(block := self._read(frames_per_block)):
            if (kind := _no_sound(block)) is not None:
                first = int(np.argmin((np.abs(block) <= _LARGEST).all(axis=1)))
                raise AudioError(
                    f"{self.path} holds {kind} samples, the first at {(position + first) / self.sample_rate:.2f} s; "
                    "expected finite ones, full scale at 1: export the recording again from the program that made it"
                )
            position += len(block)
            if position / self.sample_rate > _FREE_S + self._size / _LEAST_BYTES_S:
                raise AudioError(
                    f"{self.path} has {self._size} bytes, and goes on after {position / self.sample_rate:.0f} s; "
                    f"expected {_LEAST_BYTES_S} bytes a second at least: it is damaged"
                )
            yield np.ascontiguousarray(block.T)
        if position == 0:
            raise AudioError(f"{self.path} holds no samples; expected a recording with sound or silence in it")

    def _read(self, frames: int) -> Waveform:
        parts: list[Waveform] = []
        while frames and len(part := self._decode(min(frames, _READ_FRAMES))):
            parts.append(part)
            frames -= len(part)
            self._position += len(part)
        return np.concatenate(parts) if parts else np.empty((0, self.channels), np.float32)

    def _decode(self, frames: int) -> Waveform:
        if isinstance(self._decoder, Sndfile):
            try:
                part = self._decoder.read(frames)
                goes_on = not len(part) and self._has_more(self._decoder.bytes_left())
            except soundfile.LibsndfileError:  # damaged here: ffmpeg leaves the spot out and goes on
                part = np.empty((0, self.channels), np.float32)
                goes_on = self._has_more(self._decoder.bytes_left(), is_damaged=True)
            if not goes_on:
                return part
        return self._decoder.read(frames)

    def _has_more(self, left: int, *, is_damaged: bool = False) -> bool:
        """Whether sound follows, in so many bytes, where the header says that it ends (joined files, wrapped sizes), or
        where the file is damaged."""
        if left < TAIL and not is_damaged:
            return False
        at, decoder = self._position, self._go_on_with_ffmpeg()
        rest = round(_REST_S * self.sample_rate)
        if decoder is not None and decoder.holds(rest):
            if not is_damaged:
                warn(f"{self.path} seems to end after {at / self.sample_rate:.2f} s; more sound follows, and is read")
            return True
        if left > self._size / 3:
            warn(f"{self.path}: {left} bytes, much of the file, follow the sound that was read; they hold none")
        if decoder is not None and not is_damaged:
            decoder.read(rest)  # a decoder's padding
        return is_damaged and decoder is not None

    def _go_on_with_ffmpeg(self) -> Ffmpeg | None:
        """Lets ffmpeg read on from where the reader is, if it can read the file."""
        try:
            decoder = Ffmpeg(self.path, whole=True)
        except AudioError:
            return None
        if (decoder.samplerate, decoder.channels) != (self.sample_rate, self.channels):
            decoder.close()
            return None
        self._decoder.close()
        self._decoder, remaining = decoder, self._position
        while remaining and len(part := decoder.read(min(remaining, _READ_FRAMES))):
            remaining -= len(part)
        return decoder

    def close(self) -> None:
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_audio(path: PathLike, *, track: int | None = None) -> AudioReader:
    """Opens a recording for reading in blocks: `with open_audio(path) as reader: ...`.

    Args:
        path: any file that libsndfile or ffmpeg reads.
        track: of several sound tracks, from 1; None is the one that the file marks as default, or the first.

    Raises:
        AudioError: a missing file, a folder, an empty file, what no decoder reads, or no such track.
    """
    return AudioReader(path, track=track)


def read_audio(path: PathLike, *, sample_rate: int | None = None, mono: bool = False) -> tuple[Waveform, int]:
    """Reads a whole recording.

    Args:
        path: any file that libsndfile or ffmpeg reads.
        sample_rate: resample to this rate in Hz; None keeps the file's.
        mono: average the channels.

    Returns:
        waveform [channels, samples] float32, nominally in [-1, 1] (a float file may go beyond), and its rate.

    Raises:
        AudioError: as `open_audio` and `AudioReader.blocks`.
        InputError: sample_rate is out of range (`RATES`).
    """
    with open_audio(path) as reader:
        rate = reader.sample_rate if sample_rate is None else sample_rate
        resampler = StreamResampler(reader.sample_rate, rate, 1 if mono else reader.channels)
        parts = [resampler.push(block.mean(axis=0, keepdims=True) if mono else block) for block in reader.blocks(2**16)]
    return np.concatenate([*parts, resampler.finish()], axis=1), rate


def _existing_file(path: PathLike) -> Path:
    path = Path(path)
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a folder; expected a recording: name a file in it")
        if not path.is_file():
            raise AudioError(f"{path} does not exist, or is not a file; expected a recording")
        if path.stat().st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes); expected a recording: copy or download it again")
        with path.open("rb"):
            return path
    except OSError as error:
        raise AudioError(f"{path} cannot be opened: {error.strerror}; expected a readable recording") from error


# writing ------------------------------------------------------------------------------------------


def check_output(
    path: PathLike,
    *,
    overwrite: bool = False,
    inputs: Iterable[PathLike] = (),
    suffixes: Sequence[str] = OUTPUT_SUFFIXES,
    sample_rate: int | None = None,
    channels: int | None = None,
    subtype: str | None = None,
) -> Path:
    """Checks early that `path` can be written, as `AudioWriter` does too.

    Args:
        overwrite: `path` may exist.
        inputs: files that `path` must not be, even with `overwrite`.
        suffixes: what `path` may end in.
        sample_rate, channels, subtype: which the format must be able to hold; None is not checked. A subtype is
            libsndfile's name of a type of samples, such as "FLOAT".

    Raises:
        InputError: another suffix; an existing file or an input; a rate, channel count or subtype that the format
            lacks.
        AudioError: the folder is missing or not writable, or `path` is a folder.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path} has the suffix {path.suffix!r}; expected one of {', '.join(suffixes)} to write")
    if path.suffix.lower() in _WRITERS:
        _check_format(path, sample_rate, channels, subtype)
    for source in inputs:
        if _same_file(path, source):
            raise InputError(f"{path} is an input; expected another name: an input is never overwritten")
    if path.is_dir():
        raise AudioError(f"{path} is a folder; expected the name of a file to write")
    if files.exists(path) and not overwrite:
        raise InputError(f"{path} exists; name another file, or overwrite it (--overwrite, overwrite=True)")
    if not path.parent.is_dir():
        raise AudioError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise AudioError(f"{path} cannot be written: the folder {path.parent} is read-only; name another")
    return path


def _same_file(one: PathLike, other: PathLike) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist (yet)
        return os.path.abspath(one) == os.path.abspath(other)


class AudioWriter:
    """Writes a recording block by block: wav and flac of 24 bits, ogg and mp3 at a high variable rate.

    A context manager; `path` is there at its end, whole or not at all (`files.whole`). Beyond full scale is clipped,
    unless samples are floats; a wav over 4 GB is RF64; a wav of more than two channels names them.

    Args:
        path: its suffix, one of .wav .flac .ogg .mp3, says the format.
        sample_rate: in Hz. mp3 takes those of `MP3_RATES`, ogg up to 200 kHz, flac up to 655,350 Hz (above
            65,535 multiples of 10).
        channels: mp3 takes 2, flac 8, wav and ogg 255 at most.
        overwrite: replace an existing file.
        subtype: libsndfile's name of the samples' type, such as "PCM_16" or "FLOAT"; None, or one that the format
            lacks, is the format's own of above.
        metadata: what the file says beside its sound, as far as the format can hold it.

    `is_bounded` says whether the samples end at full scale.

    Raises:
        InputError, AudioError: as `check_output`; a rate or channel count that the format lacks; a full disk.
    """

    def __init__(
        self,
        path: PathLike,
        sample_rate: int,
        channels: int,
        *,
        overwrite: bool = False,
        subtype: str | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        self.path = check_output(path, overwrite=overwrite, sample_rate=sample_rate, channels=channels)
        self.sample_rate, self.channels, self.overwrite = sample_rate, channels, overwrite
        self.metadata = metadata or Metadata()
        self._format = dict(_WRITERS[self.path.suffix.lower()])
        if subtype in _WIDTHS and soundfile.check_format(self._format["format"], subtype):
            self._format["subtype"] = subtype
        self.is_bounded = self._format["subtype"] not in FLOATS
        self._width = _WIDTHS.get(self._format["subtype"], 3)
        self._bytes = 0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._temporary = undo.enter_context(files.whole(self.path, overwrite=self.overwrite))
            self._open()
            undo.callback(self._close)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._undo.__exit__(*error)
        except (OSError, RuntimeError) as problem:  # soundfile's errors are RuntimeErrors
            raise AudioError(f"{self.path} cannot be written: {problem}; is the disk full?") from problem

    def _close(self) -> None:
        self._file.close()
        speakers = self.metadata.speakers or 0
        if speakers.bit_count() != self.channels:
            speakers = _SPEAKERS.get(self.channels, 0)
        if self._format["format"] == "WAVEX" and speakers:
            with self._temporary.open("r+b") as file:
                file.seek(_MASK_PLACE)
                file.write(struct.pack("<I", speakers))
        append_chunks(self._temporary, self.metadata, self.sample_rate)

    def _open(self) -> None:
        name, size = os.fsencode(self._temporary), {"samplerate": self.sample_rate, "channels": self.channels}
        if self._format["format"] == "WAV" and self.channels > 2:
            self._format["format"] = "WAVEX"
        try:
            self._file = soundfile.SoundFile(name, "w", **size, **self._format)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self.path} cannot be written: {error}") from error
        for tag, text in self.metadata.tags.items():
            with suppress(soundfile.LibsndfileError):  # not every format has every tag
                setattr(self._file, tag, text)

    def write(self, block: Waveform) -> None:
        """Appends a block [channels, n]. Raises InputError for another shape, NaN or infinite samples."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise InputError(f"block has shape {list(block.shape)}; expected [{self.channels}, samples]")
        if kind := _no_sound(block):
            raise InputError(f"the waveform for {self.path} holds {kind} samples; expected finite ones")
        for start in range(0, block.shape[1], _WRITE_FRAMES):
            part = block[:, start : start + _WRITE_FRAMES].T
            if self.is_bounded:
                part = np.clip(part, -1, 1)
            if self._format["format"] in ("WAV", "WAVEX") and self._bytes + part.size * self._width > _WAV_BYTES:
                self._become_rf64()
            self._append(to_vorbis_order(part) if self._format["format"] == "OGG" else part)

    def _append(self, part: Waveform) -> None:
        try:
            self._file.write(np.ascontiguousarray(part, np.float32))
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self.path} cannot be written: {error}; is the disk full?") from error
        self._bytes += part.size * self._width

    def _become_rf64(self) -> None:
        self._file.close()
        self._format["format"] = "RF64"
        with files.temporary_folder(self.path.parent) as folder:
            small = self._temporary.rename(folder / self._temporary.name)
            self._open()
            with soundfile.SoundFile(small) as file:
                for part in file.blocks(_WRITE_FRAMES, dtype="float32", always_2d=True):
                    self._append(part)


def write_audio(path: PathLike, waveform: Waveform | Tensor, sample_rate: int, *, overwrite: bool = False) -> None:
    """Writes a waveform [channels, samples] in [-1, 1]; errors as `AudioWriter` and `as_waveform`."""
    if waveform.ndim != 2:
        raise InputError(f"waveform has shape {list(waveform.shape)}; expected [channels, samples]")
    waveform = as_waveform(waveform)
    with AudioWriter(path, sample_rate, waveform.shape[0], overwrite=overwrite) as writer:
        writer.write(waveform)


def _check_format(path: Path, rate: int | None, channels: int | None, subtype: str | None) -> None:
    kind = path.suffix.lower()
    if subtype is not None and not soundfile.check_format(_WRITERS[kind]["format"], subtype):
        raise InputError(f"{path} would have {subtype} samples, which {kind[1:]} lacks: write a .wav instead")
    most_channels = {".mp3": 2, ".flac": 8}.get(kind, 255)
    if channels is not None and not 1 <= channels <= most_channels:
        raise InputError(
            f"{path} would have {channels} channels; {kind[1:]} takes 1 to {most_channels}: "
            f"write {'a .flac or .wav' if 3 <= channels <= 8 else 'a .wav'} instead"
        )
    if (
        rate is not None
        and not {
            ".wav": RATES[0] <= rate <= RATES[1],
            ".flac": RATES[0] <= rate <= 65535 or (65535 < rate <= 655350 and rate % 10 == 0),
            ".ogg": RATES[0] <= rate <= 200_000,
            ".mp3": rate in MP3_RATES,
        }[kind]
    ):
        rates = f"; mp3 has {', '.join(map(str, MP3_RATES))}" if kind == ".mp3" else ""
        raise InputError(
            f"{path} would have a sample rate of {rate} Hz, which {kind[1:]} lacks{rates}: "
            "name another sample rate, or write a .wav"
        )


# arrays -------------------------------------------------------------------------------------------


def as_waveform(array: Any) -> Waveform:
    """An array or tensor [samples] or [channels, samples] of floats, on any device -> float32 [channels, samples].

    Raises:
        InputError: another type or shape; no sample; samples that are NaN, infinite or beyond 2**31 (full scale is 1).
    """
    if hasattr(array, "detach"):  # a tensor of torch, which is not imported for this
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    waveform = np.atleast_2d(np.asarray(array))
    if waveform.ndim != 2 or not np.issubdtype(waveform.dtype, np.floating):
        raise InputError(
            f"waveform is {waveform.dtype} of shape {waveform.shape}; expected floats [channels, samples] in [-1, 1]"
        )
    if waveform.shape[0] > waveform.shape[1] and waveform.shape[0] > 64:
        raise InputError(f"waveform has shape {waveform.shape}; expected [channels, samples]: transpose it")
    if not waveform.size:
        raise InputError(f"waveform has shape {waveform.shape}; expected at least one sample")
    if len(waveform) > MOST_CHANNELS:
        raise InputError(f"waveform has {len(waveform)} channels; expected at most {MOST_CHANNELS}")
    with np.errstate(over="ignore"):
        waveform = waveform.astype(np.float32)
    if kind := _no_sound(waveform):
        raise InputError(f"waveform holds {kind} samples; expected finite ones, full scale at 1")
    return waveform


def _no_sound(samples: np.ndarray) -> str | None:
    """What is wrong with the values of samples, if anything."""
    if (np.abs(samples) <= _LARGEST).all():  # not so for NaN
        return None
    return "huge" if np.isfinite(samples).all() else "NaN or infinite"


def check_rate(name: str, rate: int) -> int:
    """A sample rate in Hz, as an int. Raises InputError for what is no whole number within `RATES`."""
    low, high = RATES
    try:
        number = index(rate)
    except TypeError:
        number = 0
    if not low <= number <= high:
        raise InputError(f"{name} is {rate!r}; expected a whole number of Hz, {low} to {high}, such as 44100")
    return number


# resampling ---------------------------------------------------------------------------------------


class StreamResampler:
    """Resamples [channels, n] blocks with soxr (HQ): n samples in all become `round(n * to_rate / from_rate)`."""

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self._ratio = (check_rate("the sample rate", from_rate), check_rate("the new sample rate", to_rate))
        self._channels = channels
        self._soxr = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="HQ")
        )
        self._pushed = self._given = 0

    def push(self, block: Waveform) -> Waveform:
        """A block [channels, n] -> the samples of the result that are ready, [channels, m]; m may be 0."""
        if self._soxr is None:
            return block
        self._pushed += block.shape[1]
        return self._limit(self._soxr.resample_chunk(np.ascontiguousarray(block.T, np.float32)).T)

    def finish(self) -> Waveform:
        """The rest, [channels, m]."""
        rest = np.empty((self._channels, 0), np.float32)
        if self._soxr is None:
            return rest
        rest = self._limit(self._soxr.resample_chunk(rest.T.copy(), last=True).T)
        return np.pad(rest, ((0, 0), (0, self._due - self._given)))

    @property
    def _due(self) -> int:
        from_rate, to_rate = self._ratio
        return round(self._pushed * to_rate / from_rate)

    def _limit(self, part: Waveform) -> Waveform:
        part = part[:, : self._due - self._given]
        self._given += part.shape[1]
        return part


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """Resamples a waveform [channels, samples] from one rate in Hz to another, as `StreamResampler`."""
    resampler = StreamResampler(from_rate, to_rate, waveform.shape[0])
    return np.concatenate([resampler.push(waveform), resampler.finish()], axis=1)
