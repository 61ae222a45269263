"""The denoiser of pictures (report 004): a small U-Net over latents [batch, c, h, w] that attends to text and music."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Width
from timbrel.errors import InputError
from timbrel.models.layers import CrossAttention, sinusoidal_embedding, zeroed
from timbrel.models.text_unet import Text
from timbrel.models.unet import VelocityNetwork


@dataclass(frozen=True)
class PictureUNetConfig:
    """`width` at the latents' size, `inner_width` at half of it."""

    latent_channels: Width = 8
    latent_height: Width = 16
    token_width: Width = 128
    width: Width = 88
    inner_width: Width = 144
    modulation_width: Width = 64
    num_heads: Annotated[int, Bounds(1, 64)] = 4


class PictureResidual(nn.Module):
    """Two 3 x 3 convolutions, scaled, shifted and gated by the embedding of noise level and condition."""

    def __init__(self, width: int, modulation_width: int) -> None:
        super().__init__()
        self.modulate = zeroed(nn.Linear(modulation_width, 3 * width))
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift, gate = self.modulate(embedding)[..., None, None].chunk(3, dim=1)
        y = self.conv1(F.silu(_normal(x)))
        y = self.conv2(F.silu(_normal(y) * (1 + scale) + shift))
        return x + (1 + gate) * y


class PictureAttention(nn.Module):
    """Adds to features [batch, width, h, w] what they look up in each other, if `own`, and in a text."""

    def __init__(self, width: int, config: PictureUNetConfig, *, own: bool) -> None:
        super().__init__()
        self.own_norm = nn.LayerNorm(width) if own else None
        self.own = CrossAttention(width, width, config.num_heads) if own else None
        self.text_norm = nn.LayerNorm(width)
        self.text = CrossAttention(width, config.token_width, config.num_heads)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        places = x.flatten(2).transpose(1, 2)
        if self.own is not None and self.own_norm is not None:
            seen = self.own_norm(places)
            places = places + self.own(seen, seen, torch.ones(seen.shape[:2], dtype=torch.bool, device=x.device))
        places = places + self.text(self.text_norm(places), text.tokens, text.mask)
        return places.transpose(1, 2).unflatten(2, x.shape[2:])


class PictureUNet(VelocityNetwork):
    """`model(noisy_latents, timesteps, text) -> prediction` of "v" or of the noise.

    Raises:
        InputError: heads that do not divide the widths.
    """

    def __init__(self, config: PictureUNetConfig, alphas_cumprod: Tensor, prediction_type: str = "v") -> None:
        super().__init__(config.latent_channels, config.latent_height, alphas_cumprod, prediction_type)
        tokens, width, inner = config.token_width, config.width, config.inner_width
        if tokens % config.num_heads or inner % config.num_heads or tokens % 2:
            raise InputError(
                f"token_width is {tokens} and inner_width {inner}; expected even multiples of {config.num_heads} heads"
            )
        self.config = config
        modulation = config.modulation_width
        self.null_token = nn.Parameter(torch.randn(tokens, device="cpu") * 0.02)  # see MelAutoencoder.basis
        self.time = nn.Sequential(nn.Linear(tokens, tokens), nn.GELU(), nn.Linear(tokens, modulation))
        self.pooled = nn.Linear(tokens, modulation)
        self.place = nn.Parameter(torch.zeros(inner, config.latent_height // 2, 1))
        self.enter = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.down = PictureResidual(width, modulation)
        self.shrink = nn.Conv2d(width, inner, 3, stride=2, padding=1)
        self.inner = nn.ModuleList(PictureResidual(inner, modulation) for _ in range(3))
        self.looks = nn.ModuleList(PictureAttention(inner, config, own=True) for _ in range(2))
        self.grow = nn.Conv2d(inner, width, 3, padding=1)
        self.look = PictureAttention(width, config, own=False)
        self.ups = nn.ModuleList(PictureResidual(width, modulation) for _ in range(2))
        self.leave = nn.Conv2d(width, config.latent_channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def network(self, x: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        weight = text.mask[..., None].to(text.tokens.dtype)
        pooled = (text.tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        embedding = F.silu(self.time(sinusoidal_embedding(timesteps, self.config.token_width)) + self.pooled(pooled))
        skip = self.down(self.enter(x.contiguous(memory_format=torch.channels_last)), embedding)
        x = self.shrink(skip) + self.place
        for k, block in enumerate(self.inner):
            x = block(x, embedding)
            if k < len(self.looks):
                x = self.looks[k](x, text)
        x = self.look(skip + self.grow(F.interpolate(x, scale_factor=2, mode="nearest")), text)
        for block in self.ups:
            x = block(x, embedding)
        return self.leave(F.silu(_normal(x)))


def _normal(x: Tensor) -> Tensor:
    """Group normalisation without weights, of eight channels a group."""
    return F.group_norm(x, x.shape[1] // 8)
