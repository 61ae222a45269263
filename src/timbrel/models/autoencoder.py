"""The mel autoencoder: mels <-> latents. It is the codec of the model that ships.

The encoder is one orthonormal projection of each 4 x 4 patch onto its principal components, so that a distance between
latents is a distance in dB. Half the numbers hold all but 1.4 dB (RMS) of a mel at 43 frames a second. The decoder has
a small convolutional network beside the inverse projection, which restores part of the rest from neighbouring patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Depth, Floor, Width
from timbrel.errors import InputError


@dataclass(frozen=True)
class AutoencoderConfig:
    factor: Annotated[int, Bounds(1, 64)] = 4
    latent_channels: Width = 8
    width: Width = 64
    num_blocks: Depth = 2
    floor_db: Floor = -100.0


class ResidualBlock(nn.Module):
    """3 x 3 convolutions with a residual: [batch, width, h, w] -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.conv1(F.gelu(x))))


class MelAutoencoder(nn.Module):
    """Codec (contract of the package): `encode`, `decode`, `factor`.

    Latents have unit variance over the training data as a whole (`scale`), not channel by channel: the coarse
    channels carry most of it, as they carry most of the mel.
    """

    basis: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        if not 1 <= config.latent_channels <= config.factor**2:
            raise InputError(
                f"latent_channels is {config.latent_channels}; expected 1 to factor squared = {config.factor**2}"
            )
        self.config = config
        self.factor = config.factor
        patch = config.factor**2
        # On the CPU even where the rest has no memory yet: without, torch.eye imports torch._dynamo, for two seconds.
        self.register_buffer("basis", torch.eye(patch, device="cpu")[: config.latent_channels])
        self.register_buffer("mean", torch.full((patch,), -75.0))
        self.register_buffer("scale", torch.tensor(25.0))
        self.inner = nn.Sequential(
            nn.Conv2d(config.latent_channels, config.width, 3, padding=1),
            *(ResidualBlock(config.width) for _ in range(config.num_blocks)),
            nn.Conv2d(config.width, patch, 3, padding=1),
        )
        for parameter in self.inner[-1].parameters():
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit_basis(self, mel: Tensor) -> None:
        """Sets mean, basis and scale to the principal components of mels [batch, 1, n_mels, frames] in dB."""
        patches = F.pixel_unshuffle(self._whole_patches(mel), self.factor).movedim(1, -1).flatten(0, -2).double()
        mean = patches.mean(dim=0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T))
        keep = self.config.latent_channels
        self.mean.copy_(mean)
        self.basis.copy_(vectors.flip(1).T[:keep])
        self.scale.copy_(values.flip(0)[:keep].mean().sqrt())

    def _whole_patches(self, mel: Tensor) -> Tensor:
        frames = mel.shape[-1] // self.factor * self.factor
        return mel[..., :frames]

    def encode(self, mel: Tensor) -> Tensor:
        """Mel in dB [batch, 1, n_mels, frames] -> latents [batch, c, n_mels / factor, frames // factor].

        Raises:
            InputError: if n_mels is not a multiple of `factor`; frames past the last whole patch are dropped.
        """
        if mel.ndim != 4 or mel.shape[1] != 1 or mel.shape[2] % self.factor:
            raise InputError(
                f"mel has shape {tuple(mel.shape)}; expected [batch, 1, a multiple of {self.factor}, frames]"
            )
        patches = F.pixel_unshuffle(self._whole_patches(mel), self.factor) - self.mean[:, None, None]
        return F.conv2d(patches, self.basis[..., None, None]) / self.scale

    def decode_difference(self, difference: Tensor) -> Tensor:
        """A difference of latents [batch, c, h, w] as a difference of mels in dB [batch, 1, h * factor, w * factor],
        by the projection alone: what a loss needs, at next to no cost."""
        patches = F.conv2d(difference * self.scale, self.basis.T[..., None, None])
        return F.pixel_shuffle(patches, self.factor)

    def project(self, latents: Tensor) -> Tensor:
        """`decode` by the inverse projection alone, without the network that mends it, at next to no cost."""
        patches = F.conv2d(latents * self.scale, self.basis.T[..., None, None], self.mean)
        return F.pixel_shuffle(patches, self.factor).clamp_min(self.config.floor_db)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [batch, c, h, w] -> mel in dB [batch, 1, h * factor, w * factor], at least the floor."""
        with torch.autocast(latents.device.type, enabled=False):  # bf16 would cost 0.2 dB here
            linear = F.conv2d(latents.float() * self.scale, self.basis.T[..., None, None], self.mean)
        patches = linear + 10 * self.inner(latents)
        return F.pixel_shuffle(patches, self.factor).clamp_min(self.config.floor_db)
