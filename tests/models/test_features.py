import numpy as np
import pytest
import torch

from timbrel.errors import InputError
from timbrel.models.features import LPIPS, FeatureConfig, FeatureNetwork, VGGish


@pytest.fixture(scope="module")
def vggish():
    """Without its 72 million numbers: each tensor is one number, shown many times."""
    with torch.device("meta"):
        network = VGGish()
    state = {name: torch.full((1,), 0.01).expand(t.shape) for name, t in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False)


def test_vggish_is_as_large_and_named_as_the_published_one(vggish):
    assert sum(p.numel() for p in vggish.parameters()) == 72_141_184
    layers = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13)] + [f"embeddings.{i}" for i in (0, 2, 4)]
    assert set(vggish.state_dict()) == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}


def test_vggish_embeds_examples_and_maps_any_picture(vggish):
    with pytest.raises(InputError, match=r"\[n, 1, 96 frames, 64 bands\]"):
        vggish(torch.zeros(1, 1, 64, 96))
    maps = vggish.maps(torch.randn(2, 1, 40, 24))
    assert [tuple(m.shape) for m in maps] == [(2, 64, 40, 24), (2, 128, 20, 12), (2, 256, 10, 6), (2, 512, 5, 3)]


def test_vggish_flattens_with_channels_last_and_has_no_last_activation(vggish):
    class Seen(torch.nn.Module):
        def forward(self, x):
            self.x = x
            return x[:, :3] - 1

    features, embeddings = vggish.features, vggish.embeddings
    try:
        maps = torch.randn(1, 512, 6, 4)
        vggish.features, vggish.embeddings = torch.nn.Module(), Seen()
        vggish.features.forward = lambda x: maps
        found = vggish(torch.zeros(1, 1, 96, 64))
        torch.testing.assert_close(vggish.embeddings.x.view(6, 4, 512), maps[0].permute(1, 2, 0))
        torch.testing.assert_close(found, vggish.embeddings.x[:, :3] - 1)
    finally:
        vggish.features, vggish.embeddings = features, embeddings
    assert isinstance(vggish.embeddings[-1], torch.nn.Linear)


@pytest.mark.parametrize(
    ("trunk", "trunk_numbers", "convolutions", "channels"),
    [
        ("alexnet", 2_469_696, (0, 3, 6, 8, 10), (64, 192, 384, 256, 256)),
        ("vgg16", 14_714_688, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (64, 128, 256, 512, 512)),
    ],
)
def test_lpips_is_as_large_and_named_as_the_published_one(trunk, trunk_numbers, convolutions, channels):
    with torch.device("meta"):
        network = LPIPS(trunk)
    names = {f"features.{k}.{part}" for k in convolutions for part in ("weight", "bias")}
    heads = {f"lin{k}.model.1.weight": (1, width, 1, 1) for k, width in enumerate(channels)}
    state = network.state_dict()
    assert set(state) == names | set(heads)
    assert {name: tuple(state[name].shape) for name in heads} == heads
    assert sum(state[name].numel() for name in names) == trunk_numbers
    assert network.name == f"lpips-{trunk}"


@pytest.mark.parametrize(("trunk", "least"), [("alexnet", 31), ("vgg16", 16)])
def test_lpips_takes_pictures_that_reach_its_last_layer(trunk, least):
    with torch.device("meta"):
        network = LPIPS(trunk)
    state = {name: torch.full((1,), 0.01).expand(t.shape) for name, t in network.state_dict().items()}
    network = LPIPS.from_state_dict(state)
    assert network.maps(torch.zeros(1, 3, least, least + 1))[-1].shape[2:] == (1, 1)
    with pytest.raises(InputError, match=f"the picture is 64 x {least - 1}; expected at least {least} x"):
        network.maps(torch.zeros(1, 3, 64, least - 1))
    with pytest.raises(InputError, match="'squeezenet'; expected 'alexnet' or 'vgg16'"):
        LPIPS("squeezenet")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FeatureNetwork(FeatureConfig(("harp", "piano", "violin"), width=4, embedding=8))


@pytest.mark.parametrize("size", [(256, 128), (32, 40), (30, 7), (8, 1)])
def test_features_take_pictures_of_any_size(network, size):
    mel = -100 * torch.rand(2, 1, *size)
    assert network(mel).shape == (2, 3)
    assert network.embed(mel).shape == (2, 8)
    maps = network.maps(mel)
    assert [m.shape[1] for m in maps] == [4, 8, 16, 32, 32]
    assert maps[0].shape[2:] == tuple(-(-side // 2) for side in size)
    assert all(bool(m.isfinite().all()) for m in [*maps, network(torch.full_like(mel, -100))])


def test_features_know_frequency_and_not_time_and_let_gradients_through(network):
    mel = torch.full((1, 1, 64, 64), -90.0)
    mel[..., 10:20, :] = -20
    with torch.no_grad():
        embedded, higher, later = (network.embed(x) for x in (mel, mel.roll(30, dims=2), mel.roll(32, dims=3)))
    assert float((embedded - higher).norm()) > 10 * float((embedded - later).norm())
    mel.requires_grad_(True)
    sum(m.square().mean() for m in network.maps(mel)).backward()
    assert float(mel.grad.abs().sum()) > 0


def test_what_makes_no_network_is_refused():
    with pytest.raises(InputError, match="at least two instruments"):
        FeatureNetwork(FeatureConfig(("harp",)))
    with pytest.raises(InputError, match="width is 6; expected a multiple of 4"):
        FeatureNetwork(FeatureConfig(("harp", "piano"), width=6))


def test_embeddings_do_not_depend_on_what_else_is_in_the_batch(network):
    mel = torch.from_numpy(np.random.default_rng(0).uniform(-100, 0, (3, 1, 32, 32)).astype("f4"))
    torch.testing.assert_close(network.embed(mel)[1:2], network.embed(mel[1:2]))
