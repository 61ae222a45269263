"""Joint spaces of music and pictures, behind one contract: what `similarity.py` compares, and FID's encoder.

A likeness means nothing without its space, so every result has the space's name, with eight digits of the weights.

- **timbrel-paint**: ships with report 004's run. A picture network and a layer over musicnn's features, trained by
  `train_space` on the training half of our set: both are to point to the direction of their label. So it knows labels,
  and within a label little. `tools/train_paint_space.py` made it.
- **clap-clip**: CLAP's audio half and CLIP's image half through transformers, and a linear map from the one's vectors
  to the other's (in the manner of Wav2CLIP: Wu et al. 2022, arXiv 2110.11499, which trains a whole network to that
  end), fitted on music and pictures of one label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.data.paint.labels import LABELS
from timbrel.data.paint.store import Music, Pictures
from timbrel.errors import InputError, MissingDependencyError, ModelError
from timbrel.metrics.encoders import ClapEncoder, from_hub
from timbrel.systems.folder import load_system
from timbrel.systems.picture import PictureSystem
from timbrel.systems.weights import check_weights, fingerprint, load_weights, save_weights

WIDTH, MUSIC_WIDTH = 64, 392
WIDTHS = (24, 48, 64, 96)
SIDE = 64  # of the pictures that the network sees
BATCH = 128
EPOCHS, LEARNING_RATE = 8, 3e-3
TEMPERATURE = 12.0
DEFAULT_CLIP = "openai/clip-vit-base-patch32"
RIDGE = 1e-2


class Space(Protocol):
    """The contract. `sample_rate` in Hz is what `music` expects."""

    name: str
    sample_rate: int

    def music(self, waveform: NDArray) -> NDArray:
        """30 s of music [samples] -> a vector [d]."""

    def pictures(self, pixels: NDArray[np.uint8]) -> NDArray:
        """Pictures [n, height, width, 3] -> vectors [n, d] of the same space."""

    def features(self, pixels: NDArray[np.uint8]) -> NDArray:
        """Pictures [n, height, width, 3] -> the picture network's last layer but one [n, k], for FID."""


class SpaceNetwork(nn.Module):
    """Music and pictures as vectors of `WIDTH`, and the direction of each label."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(MUSIC_WIDTH))
        self.register_buffer("std", torch.ones(MUSIC_WIDTH))
        self.hear = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(MUSIC_WIDTH, 96), nn.GELU(), nn.Dropout(0.4), nn.Linear(96, WIDTH)
        )
        layers: list[nn.Module] = []
        for width, above in zip((3, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(width, above, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(above), nn.GELU()]
        self.see = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.place = nn.Sequential(nn.Dropout(0.2), nn.Linear(WIDTHS[-1], WIDTH))
        self.labels = nn.Parameter(torch.randn(len(LABELS), WIDTH))

    def music(self, features: Tensor) -> Tensor:
        """Means over the moments of an audio encoder's features [n, width] -> [n, WIDTH]."""
        return self.hear((features - self.mean) / self.std)

    def pictures(self, seen: Tensor) -> Tensor:
        """What `see` gives of pictures [n, 3, SIDE, SIDE] in [-1, 1], [n, k] -> [n, WIDTH]."""
        return self.place(seen)

    def logits(self, vectors: Tensor) -> Tensor:
        """How near vectors [n, WIDTH] are to each label's direction [n, labels]."""
        return TEMPERATURE * F.normalize(vectors, dim=-1) @ F.normalize(self.labels, dim=-1).T


def as_seen(pixels: Tensor) -> Tensor:
    """Pictures uint8 [n, h, w, 3] -> [n, 3, SIDE, SIDE] in [-1, 1]."""
    return F.interpolate(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, (SIDE, SIDE), mode="area")


class PaintSpace:
    """The space of a file of `save_space`; the shipped painter's audio encoder listens."""

    def __init__(self, weights: str | Path) -> None:
        self.network = SpaceNetwork()
        check_weights(Path(weights), self.network)
        load_weights(Path(weights), self.network)
        self.name = f"timbrel-paint:{fingerprint(self.network)}"
        self.ear = load_system("picture", PictureSystem)
        self.sample_rate = self.ear.mel.sample_rate

    @torch.inference_mode()
    def music(self, waveform: NDArray) -> NDArray:
        features = self.ear.hear(torch.from_numpy(np.asarray(waveform, np.float32)))
        return self.network.music(features.mean(0, keepdim=True))[0].numpy()

    @torch.inference_mode()
    def pictures(self, pixels: NDArray[np.uint8]) -> NDArray:
        return self.network.pictures(torch.from_numpy(self.features(pixels))).numpy()

    @torch.inference_mode()
    def features(self, pixels: NDArray[np.uint8]) -> NDArray:
        batches = torch.from_numpy(pixels).split(BATCH)
        return torch.cat([self.network.see(as_seen(batch)) for batch in batches]).numpy()


def train_space(music: Music, pictures: Pictures, *, epochs: int = EPOCHS, seed: int = 0) -> SpaceNetwork:
    """The joint space of a set's training half: 5 of 6 of a batch are pictures, all labels as often.

    Raises:
        InputError: fewer than two labels have music and pictures to train on.
    """
    heard, seen = (np.flatnonzero(some.split.numpy() == 0) for some in (music, pictures))
    shared = set(music.label[heard].tolist()) & set(pictures.label[seen].tolist())
    if len(shared) < 2:
        raise InputError(f"{len(shared)} labels have music and pictures to train on; expected two or more")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SpaceNetwork()
        means = music.features.float().mean(1)
        network.mean.copy_(means[heard].mean(0))
        network.std.copy_(means[heard].std(0).clamp_min(1e-3))
        _fit(network, (means, music.label, heard), (as_seen_all(pictures), pictures.label, seen), epochs, seed)
    return network.eval().requires_grad_(False)


