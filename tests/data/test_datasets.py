import dataclasses

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig, band_centres_hz, mel_spectrogram
from timbrel.data.augmentation import Augmentation
from timbrel.data.datasets import Windows, augment, shape, soften, warp
from timbrel.data.store import Entry, MelStore, StoreWriter
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
FRAMES = 120
NOTHING = {f.name: 0.0 for f in dataclasses.fields(Augmentation) if f.name.endswith("probability")}
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


def test_augmenting_hangs_on_the_generator_and_stays_in_range():
    mels = torch.rand(3, 6, 32, 20) * -90
    one, same, other = (augment(*mels, Augmentation(), MEL, np.random.default_rng(s)) for s in (0, 0, 1))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert float((one[1] - other[1]).abs().max()) > 1
    assert all(float(mel.min()) >= -100 and float(mel.max()) <= 0 for mel in one[1:])


def test_target_and_style_share_their_sound_and_the_source_does_not():
    mel = torch.rand(8, 32, 20) * -40 - 30
    how = Augmentation(**NOTHING | {"equaliser_probability": 1.0}, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, MEL, np.random.default_rng(0))
    torch.testing.assert_close(target, style)
    assert float((content - target).abs().mean()) > 1
    kept = augment(mel, mel, mel, Augmentation(**NOTHING, gain_db=0), MEL, np.random.default_rng(0))
    for result in kept:
        torch.testing.assert_close(result, mel)


def test_a_softened_attack_rises_later_and_falls_as_before():
    mel = torch.full((2, 32, 60), -100.0)
    mel[:, :, 20:40] = -20
    soft = soften(mel, torch.tensor([0.1, 0.0])[:, None, None].expand(2, 32, 1), MEL)
    torch.testing.assert_close(soft[1], mel[1])
    torch.testing.assert_close(soft[0, :, :20], mel[0, :, :20])
    torch.testing.assert_close(soft[0, :, 40:], mel[0, :, 40:])
    reached = 10 ** ((soft[0, 0, 20:40] + 20) / 20)  # 1 - exp(-t / 0.1 s), a frame being 20 ms
    frames = torch.arange(1, 21) / MEL.frame_rate
    torch.testing.assert_close(reached, 1 - torch.exp(-frames / 0.1), atol=1e-3, rtol=0)


def test_intonation_wanders_in_the_source_alone():
    mel = torch.full((4, 64, 40), -90.0)
    mel[:, 30] = -20
    fine = dataclasses.replace(MEL, n_mels=64)
    how = Augmentation(**NOTHING | {"intonation_probability": 1.0}, intonation_cents=100, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, fine, np.random.default_rng(0))
    torch.testing.assert_close(target, mel)
    torch.testing.assert_close(style, mel)
    assert float((content - mel).abs().amax(dim=(1, 2)).min()) > 3
    assert float(content[0].std(dim=1).max()) > 1  # from frame to frame


def test_loud_and_soft_come_and_go_in_source_and_target_alike():
    mel = torch.rand(8, 32, 100) * -20 - 40
    how = Augmentation(**NOTHING | {"dynamics_probability": 1.0}, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, MEL, np.random.default_rng(0))
    torch.testing.assert_close(content, target)
    torch.testing.assert_close(style, mel)
    gain = (target - mel).mean(dim=1)
    torch.testing.assert_close((target - mel), gain[:, None].expand_as(mel), atol=1e-4, rtol=0)
    assert float((gain.amax(dim=1) - gain.amin(dim=1)).min()) > 3


def test_warping_is_transposing():
    t = torch.arange(16000) / 16000
    low, high = (
        mel_spectrogram(0.5 * torch.sin(6.2832 * hz * t)[None, None], MEL)[0, :, :, 20:30] for hz in (1000, 1500)
    )
    warped = warp(low, torch.tensor([[1.5]], dtype=torch.float64), MEL)
    assert int(warped[0, :, 0].argmax()) == int(high[0, :, 0].argmax())
    assert abs(float(band_centres_hz(MEL)[warped[0, :, 0].argmax()]) - 1500) < 250
    assert warp(low, torch.ones(1, 1), MEL) is low


def test_a_room_rings_on_and_silence_stays_silent():
    mel = torch.full((2, 32, 30), -100.0)
    mel[:, :, 5] = -20
    keep, wet = torch.tensor([0.8, 0.8]), torch.tensor([0.1, 0.0])
    rung = shape(mel, torch.full((2, 32), 3.0), keep, wet, -100.0)
    torch.testing.assert_close(rung[1, 0, :7], torch.tensor([-100.0] * 5 + [-17.0, -100.0]))
    assert float(rung[0, :, :5].max()) < -96  # the floor rings too
    steps = rung[0, 0, 6:20].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 10 * np.log10(0.8)), atol=0.01, rtol=0)
    assert float(rung[0, 0, 6]) == pytest.approx(-27, abs=0.1)  # a tenth of the direct sound's power
