"""The terms of objectives that are more than an error of what is predicted: report 001's (its section 2.2, equations 10
and 12), and those of adversarial training.

`features` is phi in them: a frozen network's feature maps of a mel. No network is trained here, and none is under
`no_grad`: what they say of a result reaches whatever made it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.audio import vggish
from timbrel.audio.mel import MelConfig
from timbrel.errors import InputError
from timbrel.models.features import LPIPS, FeatureNetwork, VGGish
from timbrel.systems import HUB
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import load_system
from timbrel.systems.foreign import load_published_network

Features = Callable[[Tensor], Sequence[Tensor]]
Adapter = Callable[[Tensor], Tensor]


class FeatureMaps(nn.Module):
    """The feature maps of a frozen network: mel in dB [batch, 1, n_mels, frames] -> a list of [batch, channels, h, w].

    Each layer's maps are divided by their RMS over the mels given at the start. So the layers count alike, and a
    term's weight means the same with another network. Those of a network that is calibrated stay as they are: it has
    learnt how its layers count. `name` goes into the name of every figure made with it.

    Args:
        network: the network.
        mel: some music [batch, 1, n_mels, frames] in dB, for the maps' scale.
        adapter: makes of a mel what the network takes, where that is not the mel itself.
    """

    rms: Tensor

    def __init__(self, network: FeatureNetwork | VGGish | LPIPS, mel: Tensor, adapter: Adapter | None = None) -> None:
        super().__init__()
        self.name, self.adapter = network.name, adapter
        self.network = network.eval().requires_grad_(False)
        with torch.no_grad():
            rms = [maps.square().mean().sqrt().clamp_min(1e-8) for maps in self._maps(mel)]
        self.register_buffer("rms", torch.ones(len(rms)) if network.calibrated else torch.stack(rms))

    def _maps(self, mel: Tensor) -> list[Tensor]:
        return self.network.maps(self.adapter(mel) if self.adapter else mel)

    def forward(self, mel: Tensor) -> list[Tensor]:
        return [maps / rms for maps, rms in zip(self._maps(mel), self.rms, strict=True)]


def load_feature_maps(path: str | Path, mel: Tensor, config: MelConfig) -> FeatureMaps:
    """The maps of a network that is named by its weights.

    Args:
        path: a folder of `timbrel train features`, or the weights of VGGish or LPIPS, as `load_published_network` takes
            them.
        mel: some music [batch, 1, n_mels, frames] in dB, for the maps' scale.
        config: what it was made with.

    Raises:
        ModelError: nothing is there, or it cannot be read.
        MissingDependencyError: it is on the hub, and the extra [hub] is not installed.
        InputError: the folder's network knows other mels, or the mels are too small for LPIPS.
    """
    first = str(path).split(",")[0]
    if Path(path).is_file() or Path(first).suffix in (".pth", ".pt", ".safetensors") or first.startswith(HUB):
        published = load_published_network(path)
        adapter = vggish_input if isinstance(published, VGGish) else partial(lpips_input, floor_db=config.floor_db)
        return FeatureMaps(published, mel, adapter)
    trained = load_system(path, FeaturesSystem)
    if trained.mel != config:
        raise InputError(
            f"the feature network {path} was trained on {trained.mel}, but the data are {config}; train one on data "
            "with the same settings, with `timbrel train features`, or leave it out with a weight of 0"
        )
    return FeatureMaps(trained.features, mel)


def vggish_input(mel: Tensor) -> Tensor:
    """Mel in dB of full scale [batch, 1, n_mels, frames] -> [batch, 1, 96, 64], what VGGish takes for an example of its
    own: time first, the logarithm of magnitudes, of which a full-scale sine has a quarter of the window.

    Its frames and bands lie elsewhere than ours: the mel is resized, as the report does it, not computed anew.
    """
    magnitude = vggish.WINDOW_LENGTH / 4 * 10 ** (mel.transpose(2, 3) / 20)
    size = (vggish.EXAMPLE_FRAMES, vggish.N_MELS)
    return F.interpolate((magnitude + vggish.LOG_OFFSET).log(), size, mode="bilinear", antialias=True)


def lpips_input(mel: Tensor, floor_db: float) -> Tensor:
    """Mel in dB of full scale [batch, 1, n_mels, frames] -> the grey picture [batch, 3, n_mels, frames] in [-1, 1],
    black at the floor."""
    return (1 - 2 * mel / floor_db).expand(-1, 3, -1, -1)


def feature_loss(features: Features, x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean over the layers of the squared distance of feature maps: of equation 10, and all of equation 12.

    Gradients flow through `x_hat`; `x` is the target.
    """
    with torch.no_grad():
        targets = features(x)
    return torch.stack([F.mse_loss(a, b) for a, b in zip(features(x_hat), targets, strict=True)]).mean()