def as_seen_all(pictures: Pictures) -> Tensor:
    """All pictures as the network sees them, [n, 3, SIDE, SIDE], float16."""
    return torch.cat([as_seen(batch).half() for batch in pictures.pixels.split(1024)])


Half = tuple[Tensor, Tensor, NDArray]
"""Inputs [n, ...], labels [n], and which of them train."""


def _fit(network: SpaceNetwork, music: Half, pictures: Half, epochs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = min(BATCH, len(pictures[2]))
    steps = epochs * -(-len(pictures[2]) // size)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    shares = [_shares(labels, chosen) for _, labels, chosen in (music, pictures)]
    network.train()
    for _ in range(steps):
        loss = torch.zeros(())
        for (inputs, labels, chosen), share, count in zip((music, pictures), shares, (size // 4, size), strict=True):
            number = torch.from_numpy(rng.choice(chosen, count, p=share))
            x = inputs[number].float()
            if x.ndim == 4:
                vectors = network.pictures(network.see(_moved(x, rng)))
            else:
                vectors = network.music(x + 0.3 * network.std * torch.randn_like(x))
            loss = loss + F.cross_entropy(network.logits(vectors), labels[number], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _shares(labels: Tensor, chosen: NDArray) -> NDArray:
    """How likely each is drawn, so that all labels are as likely."""
    own = labels.numpy()[chosen]
    weight = 1 / np.bincount(own)[own]
    return weight / weight.sum()


def _moved(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures [n, 3, h, w] mirrored, shifted and lit by chance."""
    x = torch.where(torch.from_numpy(rng.random(len(x)) < 0.5)[:, None, None, None], x.flip(-1), x)
    down, across = (int(d) for d in rng.integers(-4, 5, 2))
    light = torch.from_numpy(rng.normal(0, 0.1, (2, len(x), 1, 1, 1)).astype(np.float32))
    return torch.roll(x, (down, across), (2, 3)) * (1 + light[0]) + light[1]


def save_space(path: Path, network: SpaceNetwork) -> None:
    """As bfloat16, which `PaintSpace` reads."""
    save_weights(path, network, torch.bfloat16)


class ClapClipSpace:
    """CLIP's space of pictures, where CLAP's vectors of music are brought by a linear map of `fit`.

    Args:
        clap, clip: hub ids or folders.
    """

    def __init__(self, clap: str | Path | None = None, clip: str | Path | None = None) -> None:
        try:
            from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection
        except ImportError as error:
            raise MissingDependencyError(f"CLIP needs transformers ({error}): pip install 'timbrel[hub]'") from error
        self.ear = ClapEncoder(clap)
        source = DEFAULT_CLIP if clip is None else str(clip)
        self.eye: Any = (
            from_hub(CLIPVisionModelWithProjection, source, "CLIP", DEFAULT_CLIP).eval().requires_grad_(False)
        )
        self.prepare: Any = from_hub(CLIPImageProcessor, source, "CLIP", DEFAULT_CLIP)
        eye_name = Path(source).name if Path(source).is_dir() else source
        self.name = f"clap-clip:{self.ear.name}:{eye_name}:{fingerprint(self.eye)}"
        self.sample_rate = self.ear.sample_rate
        self.map: NDArray | None = None

    def heard(self, waveform: NDArray) -> NDArray:
        """CLAP's vector of music [samples], the mean over its windows of 10 s."""
        return self.ear.embed(np.asarray(waveform, np.float32)).mean(0)

    def fit(self, heard: NDArray, seen: NDArray) -> None:
        """The map from CLAP's vectors of music [n, c] to CLIP's of pictures [n, d], by ridge regression."""
        if len(heard) != len(seen) or len(heard) < 2:
            raise InputError(f"there are {len(heard)} clips and {len(seen)} pictures; expected pairs, two or more")
        x, y = (np.asarray(side, np.float64) for side in (_with_one(heard), seen))
        self.map = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)

    def music(self, waveform: NDArray) -> NDArray:
        if self.map is None:
            raise ModelError("clap-clip has no map from music to pictures; call `fit` with pairs of one label first")
        return (_with_one(self.heard(waveform)[None]) @ self.map)[0]

    def pictures(self, pixels: NDArray[np.uint8]) -> NDArray:
        return self._seen(pixels, lambda output: output.image_embeds)

    def features(self, pixels: NDArray[np.uint8]) -> NDArray:
        return self._seen(pixels, lambda output: output.last_hidden_state[:, 0])

    @torch.inference_mode()
    def _seen(self, pixels: NDArray[np.uint8], part: Any) -> NDArray:
        rows = []
        for start in range(0, len(pixels), 32):
            inputs = self.prepare(list(pixels[start : start + 32]), return_tensors="pt")
            rows.append(part(self.eye(pixel_values=inputs["pixel_values"])).float().numpy())
        return np.concatenate(rows)


def _with_one(vectors: NDArray) -> NDArray:
    """Unit vectors [n, d] with a column of ones."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    return np.concatenate([unit, np.ones((len(unit), 1))], axis=1)


def pairs(labels: Sequence[int], pictures: Sequence[int], *, seed: int = 0) -> NDArray:
    """For music of these labels [n] the number of a picture of the same label, drawn among pictures of labels [m]."""
    rng, of = np.random.default_rng(seed), np.asarray(pictures)
    return np.array([rng.choice(np.flatnonzero(of == label)) for label in labels])
