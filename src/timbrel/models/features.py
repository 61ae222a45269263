"""Feature networks: mels or pictures -> feature maps and embeddings, for distances, losses and conditions.

Every network has `maps`, the feature maps of its layers. VGGish and the `FeatureNetwork` also have an embedding, which
those maps lead to. `name` stands beside figures that the network computed. `calibrated` is True for LPIPS alone, which
has learnt how much each layer's maps count in a distance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.bounds import Floor, Width
from timbrel.errors import InputError

Network = TypeVar("Network", bound=nn.Module)


class VGGish(nn.Module):
    """VGGish (Hershey et al. 2017): 72,141,184 parameters, trained by others on AudioSet.

    Layers are numbered as in the state dicts that are passed around: `features.0` to `features.13`, and
    `embeddings.0`, `.2`, `.4`. The embedding is the last layer's output before any activation, as the Fréchet audio
    distance takes it (Kilgour et al. 2019), without the PCA of AudioSet's released embeddings.
    """

    name: ClassVar[str] = "vggish"
    calibrated: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.features = _vgg((1, 64), (64, 128), (128, 256, 256), (256, 512, 512))
        self.embeddings = nn.Sequential(
            *(nn.Linear(512 * 6 * 4, 4096), nn.ReLU()),
            *(nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, 128),
        )

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> VGGish:
        """A network with these weights. AudioSet's PCA (`pproc.`), which some files have too, is left out.

        Raises:
            RuntimeError: the weights are another network's.
        """
        with torch.device("meta"):
            network = cls()
        return _with_weights(network, {name: t for name, t in tensors.items() if not name.startswith("pproc.")})

    def maps(self, log_mel: Tensor) -> list[Tensor]:
        """Log-mels [batch, 1, h, w] of any size -> the maps before each pooling: [batch, 64, h, w],
        [batch, 128, h // 2, w // 2], [batch, 256, h // 4, w // 4], [batch, 512, h // 8, w // 8]."""
        return _outputs(self.features, (1, 4, 9, 14), log_mel)

    def forward(self, examples: Tensor) -> Tensor:
        """Examples [n, 1, 96, 64] of `timbrel.audio.vggish.examples` -> embeddings [n, 128].

        Raises:
            InputError: another shape.
        """
        if examples.shape[1:] != (1, 96, 64):
            raise InputError(f"examples have shape {tuple(examples.shape)}; expected [n, 1, 96 frames, 64 bands]")
        x = self.features(examples)
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))  # channels last, as where the weights come from


