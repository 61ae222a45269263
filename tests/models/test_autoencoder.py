import pytest
import torch

from timbrel.errors import InputError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder

pytestmark = pytest.mark.usefixtures("no_gradients")
SMALL = AutoencoderConfig(width=8, num_blocks=1)


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def test_shapes_follow_the_factor_and_the_floor_holds():
    codec = MelAutoencoder(SMALL)
    latents = codec.encode(torch.rand(2, 1, 32, 23) * -100)
    assert latents.shape == (2, 8, 8, 5)  # 3 frames past the last whole patch are dropped
    mel = codec.decode(latents * 20)
    assert mel.shape == (2, 1, 32, 20)
    assert float(mel.min()) >= SMALL.floor_db


def test_all_components_give_the_mel_back():
    codec = MelAutoencoder(AutoencoderConfig(latent_channels=16, width=8, num_blocks=1))
    mel = torch.rand(4, 1, 32, 40) * -90
    codec.fit_basis(mel)
    torch.testing.assert_close(codec.decode(codec.encode(mel)), mel, atol=1e-3, rtol=0)


def test_the_basis_is_orthonormal_the_best_and_leaves_unit_variance():
    torch.manual_seed(0)
    mel = (torch.randn(16, 1, 32, 64).cumsum(dim=2) * 3 - 50).clamp(-100, 0)
    codec = MelAutoencoder(SMALL)
    codec.fit_basis(mel)
    torch.testing.assert_close(codec.basis @ codec.basis.T, torch.eye(8), atol=1e-5, rtol=0)
    latents = codec.encode(mel)
    assert float(latents.var(dim=(0, 2, 3)).mean()) == pytest.approx(1, rel=1e-3)
    fitted = (codec.decode(latents) - mel).square().mean()
    other = MelAutoencoder(SMALL)
    other.mean.copy_(codec.mean)
    assert float(fitted) < 0.5 * float((other.decode(other.encode(mel)) - mel).square().mean())


def test_distances_between_latents_are_decibels():
    codec = MelAutoencoder(AutoencoderConfig(latent_channels=16, width=8, num_blocks=1))
    one, other = torch.rand(2, 1, 1, 8, 8) * -90
    apart = (codec.encode(one) - codec.encode(other)).square().mean().sqrt() * codec.scale
    assert float(apart) == pytest.approx(float((one - other).square().mean().sqrt()), rel=1e-4)


def test_wrong_shapes_and_settings_are_named():
    codec = MelAutoencoder(SMALL)
    for shape in ((1, 32, 8), (1, 2, 32, 8), (1, 1, 30, 8)):
        with pytest.raises(InputError, match="a multiple of 4"):
            codec.encode(torch.zeros(shape))
    with pytest.raises(InputError, match="latent_channels is 17"):
        MelAutoencoder(AutoencoderConfig(latent_channels=17))
