"""Trains the benchmark's judge of instruments: `python tools/train_instrument_classifier.py FILE`.

Done once; `src/timbrel/experiments/benchmark/instrument_classifier.safetensors` is the result, frozen. It
hears three families of sample libraries, the benchmark's among them, playing scores outside the benchmark.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.data import scores
from timbrel.data.render import render
from timbrel.experiments.benchmark.manifest import DURATION_S, PROGRAMS, Excerpt
from timbrel.metrics import spectral
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
    classifier = InstrumentClassifier.train(np.stack([x for _, x in examples]), [label for label, _ in examples])
    classifier.save(path)
    return classifier


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
