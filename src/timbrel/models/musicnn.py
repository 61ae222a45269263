"""musicnn: which words do people use for 3 s of music? (Pons and Serra 2019, *musicnn: Pre-trained Convolutional Neural
Networks for Music Audio Tagging*.)

Wide filters over a log-mel hear timbres (38 and 67 of the 96 bands high), long ones hear rhythms (up to 128
frames); three convolutions along time follow; maximum and mean over time, two dense layers. The network is
`MTT_musicnn`: 787,159 parameters, trained on the 25,000 clips of MagnaTagATune.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timbrel.errors import ModelError

EPS = 1e-3  # of TensorFlow's batch norm
# fmt: off
TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
    "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
    "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man",
    "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
    "no voice", "weird", "country", "metal", "female voice", "choral",
)
# fmt: on


@dataclass(frozen=True)
class MusicnnConfig:
    """There is one size of it."""


class Musicnn(nn.Module):
    """Log-mel patches of 3 s -> probabilities of tags."""

    embedding = 200
    hidden_width = 3 * 64 + embedding

    def __init__(self, config: MusicnnConfig = MusicnnConfig()) -> None:
        super().__init__()
        self.config = config
        self.input_norm = nn.BatchNorm2d(1, EPS)
        self.timbral = nn.ModuleList(_FrontEnd(204, 7, bands) for bands in (38, 67))
        self.temporal = nn.ModuleList(_FrontEnd(51, frames, 1) for frames in (128, 64, 32))
        self.middle = nn.ModuleList(_Middle(channels) for channels in (561, 64, 64))
        self.pooled_norm = nn.BatchNorm1d(2 * (561 + 3 * 64), EPS)
        self.dense = nn.Linear(2 * (561 + 3 * 64), self.embedding)
        self.dense_norm = nn.BatchNorm1d(self.embedding, EPS)
        self.output = nn.Linear(self.embedding, len(TAGS))

    def maps(self, patches: Tensor) -> list[Tensor]:
        """Log-mel patches [batch, frames, 96] -> what the front end and the three middle layers give: [batch, 561,
        frames] and three times [batch, 64, frames]."""
        x = self.input_norm(patches[:, None])
        features = [torch.cat([part(x) for part in (*self.timbral, *self.temporal)], 1)]
        for i, layer in enumerate(self.middle):
            y = layer(features[-1])
            features.append(y + features[-1] if i else y)
        return features

    def embed(self, patches: Tensor) -> Tensor:
        """Log-mel patches [batch, frames, 96] -> embeddings [batch, 200]: the last layer but one."""
        return self._embedding(self.maps(patches))

    def hidden(self, patches: Tensor) -> Tensor:
        """Log-mel patches [batch, frames, 96] -> several layers side by side [batch, 392]: means over time of the three
        middle ones, and the embedding."""
        maps = self.maps(patches)
        return torch.cat([*(layer.mean(-1) for layer in maps[1:]), self._embedding(maps)], 1)

    def _embedding(self, maps: list[Tensor]) -> Tensor:
        x = torch.cat(maps, 1)
        x = torch.stack([x.amax(-1), x.mean(-1)], -1).flatten(1)  # maximum and mean of each channel alternate
        return self.dense_norm(F.relu(self.dense(self.pooled_norm(x))))

    def forward(self, patches: Tensor) -> Tensor:
        """Log-mel patches [batch, frames, 96] -> probabilities of `TAGS` [batch, 50]."""
        return torch.sigmoid(self.output(self.embed(patches)))

    @classmethod
    def from_tensorflow(cls, tensors: Mapping[str, Any]) -> Musicnn:
        """With the arrays of the published checkpoint, by their names; what only its training needs is passed over.

        Raises:
            ModelError: one is missing, or has another shape.
        """
        network = cls().eval().requires_grad_(False)
        counts = dict.fromkeys(_PARTS, 0)
        try:
            for module in network.modules():  # in the order in which TensorFlow numbered them
                for kind, (name, parts) in _PARTS.items():
                    if isinstance(module, kind):
                        number = f"_{counts[kind]}" if counts[kind] else ""
                        counts[kind] += 1
                        for own, theirs in parts.items():
                            _fill(getattr(module, own), tensors[f"{name}{number}/{theirs}"])
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"the tensors are not those of MTT_musicnn ({error}); expected its checkpoint") from error
        return network


class _FrontEnd(nn.Module):
    """Filters, the loudest band for each: [batch, 1, frames, bands] -> [batch, filters, frames]."""

    def __init__(self, filters: int, frames: int, bands: int) -> None:
        super().__init__()
        self.pad = (0, 0, (frames - 1) // 2, frames // 2)  # as many frames go out as come in
        self.conv = nn.Conv2d(1, filters, (frames, bands))
        self.norm = nn.BatchNorm2d(filters, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self.conv(F.pad(x, self.pad)))).amax(-1)


class _Middle(nn.Module):
    """[batch, channels, frames] -> [batch, 64, frames]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, 64, 7, padding=3)
        self.norm = nn.BatchNorm1d(64, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self.conv(x)))


_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_WEIGHTS = {"weight": "kernel", "bias": "bias"}
_PARTS: dict[Any, tuple[str, dict[str, str]]] = {
    (nn.BatchNorm1d, nn.BatchNorm2d): ("batch_normalization", _NORM),
    (nn.Conv1d, nn.Conv2d): ("conv2d", _WEIGHTS),
    (nn.Linear,): ("dense", _WEIGHTS),
}


def _fill(own: Tensor, theirs: Any) -> None:
    """TensorFlow's kernels have filters last: [frames, bands, 1, filters]; the second ones, bands for channels."""
    values = torch.from_numpy(theirs.copy())
    if values.ndim == 4:
        values = values[:, :, 0].permute(2, 1, 0) if own.ndim == 3 else values.permute(3, 2, 0, 1)
    own.copy_(values.T if values.ndim == 2 else values)