def grams(features: Features) -> Features:
    """Instead of feature maps [batch, c, h, w] their Gram matrices [batch, c, c]: which features go together, wherever
    (Gatys et al. 2015, arXiv 1508.06576). Through `feature_loss` they compare the sound of two clips; the maps
    themselves compare what is played when."""

    def matrices(mel: Tensor) -> list[Tensor]:
        flat = [maps.flatten(2) for maps in features(mel)]
        return [x @ x.transpose(1, 2) / x.shape[2] for x in flat]

    return matrices


def kl_of_moments(z: Tensor) -> Tensor:
    """KL(N(m, s^2) || N(0, 1)) of each channel's mean and variance over latents [batch, c, h, w], their mean.

    In the place of equation 10's last term, which has neither: its minimum is at |z| = 1.
    """
    mean, var = z.mean(dim=(0, 2, 3)), z.var(dim=(0, 2, 3), correction=0)
    return 0.5 * (mean.square() + var - 1 - var.clamp_min(1e-8).log()).mean()


def kl_of_posterior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each latent, their mean (Kingma & Welling 2014, arXiv 1312.6114,
    appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def matching_loss(maps: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Mean over the layers of the absolute difference of feature maps, over the mean absolute value of the target's
    (Larsen et al. 2016, arXiv 1512.09300, section 2.3; scaled so that layers and networks count alike)."""
    pairs = [(a.float(), b.float()) for a, b in zip(maps, targets, strict=True)]
    return torch.stack([(a - b).abs().mean() / (b.abs().mean() + 1e-6) for a, b in pairs]).mean()


def level_loss(mel: Tensor, target: Tensor, bands: int = 16) -> Tensor:
    """Mean absolute difference, in dB, of the level of each group of adjacent bands in each frame.

    A level is that of the mean power, which the loudest band decides. An error of the mel in dB takes all bands alike:
    a single one, 15 dB too loud among silent ones, is little to it, and much to a listener.

    Args:
        mel: dB [batch, 1, n_mels, frames]; gradients flow through it.
        target: the truth, alike.
        bands: of a group; what is left at the top is a group of its own.
    """
    levels = [_levels(x, bands) for x in (mel, target)]
    return (levels[0] - levels[1]).abs().mean()


def _levels(mel: Tensor, bands: int) -> Tensor:
    """Levels in dB [batch, groups, frames]: natural logarithms keep the power of any number within float32."""
    nepers = mel[:, 0].float() * (math.log(10) / 10)
    groups = [group.logsumexp(dim=1) - math.log(group.shape[1]) for group in nepers.split(bands, dim=1)]
    return torch.stack(groups, dim=1) * (10 / math.log(10))


def hinge_loss(scores: Sequence[Tensor], sign: int) -> Tensor:
    """What a discriminator pays for scores of true (`sign` 1) or made (-1) samples within the margin: the sum over its
    outputs (Lim & Ye 2017, arXiv 1705.02894)."""
    return torch.stack([F.relu(1 - sign * one.float()).mean() for one in scores]).sum()
