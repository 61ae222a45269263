"""The picture codec: pictures <-> latents an eighth as wide and high (Rombach et al. 2022, arXiv 2112.10752).

A small KL-regularised autoencoder of plain residual convolutions. Its decoder is larger than its encoder: a picture is
decoded whenever one is painted, and encoded in training alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Width, Widths
from timbrel.errors import InputError
from timbrel.models.autoencoder import ResidualBlock


@dataclass(frozen=True)
class PictureAutoencoderConfig:
    """Widths of the features from the coarsest level on, which is the latents', to half the picture's size."""

    latent_channels: Width = 8
    encoder_widths: Widths = (64, 48, 32)
    decoder_widths: Widths = (96, 80, 56)
    last_width: Width = 32  # of the decoder at the picture's size


class PictureAutoencoder(nn.Module):
    """Codec (contract of the package) of pictures [batch, 3, h, w] in [-1, 1], red first."""

    scale: Tensor

    def __init__(self, config: PictureAutoencoderConfig) -> None:
        super().__init__()
        if len(config.encoder_widths) != len(config.decoder_widths):
            raise InputError(
                f"encoder_widths has {len(config.encoder_widths)} levels and decoder_widths "
                f"{len(config.decoder_widths)}; expected as many"
            )
        self.config, self.factor = config, 2 ** len(config.encoder_widths)
        self.register_buffer("scale", torch.ones(()))
        down = config.encoder_widths[::-1]
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, down[0], 3, padding=1),
            ResidualBlock(down[0]),
            *(layer for w, below in pairwise(down) for layer in _down(w, below)),
            ResidualBlock(down[-1]),
            nn.Conv2d(down[-1], 2 * config.latent_channels, 3, padding=1),
        )
        up, last = config.decoder_widths, config.last_width
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, up[0], 3, padding=1),
            ResidualBlock(up[0]),
            ResidualBlock(up[0]),
            *(layer for w, above in pairwise(up) for layer in _up(w, above)),
            nn.Conv2d(up[-1], 4 * last, 3, padding=1),
            nn.PixelShuffle(2),
            ResidualBlock(last),
            nn.GELU(),
            nn.Conv2d(last, 3, 3, padding=1),
        )

    def moments(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents before `scale`, each [batch, c, h / factor, w / factor].

        Raises:
            InputError: another shape, or sides that `factor` does not divide.
        """
        if picture.ndim != 4 or picture.shape[1] != 3 or any(side % self.factor for side in picture.shape[2:]):
            raise InputError(
                f"picture has shape {tuple(picture.shape)}; expected [batch, 3, two multiples of {self.factor}]"
            )
        mean, log_variance = self.encoder(picture).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def encode(self, picture: Tensor) -> Tensor:
        """Pictures -> the means of their latents, of unit variance over the training data as a whole."""
        return self.moments(picture)[0] / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [batch, c, h, w] -> pictures [batch, 3, h * factor, w * factor], about in [-1, 1]."""
        return self.decoder(latents * self.scale)

    @torch.no_grad()
    def fit_scale(self, pictures: Tensor) -> None:
        """Sets the scale by pictures [batch, 3, h, w]."""
        self.scale.copy_(self.moments(pictures)[0].std())


class _Larger(nn.Module):
    """Twice as high and wide by repetition, then a convolution."""

    def __init__(self, width: int, width_above: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width_above, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def _down(width: int, width_below: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width_below, 3, stride=2, padding=1), ResidualBlock(width_below)]


def _up(width: int, width_above: int) -> list[nn.Module]:
    return [_Larger(width, width_above), ResidualBlock(width_above)]
