import pytest
import torch

from timbrel.models.embedder import EmbedderConfig, MusicEmbedder


def test_at_the_reports_sizes_it_has_the_reports_parameters():
    with torch.device("meta"):
        embedder = MusicEmbedder(EmbedderConfig())
    assert sum(parameter.numel() for parameter in embedder.parameters()) == 8_853_507  # report 004, section 5.1


@pytest.fixture
def embedder():
    torch.manual_seed(0)
    return MusicEmbedder(EmbedderConfig(12, 8))


def test_moments_that_are_masked_or_reordered_change_nothing(embedder):
    features = torch.randn(2, 5, 12)
    token = embedder(features)
    assert token.shape == (2, 8)
    torch.testing.assert_close(embedder(features.flip(1)), token)
    more = torch.cat([features, 100 * torch.randn(2, 3, 12)], dim=1)
    mask = torch.arange(8).expand(2, 8) < 5
    torch.testing.assert_close(embedder(more, mask), token)
    assert (embedder(more) - token).abs().max() > 0.1


def test_a_token_lies_between_the_moments_it_pools(embedder):
    features = torch.randn(1, 6, 12)
    each = embedder(features.transpose(0, 1))
    token = embedder(features)[0]
    assert (token <= each.amax(0) + 1e-6).all()
    assert (token >= each.amin(0) - 1e-6).all()


def test_the_level_of_features_is_taken_out(embedder):
    features = torch.randn(50, 6, 12)
    embedder.fit_moments(features)
    token = embedder(features)
    embedder.fit_moments(7 * features + 3)
    torch.testing.assert_close(embedder(7 * features + 3), token, atol=1e-4, rtol=1e-4)
