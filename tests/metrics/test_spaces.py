"""Joint spaces: ours trained on a set that is easily told apart, and CLAP with CLIP as transformers saves them."""

import numpy as np
import pytest
import torch

from timbrel.data.paint.store import Music, Pictures
from timbrel.errors import InputError, ModelError
from timbrel.experiments.report_004.run import SPACE
from timbrel.metrics.similarity import cosines
from timbrel.metrics.spaces import ClapClipSpace, PaintSpace, Space, pairs, save_space, train_space

RATE = 16000


def a_set(count=12):
    """Two labels: dark pictures and low features, bright ones and high features."""
    rng, label = np.random.default_rng(0), torch.tensor([3, 9] * count)
    bright = (label == 9).float()
    pixels = torch.from_numpy(rng.integers(0, 100, (2 * count, 128, 128, 3), np.uint8))
    pixels += (150 * bright).to(torch.uint8)[:, None, None, None]
    features = torch.from_numpy(rng.normal(size=(2 * count, 2, 392)).astype(np.float32)) + 3 * bright[:, None, None]
    split = torch.zeros_like(label)
    return Music(features.half(), label, split), Pictures(pixels, label, split)


def test_what_is_trained_brings_a_labels_music_and_pictures_together(tmp_path):
    music, pictures = a_set()
    network = train_space(music, pictures, epochs=25)
    save_space(tmp_path / "space.safetensors", network)
    space = PaintSpace(tmp_path / "space.safetensors")
    assert space.name.startswith("timbrel-paint:")
    seen = space.pictures(pictures.pixels[:2].numpy())
    heard = network.music(music.features[:2].float().mean(1)).numpy()
    likeness = cosines(seen, heard)
    assert likeness.diagonal().min() > likeness[[0, 1], [1, 0]].max() + 0.3
    assert space.features(pictures.pixels[:2].numpy()).shape == (2, 96)
    first, again = (train_space(music, pictures, epochs=1) for _ in range(2))
    torch.testing.assert_close(again.labels, first.labels)
    with pytest.raises(InputError, match="1 labels have music and pictures"):
        train_space(music, Pictures(pictures.pixels, torch.full_like(pictures.label, 3), pictures.split))


def test_the_space_that_ships_is_small_and_hears_and_sees():
    assert SPACE.stat().st_size < 500_000
    space: Space = PaintSpace(SPACE)
    music = space.music(np.sin(np.arange(4 * RATE) / 9).astype(np.float32))
    assert music.shape == (64,)
    assert np.isfinite(music).all()


def test_for_music_of_a_label_a_picture_of_it_is_drawn():
    chosen = pairs([1, 0, 1], [0, 1, 0, 1])
    assert [int(k) % 2 for k in chosen] == [1, 0, 1]
    np.testing.assert_array_equal(pairs([1, 0, 1], [0, 1, 0, 1]), chosen)


def test_clap_is_brought_into_clips_space_by_pairs(tiny_clap, tiny_clip_vision):
    space = ClapClipSpace(tiny_clap, tiny_clip_vision)
    assert space.name.startswith("clap-clip:clap:")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (4, 40, 40, 3), np.uint8)
    tone = [np.sin(np.arange(space.sample_rate) / k).astype(np.float32) for k in (3, 8, 20, 50)]
    with pytest.raises(ModelError, match="has no map"):
        space.music(tone[0])
    seen, heard = space.pictures(pixels), np.stack([space.heard(one) for one in tone])
    assert seen.shape == (4, 12)
    assert space.features(pixels).shape == (4, 16)
    space.fit(heard, seen)
    brought = np.stack([space.music(one) for one in tone])
    assert brought.shape == (4, 12)
    assert cosines(brought, seen).diagonal().mean() > 0.9  # as near as a ridge brings four pairs
    with pytest.raises(InputError, match="4 clips and 3 pictures"):
        space.fit(heard, seen[:3])


def test_a_missing_clip_says_what_is_expected(tiny_clap, tmp_path):
    with pytest.raises(ModelError, match="cannot be read as a CLIP model"):
        ClapClipSpace(tiny_clap, tmp_path)
