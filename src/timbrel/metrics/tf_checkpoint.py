"""The tensors of a TensorFlow checkpoint, without TensorFlow.

The index is a LevelDB table of small protobuf records (`BundleEntryProto`: type, shape, place and size), by name; the
data file is the tensors' bytes, one after another. Formats: LevelDB's `table_format.md`, TensorFlow's
`tensor_bundle.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import ModelError

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER_BYTES = 48
DT_FLOAT = 1
DTYPE, SHAPE, OFFSET, SIZE = 1, 2, 4, 5  # fields of BundleEntryProto
DIMENSION, LENGTH = 2, 1  # fields of its shape, and of each dimension
VARINT, BYTES, FIXED32 = 0, 2, 5  # wire types of protobuf

Message = dict[int, list]
"""The values of each field, by its number: numbers, or bytes of what is nested."""


def read_checkpoint(index: Path, data: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a checkpoint that has one data file, by name; tensors of other types are left out.

    Raises:
        ModelError: a file cannot be read, or they are no such index and data.
    """
    try:
        entries, tensors = dict(_entries(index.read_bytes())), data.read_bytes()
        return {name: _tensor(entry, tensors) for name, entry in entries.items() if entry[DTYPE] == [DT_FLOAT]}
    except (OSError, ValueError, IndexError, KeyError, struct.error) as error:
        raise ModelError(
            f"{index} and {data.name} cannot be read as a TensorFlow checkpoint ({error}); expected an index without "
            "compression and its one data file: install the package that they belong to again"
        ) from error


def _entries(table: bytes) -> Iterator[tuple[str, Message]]:
    footer = table[-FOOTER_BYTES:]
    if not footer.endswith(MAGIC):
        raise ValueError("the index does not end in LevelDB's magic number")
    (_, _, offset, size), _ = _varints(footer, 0, 4)  # the first two are of the meta index
    for _, handle in _block(table, offset, size):
        (offset, size), _ = _varints(handle, 0, 2)
        for name, record in _block(table, offset, size):
            if name:  # the record without a name is a header
                yield name.decode(), _message(record)


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values; each key is stored as what differs from the one before."""
    if table[offset + size]:
        raise ValueError("a block of the index is compressed")
    block = table[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    key, at = b"", 0
    while at < size - 4 * (restarts + 1):
        (shared, own, length), at = _varints(block, at, 3)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _message(record: bytes) -> Message:
    fields: Message = {}
    at = 0
    while at < len(record):
        (tag,), at = _varints(record, at, 1)
        field, wire = tag >> 3, tag & 7
        if wire not in (VARINT, BYTES, FIXED32):
            raise ValueError(f"a record has wire type {wire}")
        (value,), at = ([4], at) if wire == FIXED32 else _varints(record, at, 1)
        if wire == VARINT:
            fields.setdefault(field, []).append(value)
        else:
            fields.setdefault(field, []).append(record[at : at + value])
            at += value
    return fields


def _varints(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """Numbers of seven bits a byte, the lowest first, and the place behind them."""
    values = []
    for _ in range(count):
        value = shift = 0
        while data[at] & 0x80:
            value, shift, at = value | (data[at] & 0x7F) << shift, shift + 7, at + 1
        values.append(value | data[at] << shift)
        at += 1
    return values, at


def _tensor(entry: Message, tensors: bytes) -> NDArray[np.float32]:
    (offset,), (size,) = entry.get(OFFSET, [0]), entry[SIZE]
    dimensions = _message(entry[SHAPE][0]).get(DIMENSION, [])
    shape = [_message(dimension)[LENGTH][0] for dimension in dimensions]
    return np.frombuffer(tensors[offset : offset + size], "<f4").reshape(shape)
