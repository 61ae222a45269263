"""As which class of labelled sounds would a sound be taken?

A small network (two hidden layers) looks at numbers of the mel of the first 6 s: the spectrum of its soft, usual and
loud moments, cepstral coefficients and how they move, onsets and decays, how eight bands are modulated in time, and how
far neighbouring bands differ. It learns from the training half of a set in a minute of one core. How many held-out real
sounds it takes for what they are stands beside whatever it says of others. Level plays no part. A judge is never a
training loss.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.errors import InputError, ModelError
from timbrel.systems.weights import fingerprint, load_tensors, save_tensors

FRAMES = 256  # of a mel that are looked at: 6 s at 44.1 kHz
RANGE_DB, SOUNDING_DB = -80.0, -50.0  # below the loudest band of the loudest moment
BANDS, CEPSTRA = 64, 25
MODULATION = (1, 2, 4, 6, 9, 14, 21, 32, 48, 72, 129)  # in cycles a window of `FRAMES`
EPOCHS, BATCH, LEARNING_RATE = 60, 128, 3e-3
FEATURE_NOISE, LABEL_SMOOTHING = 0.1, 0.1


def window(mel: NDArray, floor_db: float) -> NDArray:
    """The first `FRAMES` of a mel in dB [n_mels, frames]; silence after one that is shorter."""
    missing = max(0, FRAMES - mel.shape[1])
    return np.pad(mel, ((0, 0), (0, missing)), constant_values=floor_db)[:, :FRAMES]


def features(mel: NDArray) -> NDArray:
    """What the classifier sees of a mel in dB [n_mels, FRAMES]: [387], float32.

    Raises:
        InputError: another shape, or fewer than eight bands.
    """
    if mel.ndim != 2 or mel.shape[0] < 8 or mel.shape[1] != FRAMES:
        raise InputError(f"mel has shape {mel.shape}; expected [8 bands or more, {FRAMES} frames]")
    fine = np.maximum(mel - mel.max(), RANGE_DB).astype(np.float32)
    coarse = _pooled(fine, BANDS)
    level = coarse.max(0)
    sounding = level >= min(SOUNDING_DB, np.sort(level)[-4])
    cepstra = dct(coarse, axis=0, norm="ortho")[1:CEPSTRA]
    change = np.diff(coarse)
    texture = fine[2:-2] - (fine[:-4] + fine[4:]) / 2
    parts = [
        np.percentile(coarse[:, sounding], [10, 50, 90], axis=1).ravel(),
        cepstra[:, sounding].mean(1),
        cepstra[:, sounding].std(1),
        np.abs(np.diff(cepstra)).mean(1),
        _pooled(change.clip(0), 16).mean(1),
        _pooled(change.clip(None, 0), 16).mean(1),
        _modulation(coarse),
        [part[:, sounding].std() for part in np.array_split(texture, 4)],
        [np.abs(np.diff(fine[:, sounding])).mean(), sounding.mean()],
        np.percentile(level, [5, 25, 50, 75, 95]),
    ]
    return np.concatenate(parts).astype(np.float32)


def _pooled(x: NDArray, count: int) -> NDArray:
    """[n, frames] -> means of `count` groups of rows [count, frames]."""
    return F.adaptive_avg_pool1d(torch.from_numpy(x.T[None]), count)[0].numpy().T


def _modulation(coarse: NDArray) -> NDArray:
    """How strongly eight bands rise and fall, at ten rates: [80]."""
    bands = _pooled(coarse, 8)
    spectrum = np.abs(np.fft.rfft((bands - bands.mean(1, keepdims=True)) * np.hanning(FRAMES))) / FRAMES
    rates = [spectrum[:, low:high].mean(1) for low, high in pairwise(MODULATION)]
    return np.log(np.stack(rates, axis=1) + 1e-2).ravel()


class SoundClassifier(nn.Module):
    """`classifier(features [n, d]) -> logits [n, classes]`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, labels: Sequence[str], mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.hidden = nn.Sequential(
            *(nn.Dropout(0.2), nn.Linear(len(mean), 512), nn.GELU()),
            *(nn.Dropout(0.5), nn.Linear(512, 128), nn.GELU()),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, len(labels)))

    def normalised(self, features: Tensor) -> Tensor:
        """Within five standard deviations: nothing that training did not know outweighs the rest."""
        return ((features - self.mean) / self.scale).clamp(-5, 5)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.hidden(self.normalised(features)))

    def embed(self, features: Tensor) -> Tensor:
        """Features [n, d] -> the last layer but one [n, 128]."""
        return self.hidden(self.normalised(features))

    @property
    def name(self) -> str:
        """Of the encoder that `embed` is."""
        return f"timbrel-sounds:{fingerprint(self)}"

    @torch.inference_mode()
    def ranked(self, features: NDArray) -> list[str]:
        """Features [d] of a sound -> the classes, the likeliest first."""
        logits = self(torch.from_numpy(features)[None])[0]
        return [self.labels[i] for i in logits.argsort(descending=True, stable=True)]

    def save(self, path: Path) -> None:
        """As a safetensors file that `load` reads."""
        labels = np.frombuffer(json.dumps(self.labels).encode(), np.uint8)
        save_tensors(path, self.state_dict() | {"labels": torch.from_numpy(labels.copy())})

    @classmethod
    def load(cls, path: Path) -> SoundClassifier:
        """What `save` wrote.

        Raises:
            ModelError: the file is missing, or holds no such classifier.
        """
        tensors = load_tensors(path)
        try:
            labels = json.loads(tensors.pop("labels").numpy().tobytes())
            classifier = cls(labels, tensors["mean"], tensors["scale"])
            classifier.load_state_dict(tensors)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise ModelError(f"{path} is no classifier of sounds ({error}); delete it, and it is made anew") from error
        return classifier.eval().requires_grad_(False)


