"""Denoisers of one instrument (report 003, section 4.2.1): U-Nets that have no condition.

`BandsUNet` is the report's: it works over bands and time in two dimensions. To `UNet` all bands of a moment are one
vector, as in `TransferDenoiser`: the network sees at once which partials sound together, and a CPU can train it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Dilations, Width, Widths
from timbrel.errors import InputError
from timbrel.models.denoiser import Block, PictureBlocks
from timbrel.models.layers import TimeConv, sinusoidal_embedding


@dataclass(frozen=True)
class UNetConfig:
    """`widths`: of the features at each level, from the full frame rate of the latents to the coarsest. The first is
    the widest: what the network along time can add to a moment has no more dimensions than that. `picture_dilations`:
    of convolutions over bands and time that come after it; none, and it works along time alone."""

    latent_channels: Width = 8
    latent_height: Width = 64
    widths: Widths = (320, 224, 224)
    embedding_width: Width = 256
    modulation_width: Width = 64
    picture_width: Width = 48
    picture_dilations: Dilations = ()


class Down(nn.Module):
    """A residual block, whose output is also the skip connection, then half as many frames by a strided convolution."""

    def __init__(self, width: int, width_below: int, modulation_width: int) -> None:
        super().__init__()
        self.block = Block(width, modulation_width, 1)
        self.shorten = nn.Linear(2 * width, width_below)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.block(x, embedding)
        return self.shorten(skip.unflatten(1, (-1, 2)).flatten(2)), skip


class Up(nn.Module):
    """Twice as many frames by repetition and a convolution, plus the skip connection, then a residual block."""

    def __init__(self, width_below: int, width: int, modulation_width: int) -> None:
        super().__init__()
        self.lengthen = TimeConv(width_below, width)
        self.block = Block(width, modulation_width, 1)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        return self.block(skip + self.lengthen(x.repeat_interleave(2, dim=1)), embedding)


class VelocityNetwork(nn.Module):
    """What networks that predict "v" of latents, or the noise ("epsilon"), have in common; `network` says the rest.

    With x_t = a x_0 + b noise, and each channel and band of x_0 of mean m and standard deviation s over the data, the
    best linear estimate of v = a noise - b x_0 is b (a (1 - s^2) / d^2 (x_t - a m) - m), d^2 = a^2 s^2 + b^2, and its
    error has the standard deviation s / d (Karras et al., arXiv 2206.00364, section 5, for v and for data that is not
    of unit variance). The network only adds to that estimate, at the scale of its error: so no noise has to pass
    through features that are narrower than the latents.
    """

    alphas_cumprod: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, height: int, alphas_cumprod: Tensor, prediction_type: str) -> None:
        super().__init__()
        if prediction_type not in ("epsilon", "v"):
            raise InputError(f"prediction_type is {prediction_type!r}; expected 'epsilon' or 'v'")
        self.prediction_type = prediction_type
        self.register_buffer("alphas_cumprod", alphas_cumprod.float(), persistent=False)
        self.register_buffer("mean", torch.zeros(channels, height, 1))
        self.register_buffer("std", torch.ones(channels, height, 1))

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, *condition: Any) -> Tensor:
        """Noisy latents [batch, c, h, w] at timesteps [batch], w of any length -> prediction of the same shape."""
        abar = self.alphas_cumprod[timesteps][:, None, None, None]
        a, b = abar.sqrt(), (1 - abar).sqrt()
        centred = noisy_latents - a * self.mean
        d = (a.square() * self.std.square() + b.square()).sqrt()
        output = self.answer(centred / d, timesteps, b, d, *condition).float()

        linear = b * (a * (1 - self.std.square()) / d.square() * centred - self.mean)
        v = linear - self.std / d * output
        return v if self.prediction_type == "v" else b * noisy_latents + a * v

    def answer(self, x: Tensor, timesteps: Tensor, b: Tensor, d: Tensor, *condition: Any) -> Tensor:
        """What `network` says, or more than that; b and d as above: b / d is the deviation of the noise in x."""
        return self.network(x, timesteps, *condition)

    def network(self, x: Tensor, timesteps: Tensor, *condition: Any) -> Tensor:
        """Latents of unit variance at every noise level [batch, c, h, w] -> what the estimate lacks, likewise."""
        raise NotImplementedError


class UNet(VelocityNetwork):
    """`model(noisy_latents, timesteps) -> prediction` of the noise ("epsilon") or of "v"."""

    def __init__(self, config: UNetConfig, alphas_cumprod: Tensor, prediction_type: str = "v") -> None:
        super().__init__(config.latent_channels, config.latent_height, alphas_cumprod, prediction_type)
        if not config.widths:
            raise InputError("widths is empty; expected the width of at least one level")
        self.config = config
        channels, width = config.latent_channels * config.latent_height, config.embedding_width
        self.time = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.modulation_width), nn.GELU()
        )
        self.enter = nn.Linear(channels, config.widths[0])
        levels = list(pairwise(config.widths))
        self.downs = nn.ModuleList(Down(w, below, config.modulation_width) for w, below in levels)
        self.middle = Block(config.widths[-1], config.modulation_width, 1)
        self.ups = nn.ModuleList(Up(below, w, config.modulation_width) for w, below in reversed(levels))
        self.leave = nn.Linear(config.widths[0], channels)
        nn.init.zeros_(self.leave.weight)
        self.picture = PictureBlocks.of(config, 2 * config.latent_channels)

    def network(self, x: Tensor, timesteps: Tensor, *condition: Any) -> Tensor:
        embedding = self.time(sinusoidal_embedding(timesteps, self.config.embedding_width))
        answer = self._along_time(x, embedding)
        return answer if self.picture is None else answer + self.picture(torch.cat([x, answer], dim=1), embedding)

    def _along_time(self, latents: Tensor, embedding: Tensor) -> Tensor:
        frames, multiple = latents.shape[-1], 2 ** len(self.downs)
        x = self.enter(F.pad(latents, (0, -frames % multiple)).flatten(1, 2).transpose(1, 2))
        skips = []
        for down in self.downs:
            x, skip = down(x, embedding)
            skips.append(skip)
        x = self.middle(x, embedding)
        for up in self.ups:
            x = up(x, skips.pop(), embedding)
        x = self.leave(F.layer_norm(x, x.shape[-1:]))[:, :frames]
        return x.transpose(1, 2).unflatten(1, self.mean.shape[:2])


@dataclass(frozen=True)
class BandsUNetConfig:
    """`report_widths`: channels at each level, from all bands and frames to the coarsest. The report has them in a
    figure alone (4.1)."""

    latent_channels: Width = 1
    latent_height: Width = 256
    report_widths: Widths = (32, 64, 96, 128)
    blocks_per_level: Annotated[int, Bounds(1, 16)] = 2
    embedding_width: Width = 128


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with a residual, told the noise level in between: [batch, width_in, h, w] -> [batch,
    width, h, w]."""

    def __init__(self, width_in: int, width: int, embedding_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(math.gcd(8, w), w) for w in (width_in, width))
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.embed = nn.Linear(embedding_width, width)
        self.skip = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x))) + self.embed(embedding)[..., None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


class BandsUNet(VelocityNetwork):
    """As `UNet`, over bands and time. Each level has residual blocks and a strided convolution down, or interpolation
    and a convolution up; what a block found on the way down is put beside what comes up."""

    def __init__(self, config: BandsUNetConfig, alphas_cumprod: Tensor, prediction_type: str = "v") -> None:
        super().__init__(config.latent_channels, config.latent_height, alphas_cumprod, prediction_type)
        if not config.report_widths:
            raise InputError("report_widths is empty; expected the channels of at least one level")
        self.config = config
        widths, embedding, blocks = config.report_widths, config.embedding_width, range(config.blocks_per_level)
        self.time = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(ConvBlock(w, w, embedding) for w in widths for _ in blocks)
        self.downs = nn.ModuleList(nn.Conv2d(w, below, 3, stride=2, padding=1) for w, below in pairwise(widths))
        self.middle = ConvBlock(widths[-1], widths[-1], embedding)
        self.up_blocks = nn.ModuleList(ConvBlock(2 * w, w, embedding) for w in widths[::-1] for _ in blocks)
        self.ups = nn.ModuleList(nn.Conv2d(below, w, 3, padding=1) for below, w in pairwise(widths[::-1]))
        self.leave = nn.Conv2d(widths[0], config.latent_channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def embed(self, timesteps: Tensor, *condition: Any) -> Tensor:
        """What every block is told: [batch, embedding_width]."""
        return self.time(sinusoidal_embedding(timesteps, self.config.embedding_width))

    def network(self, x: Tensor, timesteps: Tensor, *condition: Any) -> Tensor:
        embedding = self.embed(timesteps, *condition)
        height, frames = x.shape[-2:]
        multiple = 2 ** len(self.downs)
        x = self.enter(F.pad(x, (0, -frames % multiple, 0, -height % multiple)))
        skips, blocks = [], self.config.blocks_per_level
        for number, block in enumerate(self.down_blocks):
            if number and number % blocks == 0:
                x = self.downs[number // blocks - 1](x)
            x = block(x, embedding)
            skips.append(x)
        x = self.middle(x, embedding)
        for number, block in enumerate(self.up_blocks):
            if number and number % blocks == 0:
                x = self.ups[number // blocks - 1](F.interpolate(x, scale_factor=2))
            x = block(torch.cat([x, skips.pop()], dim=1), embedding)
        return self.leave(F.silu(x))[..., :height, :frames]


def with_pictures(unet: UNet, width: int, dilations: tuple[int, ...]) -> UNet:
    """The same denoiser, that can learn to add convolutions over bands and time; as yet they add nothing. One that has
    some stays as it is."""
    if unet.picture is not None or not dilations:
        return unet
    config = dataclasses.replace(unet.config, picture_width=width, picture_dilations=dilations)
    wider = UNet(config, unet.alphas_cumprod, unet.prediction_type)
    wider.load_state_dict(wider.state_dict() | unet.state_dict())
    return wider
