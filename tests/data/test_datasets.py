import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.augmentation import Augmentation
from timbrel.data.datasets import Windows
from timbrel.data.store import Entry, MelStore, StoreWriter
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
FRAMES = 120
NOTHING: dict[str, Any] = {f.name: 0.0 for f in dataclasses.fields(Augmentation) if f.name.endswith("probability")}
ALL_BLENDS = Augmentation(**NOTHING | {"blend_probability": 1.0, "gain_db": 0.0})


def make_store(folder, entries):
    """Each mel says which recording it is (band 0), of which group (1) and which frame (2)."""
    writer = StoreWriter(folder, MEL)
    for number, (label, group, library, split, degraded) in enumerate(entries):
        levels = np.zeros((FRAMES, 32), np.uint8)
        levels[:, 0], levels[:, 1], levels[:, 2] = number, 0 if group is None else int(group[1:]), np.arange(FRAMES)
        entry = Entry(
            id=f"r{number}", label=label, split=split, frames=FRAMES, source="x", group=group, library=library,
            degraded=degraded,
        )  # fmt: skip
        writer.add(entry, levels)
    return MelStore(folder)


def read(mel):
    """Recording, group and first frame of each window [batch, 1, n_mels, frames]."""
    levels = ((mel + 100) * 2.55).round().int()[:, 0, :3]
    return [tuple(int(x) for x in row[:, 0]) for row in levels]


@pytest.fixture
def aligned(tmp_path):
    groups = [(label, f"g{g}", library, "train", degraded)
              for g in range(1, 7)
              for label, library, degraded in
              (("piano", "opl3", False), ("violin", f"lib{g % 2}", False), ("piano", "opl3", True))]  # fmt: skip
    return make_store(tmp_path / "aligned", [*groups, ("piano", "g9", "opl3", "validation", False)])


def test_aligned_windows_share_moment_and_group_and_the_style_its_voice(aligned):
    windows = Windows(aligned, "train", 32, 48)
    drawn = windows.transfer(np.random.default_rng(0), 200, None)
    assert drawn["content"].shape == drawn["target"].shape == (200, 1, 32, 32)
    assert drawn["style"].shape == (200, 1, 32, 48)
    of, same = {int(e.id[1:]): e for e in windows.entries}, 0
    for (c, cg, cs), (t, tg, ts), (s, sg, _) in zip(
        *map(read, (drawn["content"], drawn["target"], drawn["style"])), strict=True
    ):
        assert c != t
        assert (cg, cs) == (tg, ts)
        assert not of[t].degraded
        assert not of[s].degraded
        assert (of[s].label, of[s].library) == (of[t].label, of[t].library)
        assert s == t or sg != tg  # another piece, or another moment of this one
        same += s == t
    assert 0 < same < 80
    assert any(of[c].degraded for c, _, _ in read(drawn["content"]))


def test_a_label_is_that_of_its_target_and_none_for_what_is_invented(tmp_path):
    rows = [("piano", "g1", "opl3", "train", False), ("violin", "g1", "opl3", "train", False),
            ("blend", "g1", "virtual", "train", False)]  # fmt: skip
    windows = Windows(make_store(tmp_path, rows), "train", 32, 32)
    drawn = windows.transfer(np.random.default_rng(0), 60, None)
    assert windows.labels == ["piano", "violin"]
    pairs = {(t, int(label)) for (t, _, _), label in zip(read(drawn["target"]), drawn["label"], strict=True)}
    assert pairs == {(0, 0), (1, 1), (2, -1)}


def test_a_blend_sounds_alike_in_target_and_style_and_has_no_label(tmp_path):
    rows = [("piano", "g1", "opl3", "train", 0 < k < 20) for k in range(20)] + [("harp", "g1", "opl3", "train", False)]
    windows = Windows(make_store(tmp_path, rows), "train", 32, 32)
    drawn = windows.transfer(np.random.default_rng(0), 200, ALL_BLENDS)
    content, target, style = (
        ((drawn[name][:, 0, 0, 0] + 100) * 2.55).round().int() for name in ("content", "target", "style")
    )
    # Band 0 is the recording's number, in steps of 0.4 dB. Only 0 and 20 are clean: both are in a blend, if neither is
    # the content.
    blended = drawn["label"] == -1
    assert blended.tolist() == [0 < c < 20 for c in content]
    torch.testing.assert_close(target[blended], style[blended])
    assert all(0 < level < 20 for level in target[blended])
    assert len(set(target[blended].tolist())) > 5  # shares differ
    assert set(target[~blended].tolist()) == {0, 20}
    assert float(drawn["target"][:, :, 5:].amax()) == -100  # what is silent in both stays so
    both = windows._blend(np.full((4, 32), 100, np.uint8), np.full((4, 32), 200, np.uint8), 0.25, False)
    assert (both == 125).all()
    both = windows._blend(np.full((4, 32), 200, np.uint8), np.full((4, 32), 0, np.uint8), 0.5, True)
    assert (both == 192).all()  # half the power is 3 dB less, 7.7 steps


def test_two_recordings_of_a_score_are_not_blended(tmp_path):
    rows = [(label, "g1", "opl3", "train", False) for label in ("piano", "violin")]
    windows = Windows(make_store(tmp_path, rows), "train", 32, 32)
    drawn = windows.transfer(np.random.default_rng(0), 20, ALL_BLENDS)
    assert set(drawn["label"].tolist()) == {0, 1}


def test_splits_do_not_mix_and_draws_repeat(aligned):
    windows = Windows(aligned, "train", 32, 32)
    one, same = (windows.single(np.random.default_rng(5), 100) for _ in range(2))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert {r for r, _, _ in read(one)} == set(range(18))
    assert {r for r, _, _ in read(Windows(aligned, "validation", 32, 32).single(np.random.default_rng(0), 9))} == {18}


def test_unaligned_windows_take_the_style_from_another_moment(tmp_path):
    store = make_store(tmp_path, [("lute", None, None, "train", False)] * 3)
    drawn = Windows(store, "train", 32, 32).transfer(np.random.default_rng(0), 100, None)
    torch.testing.assert_close(drawn["content"], drawn["target"])
    for (t, _, begin), (s, _, style_begin) in zip(read(drawn["target"]), read(drawn["style"]), strict=True):
        assert t == s
        assert abs(begin - style_begin) >= 32  # they do not overlap


def test_stores_that_cannot_train_are_refused(tmp_path, aligned):
    with pytest.raises(InputError, match="no test recording"):
        Windows(aligned, "test", 32, 32)
    with pytest.raises(InputError, match="at least 208 frames"):
        Windows(aligned, "train", 32, 200)
    with pytest.raises(InputError, match="freepats"):
        Windows(make_store(tmp_path / "own", [("piano", "g1", "freepats", "train", False)]), "train", 32, 32)


def test_a_phrase_is_its_recordings_one_after_the_other(tmp_path):
    windows = Windows(make_store(tmp_path, 2 * [("piano", None, None, "train", False)]), "train", 150, 150)
    [phrase] = windows.entries
    window = windows.window(phrase, 100, 150)
    assert window[:, 0].tolist() == 20 * [0] + 120 * [1] + 10 * [0]
    assert window[:, 2].tolist() == [*range(100, 120), *range(120), *(10 * [0])]
