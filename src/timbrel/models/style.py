"""Reference clip -> style tokens: what the denoiser looks up to learn how the target instrument sounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Depth, Width
from timbrel.models.layers import TimeConv


@dataclass(frozen=True)
class StyleConfig:
    latent_channels: Width = 8
    latent_height: Width = 64
    width: Width = 256
    num_blocks: Depth = 3


class StyleEncoder(nn.Module):
    """Latents of a reference clip [batch, c, h, w] -> tokens [batch, w // 2, width].

    Tokens stay in time, one for about 0.2 s: a note of the reference near the wanted pitch can be looked up, which
    one pooled vector could not hold. Tokens carry no position: their order does not matter.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.latent_channels, config.latent_height, 1))
        self.register_buffer("std", torch.ones(config.latent_channels, config.latent_height, 1))
        self.enter = nn.Linear(config.latent_channels * config.latent_height, config.width)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(config.num_blocks))
        self.convs = nn.ModuleList(TimeConv(config.width, config.width) for _ in range(config.num_blocks))
        self.leave = nn.Sequential(nn.Linear(2 * config.width, config.width), nn.LayerNorm(config.width))

    def forward(self, latents: Tensor) -> Tensor:
        latents = latents[..., : latents.shape[-1] // 2 * 2]
        x = self.enter(((latents - self.mean) / self.std).flatten(1, 2).transpose(1, 2))
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = x + F.gelu(conv(norm(x)))
        return self.leave(x.unflatten(1, (-1, 2)).flatten(2))
