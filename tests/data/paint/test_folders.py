"""Folders of one's own pictures and music: labels, excerpts, splits, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from timbrel.audio.io import write_audio
from timbrel.data.paint.folders import read_set
from timbrel.data.paint.labels import NAMES
from timbrel.data.paint.store import load_music, load_pictures, split_of
from timbrel.errors import InputError

RATE = 1000


def hear(waveform):
    """Mean and length of each half."""
    return torch.stack([torch.tensor([half.mean(), len(half)]) for half in waveform.chunk(2)])


@pytest.fixture
def folders(tmp_path):
    pictures, music = tmp_path / "pictures", tmp_path / "music"
    for k, name in enumerate(("heavy-metal", "Electronic music")):
        for root in (pictures, music):
            (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (30, 20), (90 * k, 200, 60 * number)).save(pictures / name / f"{number}.png")
        level = np.repeat(np.array([0.5, 0.1, 0.5], np.float32), 15 * RATE)[None]  # the middle 30 s: half of each
        write_audio(music / name / "long.wav", level, RATE)
        write_audio(music / name / "short.wav", np.full((1, 4 * RATE), 0.3, np.float32), RATE)
    return pictures, music


def test_a_set_of_folders_is_read_by_label_and_split_by_work(folders, tmp_path):
    (folders[0] / "heavy-metal" / "broken.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"broken.jpg is left out"):
        read_set(tmp_path / "set", folders[0], folders[1], hear, RATE, ear=("ast", "a/b"), size=32)
    pictures, music = load_pictures(tmp_path / "set"), load_music(tmp_path / "set")
    assert pictures.pixels.shape == (6, 32, 32, 3)
    electronic, metal = NAMES.index("Electronic music"), NAMES.index("Heavy metal")
    assert pictures.label.tolist() == [electronic] * 3 + [metal] * 3
    assert music.ear == ("ast", "a/b")
    assert music.label.tolist() == [electronic] * 2 + [metal] * 2
    assert music.split.tolist()[2:] == [split_of(f"Heavy metal/{stem}") for stem in ("long", "short")]
    means = music.features[0, :, 0].tolist()
    assert means == pytest.approx([0.3, 0.3], abs=0.01)  # 7.5 s of 0.5 and 7.5 s of 0.1 in each half
    assert music.features[1].tolist() == pytest.approx(np.array([[0.3, 15000]] * 2), abs=0.01)  # repeated to 30 s


def test_what_is_no_label_is_named(folders, tmp_path):
    (folders[1] / "Polka").mkdir()
    with pytest.raises(InputError, match="Polka is no label's folder; expected one of Renaissance symbolism"):
        read_set(tmp_path / "set", folders[0], folders[1], hear, RATE)
    with pytest.raises(InputError, match="holds no folders"):
        read_set(tmp_path / "set", tmp_path / "nowhere", folders[1], hear, RATE)
    for path in folders[1].rglob("*.wav"):
        path.unlink()
    (folders[1] / "Polka").rmdir()
    with pytest.raises(InputError, match="holds no recording that can be read"):
        read_set(tmp_path / "set", folders[0], folders[1], hear, RATE)
