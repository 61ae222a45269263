"""BEATs (Chen et al. 2022, arXiv 2212.09058): a transformer over patches of a mel, which hears sounds of every kind.

mel -> patches of 16 x 16 -> a convolution along them, for their places -> layers of attention. To an attention's logits
a bias is added that knows the distance of two patches, as much of it as a gate of the query says (as in WavLM: Chen et
al. 2021, arXiv 2110.13900, section 3.1). Residuals are scaled (DeepNorm: Wang et al. 2022, arXiv 2203.00555). Tensors
bear the published checkpoints' names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Bounds, Width, parse

SHARED = "self_attn.relative_attention_bias"
CONVOLUTION = "encoder.pos_conv.0"


@dataclass(frozen=True)
class BEATsConfig:
    """The published ones' sizes; `buckets` of distances, of which all beyond `most_distance` patches are one."""

    layers: Annotated[int, Bounds(1, 64)] = 12
    width: Width = 768
    inner_width: Width = 3072
    heads: Annotated[int, Bounds(1, 64)] = 12
    patch_width: Width = 512
    kernel: Annotated[int, Bounds(1, 1024)] = 128
    groups: Width = 16
    buckets: Annotated[int, Bounds(4, 8192)] = 320
    most_distance: Annotated[int, Bounds(2, 100_000)] = 800
    patch: Annotated[int, Bounds(1, 1024)] = 16
    n_mels: Annotated[int, Bounds(1, 1024)] = 128


class BEATs(nn.Module):
    """Mels [batch, frames, n_mels] -> each layer's hidden states, `layers` of [batch, patches, width]: all patches of a
    moment stand together, the lowest first."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(1, config.patch_width, config.patch, stride=config.patch, bias=False)
        self.layer_norm = nn.LayerNorm(config.patch_width)
        self.post_extract_proj = nn.Linear(config.patch_width, config.width)
        self.encoder = _Encoder(config)

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> BEATs:
        """A network with these weights; its sizes follow from theirs. A classifier on top is left out.

        Raises:
            KeyError, ValueError, RuntimeError: the weights are another network's.
            ModelError: a size is out of bounds.
        """
        gain, direction = (tensors[f"{CONVOLUTION}.weight_{half}"] for half in ("g", "v"))
        inner_width, width = tensors["encoder.layers.0.fc1.weight"].shape
        patch_width, _, patch, _ = tensors["patch_embedding.weight"].shape
        buckets, heads = tensors[f"encoder.layers.0.{SHARED}.weight"].shape
        layers = {int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layers.")}
        if max(layers) >= len(layers):
            raise ValueError(f"it has {len(layers)} layers, the last of which is {max(layers)}; expected no gap")
        sizes = {
            "layers": len(layers),
            "width": width,
            "inner_width": inner_width,
            "heads": heads,
            "patch_width": patch_width,
            "patch": patch,
            "kernel": direction.shape[2],
            "groups": width // direction.shape[1],
            "buckets": buckets,
        }
        config = parse(BEATsConfig, sizes, "BEATs")
        kept = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.startswith(("predictor.", f"{CONVOLUTION}.weight_"))
            and (SHARED not in name or name.startswith("encoder.layers.0."))  # the others are copies
        }
        kept[f"{CONVOLUTION}.weight"] = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
        with torch.device("meta"):
            network = cls(config)
        network.load_state_dict(kept, assign=True)
        return network.eval().requires_grad_(False)

    def forward(self, mel: Tensor) -> list[Tensor]:
        patches = self.patch_embedding(mel[:, None]).flatten(2).transpose(1, 2)
        return self.encoder(self.post_extract_proj(self.layer_norm(patches)))


class _Encoder(nn.Module):
    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        self.config = config
        convolution = nn.Conv1d(
            config.width, config.width, config.kernel, padding=config.kernel // 2, groups=config.groups
        )
        self.pos_conv = nn.ModuleList([convolution])
        self.layer_norm = nn.LayerNorm(config.width)
        layers = [_Layer(config) for _ in range(config.layers)]
        layers[0].self_attn.relative_attention_bias = nn.Embedding(config.buckets, config.heads)  # for all layers
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        length = x.shape[1]
        places = self.pos_conv[0](x.transpose(1, 2))[..., :length].transpose(1, 2)  # an even kernel gives one more
        x = self.layer_norm(x + F.gelu(places))
        buckets = distance_buckets(length, self.config.buckets, self.config.most_distance)
        bias = self.get_submodule(f"layers.0.{SHARED}")(buckets.to(x.device)).permute(2, 0, 1)
        states = []
        for layer in self.layers:
            x = layer(x, bias)
            states.append(x)
        return states


class _Layer(nn.Module):
    """x [batch, n, width], bias [heads, n, n] -> [batch, n, width]."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        self.scale = (2 * config.layers) ** 0.25
        self.self_attn = GatedAttention(config.width, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.inner_width)
        self.fc2 = nn.Linear(config.inner_width, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(self.scale * x + self.self_attn(x, bias))
        return self.final_layer_norm(self.scale * x + self.fc2(F.gelu(self.fc1(x))))


class GatedAttention(nn.Module):
    """Attention of x [batch, n, width] to itself, with a bias [heads, n, n] that each query gates."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.grep_linear = nn.Linear(width // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        update, reset = self.grep_linear(query).unflatten(-1, (2, 4)).sum(-1, keepdim=True).sigmoid().unbind(-2)
        gate = update * (reset * self.grep_a - 1) + 2
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=gate * bias)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


def distance_buckets(count: int, buckets: int, most_distance: int) -> Tensor:
    """Buckets [count, count] of the distance from each of `count` patches to each (T5: Raffel et al. 2019, arXiv
    1910.10683, section 2.1): half for those before it and half for those after; near ones exactly, far ones by their
    logarithm."""
    place = torch.arange(count)
    distance = place[None] - place[:, None]
    half, exact = buckets // 2, buckets // 4
    away = distance.abs()
    share = torch.log(away.clamp_min(1) / exact) / math.log(most_distance / exact)
    far = (exact + (share * (half - exact)).long()).clamp_max(half - 1)
    return torch.where(away < exact, away, far) + half * (distance > 0)