class LPIPS(nn.Module):
    """The learned distance between pictures of Zhang et al. 2018 (arXiv 1801.03924, equation 1; version 0.1 of its
    weights), as feature maps: their squared distance, as `maps` has it, is that distance.

    A trunk trained by others on ImageNet, torchvision's AlexNet (2,469,696 parameters up to the last layer that
    counts) or VGG16 (14,714,688), and heads, one weight a channel of five of its layers. Layers are numbered as in
    the state dicts that are passed around: `features.0.weight` and so on, `lin0.model.1.weight` to `lin4.`.

    Args:
        trunk: "alexnet" or "vgg16".
    """

    calibrated: ClassVar[bool] = True
    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: str) -> None:
        super().__init__()
        self.name = f"lpips-{trunk}"
        if trunk == "alexnet":
            self.features, self.least = _alexnet(), 31
            channels = {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}
        elif trunk == "vgg16":
            blocks = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
            self.features, self.least = _vgg(*blocks), 16
            channels = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}
        else:
            raise InputError(f"trunk is {trunk!r}; expected 'alexnet' or 'vgg16'")
        self.layers = tuple(channels)
        for k, width in enumerate(channels.values()):
            head = nn.Conv2d(width, 1, 1, bias=False)
            self.add_module(f"lin{k}", nn.ModuleDict({"model": nn.ModuleDict({"1": head})}))
        # ImageNet's mean and spread of each colour, for pictures in [-1, 1].
        for name, colours in (("shift", (-0.030, -0.088, -0.188)), ("scale", (0.458, 0.448, 0.450))):
            self.register_buffer(name, torch.tensor(colours, device="cpu").view(3, 1, 1), persistent=False)

    @staticmethod
    def fits(tensors: Mapping[str, Tensor]) -> bool:
        """Whether these are weights of LPIPS, or a part of them: of heads, or of a network for pictures in colour."""
        first = tensors.get("features.0.weight")
        return any(re.match(r"lin\d|net\.", name) for name in tensors) or (first is not None and first.shape[1] == 3)

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor]) -> LPIPS:
        """A network with the weights of torchvision's trunk and of the heads, or of the authors' whole network, where
        the trunk is in slices (`net.slice1.0.weight`). Other tensors, such as the trunk's own classifier, are left out.

        Raises:
            RuntimeError: the weights are another network's, or of the trunk or the heads alone.
            ValueError: a head has negative weights, and so gives no distance.
        """
        tensors = {re.sub(r"^net\.slice\d\.", "features.", name): t for name, t in tensors.items()}
        tensors = {name: t for name, t in tensors.items() if re.match(r"features\.|lin\d", name)}
        with torch.device("meta"):
            network = cls("vgg16" if "features.28.weight" in tensors else "alexnet")
        _with_weights(network, tensors)
        for head in network.heads:
            if not bool((head >= 0).all()):
                raise ValueError(f"a head has the weight {float(head.min()):g}; a distance has none below 0")
        return network

    @property
    def heads(self) -> list[Tensor]:
        """The channels' weights of each layer, [channels, 1, 1]."""
        return [self.get_parameter(f"lin{k}.model.1.weight")[0] for k in range(len(self.layers))]

    def maps(self, picture: Tensor) -> list[Tensor]:
        """Pictures in [-1, 1], [batch, 3, h, w], red first, -> the five layers' maps [batch, channels, h, w].

        Each place of a layer has unit length before its channels are weighted. They are scaled so that the mean over
        the layers of their mean squared differences is LPIPS, which adds up channels and layers.

        Raises:
            InputError: the picture is too small for the trunk.
        """
        if min(picture.shape[2:]) < self.least:
            size, least = (" x ".join(map(str, shape)) for shape in (picture.shape[2:], (self.least, self.least)))
            raise InputError(f"the picture is {size}; expected at least {least} for {self.name}")
        x = (picture - self.shift) / self.scale
        weighted = []
        for maps, head in zip(_outputs(self.features, self.layers, x), self.heads, strict=True):
            length = (maps.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()
            weighted.append((len(self.layers) * len(head) * head).sqrt() * maps / length)
        return weighted


@dataclass(frozen=True)
class FeatureConfig:
    labels: tuple[str, ...]
    width: Width = 16
    embedding: Width = 128
    floor_db: Floor = -100.0


class FeatureNetwork(nn.Module):
    """A small classifier of instruments over mels, whose last but one layer is the embedding.

    It stands in where no weights of a larger network are at hand. A mel may have any size. The embedding keeps places
    in frequency, and none in time.
    """

    name: ClassVar[str] = "timbrel-features"
    calibrated: ClassVar[bool] = False

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
        maps, x = [], 1 - 2 * mel / self.config.floor_db
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def embed(self, mel: Tensor) -> Tensor:
        """Mel in dB [batch, 1, n_mels, frames] -> embeddings [batch, embedding]."""
        return self.bottleneck(F.adaptive_avg_pool2d(self.maps(mel)[-1], (4, 1)).flatten(1))

    def forward(self, mel: Tensor) -> Tensor:
        """Mel in dB [batch, 1, n_mels, frames] -> logits [batch, labels]."""
        return self.head(F.gelu(self.embed(mel)))


def _vgg(*blocks: Sequence[int]) -> nn.Sequential:
    """Blocks of 3 x 3 convolutions with a pooling at the end. A block's numbers are its channels, its input's first."""
    layers: list[nn.Module] = []
    for widths in blocks:
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _alexnet() -> nn.Sequential:
    """AlexNet's convolutions, as torchvision has them (Krizhevsky 2014, arXiv 1404.5997)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def _outputs(layers: Iterable[nn.Module], numbers: Sequence[int], x: Tensor) -> list[Tensor]:
    """The outputs of the layers with these numbers."""
    outputs = []
    for number, layer in enumerate(islice(layers, max(numbers) + 1)):
        x = layer(x)
        if number in numbers:
            outputs.append(x)
    return outputs


def _with_weights(network: Network, tensors: Mapping[str, Tensor]) -> Network:
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)
