import torch

from timbrel.models.style import StyleConfig, StyleEncoder

SMALL = StyleConfig(latent_channels=2, latent_height=4, width=16, num_blocks=2)


def encoder():
    torch.manual_seed(0)
    return StyleEncoder(SMALL).eval()


def test_two_frames_of_latents_become_one_token():
    latents = torch.randn(3, 2, 4, 21)
    tokens = encoder()(latents)
    assert tokens.shape == (3, 10, 16)
    torch.testing.assert_close(tokens, encoder()(latents[..., :20]))


def test_tokens_carry_no_position():
    latents = torch.randn(1, 2, 4, 40)
    tokens, later = encoder()(latents), encoder()(latents.roll(20, -1))
    torch.testing.assert_close(tokens[:, 3:7], later[:, 13:17])  # away from the edges the same, ten tokens later


def test_latents_are_normalised_by_the_datas_statistics():
    one, other = encoder(), encoder()
    other.mean.fill_(3.0)
    other.std.fill_(2.0)
    latents = torch.randn(1, 2, 4, 12)
    torch.testing.assert_close(one(latents), other(latents * 2 + 3), atol=1e-5, rtol=1e-5)
