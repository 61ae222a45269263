"""The transfer model's denoiser: along time over latents whose bands are all channels, then over the picture."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Dilations, Width
from timbrel.models.layers import CrossAttention, TimeConv, sinusoidal_embedding, zeroed


@dataclass(frozen=True)
class Condition:
    """What a transfer is conditioned on.

    content: latents [batch, c, h, w] of the source, concatenated to the noisy ones.
    tokens: style tokens [batch, n, token_width]; mask: [batch, n], True for real tokens.
    """

    content: Tensor
    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True)
class DenoiserConfig:
    latent_channels: Width = 8
    latent_height: Width = 64
    token_width: Width = 256
    width: Width = 448
    dilations: Dilations = (1, 2, 4, 1, 2, 4)
    modulation_width: Width = 64
    attention_every: Width = 2
    num_heads: Width = 8
    picture_width: Width = 48
    picture_dilations: Dilations = (1, 2, 4, 1, 2, 4)  # none: along time alone
    noise_input: bool = False  # whether the answer to pure noise depends on the noise


class PictureConfig(Protocol):
    """What the blocks over the picture need to know of a denoiser."""

    @property
    def latent_channels(self) -> int: ...
    @property
    def latent_height(self) -> int: ...
    @property
    def modulation_width(self) -> int: ...
    @property
    def picture_width(self) -> int: ...
    @property
    def picture_dilations(self) -> tuple[int, ...]: ...


NOISE_CHANNELS = 3
"""So many channels of the noisy latents go to the blocks over the picture; the one before them to those along time."""


class Block(nn.Module):
    """Two convolutions along time, scaled, shifted and gated by the embedding of noise level and style."""

    def __init__(self, width: int, modulation_width: int, dilation: int) -> None:
        super().__init__()
        self.modulate = zeroed(nn.Linear(modulation_width, 3 * width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.conv1 = TimeConv(width, width, dilation)
        self.conv2 = TimeConv(width, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift, gate = self.modulate(embedding)[:, None].chunk(3, dim=-1)
        y = self.conv2(F.gelu(self.conv1(self.norm(x) * (1 + scale) + shift)))
        return x + (1 + gate) * y


class PictureBlock(nn.Module):
    """A dilated 3 x 3 convolution over bands and time [batch, width, h, w], scaled and shifted by the embedding."""

    def __init__(self, width: int, modulation_width: int, dilation: int) -> None:
        super().__init__()
        self.modulate = zeroed(nn.Linear(modulation_width, 2 * width))
        self.conv1 = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding)[..., None, None].chunk(2, dim=1)
        y = F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
        return x + self.conv2(F.gelu(self.conv1(y * (1 + scale) + shift)))


class BandAttention(nn.Module):
    """Adds to a picture [batch, width, h, w] what each moment of a band looks up in the whole of that band: a partial
    that has sounded goes on where it was. At first it adds nothing.

    Moments are looked up in groups of `GROUP`, a few of them for each query. In place of positions the heads lose
    sight over different distances, as ALiBi's do (Press et al. 2022, arXiv 2108.12409), one of them over none; so a
    picture may be of any length.
    """

    GROUP = 4  # moments that are one key
    SLOPES = (0.0, 1 / 32, 1 / 8, 1 / 2)  # of each head: by so much a logit falls for each moment of distance

    def __init__(self, width: int, modulation_width: int) -> None:
        super().__init__()
        self.modulate = zeroed(nn.Linear(modulation_width, 2 * width))
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (len(self.SLOPES), -1)).transpose(1, 2)

        scale, shift = self.modulate(embedding)[:, None, None].chunk(2, dim=-1)
        y = (F.layer_norm(x.movedim(1, -1), x.shape[1:2]) * (1 + scale) + shift).flatten(0, 1)
        groups = F.avg_pool1d(y.transpose(1, 2), self.GROUP, ceil_mode=True).transpose(1, 2)
        key, value = self.key_value(groups).chunk(2, dim=-1)
        place, middles = (torch.arange(part.shape[1], device=x.device) for part in (y, groups))
        far = (place[:, None] - (middles * self.GROUP + (self.GROUP - 1) / 2)).abs()
        bias = -far * torch.tensor(self.SLOPES, device=x.device)[:, None, None]
        found = _looked_up(split(self.query(y)), split(key), split(value), bias)
        return x + self.out(found.transpose(1, 2).flatten(2)).unflatten(0, (x.shape[0], x.shape[2])).movedim(-1, 1)


def _looked_up(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention of queries [n, heads, time, w] to keys and values [n, heads, groups, w], with a bias [heads, time,
    groups] of the logits: [n, heads, time, w].

    PyTorch's fused attention takes half the time of plain products on a CPU where windows are long. Training takes nine
    times as long with it, forward and back in bf16, as with products in that order and in the precision of both.
    """
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype)[None])
    with torch.autocast(query.device.type, enabled=False):
        logits = key @ query.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias.mT.to(query.dtype)
        return logits.softmax(dim=-2).transpose(-1, -2) @ value


