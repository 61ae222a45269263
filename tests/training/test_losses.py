"""The terms of report 001's objective, one by one."""

import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from timbrel.audio import vggish
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.errors import InputError, MissingDependencyError, ModelError
from timbrel.models.features import FeatureConfig, FeatureNetwork, VGGish
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import save_system
from timbrel.training.losses import (
    FeatureMaps,
    feature_loss,
    grams,
    hinge_loss,
    kl_of_moments,
    kl_of_posterior,
    level_loss,
    load_feature_maps,
    matching_loss,
    vggish_input,
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
    picture = vggish_input(mel_spectrogram(tone[None, None], MEL)[..., :128])
    assert picture.shape == (1, 1, 96, 64)
    t = torch.arange(3 * 16000) / 16000
    own = vggish.examples(torch.sin(2 * torch.pi * 1000 * t) * (t > 1.5))
    assert float(picture.max()) == pytest.approx(float(own.max()), abs=1.5)  # of log; a line fades a little, resized
    assert float(picture[0, 0, :40].mean()) == pytest.approx(float(own[0].mean()), abs=0.15)  # silence
    loudest = picture[0, 0].amax(dim=1)
    assert loudest[:44].max() < loudest[52:].min() - 5  # time comes first
    assert float(vggish_input(torch.zeros(1, 1, 128, 128)).mean()) == pytest.approx(np.log(100.01), abs=1e-3)


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


# LPIPS ----------------------------------------------------------------------------------------------

CONVOLUTIONS = {  # layer of torchvision's trunk -> channels in, channels out, kernel
    "alexnet": {0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3)},
    "vgg16": {
        **{0: (3, 64, 3), 2: (64, 64, 3), 5: (64, 128, 3), 7: (128, 128, 3), 10: (128, 256, 3), 12: (256, 256, 3)},
        **{14: (256, 256, 3), 17: (256, 512, 3), 19: (512, 512, 3), 21: (512, 512, 3)},
        **{layer: (512, 512, 3) for layer in (24, 26, 28)},
    },
}


@pytest.fixture(scope="module", params=["alexnet", "vgg16"])
def lpips(request):
    """The trunk's name, its state dict and the heads', as random as they come."""
    trunk, random = {}, torch.Generator().manual_seed(1)
    for layer, (before, after, kernel) in CONVOLUTIONS[request.param].items():
        spread = (2 / (before * kernel**2)) ** 0.5  # so that what goes in comes out as loud
        trunk[f"features.{layer}.weight"] = spread * torch.randn(after, before, kernel, kernel, generator=random)
        trunk[f"features.{layer}.bias"] = 0.1 * torch.randn(after, generator=random)
    wide = (64, 192, 384, 256, 256) if request.param == "alexnet" else (64, 128, 256, 512, 512)
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=random) for k, c in enumerate(wide)}
    return request.param, trunk, heads


def distance(kind, trunk, heads, one, other):
    """Equation 1 of LPIPS's paper, written out: the mean over pictures [n, 3, h, w] in [-1, 1]."""

    def layers(x):
        mean, spread = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]]).to(x)[..., None, None]
        x = (x - mean) / spread

        def conv(layer, **how):
            return F.conv2d(x, trunk[f"features.{layer}.weight"], trunk[f"features.{layer}.bias"], **how).relu()

        if kind == "alexnet":
            yield (x := conv(0, stride=4, padding=2))
            x = F.max_pool2d(x, 3, 2)
            yield (x := conv(3, padding=2))
            x = F.max_pool2d(x, 3, 2)
            for layer in (6, 8, 10):
                yield (x := conv(layer, padding=1))
        else:
            for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
                for layer in block:
                    x = conv(layer, padding=1)
                yield x
                x = F.max_pool2d(x, 2)

    total = torch.zeros(())
    for a, b, head in zip(layers(one), layers(other), heads.values(), strict=True):
        difference = F.normalize(a, dim=1) - F.normalize(b, dim=1)
        total = total + F.conv2d(difference.square(), head).mean(dim=(2, 3))
    return total.mean()


LAST = "lin4.model.1.weight"


def sliced(trunk):
    """As LPIPS's authors have the trunk: cut after each layer that counts."""
    starts = (2, 5, 8, 10) if "features.28.weight" not in trunk else (4, 9, 16, 23)

    def slice_of(layer):
        return 1 + sum(layer >= start for start in starts)

    return {
        re.sub(r"features\.(\d+)", lambda m: f"net.slice{slice_of(int(m[1]))}.{m[1]}", name): tensor
        for name, tensor in trunk.items()
    }


