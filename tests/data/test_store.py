from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, MelStore, StoreWriter, dequantise, quantise, write_manifest
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=8000, n_fft=256, hop_length=128, n_mels=8)


def entry(name, frames=10, **more):
    return Entry(id=name, label="piano", split="train", frames=frames, source=f"{name}.wav", **more)


def levels(seed, frames=10):
    return np.random.default_rng(seed).integers(0, 256, (frames, 8)).astype(np.uint8)


def test_quantising_rounds_by_at_most_half_a_step():
    mel = torch.rand(2, 8, 5) * -100
    step = 100 / 255
    assert float((dequantise(quantise(mel, -100.0), -100.0) - mel).abs().max()) <= step / 2 + 1e-4
    beyond = torch.tensor([[-130.0, -100.0, 0.0, 6.0]])
    assert dequantise(quantise(beyond, -100.0), -100.0).tolist() == [[-100, -100, 0, 0]]


def test_what_is_written_is_read(tmp_path):
    writer = StoreWriter(tmp_path / "store", MEL)
    made = entry(
        "a", group="g1", program=40, library="opl3", composer="bach", licence="MIT", degraded=True, gain_db=2.5
    )
    writer.add(made, levels(0))
    store = MelStore(tmp_path / "store")
    assert store.config == MEL
    assert store.entries == [made]
    np.testing.assert_array_equal(store.levels(made), levels(0))
    torch.testing.assert_close(store.mel(made, 2, 3), dequantise(levels(0)[2:5], MEL.floor_db))
    assert store.mel(made).shape == (8, 10)
    assert sorted(p.name for p in (tmp_path / "store" / "mels").iterdir()) == ["a.npy"]


def test_a_store_is_continued(tmp_path):
    StoreWriter(tmp_path, MEL).add(entry("a"), levels(0))
    again = StoreWriter(tmp_path, MEL)
    assert again.done == {"a"}
    again.add(entry("b"), levels(1))
    assert [e.id for e in MelStore(tmp_path).entries] == ["a", "b"]
    with pytest.raises(InputError, match="Use another folder, or the same settings"):
        StoreWriter(tmp_path, MelConfig())


def test_a_broken_last_line_and_a_repeated_entry_are_passed_over(tmp_path):
    writer = StoreWriter(tmp_path, MEL)
    for name in ("a", "b", "a"):
        writer.add(entry(name), levels(0))
    with open(tmp_path / "manifest.jsonl", "a") as file:
        file.write('{"id": "c", "lab')
    assert [e.id for e in MelStore(tmp_path).entries] == ["a", "b"]


@pytest.mark.parametrize("torn", ['{"id": "b", "lab', "complete"])
def test_what_follows_a_torn_line_is_kept(tmp_path, torn):
    writer = StoreWriter(tmp_path, MEL)
    for name in ("a", "b"):
        writer.add(entry(name), levels(0))
    path = tmp_path / "manifest.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(first + "\n" + (second if torn == "complete" else torn))
    again = StoreWriter(tmp_path, MEL)
    assert again.done == ({"a", "b"} if torn == "complete" else {"a"})
    for name in {"b", "c"} - again.done:
        again.add(entry(name), levels(1))
    assert {e.id for e in MelStore(tmp_path).entries} == {"a", "b", "c"}
    assert len(path.read_text().splitlines()) == 3


def test_threads_may_write_at_once(tmp_path):
    writer = StoreWriter(tmp_path, MEL)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: writer.add(entry(f"e{k}"), levels(k)), range(40)))
    store = MelStore(tmp_path)
    assert {e.id for e in store.entries} == {f"e{k}" for k in range(40)}
    for e in store.entries:
        np.testing.assert_array_equal(store.levels(e), levels(int(e.id[1:])))


def test_a_manifest_is_replaced_whole(tmp_path):
    StoreWriter(tmp_path, MEL).add(entry("a"), levels(0))
    write_manifest(tmp_path, [entry("c"), entry("b")])
    assert [e.id for e in MelStore(tmp_path).entries] == ["c", "b"]
    assert not list(tmp_path.glob("*.tmp"))


def test_what_does_not_fit_is_refused(tmp_path):
    writer = StoreWriter(tmp_path / "store", MEL)
    for wrong in (levels(0, 9), levels(0).astype(np.float32), levels(0)[:, :4]):
        with pytest.raises(InputError, match=r"expected uint8 \(10, 8\)"):
            writer.add(entry("a"), wrong)
    assert MelStore(tmp_path / "store").entries == []
    with pytest.raises(InputError, match=r"is not a mel store .*data prepare"):
        MelStore(tmp_path / "none")
