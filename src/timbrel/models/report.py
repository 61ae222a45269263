"""The reference system of report 001 (Musical Style Transfer Using Latent Diffusion Models), section 2.

The architecture and sizes are the report's, exact to the parameter (9,881,537), without the faults of its first
implementation. Content enters only as the start of sampling: noised content latents. Style enters by
cross-attention at two scales, 2 x 2 and 4 x 4 for the report's mels of 128 x 128. So the system is trained on
clips of one recording (one moment is denoised, with the style of another): squared error of the prediction
(equation 11) under a schedule whose last step is noise. A transfer is then:

    schedule = linear_schedule(200, prediction_type="v", zero_terminal_snr=True)
    x = schedule.add_noise(codec.encode(content), noise, timesteps[0])
    style = style_encoder(codec.normalise(reference))
    mel = codec.decode(ddim(lambda x, t: unet(x, t, style), x, schedule, timesteps))
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Floor, Timesteps, Width
from timbrel.errors import InputError
from timbrel.models.layers import sinusoidal_embedding

FOURIER_SCALE = 16.0  # of the random frequencies, in turns over all timesteps


@dataclass(frozen=True)
class ReportCodecConfig:
    """`downsamplings` halve both sides: three make [32, 16, 16] of a mel of 128 x 128; four [32, 8, 8], which the
    report gave up as too small (section 4.3)."""

    latent_channels: Width = 32
    floor_db: Floor = -100.0
    downsamplings: Annotated[int, Bounds(1, 8)] = 3


class ReportCodec(nn.Module):
    """Spectrogram encoder and decoder (section 2.1.1): 111,840 and 198,209 parameters.

    Inside, a mel spans [-1, 1], from `floor_db` to full scale (0 dB), alike for every recording: quiet music stays
    quiet.
    """

    scale: Tensor

    def __init__(self, config: ReportCodecConfig) -> None:
        super().__init__()
        self.config = config
        if config.downsamplings < 1:
            raise InputError(f"downsamplings is {config.downsamplings}; expected 1 or more (the report has 3)")
        self.factor = 2**config.downsamplings
        widths = [1, *(64 * 2**k for k in range(config.downsamplings - 1)), config.latent_channels]
        down: list[nn.Module] = []
        for before, after in pairwise(widths):
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        up: list[nn.Module] = []
        for before, after in pairwise(reversed(widths)):
            up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.encoder = nn.Sequential(*down[:-1])
        self.decoder = nn.Sequential(*up[:-2], nn.Tanh())
        self.register_buffer("scale", torch.tensor(1.0))
        self.encoder_frozen = False

    def normalise(self, mel: Tensor) -> Tensor:
        """Mel in dB -> [-1, 1], the same shape; values outside of floor to full scale are clipped."""
        return (1 - 2 * mel / self.config.floor_db).clamp(-1, 1)

    def encode(self, mel: Tensor) -> Tensor:
        """Mel in dB [batch, 1, n_mels, frames] -> latents [batch, c, n_mels / factor, frames / factor].

        Raises:
            InputError: the mel has another shape, or sides that the factor does not divide.
        """
        if mel.ndim != 4 or mel.shape[1] != 1 or mel.shape[2] % self.factor or mel.shape[3] % self.factor:
            raise InputError(
                f"mel has shape {tuple(mel.shape)}; expected [batch, 1, n_mels, frames], both sides "
                f"multiples of {self.factor}: pad with the floor, {self.config.floor_db:g} dB"
            )
        return self.encoder(self.normalise(mel)) / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [batch, c, h, w] -> mel in dB [batch, 1, factor h, factor w], between the floor and full scale."""
        return (1 - self.decoder(latents * self.scale)) / 2 * self.config.floor_db

    @torch.no_grad()
    def fit_scale(self, mel: Tensor) -> None:
        """Sets `scale` so that the latents of mels in dB [batch, 1, n_mels, frames] have unit variance."""
        self.scale.mul_(self.encode(mel).std())

    def freeze_encoder(self) -> None:
        """Ends the encoder's training: its weights and its batch statistics stay, whatever `train` says."""
        self.encoder_frozen = True
        self.encoder.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> ReportCodec:
        """As of any module, but a frozen encoder stays in eval."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self


@dataclass(frozen=True)
class ReportStyle:
    """The condition: tokens of a reference clip at two scales.

    fine: [batch, n, 4 num_filters], one for 32 bands x 32 frames.
    coarse: [batch, m, 8 num_filters], one for 64 x 64.
    """

    fine: Tensor
    coarse: Tensor


@dataclass(frozen=True)
class ReportStyleConfig:
    num_filters: Width = 64


class ReportStyleEncoder(nn.Module):
    """Normalised mel of a reference clip in [-1, 1], [batch, 1, h, w] of any size, -> `ReportStyle` (section 2.1.2).

    2,729,984 parameters. Tokens carry their place, which attention alone would not see.
    """

    def __init__(self, config: ReportStyleConfig) -> None:
        super().__init__()
        self.config = config
        widths = [1, *(config.num_filters * k for k in (1, 2, 4, 4, 4, 8))]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        _initialise(self)

    def forward(self, x: Tensor) -> ReportStyle:
        maps = [x]
        for conv in self.convs:
            maps.append(F.relu(conv(maps[-1])))
        fine, coarse = (_tokens(x + _positions(x)) for x in maps[-2:])
        return ReportStyle(fine, coarse)


class CrossAttention(nn.Module):
    """Features [batch, width, h, w] look up style tokens [batch, n, width], place by place (section 4.5).

    The attended tokens are added to the features; they do not replace them.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        attended, _ = self.attention(_tokens(x + _positions(x)), tokens, tokens, need_weights=False)
        return x + attended.transpose(1, 2).view_as(x)


