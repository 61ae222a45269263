"""The picture codec, the denoiser of pictures, and the discriminator that the codec trains against."""

import pytest
import torch

from timbrel.errors import InputError
from timbrel.models.discriminator import PictureDiscriminator
from timbrel.models.picture_autoencoder import PictureAutoencoder, PictureAutoencoderConfig
from timbrel.models.picture_unet import PictureUNet, PictureUNetConfig
from timbrel.models.text_unet import Text
from timbrel.systems.base import ScheduleConfig

SMALL = PictureUNetConfig(latent_channels=4, token_width=16, width=8, inner_width=16, modulation_width=8)


def test_a_picture_goes_through_latents_an_eighth_as_large():
    codec = PictureAutoencoder(PictureAutoencoderConfig(4, (8, 8, 8), (8, 8, 8), 4))
    pictures = torch.rand(2, 3, 64, 32) * 2 - 1
    codec.fit_scale(pictures)
    latents = codec.encode(pictures)
    assert latents.shape == (2, 4, 8, 4)
    assert latents.std().item() == pytest.approx(1, abs=1e-4)
    assert codec.decode(latents).shape == pictures.shape


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 60, 64)])
def test_other_shapes_are_refused(shape):
    codec = PictureAutoencoder(PictureAutoencoderConfig(4, (8, 8, 8), (8, 8, 8), 4))
    with pytest.raises(InputError, match="expected \\[batch, 3, two multiples of 8\\]"):
        codec.encode(torch.zeros(shape))
    with pytest.raises(InputError, match="expected as many"):
        PictureAutoencoder(PictureAutoencoderConfig(4, (8, 8), (8, 8, 8), 4))


def denoiser():
    torch.manual_seed(0)
    schedule = ScheduleConfig(prediction_type="v").build()
    network = PictureUNet(SMALL, schedule.alphas_cumprod)
    for layer in (network.leave, network.look.text.out):
        torch.nn.init.normal_(layer.weight, std=0.5)
    return network


def test_the_answer_depends_on_what_is_not_masked():
    network, x, t = denoiser(), torch.randn(2, 4, 16, 16), torch.tensor([999, 10])
    tokens, mask = torch.randn(2, 3, 16), torch.tensor([[True, True, False]] * 2)
    answer = network(x, t, Text(tokens, mask))
    assert answer.shape == x.shape
    other = tokens.clone()
    other[:, 2] = 7
    torch.testing.assert_close(network(x, t, Text(other, mask)), answer)
    other[:, 1] = 7
    assert (network(x, t, Text(other, mask)) - answer).abs().max() > 1e-3


def test_no_condition_is_the_null_token_for_the_samples_that_are_dropped():
    network, tokens, mask = denoiser(), torch.randn(2, 3, 16), torch.tensor([[True, True, False]] * 2)
    null = Text(tokens, mask).dropped(network.null_token, torch.tensor([True, False]))
    torch.testing.assert_close(null.tokens[0], network.null_token.expand(3, 16))
    torch.testing.assert_close(null.tokens[1], tokens[1])
    assert null.mask.tolist() == [[True] * 3, [True, True, False]]


def test_heads_have_to_divide_the_widths():
    with pytest.raises(InputError, match="multiples of 3 heads"):
        PictureUNet(PictureUNetConfig(num_heads=3), ScheduleConfig().build().alphas_cumprod)


def test_a_discriminator_scores_patches_at_two_scales():
    scores, maps = PictureDiscriminator((4, 8, 8, 8))(torch.rand(2, 3, 64, 64))
    assert [tuple(score.shape) for score in scores] == [(2, 1, 16, 16), (2, 1, 4, 4)]
    assert [m.shape[1] for m in maps] == [4, 8, 8, 8]