def test_the_feature_distance_of_lpips_is_lpips(lpips, tmp_path):
    kind, trunk, heads = lpips
    save_file(trunk | heads, tmp_path / "lpips.safetensors")
    mel, other = (-100 * torch.rand(2, 1, 32, 32, dtype=torch.float64) for _ in range(2))
    maps = load_feature_maps(tmp_path / "lpips.safetensors", mel.float(), MEL).double()
    assert maps.name == f"lpips-{kind}"
    trunk, heads = ({name: t.double() for name, t in part.items()} for part in (trunk, heads))

    def by_hand(made):
        grey, other_grey = ((2 * (x + 100) / 100 - 1).repeat(1, 3, 1, 1) for x in (mel, made))
        return distance(kind, trunk, heads, grey, other_grey)

    def value_and_slope(measure):
        made = other.clone().requires_grad_()
        found = measure(made)
        found.backward()
        return found.detach(), made.grad

    found, slope = value_and_slope(lambda made: feature_loss(maps, mel, made))
    expected, expected_slope = value_and_slope(by_hand)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope, expected_slope, rtol=1e-5, atol=1e-6 * float(slope.abs().max()))
    assert min(found, slope.abs().max()) > 0
    assert feature_loss(maps, mel[:1], mel[:1]) == 0


def test_what_no_channel_answers_to_has_a_slope_all_the_same(lpips, tmp_path):
    """A length of 0 has none: one such place, and all weights would be NaN."""
    _, trunk, heads = lpips
    deaf = {name: -1e6 + 0 * t if name.endswith("bias") else t for name, t in trunk.items()}
    save_file(deaf | heads, tmp_path / "lpips.safetensors")
    mel = music(1, frames=40).requires_grad_()
    maps = load_feature_maps(tmp_path / "lpips.safetensors", mel, MEL)
    feature_loss(maps, music(1, frames=40), mel).backward()
    assert mel.grad.isfinite().all()


def test_lpips_comes_in_one_file_or_two_and_as_its_authors_pack_it(lpips, tmp_path):
    kind, trunk, heads = lpips
    classifier = {"classifier.1.weight": torch.zeros(3, 3), "classifier.1.bias": torch.zeros(3)}
    torch.save(trunk | classifier, tmp_path / "trunk.pth")
    torch.save(heads, tmp_path / "heads.pth")
    again = {name.replace("lin", "lins."): tensor for name, tensor in heads.items()}
    scaling = {f"scaling_layer.{name}": torch.zeros(1, 3, 1, 1) for name in ("shift", "scale")}
    torch.save(sliced(trunk) | heads | again | scaling, tmp_path / "whole.pth")
    (tmp_path / "a, b").mkdir()
    save_file(trunk | heads, tmp_path / "a, b" / "merged.safetensors")
    mel, found = music(1, frames=40), []
    for files in ("{0}/trunk.pth,{0}/heads.pth", "{0}/heads.pth,{0}/trunk.pth", "{0}/whole.pth",
                  "{0}/a, b/merged.safetensors"):  # fmt: skip
        maps = load_feature_maps(files.format(tmp_path), mel, MEL)
        assert maps.name == f"lpips-{kind}"
        found.append(maps(mel)[-1])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda trunk, heads: trunk, r"lin0\.model\.1\.weight.*expected a VGGish.*; or LPIPS's: torchvision's AlexNet"),
        (lambda trunk, heads: heads, r"features\.0\.weight"),
        (lambda trunk, heads: trunk | dict(list(heads.items())[:4]), r"lin4\.model\.1\.weight"),
        (lambda trunk, heads: trunk | heads | {"features.3.running_mean": torch.zeros(64)}, "running_mean"),
        (lambda trunk, heads: trunk | {name: -h for name, h in heads.items()}, "a distance has none below 0"),
        (lambda trunk, heads: trunk | heads | {LAST: heads[LAST] * torch.nan}, "a head has the weight nan"),
        (lambda trunk, heads: trunk | heads | {"lin1.model.1.weight": torch.ones(1, 7, 1, 1)}, "size mismatch"),
    ],
)
@pytest.mark.parametrize("lpips", ["alexnet"], indirect=True)
def test_weights_that_are_not_lpips_are_refused(lpips, tmp_path, spoil, said):
    _, trunk, heads = lpips
    torch.save(spoil(trunk, heads), tmp_path / "lpips.pth")
    with pytest.raises(ModelError, match=said) as error:
        load_feature_maps(tmp_path / "lpips.pth", music(1), MEL)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("lpips", ["alexnet"], indirect=True)
