"""How far apart are two sets of recordings, whatever their distribution? (kernel audio distance)

Chung et al. 2025, "KAD: No more FAD!": the squared maximum mean discrepancy (Gretton et al. 2012) of the embeddings
under k(x, y) = exp(-|x - y|^2 / (2 s^2)), where s is the median distance within the reference set, times 100, as in
their toolkit:

    KAD = 100 (mean k(x, x') + mean k(y, y') - 2 mean k(x, y))

0 is the same, 200 the end. It takes no set for a Gaussian and has no bias, so that a hundred recordings will do; but
only over pairs that are independent. Two windows of one recording are not: such pairs are left out here, which is
the paper's formula where every recording has one embedding. `plain` is the paper's over all pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import pdist

from timbrel.errors import InputError
from timbrel.metrics.sets import Distance, Embeddings, orders, standard_error, validate

SCALE = 100.0
BLOCK = 1024  # embeddings at a time
BANDWIDTH_SAMPLE = 4000  # of more embeddings, the median is that of as many


def bandwidth(reference: NDArray, *, seed: int = 0) -> float:
    """Median distance between two of the embeddings [n, d]; of more than 4000, of 4000 drawn by `seed`.

    Raises:
        InputError: most of them are the same.
    """
    if len(reference) > BANDWIDTH_SAMPLE:
        reference = np.random.default_rng(seed).choice(reference, BANDWIDTH_SAMPLE, replace=False)
    median = float(np.median(pdist(reference)))
    if not median > 0:
        raise InputError(
            "the median distance between embeddings of the reference set is 0; expected recordings that differ: are "
            "they silent, or copies of one?"
        )
    return median


def kernel_audio_distance(reference: Embeddings, other: Embeddings, *, seed: int = 0) -> Distance:
    """KAD without bias, below 0 for a set and itself. `seed` decides which recordings the standard error leaves out
    together.

    Raises:
        InputError: as `timbrel.metrics.sets.validate` and `bandwidth`.
    """
    validate(reference, other)
    width = bandwidth(reference.rows(), seed=seed)
    xx, yy, xy = (_sums(a, b, width) for a, b in ((reference, reference), (other, other), (reference, other)))
    x, y = (np.array([len(rows) for rows in embeddings.recordings], np.float64) for embeddings in (reference, other))

    def distance(first: NDArray, second: NDArray) -> float:
        within = _mean_of_others(xx[np.ix_(first, first)], x[first]) + _mean_of_others(
            yy[np.ix_(second, second)], y[second]
        )
        between = xy[np.ix_(first, second)].sum() / (x[first].sum() * y[second].sum())
        return float(SCALE * (within - 2 * between))

    def pairs(sums: NDArray, n: float) -> float:
        return (sums.sum() - n) / (n * (n - 1))  # without each with itself, where k = 1

    order = orders(reference, other, seed)
    plain = pairs(xx, x.sum()) + pairs(yy, y.sum()) - 2 * xy.sum() / (x.sum() * y.sum())
    return Distance(
        value=distance(*order),
        standard_error=standard_error(distance, *order),
        plain=float(SCALE * plain),
        encoder=reference.encoder,
        recordings=(len(x), len(y)),
        embeddings=(int(x.sum()), int(y.sum())),
    )


def _mean_of_others(sums: NDArray, counts: NDArray) -> float:
    """Mean of k over pairs of two recordings of one set, from its sums [recordings, recordings]."""
    return (sums.sum() - np.trace(sums)) / (counts.sum() ** 2 - np.square(counts).sum())


def _sums(a: Embeddings, b: Embeddings, width: float) -> NDArray:
    """Sum of k over the embeddings of each two recordings: [recordings of a, recordings of b]."""
    rows_a, rows_b = a.rows(), b.rows()
    centre = rows_a.mean(axis=0)  # far from 0, differences of squares would be inexact
    rows_a, rows_b = rows_a - centre, rows_b - centre
    of_a, of_b = _memberships(a), _memberships(b)
    squares = np.square(rows_b).sum(axis=1)
    sums = np.zeros((len(a.recordings), len(b.recordings)))
    for start in range(0, len(rows_a), BLOCK):
        block = rows_a[start : start + BLOCK]
        squared = np.square(block).sum(axis=1)[:, None] + squares - 2 * block @ rows_b.T
        kernel = np.exp(squared.clip(0) / (-2 * width**2))
        sums += of_a[:, start : start + BLOCK] @ (kernel @ of_b.T)
    return sums


def _memberships(embeddings: Embeddings) -> sparse.csr_array:
    """1 where an embedding is of a recording: [recordings, embeddings]."""
    ends = np.cumsum([0, *(len(rows) for rows in embeddings.recordings)])
    return sparse.csr_array((np.ones(ends[-1]), np.arange(ends[-1]), ends))


def evaluate(reference: Embeddings, other: Embeddings, *, seed: int = 0) -> dict[str, Distance]:
    """The measure of this file, by a name that says who listened: {"kad[vggish]": ...}."""
    return {f"kad[{reference.encoder}]": kernel_audio_distance(reference, other, seed=seed)}
