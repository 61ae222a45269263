"""The terms of report 001's objective, one by one."""

import numpy as np
import pytest
import torch

from timbrel.audio import vggish
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.checkpoint import save_features
from timbrel.errors import InputError, ModelError
from timbrel.models.encoders import FeatureConfig, FeatureNetwork, VGGish
from timbrel.training.losses import (
    FeatureMaps,
    feature_loss,
    grams,
    kl_of_moments,
    kl_of_posterior,
    load_feature_maps,
    vggish_picture,
)

MEL = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def network():
    return FeatureNetwork(FeatureConfig(("harp", "piano"), width=4, embedding=8))


def music(batch=3, frames=64):
    return torch.rand(batch, 1, 128, frames) * -100


def test_kl_knows_mean_and_variance():
    """Defect 6: its minimum was at |z| = 1."""
    normal = torch.randn(8, 4, 32, 32)
    assert kl_of_moments(normal) < 1e-3
    assert kl_of_moments(normal.sign() * 0 + 1) > 1
    # KL(N(3, 4) || N(0, 1)) = (9 + 4 - 1 - ln 4) / 2
    assert kl_of_moments(normal * 2 + 3).item() == pytest.approx(5.307, rel=0.03)
    skewed = torch.cat([normal[:, :2], normal[:, 2:] * 2 + 3], dim=1)  # each channel counts on its own
    assert kl_of_moments(skewed).item() == pytest.approx(5.307 / 2, rel=0.05)


def test_kl_of_a_posterior_is_torchs():
    mean, log_variance = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_of_posterior(mean, log_variance), expected)


def test_the_feature_distance_reaches_what_made_the_result():
    """Defect 1: under `no_grad` it trained nothing."""
    x, x_hat = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    distance = feature_loss(lambda picture: [2 * picture, picture.mean(dim=(2, 3))], x, x_hat)
    assert distance.item() == pytest.approx((1 + 0.25) / 2)
    distance.backward()
    assert x_hat.grad.abs().min() > 0


def test_grams_know_what_sounds_together_but_not_when():
    def features(x):
        return [x, x[..., ::2]]

    x = torch.randn(2, 3, 5, 8)
    (gram, _) = grams(features)(x)
    assert gram[1, 0, 2].item() == pytest.approx((x[1, 0] * x[1, 2]).mean().item(), abs=1e-6)
    later = x.roll(2, dims=3)
    assert feature_loss(grams(features), x, later) < 1e-10 < feature_loss(features, x, later)
    assert feature_loss(grams(features), x, x.flip(1)) > 0.01


def test_layers_count_alike_and_the_network_stays(network):
    mel = music().requires_grad_()
    maps = FeatureMaps(network, mel)
    assert maps.name == "timbrel-features"
    found = maps(mel)
    assert [round(x.square().mean().item(), 4) for x in found] == [1.0] * 5
    feature_loss(maps, music(), mel).backward()
    assert mel.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    loud = FeatureMaps(network, mel)
    loud.rms *= 2
    assert loud.state_dict().keys() == maps.state_dict().keys()
    torch.testing.assert_close(2 * loud(mel)[0], found[0])


def test_the_mel_picture_is_what_vggish_hears():
    """Levels and axes as of its own front end: a loud tone in the second half of otherwise silence."""
    t = torch.arange(3 * 22050) / 22050
    tone = torch.sin(2 * torch.pi * 1000 * t) * (t > 1.5)
    picture = vggish_picture(mel_spectrogram(tone[None, None], MEL)[..., :128])
    assert picture.shape == (1, 1, 96, 64)
    t = torch.arange(3 * 16000) / 16000
    own = vggish.examples(torch.sin(2 * torch.pi * 1000 * t) * (t > 1.5))
    assert float(picture.max()) == pytest.approx(float(own.max()), abs=1.5)  # of log; a line fades a little, resized
    assert float(picture[0, 0, :40].mean()) == pytest.approx(float(own[0].mean()), abs=0.15)  # silence
    loudest = picture[0, 0].amax(dim=1)
    assert loudest[:44].max() < loudest[52:].min() - 5  # time comes first
    assert float(vggish_picture(torch.zeros(1, 1, 128, 128)).mean()) == pytest.approx(np.log(100.01), abs=1e-3)


@pytest.fixture
def vggish_file(tmp_path):
    """Of its 72 million numbers each tensor has one, shown many times."""
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in VGGish().state_dict().items()}
    torch.save({name: torch.full((1,), 0.01).expand(shape) for name, shape in shapes.items()}, tmp_path / "v.pth")
    return tmp_path / "v.pth"


def test_vggish_comes_from_a_file(vggish_file):
    mel = music(1).requires_grad_()
    maps = load_feature_maps(vggish_file, mel, MEL)
    assert maps.name == "vggish"
    found = maps(mel)
    assert [tuple(x.shape[1:]) for x in found] == [(64, 96, 64), (128, 48, 32), (256, 24, 16), (512, 12, 8)]
    assert all(x.square().mean().item() == pytest.approx(1, abs=1e-3) for x in found)
    found[-1].sum().backward()
    assert mel.grad.abs().max() > 0


def test_what_is_no_network_is_refused(network, tmp_path):
    save_features(tmp_path / "ours", MEL, network, {})
    assert load_feature_maps(tmp_path / "ours", music(), MEL).name == "timbrel-features"
    with pytest.raises(InputError, match=r"n_mels=128.*but the data are .*n_mels=64.*timbrel train features"):
        load_feature_maps(tmp_path / "ours", music(), MelConfig(n_mels=64))
    with pytest.raises(ModelError, match="VGGish state dict"):
        load_feature_maps(tmp_path / "missing.pth", music(), MEL)
    with pytest.raises(ModelError, match="neither a model folder"):
        load_feature_maps(tmp_path / "missing", music(), MEL)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="72,141,184 numbers"):
        load_feature_maps(tmp_path / "other.pt", music(), MEL)
