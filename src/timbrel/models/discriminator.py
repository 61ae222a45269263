"""Tell true latents or pictures from made ones. Training alone uses them: no model folder has one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STYLE_WIDTH = 128
PLACE_CHANNELS = 8


@dataclass(frozen=True)
class DiscriminatorConfig:
    latent_channels: int = 8
    latent_height: int = 64
    width: int = 48


class LatentDiscriminator(nn.Module):
    """Scores of patches: high where latents look true beside their source and style, low where they look made.

    Patches at two scales (PatchGAN: Isola et al. 2017, arXiv 1611.07004, section 2.2.2). Time is halved only once, so
    that vibrato and bow noise are seen. The style, as mean and deviation of its latents over time, enters the maps, and
    the coarser score by a projection (Miyato & Koyama 2018, arXiv 1802.05637, equation 3).
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        channels, height, width = config.latent_channels, config.latent_height, config.width
        self.place = nn.Parameter(torch.randn(PLACE_CHANNELS, height, 1) * 0.1)
        self.style = nn.Sequential(
            nn.Linear(2 * channels * height, STYLE_WIDTH), nn.LeakyReLU(0.2), nn.Linear(STYLE_WIDTH, STYLE_WIDTH)
        )
        self.shift = nn.Linear(STYLE_WIDTH, 2 * width)
        widths = (2 * channels + PLACE_CHANNELS, width, 2 * width, 2 * width, 3 * width, 3 * width)
        strides: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (2, 1), (2, 2), (2, 1))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, stride=stride)
            for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.fine = nn.Conv2d(2 * width, 1, 3, padding=1)
        self.coarse = nn.Conv2d(3 * width, 1, 3, padding=1)
        self.project = nn.Conv2d(3 * width, STYLE_WIDTH, 1)

    def forward(self, latents: Tensor, content: Tensor, style: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Scores of patches, fine and coarse, and the five feature maps on the way.

        Args:
            latents: true or made, [batch, c, h, w], of about unit variance, as all are here.
            content: the source's, of the same shape.
            style: the reference clip's, [batch, c, h, any].
        """
        moments = torch.cat([style.mean(dim=-1), style.std(dim=-1)], dim=1).flatten(1)
        embedding = self.style(moments)[..., None, None]
        place = self.place.expand(len(latents), -1, -1, latents.shape[-1])
        x = torch.cat([latents, content, place], dim=1).contiguous(memory_format=torch.channels_last)
        maps = []
        for k, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if k == 1:
                x = x + self.shift(embedding[..., 0, 0])[..., None, None]
            x = F.leaky_relu(x, 0.2)
            maps.append(x)
        projection = (self.project(x) * embedding).sum(dim=1, keepdim=True) / STYLE_WIDTH**0.5
        return [self.fine(maps[2]), self.coarse(x) + projection], maps


class PictureDiscriminator(nn.Module):
    """Scores of patches of pictures [batch, 3, h, w] at two scales, and the feature maps on the way (PatchGAN)."""

    def __init__(self, widths: tuple[int, ...] = (48, 96, 128, 128)) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1) for before, after in pairwise((3, *widths))
        )
        self.fine = nn.Conv2d(widths[1], 1, 3, padding=1)
        self.coarse = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Scores, fine and coarse, and the maps of all layers."""
        x, maps = pictures.contiguous(memory_format=torch.channels_last), []
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
            maps.append(x)
        return [self.fine(maps[1]), self.coarse(x)], maps
