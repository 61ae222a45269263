"""The terms of report 001's objective (its section 2.2, equations 10 and 12) that are more than a squared error.

`features` is phi in them: a frozen network's feature maps of a mel. No network is trained here, and none is under
`no_grad`: what they say of a result reaches whatever made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.audio import vggish
from timbrel.audio.mel import MelConfig
from timbrel.checkpoint import load_features, load_vggish
from timbrel.errors import InputError
from timbrel.models.encoders import FeatureNetwork, VGGish

Features = Callable[[Tensor], Sequence[Tensor]]


class FeatureMaps(nn.Module):
    """The feature maps of a frozen network: mel in dB [batch, 1, n_mels, frames] -> a list of [batch, channels, h, w].

    Each layer's maps are divided by their RMS over the mels given at the start. So the layers count alike, and a
    term's weight means the same with another network. `name` goes into the name of every figure made with it.
    """

    rms: Tensor

    def __init__(self, network: FeatureNetwork | VGGish, mel: Tensor) -> None:
        super().__init__()
        self.name = "vggish" if isinstance(network, VGGish) else "timbrel-features"
        self.network = network.eval().requires_grad_(False)
        with torch.no_grad():
            rms = [maps.square().mean().sqrt() for maps in self._maps(mel)]
        self.register_buffer("rms", torch.stack(rms).clamp_min(1e-8))

    def _maps(self, mel: Tensor) -> list[Tensor]:
        return self.network.maps(vggish_picture(mel) if isinstance(self.network, VGGish) else mel)

    def forward(self, mel: Tensor) -> list[Tensor]:
        return [maps / rms for maps, rms in zip(self._maps(mel), self.rms, strict=True)]


def load_feature_maps(path: str | Path, mel: Tensor, config: MelConfig) -> FeatureMaps:
    """The maps of a network on this machine.

    Args:
        path: a folder of `timbrel train features`, or a VGGish state dict (.pth or .safetensors).
        mel: some music [batch, 1, n_mels, frames] in dB, for the maps' scale.
        config: what it was made with.

    Raises:
        ModelError: nothing is there, or it cannot be read.
        InputError: the folder's network knows other mels.
    """
    if Path(path).is_file() or Path(path).suffix in (".pth", ".pt", ".safetensors"):
        return FeatureMaps(load_vggish(path), mel)
    trained_on, network = load_features(path)
    if trained_on != config:
        raise InputError(
            f"the feature network {path} was trained on {trained_on}, but the data are {config}; train one on data "
            "with the same settings, with `timbrel train features`"
        )
    return FeatureMaps(network, mel)


def vggish_picture(mel: Tensor) -> Tensor:
    """Mel in dB of full scale [batch, 1, n_mels, frames] -> [batch, 1, 96, 64], what VGGish takes for an example of its
    own: time first, the logarithm of magnitudes, of which a full-scale sine has a quarter of the window.

    Its frames and bands lie elsewhere than ours: the picture is resized, as the report does it, not computed anew.
    """
    magnitude = vggish.WINDOW_LENGTH / 4 * 10 ** (mel.transpose(2, 3) / 20)
    size = (vggish.EXAMPLE_FRAMES, vggish.N_MELS)
    return F.interpolate((magnitude + vggish.LOG_OFFSET).log(), size, mode="bilinear", antialias=True)


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
