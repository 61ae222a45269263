"""Which instrument does a recording sound like?

A support-vector machine with a Gaussian kernel (C = 10) looks at pieces of 3 s: mean, standard deviation and
mean absolute difference over time of the cepstral coefficients 1 to 19, and standard deviation and 95th
percentile of the onset envelope. scikit-learn trained it (`tools/train_instrument_classifier.py`). Now it is a frozen
file of numbers, so that what it says never depends on the version of a library. A judge of this kind must have heard
several sample libraries, or it knows one of them by heart, and must never be a training loss.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import InputError, ModelError
from timbrel.metrics.spectral import SAMPLE_RATE, mel_db, mfcc

PIECE_S = 3.0


def pieces(waveform: NDArray, length: int = int(PIECE_S * SAMPLE_RATE)) -> NDArray:
    """Cut a waveform [samples] into as few pieces of `length` (3 s of a prepared one) as cover it, evenly spaced:
    [pieces, length].

    A shorter one is repeated up to that.
    """
    if len(waveform) < length:
        waveform = np.resize(waveform, length)
    starts = np.linspace(0, len(waveform) - length, -(-len(waveform) // length)).astype(int)
    return np.stack([waveform[start : start + length] for start in starts])


def features(waveform: NDArray) -> NDArray:
    """What the classifier sees of a prepared waveform [samples] of about 3 s: [59], float64."""
    mel = mel_db(waveform).astype(np.float64)
    coefficients = mfcc(mel)
    envelope = np.diff(mel).clip(0).mean(0)
    return np.concatenate(
        [
            coefficients.mean(1),
            coefficients.std(1),
            np.abs(np.diff(coefficients)).mean(1),
            [envelope.std(), np.percentile(envelope, 95)],
        ]
    )


@dataclass(frozen=True)
class InstrumentClassifier:
    """One-against-one support-vector machine; the fields are those of scikit-learn's `SVC`.

    `mean` and `scale` [features] standardise; `support_vectors` [vectors, features] are grouped by class,
    `num_support` [classes] of each; `dual_coef` [classes - 1, vectors]; `intercept` [pairs of classes].
    """

    labels: tuple[str, ...]
    mean: NDArray
    scale: NDArray
    support_vectors: NDArray
    dual_coef: NDArray
    intercept: NDArray
    num_support: NDArray
    gamma: float

    def scores(self, examples: NDArray) -> NDArray:
        """Features [examples, 59] -> [examples, classes]: pairwise wins, ties broken by the summed margins.

        Equal to scikit-learn's `decision_function`.
        """
        x = (np.atleast_2d(examples) - self.mean) / self.scale
        vectors = self.support_vectors
        squared = (x**2).sum(1)[:, None] - 2 * x @ vectors.T + (vectors**2).sum(1)
        kernel = np.exp(-self.gamma * squared)
        ends = np.cumsum(self.num_support)
        groups = [slice(end - n, end) for end, n in zip(ends, self.num_support, strict=True)]
        wins, margins = np.zeros((2, len(x), len(self.labels)))
        pairs = [(i, j) for i in range(len(self.labels)) for j in range(i + 1, len(self.labels))]
        for (i, j), intercept in zip(pairs, self.intercept, strict=True):
            # Class i's vectors carry their weight against j in row j - 1, class j's against i in row i.
            margin = kernel[:, groups[i]] @ self.dual_coef[j - 1, groups[i]]
            margin += kernel[:, groups[j]] @ self.dual_coef[i, groups[j]] + intercept
            wins[:, i] += margin >= 0
            wins[:, j] += margin < 0
            margins[:, i] += margin
            margins[:, j] -= margin
        return wins + margins / (3 * (np.abs(margins) + 1))

    def predict(self, waveform: NDArray) -> tuple[str, list[str]]:
        """The instrument of a prepared waveform [samples]: of the whole (summed scores), of each piece."""
        scores = self.scores(np.stack([features(piece) for piece in pieces(waveform)]))
        return self.labels[scores.sum(0).argmax()], [self.labels[i] for i in scores.argmax(1)]

    @classmethod
    def load(cls, path: Path) -> InstrumentClassifier:
        """Read a safetensors file of the fields, with the labels and gamma in its metadata.

        Raises:
            ModelError: if the file is missing or no such classifier.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(labels=tuple(json.loads(metadata["labels"])), gamma=float(metadata["gamma"]), **tensors)
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is no instrument classifier ({error}); expected the benchmark's") from error


def validate(classifier: InstrumentClassifier, label: str) -> None:
    """The classifier knows the instrument.

    Raises:
        InputError: if not; the message names those it knows.
    """
    if label not in classifier.labels:
        raise InputError(f"the classifier does not know {label!r}; expected one of {', '.join(classifier.labels)}")


def evaluate(classifier: InstrumentClassifier, label: str, waveform: NDArray) -> dict[str, float]:
    """Whether a prepared waveform [samples] sounds like `label`: the share of its pieces; 1 or 0 for all."""
    validate(classifier, label)
    whole, parts = classifier.predict(waveform)
    return {
        "instrument_accuracy": parts.count(label) / len(parts),
        "clip_is_instrument": float(whole == label),
    }
