import numpy as np
import pytest
from PIL import Image

from timbrel.errors import InputError
from timbrel.pipelines.palette import Palette


def test_a_picture_gets_the_others_mean_and_covariance():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.normal(128, 20, (40, 40, 1)), 3, axis=2) + rng.normal(0, 5, (40, 40, 3))
    warm = rng.normal((150, 90, 60), (20, 10, 5), (50, 50, 3)).astype(np.float32)
    made = Palette.of(Palette.of(warm).put_on(grey.astype(np.float32)))
    np.testing.assert_allclose(made.mean, Palette.of(warm).mean, atol=0.5)
    np.testing.assert_allclose(made.covariance, Palette.of(warm).covariance, atol=8)


def test_its_own_palette_leaves_a_picture_as_it_is():
    levels = np.random.default_rng(0).uniform(20, 200, (30, 30, 3)).astype(np.float32)
    np.testing.assert_allclose(Palette.of(levels).put_on(levels), levels, atol=0.01)
    one = np.full((4, 4, 3), 77, np.float32)
    np.testing.assert_allclose(Palette.of(one).put_on(one), one, atol=0.01)


def test_a_file_is_read_and_what_is_none_is_refused(tmp_path):
    Image.new("RGB", (30, 20), (10, 200, 30)).save(tmp_path / "one.png")
    np.testing.assert_allclose(Palette.read(tmp_path / "one.png").mean, (10, 200, 30))
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no.png cannot be read as a picture"):
        Palette.read(tmp_path / "no.png")