class PictureBlocks(nn.Module):
    """What is to be added to an answer, from that and its inputs: [batch, channels, h, w] -> [batch, c, h, w].
    Convolutions over bands and time: a partial one band higher is the same pattern, which the blocks along time, to
    which each band is a thing of its own, have to learn band by band. At first they add nothing.

    Args:
        config: of the denoiser that they end.
        channels: of what enters.
        attention: whether attention along each band is before each block.
        answers: of c channels each, that are given.
    """

    def __init__(self, config: PictureConfig, channels: int, attention: bool = False, answers: int = 1) -> None:
        super().__init__()
        width, modulation = config.picture_width, config.modulation_width
        self.place = nn.Parameter(torch.zeros(width, config.latent_height, 1))
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(PictureBlock(width, modulation, d) for d in config.picture_dilations)
        looks = (BandAttention(width, modulation) for _ in config.picture_dilations)
        self.looks = nn.ModuleList(looks if attention else ())
        self.leave = nn.Conv2d(width, answers * config.latent_channels, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    @classmethod
    def of(cls, config: PictureConfig, channels: int, attention: bool = False) -> Self | None:
        """None where the config has none."""
        return cls(config, channels, attention) if config.picture_dilations else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.enter(x.contiguous(memory_format=torch.channels_last)) + self.place
        for look, block in zip_longest(self.looks, self.blocks):
            x = block(x if look is None else look(x, embedding), embedding)
        return self.leave(x)


class TransferDenoiser(nn.Module):
    """`model(noisy_latents, timesteps, condition) -> prediction of the clean latents`.

    Preconditioned in the manner of Karras et al. (arXiv 2206.00364, section 5), for each channel and band by its
    mean and standard deviation s in the data, and by r (`unknown`), the part of s that the source and the style
    leave open. With x_t = a x_0 + b noise the estimate is k x_t plus an output scaled to unit variance, where k is
    Wiener's weight for what is open: a r^2 / (a^2 r^2 + b^2). (With r = s, the textbook's choice, the network would
    have to take most of the noise in x_t away again.) At the last timestep, pure noise, k is 0, the noise does not
    even enter, and the answer is a plain regression: the mean of what is possible. With `noise_input` x_t enters
    once more, of unit variance at every noise level, so that another noise may have another answer.
    """

    alphas_cumprod: Tensor
    mean: Tensor
    std: Tensor
    unknown: Tensor

    def __init__(self, config: DenoiserConfig, alphas_cumprod: Tensor) -> None:
        super().__init__()
        self.config = config
        channels, width, tokens = (
            config.latent_channels * config.latent_height,
            config.width,
            config.token_width,
        )
        self.register_buffer("alphas_cumprod", alphas_cumprod.float(), persistent=False)
        self.register_buffer("mean", torch.zeros(config.latent_channels, config.latent_height, 1))
        self.register_buffer("std", torch.ones(config.latent_channels, config.latent_height, 1))
        self.register_buffer("unknown", torch.full((config.latent_channels, config.latent_height, 1), 0.4))
        self.time = nn.Sequential(nn.Linear(tokens, tokens), nn.GELU(), nn.Linear(tokens, tokens))
        self.null_token = nn.Parameter(torch.randn(tokens, device="cpu") * 0.02)  # see MelAutoencoder.basis
        self.enter = nn.Linear(2 * channels, width)
        self.squeeze = nn.Linear(tokens, config.modulation_width, bias=False)
        self.blocks = nn.ModuleList(Block(width, config.modulation_width, d) for d in config.dilations)
        self.norms = nn.ModuleList()
        self.attentions = nn.ModuleList()
        for _ in config.dilations[:: config.attention_every]:
            self.norms.append(nn.LayerNorm(width))
            self.attentions.append(CrossAttention(width, tokens, config.num_heads))
        self.leave = nn.Linear(width, channels)
        nn.init.zeros_(self.leave.weight)
        self.noise = nn.Linear(config.latent_height, width, bias=False) if config.noise_input else None
        if self.noise is not None:
            nn.init.zeros_(self.noise.weight)
        noise_channels = min(NOISE_CHANNELS, config.latent_channels - 1) if config.noise_input else 0
        self.picture = PictureBlocks.of(config, 3 * config.latent_channels + noise_channels)

    def null(self, condition: Condition, drop: Tensor | None = None) -> Condition:
        """The condition without its style, for classifier-free guidance; `drop` [batch] says where (default all)."""
        batch = len(condition.mask)
        drop = torch.ones(batch, dtype=torch.bool) if drop is None else drop
        tokens = torch.where(drop[:, None, None].to(condition.mask.device), self.null_token, condition.tokens)
        return Condition(condition.content, tokens, condition.mask | drop[:, None].to(condition.mask.device))

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        abar = self.alphas_cumprod[timesteps][:, None, None, None]
        a, b = abar.sqrt(), (1 - abar).sqrt()
        k = a * self.unknown.square() / (a.square() * self.unknown.square() + b.square())
        hint = k * (noisy_latents - a * self.mean)
        inputs = torch.cat([hint, condition.content - self.mean], dim=1) / self.std.tile(2, 1, 1)

        noise = None
        if self.noise is not None:
            noise = (noisy_latents - a * self.mean) / (a.square() * self.std.square() + b.square()).sqrt()
        output = self.network(inputs, timesteps, condition, noise)
        scale = ((1 - k * a).square() * self.std.square() + (k * b).square()).sqrt()
        return self.mean + hint + scale * output

    def network(self, inputs: Tensor, timesteps: Tensor, condition: Condition, noise: Tensor | None = None) -> Tensor:
        """Noisy latents and content, both of about unit variance, [batch, 2 c, h, w] -> [batch, c, h, w], likewise.
        `noise` [batch, c, h, w]: the noisy latents of unit variance at every noise level, with `noise_input`."""
        weight = condition.mask[..., None].to(condition.tokens.dtype)
        pooled = (condition.tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        embedding = self.squeeze(F.gelu(self.time(sinusoidal_embedding(timesteps, self.config.token_width)) + pooled))
        x = self.enter(inputs.flatten(1, 2).transpose(1, 2))
        if self.noise is not None and noise is not None:
            x = x + self.noise(noise[:, 0].transpose(1, 2))
        for i, block in enumerate(self.blocks):
            if i % self.config.attention_every == 0:
                j = i // self.config.attention_every
                x = x + self.attentions[j](self.norms[j](x), condition.tokens, condition.mask)
            x = block(x, embedding)
        output = self.leave(F.layer_norm(x, x.shape[-1:])).transpose(1, 2).unflatten(1, self.mean.shape[:2])
        if self.picture is not None:
            pictures = [inputs, output] if noise is None else [inputs, output, noise[:, 1 : 1 + NOISE_CHANNELS]]
            output = output + self.picture(torch.cat(pictures, dim=1), embedding)
        return output.float()


def with_noise_input(denoiser: TransferDenoiser) -> TransferDenoiser:
    """The same denoiser, whose answer to pure noise can learn to depend on the noise; as yet it does not."""
    if denoiser.config.noise_input:
        return denoiser
    config = dataclasses.replace(denoiser.config, noise_input=True)
    wider = TransferDenoiser(config, denoiser.alphas_cumprod)
    state = wider.state_dict() | denoiser.state_dict()
    if denoiser.picture is not None and wider.picture is not None:
        known, width = denoiser.picture.enter.weight.detach(), wider.picture.enter.in_channels
        state["picture.enter.weight"] = F.pad(known, (0, 0, 0, 0, 0, width - known.shape[1]))
    wider.load_state_dict(state)
    return wider