def test_half_a_file_is_refused(lpips, tmp_path, suffix):
    _, trunk, heads = lpips
    path = tmp_path / f"lpips{suffix}"
    (torch.save if suffix == ".pth" else save_file)(trunk | heads, path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="cannot be read as a network's weights"):
        load_feature_maps(path, music(1), MEL)
    with pytest.raises(ModelError, match=r"none\.pth"):
        load_feature_maps(f"{path},{tmp_path / 'none.pth'}", music(1), MEL)


@pytest.mark.parametrize("lpips", ["alexnet"], indirect=True)
def test_a_mel_too_small_for_lpips_is_refused(lpips, tmp_path):
    _, trunk, heads = lpips
    save_file(trunk | heads, tmp_path / "lpips.safetensors")
    with pytest.raises(InputError, match="the picture is 128 x 8; expected at least"):
        load_feature_maps(tmp_path / "lpips.safetensors", music(1, frames=8), MEL)


# the hub --------------------------------------------------------------------------------------------


def test_weights_on_the_hub_are_asked_for_where_they_are_not_here(vggish_file, monkeypatch):
    asked = []

    def fetch(repository, file, *, local_files_only=False):
        asked.append((repository, file, local_files_only))
        if local_files_only and len(asked) == 1:
            raise FileNotFoundError("not in the cache")
        return str(vggish_file)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fetch))
    name = "hf:someone/networks/audio/vggish.pth"
    assert load_feature_maps(name, music(1), MEL).name == "vggish"
    wanted = ("someone/networks", "audio/vggish.pth")
    assert asked == [(*wanted, True), (*wanted, False)]
    load_feature_maps(name, music(1), MEL)
    assert asked[2:] == [(*wanted, True)]  # nobody outside is asked for what is here


def test_the_hubs_own_client_finds_what_it_has_kept(vggish_file, tmp_path, monkeypatch):
    """Without a network: what is in its cache is read, what is not is said."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    kept, commit = tmp_path / "hub" / "models--someone--networks", "0" * 40
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    (kept / "snapshots" / commit).mkdir(parents=True)
    vggish_file.rename(kept / "snapshots" / commit / "vggish.pth")
    assert load_feature_maps("hf:someone/networks/vggish.pth", music(1), MEL).name == "vggish"
    with pytest.raises(ModelError, match=r"hf:someone/networks/other\.pth is not on this machine.*HF_HUB_OFFLINE"):
        load_feature_maps("hf:someone/networks/other.pth", music(1), MEL)


def test_what_the_hub_cannot_give_is_said(monkeypatch):
    with pytest.raises(ModelError, match=r"names no file on the hub; expected hf:OWNER/REPO/FILE"):
        load_feature_maps("hf:someone/networks", music(1), MEL)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'timbrel\[hub\]'"):
        load_feature_maps("hf:someone/networks/vggish.pth", music(1), MEL)


def test_what_is_no_network_is_refused(network, tmp_path):
    save_system(tmp_path / "ours", FeaturesSystem(mel=MEL, features=network))
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


def test_matching_is_relative_to_each_layer():
    maps = [torch.full((1, 2, 3, 3), 2.0), torch.full((1, 4, 2, 2), 200.0)]
    louder = [x * 1.1 for x in maps]
    assert matching_loss(maps, maps) == 0
    assert matching_loss(louder, maps).item() == pytest.approx(0.1, rel=1e-4)


def test_hinge_pays_within_the_margin_alone():
    scores = [torch.tensor([2.0, 0.0]), torch.tensor([-3.0])]
    assert hinge_loss(scores, 1).item() == pytest.approx(0.5 + 4)
    assert hinge_loss(scores, -1).item() == pytest.approx((3 + 1) / 2 + 0)


def test_levels_are_those_of_the_loudest_band():
    silent = torch.full((2, 1, 40, 3), -100.0)
    one, all_alike = silent.clone(), silent + 1.5
    one[:, :, 5] = -85
    groups = 10 * math.log10((15 * 1e-10 + 10**-8.5) / (16 * 1e-10)) / 3  # one of three groups is that much louder
    torch.testing.assert_close(level_loss(one, silent), torch.tensor(groups))
    assert (one - silent).abs().mean() < (all_alike - silent).abs().mean()  # to the mean error it is the smaller one
    assert level_loss(one, silent) > level_loss(all_alike, silent)
    torch.testing.assert_close(level_loss(all_alike, silent), torch.tensor(1.5))


def test_levels_have_slopes_wherever_they_are():
    mel = torch.tensor([0.0, -400.0]).repeat(8)[None, None, :, None].requires_grad_()
    level_loss(mel, torch.full_like(mel, -50)).backward()
    assert bool(mel.grad.isfinite().all())
    assert mel.grad[0, 0, 0, 0] > 0
