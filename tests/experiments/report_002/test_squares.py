import numpy as np
import pytest
import torch

from timbrel.experiments.report_002.squares import SHAPES, Drawer, load_drawer, smaller, stretched
from timbrel.systems.weights import save_weights


@pytest.fixture
def drawer():
    torch.manual_seed(0)
    network = Drawer((8, 16, 16), num_classes=3)
    torch.nn.init.normal_(network.leave.weight, std=0.2)
    return network.eval()


@pytest.mark.parametrize("shape", SHAPES.values())
def test_pictures_of_any_shape_each_class_and_seed_its_own(drawer, shape):
    options = {"steps": 2, "guidance": 2.0}
    one, other_class = (drawer.draw(label, shape, [0, 1], **options) for label in (0, 1))
    assert one.shape == (2, 1, *shape)
    assert one.abs().max() <= 1
    assert (one - other_class).abs().max() > 1e-4
    assert (one[0] - one[1]).abs().max() > 0.01
    torch.testing.assert_close(drawer.draw(0, shape, [1], **options)[0], one[1], atol=1e-4, rtol=1e-4)


def test_a_mel_is_a_picture_and_back():
    mel = torch.full((1, 1, 256, 256), -60.0)
    mel[..., :64, :] = -20
    picture = smaller(mel, (64, 64), -100.0)
    assert picture.shape == (1, 1, 64, 64)
    assert picture[0, 0, 0, 0].item() == pytest.approx(0.6)
    back = stretched(picture, (256, 256), -100.0)
    np.testing.assert_allclose(back[..., :60, :], mel[..., :60, :], atol=1e-4)


def test_it_is_kept_in_a_folder(drawer, tmp_path):
    save_weights(tmp_path / "drawer.safetensors", drawer, torch.float32)
    again = load_drawer(tmp_path, Drawer((8, 16, 16), num_classes=3))
    first, second = (network.draw(2, (16, 16), [5], steps=1, guidance=1.0) for network in (drawer, again))
    torch.testing.assert_close(first, second)
