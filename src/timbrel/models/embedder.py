"""The embedder of report 004 (section 4.1.1): an audio encoder's features over time -> one token of a text encoder.

Two linear layers with a GELU between them, then attentive pooling over the moments (AudioToken: Yariv et al. 2023,
arXiv 2305.13050). The pooling is factor graph attention (Schwartz et al. 2019, arXiv 1904.05880) of one utility: a
moment's weight comes from itself, and from how like the others it is. At the report's sizes, BEATs' three layers of 768
and Stable Diffusion's tokens of 768, it has 8,853,507 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Width


@dataclass(frozen=True)
class EmbedderConfig:
    """Widths of the audio encoder's features and of the tokens."""

    input_width: Width = 2304
    token_width: Width = 768


class AttentivePooling(nn.Module):
    """Moments [batch, n, width] and a mask [batch, n], True for real ones -> their weighted mean [batch, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unary = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width)
        self.reduce = nn.Linear(2, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        left, right = F.normalize(self.left(x), dim=-1), F.normalize(self.right(x), dim=-1)
        count = mask.sum(-1, keepdim=True).clamp_min(1)
        alike = (left @ right.transpose(1, 2) * mask[:, None]).sum(-1) / count
        potential = self.reduce(torch.stack([self.unary(x)[..., 0], alike.to(x.dtype)], dim=-1))[..., 0]
        weight = potential.float().masked_fill(~mask, -torch.inf).softmax(-1)
        return (weight[..., None] * x).sum(1)


class MusicEmbedder(nn.Module):
    """`embedder(features [batch, moments, input_width], mask [batch, moments]) -> token [batch, token_width]`."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: EmbedderConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.input_width))
        self.register_buffer("std", torch.ones(config.input_width))
        self.project = nn.Sequential(
            nn.Linear(config.input_width, config.input_width),
            nn.GELU(),
            nn.Linear(config.input_width, config.token_width),
        )
        self.pool = AttentivePooling(config.token_width)

    @torch.no_grad()
    def fit_moments(self, features: Tensor) -> None:
        """Sets the features' mean and deviation by those of training [n, moments, input_width]."""
        self.mean.copy_(features.float().mean((0, 1)))
        self.std.copy_(features.float().std((0, 1)).clamp_min(1e-3))

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device) if mask is None else mask
        return self.pool(self.project((features - self.mean) / self.std), mask)
