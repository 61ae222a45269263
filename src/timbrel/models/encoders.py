"""Feature networks: what a picture of sound holds, for distances between recordings, losses and conditions.

Each gives an embedding and, through `maps`, the feature maps on the way to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.errors import InputError


class VGGish(nn.Module):
    """VGGish (Hershey et al. 2017): 72,141,184 parameters, trained by others on AudioSet.

    Layers are numbered as in the state dicts that are passed around: `features.0` to `features.13`, and
    `embeddings.0`, `.2`, `.4`. The embedding is the last layer's output before any activation, as the Fréchet audio
    distance takes it (Kilgour et al. 2019), without the PCA of AudioSet's released embeddings.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for widths in ((1, 64), (64, 128), (128, 256, 256), (256, 512, 512)):
            for before, after in pairwise(widths):
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            *(nn.Linear(512 * 6 * 4, 4096), nn.ReLU()),
            *(nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, 128),
        )

    def maps(self, picture: Tensor) -> list[Tensor]:
        """Pictures [batch, 1, h, w] of any size -> the maps before each pooling: [batch, 64, h, w],
        [batch, 128, h // 2, w // 2], [batch, 256, h // 4, w // 4], [batch, 512, h // 8, w // 8]."""
        found, x = [], picture
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(x)
            x = layer(x)
        return found

    def forward(self, examples: Tensor) -> Tensor:
        """Examples [n, 1, 96, 64] of `timbrel.audio.vggish.examples` -> embeddings [n, 128].

        Raises:
            InputError: another shape.
        """
        if examples.shape[1:] != (1, 96, 64):
            raise InputError(f"examples have shape {tuple(examples.shape)}; expected [n, 1, 96 frames, 64 bands]")
        x = self.features(examples)
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))  # channels last, as where the weights come from


@dataclass(frozen=True)
class FeatureConfig:
    labels: tuple[str, ...]
    width: int = 16
    embedding: int = 128
    floor_db: float = -100.0


class FeatureNetwork(nn.Module):
    """A small classifier of instruments over mel pictures, whose last but one layer is the embedding.

    The stand-in where no weights of a larger network are at hand. Whatever uses it is named "timbrel-features".
    Pictures may have any size; frequency keeps its place up to the embedding, time does not.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        if len(config.labels) < 2:
            raise InputError(f"labels are {list(config.labels)}; expected at least two instruments to tell apart")
        if config.width < 4 or config.width % 4:
            raise InputError(f"width is {config.width}; expected a multiple of 4")
        self.config = config
        w = config.width
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.GELU())
            for before, after in pairwise((1, w, 2 * w, 4 * w, 8 * w, 8 * w))
        )
        self.bottleneck = nn.Linear(4 * 8 * w, config.embedding)
        self.head = nn.Linear(config.embedding, len(config.labels))

    def maps(self, mel: Tensor) -> list[Tensor]:
        """Mel in dB [batch, 1, n_mels, frames] -> five maps [batch, channels, h, w], each half as high and wide as
        the one before; differentiable."""
        found, x = [], 1 - 2 * mel / self.config.floor_db
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def embed(self, mel: Tensor) -> Tensor:
        """Mel in dB [batch, 1, n_mels, frames] -> embeddings [batch, embedding]."""
        return self.bottleneck(F.adaptive_avg_pool2d(self.maps(mel)[-1], (4, 1)).flatten(1))

    def forward(self, mel: Tensor) -> Tensor:
        """Mel in dB [batch, 1, n_mels, frames] -> logits [batch, labels]."""
        return self.head(F.gelu(self.embed(mel)))
