import struct

import numpy as np
import pytest

from timbrel.errors import ModelError
from timbrel.metrics.tf_checkpoint import MAGIC, read_checkpoint


def varint(value):
    rest = [value & 0x7F]
    while value := value >> 7:
        rest[-1] |= 0x80
        rest.append(value & 0x7F)
    return bytes(rest)


def nested(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def record(dtype, shape, offset, size):
    dimensions = b"".join(nested(2, b"\x08" + varint(length)) for length in shape)
    place = (b"\x20" + varint(offset) if offset else b"") + b"\x28" + varint(size)
    return b"\x08" + varint(dtype) + nested(2, dimensions) + place + b"\x35crc0"


def block(entries):
    data, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(map(len, (key, before)))
        )
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return data + struct.pack("<II", 0, 1)


@pytest.fixture
def checkpoint(tmp_path):
    """A kernel, its bias, and a counter of another type."""
    kernel, bias = np.arange(600, dtype=np.float32).reshape(2, 300), np.array([0.5], np.float32)
    (tmp_path / "data").write_bytes(bias.tobytes() + kernel.tobytes() + bytes(8))
    entries = [
        (b"", b"\x08\x01"),
        (b"dense/bias", record(1, (1,), 0, 4)),
        (b"dense/kernel", record(1, (2, 300), 4, 2400)),
        (b"step", record(9, (), 2404, 8)),
    ]
    first = block(entries)
    second = block([(b"step", varint(0) + varint(len(first)))])
    table = first + bytes(5) + second + bytes(5)
    footer = varint(0) + varint(0) + varint(len(first) + 5) + varint(len(second))
    (tmp_path / "index").write_bytes(table + footer.ljust(40, b"\0") + MAGIC)
    return tmp_path / "index", tmp_path / "data"


def test_tensors_have_their_names_shapes_and_values(checkpoint):
    tensors = read_checkpoint(*checkpoint)
    assert sorted(tensors) == ["dense/bias", "dense/kernel"]
    np.testing.assert_array_equal(tensors["dense/bias"], np.array([0.5], np.float32))
    np.testing.assert_array_equal(tensors["dense/kernel"], np.arange(600, dtype=np.float32).reshape(2, 300))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda index, data: index.write_bytes(b"no table"), "magic number"),
        (lambda index, data: data.write_bytes(data.read_bytes()[:1000]), "expected an index"),
        (lambda index, data: data.unlink(), "No such file"),
    ],
)
def test_a_damaged_checkpoint_is_refused(checkpoint, spoil, reason):
    spoil(*checkpoint)
    with pytest.raises(ModelError, match=reason):
        read_checkpoint(*checkpoint)


def test_a_compressed_index_is_refused(checkpoint):
    index, data = checkpoint
    whole = bytearray(index.read_bytes())
    whole[-48 - 5] = 1  # the mark of Snappy behind the last block
    index.write_bytes(whole)
    with pytest.raises(ModelError, match="compressed"):
        read_checkpoint(index, data)
