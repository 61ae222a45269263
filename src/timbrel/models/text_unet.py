"""The denoiser of generated sound (report 002, section 3.3): a U-Net along time that attends to text in both paths.

As in `unet`, all bands of a moment are one vector; a few convolutions over bands and time then refine the answer. The
report's U-Net is all of the second kind. Trained for 80 s of one core at 3 to 4 million parameters on instruments by
name, held-out errors of v were 0.575 for that, 0.499 along time alone, and 0.475 for both, which is what is here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Dilations, Width, Widths
from timbrel.errors import InputError
from timbrel.models.denoiser import BandAttention, Block, PictureBlocks
from timbrel.models.layers import CrossAttention, sinusoidal_embedding
from timbrel.models.unet import Down, Up, VelocityNetwork

LEAST = 1e-12  # less than any weight of a moment that counts for another
FADE = 8.0  # latents, 0.7 s: a moment so far away counts by 1 / e for what goes on
FAR = 0.5  # sum of the weights of all that is known, at which that is relied on by half: 2 s from an end
STEADY = 0.2  # variance over time of a band that is relied on by half


class Text(NamedTuple):
    """What a text encoder gives: tokens [batch, length, token_width], and mask [batch, length], True for real ones."""

    tokens: Tensor
    mask: Tensor

    def expanded(self, size: int) -> Text:
        """A text alone [1, ...] as that of each of so many samples."""
        return Text(*(part.expand(size, *part.shape[1:]) for part in self))

    def dropped(self, null: Tensor, drop: Tensor) -> Text:
        """With no text where `drop` [batch] is True, for classifier-free guidance: with `null` [token_width] or
        [length, token_width] in the place of the tokens."""
        drop = drop.to(self.mask.device)
        return Text(torch.where(drop[:, None, None], null, self.tokens), self.mask | drop[:, None])


@dataclass(frozen=True)
class TextUNetConfig:
    """`widths`: of the features at each level, from the full frame rate of the latents to the coarsest."""

    latent_channels: Width = 8
    latent_height: Width = 64
    token_width: Width = 128
    widths: Widths = (384, 320, 320)
    modulation_width: Width = 64
    num_heads: Annotated[int, Bounds(1, 64)] = 4
    picture_width: Width = 32
    picture_dilations: Dilations = (1, 2)  # none: along time alone
    band_attention: bool = False  # the blocks over the picture look along each band
    masked: bool = False  # it can be told what is around the part that it makes
    expecting: bool = False  # and what is expected there


class Attention(nn.Module):
    """Adds to features [batch, time, width] what they look up in a text."""

    def __init__(self, width: int, config: TextUNetConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cross = CrossAttention(width, config.token_width, config.num_heads)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        return x + self.cross(self.norm(x), text.tokens, text.mask)


class Around(NamedTuple):
    """What a denoiser is told of the sound around a part that it makes, latents in units of the deviation:
    mask [batch, 1, h, w], 1 where sound is to be made; what is known and what is expected [batch, c, h, w], and how far
    that is as lively as what is around, 0 to 1. The last two may have no channels."""

    mask: Tensor
    known: Tensor
    expected: Tensor
    share: Tensor


class Expecting(nn.Module):
    """What is to be added to an answer where sound is to be made and something is expected there: a part of the way to
    what is expected, channel by channel and place by place, and a rest. So a guess counts as far as it has proved true
    at each noise level: to hold an answer to it by a rule makes what it leaves open a smear."""

    BOUND = 8.0  # of what enters, in deviations
    SHY = 3.0  # a logit: at first a twentieth of the way, where noise is all there is

    def __init__(self, config: TextUNetConfig) -> None:
        super().__init__()
        self.width = width = config.modulation_width
        self.time = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.picture = PictureBlocks(config, 5 * config.latent_channels + 1, answers=2)

    def forward(self, x: Tensor, answer: Tensor, timesteps: Tensor, b: Tensor, d: Tensor, around: Around) -> Tensor:
        """All [batch, c, h, w]; x, timesteps, b and d as for `VelocityNetwork.answer`."""
        made = around.mask > 0.5
        noise = b / d
        off = around.expected - ((1 - noise.square()).sqrt() * x + noise * answer)  # from the clean signal as answered
        entering = [
            torch.where(made, x, around.known),
            torch.where(made, answer, 0.0).clamp(-self.BOUND, self.BOUND),
            torch.where(made, off, 0.0).clamp(-self.BOUND, self.BOUND),
            torch.where(made, around.expected, around.known).clamp(-self.BOUND, self.BOUND),
            around.share * made,
            around.mask,
        ]
        embedding = self.time(sinusoidal_embedding(timesteps, self.width))
        way, rest = self.picture(torch.cat(entering, dim=1), embedding).chunk(2, dim=1)
        return torch.where(made, b * d * torch.sigmoid(way - self.SHY) * off - rest, 0.0)


class TextUNet(VelocityNetwork):
    """`model(noisy_latents, timesteps, text) -> prediction` of "v" or of the noise.

    One that is `masked` also takes what Stable Diffusion's networks for inpainting take, [batch, 2 c + 1, h, w]: the
    noisy latents, a mask that is 1 where sound is to be made and 0 where it is known, and the known latents. Its answer
    counts where the mask is 1. One that is `expecting` also takes what is expected there, and how far that is as lively
    as what is around (`pipelines.recurrence`), [batch, 4 c + 1, h, w].

    Raises:
        InputError: no widths, heads that do not divide the width of the tokens or of the picture, or `expecting` what
            is not `masked`.
    """

    def __init__(self, config: TextUNetConfig, alphas_cumprod: Tensor, prediction_type: str = "v") -> None:
        super().__init__(config.latent_channels, config.latent_height, alphas_cumprod, prediction_type)
        tokens = config.token_width
        if not config.widths or tokens % config.num_heads or tokens % 2:
            raise InputError(
                f"widths are {config.widths} and token_width is {tokens}; expected one level or more, and an even "
                f"multiple of {config.num_heads} heads"
            )
        if config.expecting and not config.masked:
            raise InputError("expecting is True and masked False; expected masked as well")
        heads = len(BandAttention.SLOPES)
        if config.picture_dilations and config.band_attention and config.picture_width % heads:
            raise InputError(
                f"picture_width is {config.picture_width}; expected a multiple of band_attention's {heads} heads"
            )
        self.config = config
        channels, modulation, levels = (
            config.latent_channels * config.latent_height,
            config.modulation_width,
            list(pairwise(config.widths)),
        )
        self.null_token = nn.Parameter(torch.randn(tokens, device="cpu") * 0.02)  # see MelAutoencoder.basis
        self.time = nn.Sequential(nn.Linear(tokens, tokens), nn.GELU(), nn.Linear(tokens, modulation))
        self.pooled = nn.Linear(tokens, modulation)
        self.enter = nn.Linear(channels, config.widths[0])
        self.looks_down = nn.ModuleList(Attention(w, config) for w in config.widths)
        self.downs = nn.ModuleList(Down(w, below, modulation) for w, below in levels)
        self.middle = nn.ModuleList(Block(config.widths[-1], modulation, dilation) for dilation in (1, 2))
        self.ups = nn.ModuleList(Up(below, w, modulation) for w, below in reversed(levels))
        self.looks_up = nn.ModuleList(Attention(w, config) for w, _ in reversed(levels))
        self.leave = nn.Linear(config.widths[0], channels)
        nn.init.zeros_(self.leave.weight)
        around = config.latent_channels + 1 if config.masked else 0
        self.picture = PictureBlocks.of(config, 2 * config.latent_channels + around, config.band_attention)
        self.known = nn.Linear(around * config.latent_height, config.widths[0], bias=False) if around else None
        if self.known is not None:
            nn.init.zeros_(self.known.weight)
        self.expecting = Expecting(config) if config.expecting else None

    @property
    def reach(self) -> int:
        """Latents to either side that an answer depends on, at most, but for what attention finds along the bands;
        whole steps of the coarsest level."""
        coarsest = 2 ** len(self.downs)  # 2 a block down and 3 up, at each level; 5 in the middle; 2 of the grid
        beside = 0 if self.picture is None else 1 + sum(self.config.picture_dilations)
        return coarsest * (12 + -(-beside // coarsest))

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """Noisy latents [batch, c, h, w], or with what is around as the class says, w of any length, at timesteps
        [batch] -> prediction [batch, c, h, w].

        Raises:
            InputError: another number of channels.
        """
        c, channels = self.config.latent_channels, noisy_latents.shape[1]
        taken = [c, *[2 * c + 1] * self.config.masked, *[4 * c + 1] * self.config.expecting]
        if channels not in taken:
            raise InputError(f"there are {channels} channels; expected {' or '.join(map(str, taken))}")
        noisy, mask, known, expected, share = noisy_latents.tensor_split((c, c + 1, 2 * c + 1, 3 * c + 1), dim=1)
        around = Around(mask, self._unit(known), self._unit(expected), share) if mask.shape[1] else None
        return super().forward(noisy, timesteps, text, around)

    def _unit(self, latents: Tensor) -> Tensor:
        """In units of the deviation; of no channels as it is."""
        return (latents - self.mean) / self.std if latents.shape[1] else latents

    def answer(self, x: Tensor, timesteps: Tensor, b: Tensor, d: Tensor, *condition: Any) -> Tensor:
        said, around = super().answer(x, timesteps, b, d, *condition), condition[-1]
        if self.expecting is None or around is None or not around.expected.shape[1]:
            return said
        return said + self.expecting(x, said, timesteps, b, d, around)

    def network(self, x: Tensor, timesteps: Tensor, text: Text, around: Around | None) -> Tensor:
        weight = text.mask[..., None].to(text.tokens.dtype)
        pooled = (text.tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        embedding = F.gelu(self.time(sinusoidal_embedding(timesteps, self.config.token_width)) + self.pooled(pooled))
        hint = x.new_zeros(len(x), (x.shape[1] + 1) * self.config.masked, *x.shape[2:])
        if around is not None:
            is_known = 1 - around.mask
            hint = torch.cat([is_known, carried(around.known, is_known)], dim=1)
            x = torch.lerp(x, around.known, is_known)  # what is known is so without noise
        answer = self._along_time(x, hint, embedding, text)
        if self.picture is None:
            return answer
        return answer + self.picture(torch.cat([x, answer, hint], dim=1), embedding)

    def _along_time(self, latents: Tensor, hint: Tensor, embedding: Tensor, text: Text) -> Tensor:
        frames, multiple = latents.shape[-1], 2 ** len(self.downs)
        x = self.enter(F.pad(latents, (0, -frames % multiple)).flatten(1, 2).transpose(1, 2))
        if self.known is not None:
            x = x + self.known(F.pad(hint, (0, -frames % multiple)).flatten(1, 2).transpose(1, 2))
        skips = []
        for look, down in zip(self.looks_down, self.downs, strict=False):
            x, skip = down(look(x, text), embedding)
            skips.append(skip)
        x = self.middle[1](self.looks_down[-1](self.middle[0](x, embedding), text), embedding)
        for up, look in zip(self.ups, self.looks_up, strict=True):
            x = look(up(x, skips.pop(), embedding), text)
        x = self.leave(F.layer_norm(x, x.shape[-1:]))[:, :frames]
        return x.transpose(1, 2).unflatten(1, self.mean.shape[:2])


def carried(known: Tensor, is_known: Tensor) -> Tensor:
    """What is known of each band [batch, c, h, w], carried to every moment: its mean over time by the inverse square of
    the distance, plus one (Shepard 1968, "A two-dimensional interpolation function"). 0 where all of a band is unknown.

    A band that sounds on is so across a hole, which a network would have to learn to reach over.

    Args:
        is_known: [batch, 1, h, w], 1 or 0.
    """
    return _mean_and_total(known, is_known, lambda distance: 1 / (1 + distance.square()))[0]


def sustained(known: Tensor, is_known: Tensor) -> tuple[Tensor, Tensor]:
    """What is known of each band [batch, c, h, w], as it goes on if it is steady: its mean over time, faded by the
    distance; and how far that is to be relied on, 0 to 1: the less, the more it varies (Wiener's `s / (s + variance)`),
    and the farther all that is known is away. Both [batch, c, h, w].

    Args:
        known: in units of its deviation over all sounds.
        is_known: [batch, 1, h, w], 1 or 0.
    """
    both = torch.cat([known, known.square()], dim=1).float()
    means, total = _mean_and_total(both, is_known, lambda distance: (-distance.abs() / FADE).exp())
    mean, square = means.chunk(2, dim=1)
    variance = (square - mean.square()).clamp_min(0)
    return mean.to(known.dtype), (STEADY / (STEADY + variance) * total / (total + FAR)).to(known.dtype)


def _mean_and_total(known: Tensor, is_known: Tensor, weigh: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The mean over time of what is known, at each moment by the weights of distances; 0 where nothing is. And the sum
    of the weights, float32. In pieces: a weight for each two moments of an hour would fill the memory."""
    at = torch.arange(known.shape[-1], device=known.device, dtype=torch.float32)

    def summed(x: Tensor) -> Tensor:
        return torch.cat([x.float() @ weigh(at[:, None] - some) for some in at.split(1024)], dim=-1)

    with torch.autocast(known.device.type, enabled=False):
        total = summed(is_known)
        return (summed(known * is_known) / total.clamp_min(LEAST)).to(known.dtype), total


def with_masks(denoiser: TextUNet) -> TextUNet:
    """The same denoiser, that can learn to heed what is around the part that it makes; as yet it takes that for more of
    what it makes. One that can stays as it is."""
    if denoiser.config.masked:
        return denoiser
    wider = _fresh(denoiser, masked=True)
    state = wider.state_dict() | denoiser.state_dict()
    if denoiser.picture is not None:
        entering = denoiser.picture.enter.weight.detach()
        state["picture.enter.weight"] = F.pad(entering, (0, 0, 0, 0, 0, denoiser.config.latent_channels + 1))
    wider.load_state_dict(state)
    return wider


def with_expecting(denoiser: TextUNet, *, expecting: bool = True) -> TextUNet:
    """The same denoiser, that can learn to heed what is expected in the part that it makes, and as yet goes a twentieth
    of the way at most; or one that can not. One that is so stays as it is.

    Raises:
        InputError: it cannot be told what is around.
    """
    if denoiser.config.expecting == expecting:
        return denoiser
    other = _fresh(denoiser, expecting=expecting)
    own, known = other.state_dict(), denoiser.state_dict()
    other.load_state_dict(own | {name: known[name] for name in own.keys() & known.keys()})
    return other


def with_band_attention(denoiser: TextUNet) -> TextUNet:
    """The same denoiser, that can learn to look along each band, where it has blocks over the picture; as yet it adds
    nothing of that. One that can stays as it is."""
    if denoiser.config.band_attention:
        return denoiser
    looking = _fresh(denoiser, band_attention=True)
    looking.load_state_dict(looking.state_dict() | denoiser.state_dict())
    return looking


def with_widths(denoiser: TextUNet, widths: tuple[int, ...], seed: int = 0) -> TextUNet:
    """A denoiser with more features that makes nearly the same: Net2Net (Chen et al. 2016, arXiv 1511.05641).

    New features are copies of old ones. All that are alike share, unevenly, what goes on from them; so they learn to
    differ. Where each feature has as many copies, the answer is the same.

    Raises:
        InputError: other levels, or fewer features at one.
    """
    old = denoiser.config.widths
    if widths == old:
        return denoiser
    if len(widths) != len(old) or any(new < width for new, width in zip(widths, old, strict=True)):
        raise InputError(f"widths are {widths}; expected as many levels as {old}, none of them narrower")
    rng = torch.Generator().manual_seed(seed)
    copied = [_copied(width, new, rng) for width, new in zip(old, widths, strict=True)]
    wider = _fresh(denoiser, widths=widths)
    state = {name: tensor.cpu() for name, tensor in denoiser.state_dict().items()}
    for layer, (enters, leaves) in _levels(len(old)).items():
        for name in [name for name in state if name.startswith(f"{layer}.")]:
            if leaves is not None:
                state[name] = _copies(state[name], 0, *copied[leaves])
            if enters is not None and name.endswith("weight"):
                state[name] = _copies(state[name], 1, *copied[enters], shared=True)
    wider.load_state_dict(state)
    return wider.to(denoiser.mean.device)


def _fresh(denoiser: TextUNet, **changes: Any) -> TextUNet:
    """One of fresh weights, with other settings."""
    config = dataclasses.replace(denoiser.config, **changes)
    return TextUNet(config, denoiser.alphas_cumprod, denoiser.prediction_type)


def _copied(width: int, new: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of which old feature each new one is a copy, and its share of what goes on from that: both [new]."""
    more = (torch.randperm(width, generator=rng) for _ in range(-(-new // width) - 1))
    source = torch.cat([torch.arange(width), *more])[:new]
    weight = 0.5 + torch.rand(new, generator=rng)
    return source, weight / torch.zeros(width).index_add(0, source, weight)[source]


def _copies(tensor: Tensor, dim: int, source: Tensor, share: Tensor, *, shared: bool = False) -> Tensor:
    """A weight or a bias whose dimension `dim` is one or more times the old features, with the new ones."""
    width = int(source.max()) + 1
    index = torch.cat([source + k * width for k in range(tensor.shape[dim] // width)])
    taken = tensor.index_select(dim, index)
    return taken * share.repeat(len(index) // len(share)) if shared else taken


def _levels(count: int) -> dict[str, tuple[int | None, int | None]]:
    """Layer -> the levels whose features enter it and leave it; none where these are not a level's."""
    last = count - 1
    layers: dict[str, tuple[int | None, int | None]] = {"enter": (None, 0), "known": (None, 0), "leave": (0, None)}
    blocks = [(f"middle.{k}", last) for k in (0, 1)]
    looks = [(f"looks_down.{level}", level) for level in range(count)]
    for level in range(last):
        layers[f"downs.{level}.shorten"] = (level, level + 1)
        layers[f"ups.{level}.lengthen"] = (last - level, last - level - 1)
        blocks += [(f"downs.{level}.block", level), (f"ups.{level}.block", last - level - 1)]
        looks += [(f"looks_up.{level}", last - level - 1)]
    for block, level in blocks:
        layers |= {f"{block}.modulate": (None, level)} | {f"{block}.conv{k}": (level, level) for k in (1, 2)}
    for look, level in looks:
        layers |= {f"{look}.norm": (None, level), f"{look}.cross.query": (level, None)}
        layers[f"{look}.cross.out"] = (None, level)
    return layers