@dataclass(frozen=True)
class ReportUNetConfig:
    """`time_embedding` says how a timestep becomes numbers, before the report's two layers: by sines and cosines
    (section 2.1.6), by a learned table, or by sines and cosines of random frequencies (Tancik et al. 2020, arXiv
    2006.10739)."""

    latent_channels: Width = 32
    num_filters: Width = 64
    num_heads: Width = 4
    time_embedding: Literal["sinusoidal", "learned", "fourier"] = "sinusoidal"
    num_timesteps: Timesteps = 200  # of the schedule, for all but the first


class ReportUNet(nn.Module):
    """Denoiser `model(noisy_latents, timesteps, condition) -> prediction` (section 2.1.3).

    6,841,504 parameters, 1,050,624 and 263,168 of them the cross-attentions'. Skip connections add. The
    embedding of time is as wide as the maps that it is added to, so that it needs no projection. Latents
    [batch, c, h, w] may have any size.
    """

    frequencies: Tensor

    def __init__(self, config: ReportUNetConfig) -> None:
        super().__init__()
        self.config = config
        c, f = config.latent_channels, config.num_filters
        self.time_mlp = nn.Sequential(nn.Linear(2 * f, 2 * f), nn.GELU(), nn.Linear(2 * f, 2 * f))
        self.enc1 = nn.Conv2d(c, f, 3, padding=1)
        self.enc2 = nn.Conv2d(f, 2 * f, 3, stride=2, padding=1)
        self.enc3 = nn.Conv2d(2 * f, 4 * f, 3, stride=2, padding=1)
        self.enc4 = nn.Conv2d(4 * f, 8 * f, 3, stride=2, padding=1)
        self.bottleneck = nn.Conv2d(8 * f, 8 * f, 3, padding=1)
        self.cross_attention1 = CrossAttention(8 * f, config.num_heads)
        self.dec4 = nn.ConvTranspose2d(8 * f, 4 * f, 3, stride=2, padding=1)
        self.cross_attention2 = CrossAttention(4 * f, config.num_heads)
        self.dec3 = nn.ConvTranspose2d(4 * f, 2 * f, 3, stride=2, padding=1)
        self.dec2 = nn.ConvTranspose2d(2 * f, f, 3, stride=2, padding=1)
        self.dec1 = nn.Conv2d(f, c, 3, padding=1)
        _initialise(self)
        if config.time_embedding == "learned":
            self.time_table = nn.Embedding(config.num_timesteps, 2 * f)
        elif config.time_embedding == "fourier":
            self.register_buffer("frequencies", FOURIER_SCALE * torch.randn(f))
        elif config.time_embedding != "sinusoidal":
            raise InputError(
                f"time_embedding is {config.time_embedding!r}; expected 'sinusoidal', 'learned' or 'fourier'"
            )

    def _embed(self, timesteps: Tensor) -> Tensor:
        """[batch] -> [batch, 2 num_filters]."""
        if self.config.time_embedding == "learned":
            return self.time_table(timesteps)
        if self.config.time_embedding == "fourier":
            angle = 2 * torch.pi * timesteps[:, None] / self.config.num_timesteps * self.frequencies
            return torch.cat([angle.sin(), angle.cos()], dim=1)
        return sinusoidal_embedding(timesteps, 2 * self.config.num_filters)

    def null(self, condition: ReportStyle, drop: Tensor | None = None) -> ReportStyle:
        """The condition without its style, for classifier-free guidance: tokens of zeros.

        Args:
            condition: the style.
            drop: [batch] booleans, where to take it away; everywhere if not given.
        """
        keep = torch.zeros(len(condition.fine)) if drop is None else 1 - drop.float()
        keep = keep.to(condition.fine)[:, None, None]
        return ReportStyle(condition.fine * keep, condition.coarse * keep)

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, condition: ReportStyle) -> Tensor:
        time = self.time_mlp(self._embed(timesteps))[..., None, None]
        x1 = F.relu(self.enc1(noisy_latents))
        x2 = F.relu(self.enc2(x1) + time)
        x3 = F.relu(self.enc3(x2))
        x = F.relu(self.enc4(x3))
        x = self.cross_attention1(F.relu(self.bottleneck(x)), condition.coarse)
        # output_size, not the listing's output_padding=1: the same for even sizes, and right for odd ones.
        x = F.relu(self.dec4(x, output_size=x3.shape[-2:]) + x3)
        x = self.cross_attention2(x, condition.fine)
        x = F.relu(self.dec3(x, output_size=x2.shape[-2:]) + x2 + time)
        x = F.relu(self.dec2(x, output_size=x1.shape[-2:]) + x1)
        return self.dec1(x)


def _tokens(x: Tensor) -> Tensor:
    """[batch, c, h, w] -> [batch, h * w, c]."""
    return x.flatten(2).transpose(1, 2)


def _positions(x: Tensor) -> Tensor:
    """Sinusoidal places [c, h, w] of a map [batch, c, h, w]: half the channels for rows, half for columns.

    Without parameters, for any size (equations 7 and 8).
    """
    c, h, w = x.shape[1:]
    rows, columns = (sinusoidal_embedding(torch.arange(n, device=x.device), c // 2).T for n in (h, w))
    places = torch.cat([rows[:, :, None].expand(-1, -1, w), columns[:, None, :].expand(-1, h, -1)])
    return places.to(x.dtype)


def _initialise(module: nn.Module) -> None:
    """He's scale: PyTorch's fades over a depth without normalisation, and places would drown the features."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
