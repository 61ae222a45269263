"""What a recording says beside its sound: tags, and the chunks of a WAV that say where it belongs in a song.

The markers and loops of an AIFF become such chunks.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from timbrel.audio.decoders import chunks, ffmpeg_tags
from timbrel.errors import AudioError

TAGS = ("title", "artist", "album", "comment", "genre", "copyright", "date", "tracknumber", "license")
_PLACES = {  # of sample numbers in a chunk: the first, the distance to the next of that kind, and their layout
    b"bext": ((338, 0, "<Q"),),  # the time stamp, EBU Tech 3285
    b"smpl": ((44, 24, "<I"), (48, 24, "<I")),  # starts and ends of loops
    b"cue ": ((8, 24, "<I"), (24, 24, "<I")),
    b"acid": (),  # tempo and beats
    b"LIST": (),  # names of cue points
}
_LARGEST = 1 << 20  # bytes of a chunk: more is no sheet of notes but a picture


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its sound.

    Attributes:
        tags: title, artist and the like, by the names of `TAGS`.
        chunks: of a WAV: bext, smpl, cue, acid, and the names of cue points.
        sample_rate: in Hz, of the sample numbers in the chunks.
        speakers: where channels belong, as WAVEFORMATEXTENSIBLE has it: a bit each; None where nothing is said.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    chunks: Mapping[bytes, bytes] = field(default_factory=dict)
    sample_rate: int = 44100
    speakers: int | None = None

    def transposed(self, semitones: float) -> Metadata:
        """That of the same music, so many semitones higher: a sampler's and a loop's root note."""
        moved = {name: _transposed(name, content, semitones) for name, content in self.chunks.items()}
        return replace(self, chunks=moved)


def read_metadata(path: Path, tags: Mapping[str, str], sample_rate: int, speakers: int | None = None) -> Metadata:
    """What a file says beside its sound.

    Args:
        path: the file.
        tags: those that its decoder knows, by any names.
        sample_rate: in Hz.
        speakers: as `Metadata` has them.
    """
    with path.open("rb") as file:
        kind, content = file.read(4), {}
        if kind in (b"RIFF", b"RF64"):
            content = _contents(file, "<", *_PLACES)
        elif kind == b"FORM":
            content = _from_aiff(_contents(file, ">", b"MARK", b"INST"), sample_rate)
        order = ">" if kind == b"FORM" else "<"
        if kind in (b"RIFF", b"FORM") and any(name.upper() == b"ID3 " for name, _, _ in chunks(file, order)):
            with suppress(AudioError, OSError):  # without ffmpeg the sound is read all the same
                tags = ffmpeg_tags(path) | dict(tags)  # libsndfile has those of other chunks
    known = {name: tags[name][:1000] for name in TAGS if tags.get(name)}
    return Metadata(known, content, sample_rate, speakers)


def _contents(file: IO[bytes], order: str, *names: bytes) -> dict[bytes, bytes]:
    """Of the chunks of these names."""
    contents = {}
    for name, place, size in chunks(file, order):
        if name in names and size <= _LARGEST:
            file.seek(place)
            content = file.read(size)
            if name != b"LIST" or content.startswith(b"adtl"):
                contents[name] = content
    return contents


def _from_aiff(aiff: Mapping[bytes, bytes], sample_rate: int) -> dict[bytes, bytes]:
    """Markers and a sampler's loop of an AIFF, its chunks MARK and INST, as chunks of a WAV."""
    marks, instrument, places = aiff.get(b"MARK", b""), aiff.get(b"INST"), dict[int, int]()
    cues, labels, at = b"", b"adtl", 2
    try:
        for _ in range(int.from_bytes(marks[:2], "big")):
            number, place, length = struct.unpack_from(">HIB", marks, at)
            name = marks[at + 7 : at + 7 + length] + b"\0"
            at += 7 + length + (length + 1) % 2
            places[number] = place
            cues += struct.pack("<II4sIII", number, place, b"data", 0, 0, place)
            labels += struct.pack("<4sII", b"labl", 4 + len(name), number) + name + b"\0" * (len(name) % 2)
        made = {b"cue ": struct.pack("<I", len(places)) + cues, b"LIST": labels} if places else {}
        if instrument:
            note, mode, first, end = struct.unpack_from(">B7xHHH", instrument)
            loop = b""
            with suppress(struct.error, KeyError):  # a damaged loop costs neither the markers nor the note
                if mode in (1, 2):
                    loop = struct.pack("<6I", 0, mode - 1, places[first], places[end] - 1, 0, 0)
            made[b"smpl"] = struct.pack("<9I", 0, 0, round(1e9 / sample_rate), note, 0, 0, 0, len(loop) // 24, 0) + loop
    except (struct.error, KeyError):  # damaged
        return {}
    return made


def append_chunks(path: Path, metadata: Metadata, sample_rate: int) -> None:
    """Adds the chunks to a WAV that is written, at its own rate; a file of another kind stays as it is."""
    with path.open("r+b") as file:
        kind = file.read(4)
        if kind not in (b"RIFF", b"RF64"):
            return
        for name, content in metadata.chunks.items():
            file.seek(0, os.SEEK_END)
            file.write(b"\0" * (file.tell() % 2))
            moved = _at_rate(name, content, sample_rate / metadata.sample_rate)
            file.write(struct.pack("<4sI", name, len(moved)) + moved + b"\0" * (len(moved) % 2))
        size = file.seek(0, os.SEEK_END) - 8
        place, layout = (4, "<I") if kind == b"RIFF" else (20, "<Q")  # of RF64 in its chunk ds64
        file.seek(place)
        file.write(struct.pack(layout, min(size, 2**32 - 1) if kind == b"RIFF" else size))


def _at_rate(name: bytes, content: bytes, ratio: float) -> bytes:
    data = bytearray(content)
    for first, step, layout in _PLACES[name]:
        size = struct.calcsize(layout)
        for place in range(first, len(data) - size + 1, step or len(data) or 1):
            number = round(struct.unpack_from(layout, data, place)[0] * ratio)
            struct.pack_into(layout, data, place, min(number, 256**size - 1))
    if name == b"smpl" and len(data) >= 12:
        period_ns = round(struct.unpack_from("<I", data, 8)[0] / ratio)
        struct.pack_into("<I", data, 8, min(period_ns, 2**32 - 1))
    return bytes(data)


def _transposed(name: bytes, content: bytes, semitones: float) -> bytes:
    data = bytearray(content)
    if name == b"smpl" and len(data) >= 20:
        note, fraction = struct.unpack_from("<II", data, 12)
        moved = min(max(note * 2**32 + fraction + round(semitones * 2**32), 0), 2**39 - 1)  # notes 0 to 127
        struct.pack_into("<II", data, 12, *divmod(moved, 2**32))
    if name == b"acid" and len(data) >= 6 and data[0] & 2:  # it has a root note
        note = struct.unpack_from("<H", data, 4)[0] + round(semitones)
        struct.pack_into("<H", data, 4, min(max(note, 0), 127))
    return bytes(data)