def train_classifier(
    features: NDArray, labels: Sequence[str], *, epochs: int = EPOCHS, seed: int = 0
) -> SoundClassifier:
    """A classifier of sounds by their features [n, d] and labels; the same seed makes the same.

    Raises:
        InputError: fewer than two classes, or not as many labels as sounds.
    """
    names = sorted(set(labels))
    if len(names) < 2 or len(labels) != len(features):
        raise InputError(
            f"there are {len(features)} sounds with {len(labels)} labels of {len(names)} classes; expected a label "
            "for each, and at least two classes to tell apart"
        )
    x, y = torch.from_numpy(features), torch.tensor([names.index(label) for label in labels])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = SoundClassifier(names, x.mean(0), x.std(0) + 1e-3)
        _fit(classifier, x, y, epochs)
    return classifier.eval().requires_grad_(False)


def _fit(classifier: SoundClassifier, x: Tensor, y: Tensor, epochs: int) -> None:
    """By AdamW, on features that are moved a little by chance."""
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.05)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            moved = x[batch] + FEATURE_NOISE * classifier.scale * torch.randn_like(x[batch])
            loss = F.cross_entropy(classifier(moved), y[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def validate(classifier: SoundClassifier, label: str) -> None:
    """The classifier knows the class.

    Raises:
        InputError: if not.
    """
    if label not in classifier.labels:
        raise InputError(f"the classifier does not know {label!r}; expected one of {', '.join(classifier.labels)}")


def evaluate(classifier: SoundClassifier, label: str, mel: NDArray, floor_db: float) -> dict[str, float]:
    """1 if a mel in dB [n_mels, frames] is taken for `label`, else 0; and whether that is among the first five."""
    validate(classifier, label)
    ranked = classifier.ranked(features(window(mel, floor_db)))
    return {"accuracy": float(ranked[0] == label), "top_5": float(label in ranked[:5])}
