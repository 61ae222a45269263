from collections import Counter

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.sounds.windows import SoundWindows, overlap
from timbrel.data.store import Entry, MelStore, StoreWriter
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=8)
ONTOLOGY = Ontology.load()


def make_store(folder, rows):
    """A store of rows (label, frames, level as uint8, split)."""
    writer = StoreWriter(folder, MEL)
    for k, (label, frames, level, split) in enumerate(rows):
        entry = Entry(id=f"{k}", label=label, split=split, frames=frames, source=f"{k}")
        writer.add(entry, np.full((frames, MEL.n_mels), level, np.uint8))
    return MelStore(folder)


@pytest.fixture
def store(tmp_path):
    rows = [("violin", 40, 200, "train")] * 9 + [("cello", 40, 150, "train"), ("click", 5, 255, "train")]
    return make_store(tmp_path, [*rows, ("dog", 30, 99, "validation")])


def test_classes_are_drawn_alike_with_their_captions(store):
    windows = SoundWindows(store, "train", 20, ONTOLOGY)
    assert windows.labels == ["cello", "click", "violin"]
    drawn = windows.draw(np.random.default_rng(0), 300, 0.0)
    assert drawn["mel"].shape == (300, 1, 8, 20)
    assert all(80 < count < 120 for count in Counter(drawn["label"]).values())
    assert any("violin" in c for c, label in zip(drawn["caption"], drawn["label"], strict=True) if label == "violin")
    assert SoundWindows(store, "validation", 20, ONTOLOGY).labels == ["dog"]


def test_a_seed_repeats_a_batch(store):
    windows = SoundWindows(store, "train", 20, ONTOLOGY)
    one, same = (windows.draw(np.random.default_rng(5), 8, 0.5) for _ in range(2))
    assert one["caption"] == same["caption"]
    assert torch.equal(one["mel"], same["mel"])


def test_a_short_sound_has_silence_after_it_and_is_not_repeated(store):
    mel = SoundWindows(store, "train", 20, ONTOLOGY).window("click", np.random.default_rng(0))
    assert torch.equal(mel[:, :5], torch.zeros(8, 5))
    assert torch.equal(mel[:, 5:], torch.full((8, 15), MEL.floor_db))


def test_no_window_of_a_long_sound_is_silent(tmp_path):
    writer = StoreWriter(tmp_path, MEL)
    levels = np.zeros((200, MEL.n_mels), np.uint8)
    levels[[3, 150]] = 200  # two clicks, and 30 dB below them nothing that counts
    levels[80] = 100
    writer.add(Entry(id="0", label="click", split="train", frames=200, source="0"), levels)
    windows, rng = SoundWindows(MelStore(tmp_path), "train", 20, ONTOLOGY), np.random.default_rng(0)
    drawn = [windows.window("click", rng) for _ in range(60)]
    assert all(float(mel.max()) > -25 for mel in drawn)
    assert len({int(mel.amax(dim=0).argmax()) for mel in drawn}) > 5  # anywhere in the window


def test_overlaps_add_power_and_name_parent_and_both(store):
    drawn = SoundWindows(store, "train", 20, ONTOLOGY).draw(np.random.default_rng(0), 60, 1.0)
    pairs = {
        "a mel spectrogram of the sound of multiple overlapping bowed string instruments, including violin and cello",
        "a mel spectrogram of the sound of multiple overlapping bowed string instruments, including cello and violin",
    }
    strings = [k for k, label in enumerate(drawn["label"]) if label == "bowed string instrument"]
    assert {drawn["caption"][k] for k in strings} == pairs
    violin, cello = (-100 + 100 * level / 255 for level in (200, 150))
    mean = 10 * np.log10((10 ** (violin / 10) + 10 ** (cello / 10)) / 2)
    assert torch.allclose(drawn["mel"][strings], torch.tensor(mean).float(), atol=1e-3)
    alone = [c for c, label in zip(drawn["caption"], drawn["label"], strict=True) if label == "electronic signal"]
    assert alone  # a click has no other signal beside it here
    assert all(c.endswith("including click and click") for c in alone)


def test_two_alike_sounds_that_do_not_match_in_time_lose_3_db():
    assert overlap(torch.tensor([-10.0]), torch.tensor([-100.0])).item() == pytest.approx(-13.01, abs=0.01)


def test_wrong_values_are_refused(store, tmp_path):
    with pytest.raises(InputError, match="frames is 0"):
        SoundWindows(store, "train", 0, ONTOLOGY)
    with pytest.raises(InputError, match="no test recordings"):
        SoundWindows(store, "test", 20, ONTOLOGY)
    with pytest.raises(InputError, match=r"overlap_share is 1\.5"):
        SoundWindows(store, "train", 20, ONTOLOGY).draw(np.random.default_rng(0), 1, 1.5)
    other = make_store(tmp_path / "other", [("theremin", 30, 9, "train")])
    with pytest.raises(InputError, match="class 'theremin' is unknown"):
        SoundWindows(other, "train", 20, ONTOLOGY)
