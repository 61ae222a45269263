"""Do several sounds of one class differ as much as real ones do?

A generator that has learnt one sound of a class by heart is right every time, and of no use. So the mean distance
between two generated sounds of a class, in an encoder's space, stands over that between two real ones. 1 is as diverse
as real, 0 one sound again and again. More than 1 need not be better: sounds of wrong classes are far apart, too. Read
it beside the class accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from timbrel.errors import InputError
from timbrel.metrics.summary import Summary, ratio_interval


def mean_distance(embeddings: NDArray) -> float:
    """Mean Euclidean distance between two of the embeddings [n, d], n at least 2.

    >>> mean_distance(np.array([[0.0, 0.0], [3.0, 4.0]]))
    5.0

    Raises:
        InputError: fewer than two, or another shape.
    """
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise InputError(f"embeddings have shape {embeddings.shape}; expected [n, d], n at least 2")
    return float(pdist(embeddings).mean())


def validate(real: Mapping[str, Sequence[NDArray]], other: Mapping[str, Sequence[NDArray]]) -> list[str]:
    """The classes that both sets have two sounds of.

    Raises:
        InputError: there is none.
    """
    both = [label for label in other if min(len(other[label]), len(real.get(label, ()))) >= 2]
    if not both:
        raise InputError("no class has two sounds in both sets; expected some: take more sounds of each")
    return both


def evaluate(real: Mapping[str, Sequence[NDArray]], other: Mapping[str, Sequence[NDArray]]) -> Summary:
    """Diversity within a class over the real one: mean over the classes of both sets.

    Args:
        real, other: for each class the embeddings of its sounds, windows [n, d] of each; a sound counts by their mean.
    """
    both = validate(real, other)

    def distances(sounds: Mapping[str, Sequence[NDArray]]) -> list[float]:
        return [mean_distance(np.stack([rows.mean(0) for rows in sounds[label]])) for label in both]

    return ratio_interval(distances(other), distances(real))
