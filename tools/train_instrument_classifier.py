"""Trains the benchmark's judge of instruments: `python tools/train_instrument_classifier.py FILE`.

Done once; `src/timbrel/experiments/benchmark/instrument_classifier.safetensors` is the result, frozen. It
hears three families of sample libraries, the benchmark's among them, playing scores outside the benchmark.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from timbrel.data import scores
from timbrel.data.render import render
from timbrel.experiments.benchmark.manifest import DURATION_S, PROGRAMS, Excerpt
from timbrel.metrics import require, spectral
from timbrel.metrics.instrument import InstrumentClassifier, features, pieces
from timbrel.parallel import answers

LIBRARIES = ("fluidr3", "timgm6mb", "freepats")
COMPOSERS = ("bach", "ryansMammoth")


def train_instrument_classifier(
    path: Path,
    *,
    num_scores: int = 80,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> InstrumentClassifier:
    """Renders an excerpt of each of `num_scores` scores by every library and instrument; trains; saves.

    Raises:
        MissingDependencyError: without music21, scikit-learn, TiMidity++ or one of the libraries.
    """
    rng = random.Random(seed)
    names = [name for composer in COMPOSERS for name in rng.sample(scores.corpus_scores([composer]), num_scores // 2)]
    heard = answers(_examples, [(name, seed) for name in names], workers=workers, progress=progress, name="listening")
    examples = sorted((example for some in heard for example in some), key=lambda e: (e[0], e[1].tolist()))
    classifier = train(np.stack([x for _, x in examples]), [label for label, _ in examples])
    save(classifier, path)
    return classifier


def train(examples: NDArray, labels: Sequence[str]) -> InstrumentClassifier:
    """Fits to features [examples, 59] and the name of each one's instrument.

    Raises:
        MissingDependencyError: without scikit-learn.
    """
    mean, scale = examples.mean(0), examples.std(0)
    machine = require("sklearn.svm").SVC(C=10.0, gamma="scale").fit((examples - mean) / scale, list(labels))
    return InstrumentClassifier(
        labels=tuple(str(label) for label in machine.classes_),
        mean=mean,
        scale=scale,
        support_vectors=machine.support_vectors_,
        dual_coef=machine.dual_coef_,
        intercept=machine.intercept_,
        num_support=machine.n_support_,
        gamma=float(machine._gamma),
    )


def save(classifier: InstrumentClassifier, path: Path) -> None:
    """Writes what `InstrumentClassifier.load` reads; numbers as float32 where that is exact enough."""
    tensors = {
        "mean": classifier.mean,
        "scale": classifier.scale,
        "support_vectors": classifier.support_vectors.astype(np.float32),
        "dual_coef": classifier.dual_coef,
        "intercept": classifier.intercept,
        "num_support": classifier.num_support.astype(np.int64),
    }
    save_file(tensors, path, {"labels": json.dumps(classifier.labels), "gamma": repr(classifier.gamma)})


def _examples(job: tuple[str, int]) -> list[tuple[str, NDArray]]:
    """(instrument, features) of every piece of every rendering of one excerpt of a score."""
    name, seed = job
    rng = random.Random(f"{seed}:{name}")
    onsets = sorted({n.start_s for n in scores.load_score(name)})
    start = max(0.0, rng.choice(onsets[: max(1, len(onsets) // 2)]) - 0.05)
    notes = Excerpt(name, start, rng.randint(-5, 6)).notes()
    examples = []
    for library in LIBRARIES:
        for instrument, program in PROGRAMS.items():
            waveform = render(notes, program, library, duration_s=DURATION_S)
            for piece in pieces(spectral.prepare(waveform, 44100)):
                if np.abs(piece).max() > 0.01:
                    examples.append((instrument, features(piece)))
    return examples


if __name__ == "__main__":
    train_instrument_classifier(Path(sys.argv[1]))
