"""What a recording says beside its sound: tags, and the chunks of a WAV that say where it belongs in a song."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from timbrel.audio.decoders import riff_chunks

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
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    chunks: Mapping[bytes, bytes] = field(default_factory=dict)
    sample_rate: int = 44100


def read_metadata(path: Path, tags: Mapping[str, str], sample_rate: int) -> Metadata:
    """What a file says beside its sound.

    Args:
        path: the file.
        tags: those that its decoder knows, by any names.
        sample_rate: in Hz.
    """
    with path.open("rb") as file:
        chunks = {}
        if file.read(4) == b"RIFF":
            for name, place, size in riff_chunks(file):
                if name in _PLACES and size <= _LARGEST:
                    file.seek(place)
                    content = file.read(size)
                    if name != b"LIST" or content.startswith(b"adtl"):
                        chunks[name] = content
    return Metadata({name: tags[name][:1000] for name in TAGS if tags.get(name)}, chunks, sample_rate)


def append_chunks(path: Path, metadata: Metadata, sample_rate: int) -> None:
    """Adds the chunks to a WAV that is written, at its own rate; a file of another kind stays as it is."""
    with path.open("r+b") as file:
        if file.read(4) != b"RIFF":
            return
        for name, content in metadata.chunks.items():
            file.seek(0, os.SEEK_END)
            file.write(b"\0" * (file.tell() % 2))
            moved = _at_rate(name, content, sample_rate / metadata.sample_rate)
            file.write(struct.pack("<4sI", name, len(moved)) + moved + b"\0" * (len(moved) % 2))
        size = file.seek(0, os.SEEK_END)
        file.seek(4)
        file.write(struct.pack("<I", min(size - 8, 2**32 - 1)))


def _at_rate(name: bytes, content: bytes, ratio: float) -> bytes:
    data = bytearray(content)
    for first, step, layout in _PLACES[name]:
        size = struct.calcsize(layout)
        for place in range(first, len(data) - size + 1, step or len(data) or 1):
            number = round(struct.unpack_from(layout, data, place)[0] * ratio)
            struct.pack_into(layout, data, place, min(number, 256**size - 1))
    return bytes(data)
