"""Procedural pictures, paintings from a folder, and the store that holds both."""

import numpy as np
import pytest
import torch
from PIL import Image

from timbrel.data.paint.labels import LABELS, NAMES
from timbrel.data.paint.paintings import label_pictures, openness
from timbrel.data.paint.procedural import FAMILIES, draw_picture
from timbrel.data.paint.store import load_music, load_pictures, save_music, save_pictures, split_of
from timbrel.errors import InputError


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_many_pictures_by_seed(family):
    pictures = [draw_picture(family, seed).astype(float) for seed in (0, 1, 2)]
    assert all(picture.shape == (128, 128, 3) and picture.std() > 5 for picture in pictures)
    np.testing.assert_array_equal(pictures[0], draw_picture(family, 0))
    assert min(np.abs(pictures[k] - pictures[k - 1]).mean() for k in range(3)) > 5


def test_an_unknown_family_is_refused():
    with pytest.raises(InputError, match="'cubes' is unknown; expected one of icon"):
        draw_picture("cubes", 0)


@pytest.fixture
def paintings(tmp_path):
    """Three dark portraits and two bright skies of each style."""
    rng = np.random.default_rng(0)
    for style in {label.pictures for label in LABELS if label.real}:
        (tmp_path / style).mkdir()
        for k in range(5):
            pixels = rng.integers(0, 60, (128, 128, 3), np.uint8)
            pixels[:50] += np.uint8(150 * (k > 2))
            Image.fromarray(pixels).save(tmp_path / style / f"{k:04d}.jpg")
    return tmp_path


def test_every_label_gets_its_pictures(paintings):
    made = list(label_pictures(paintings, procedural=2))
    counts = [sum(label == k for _, label, _ in made) for k in range(len(LABELS))]
    expected = {None: 5, "figure": 3, "open": 2}
    assert counts == [expected[label.view] if label.real else 2 for label in LABELS]
    views = [pixels for pixels, label, _ in made if label == NAMES.index("Romanticism open view")]
    assert min(map(openness, views)) > 100


def test_without_paintings_their_labels_are_left_out():
    made = list(label_pictures(None, procedural=1))
    assert [label for _, label, _ in made] == [k for k, label in enumerate(LABELS) if not label.real]


def test_a_missing_style_is_named(tmp_path):
    with pytest.raises(InputError, match="baroque holds no paintings"):
        list(label_pictures(tmp_path, procedural=1))


def test_a_split_goes_by_the_name_and_by_80_10_10():
    splits = [split_of(f"work {k}") for k in range(3000)]
    assert splits == [split_of(f"work {k}") for k in range(3000)]
    np.testing.assert_allclose(np.bincount(splits) / 3000, [0.8, 0.1, 0.1], atol=0.02)


def test_the_store_gives_back_what_it_got(tmp_path):
    pictures = [(draw_picture("quilt", k), k % 18, k % 3) for k in range(6)]
    save_pictures(tmp_path, iter(pictures))
    save_music(tmp_path, torch.arange(24.0).view(2, 3, 4), [4, 5], [0, 2])
    loaded, music = load_pictures(tmp_path), load_music(tmp_path)
    errors = [
        np.abs(loaded.pixels[k].numpy().astype(float) - pixels).mean() for k, (pixels, _, _) in enumerate(pictures)
    ]
    assert max(errors) < 12  # WebP's
    assert min(np.abs(loaded.pixels[0].numpy().astype(float) - pixels).mean() for pixels, _, _ in pictures[1:]) > 20
    assert (loaded.label.tolist(), loaded.split.tolist()) == ([0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2])
    assert music.features.tolist() == torch.arange(24.0).view(2, 3, 4).tolist()
    assert (music.label.tolist(), music.split.tolist()) == ([4, 5], [0, 2])


def test_a_missing_or_broken_store_says_what_makes_one(tmp_path):
    with pytest.raises(InputError, match="timbrel data paint"):
        load_pictures(tmp_path)
    (tmp_path / "music.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="timbrel data paint"):
        load_music(tmp_path)
