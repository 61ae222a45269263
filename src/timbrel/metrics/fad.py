"""How far apart are two sets of recordings, each taken for a Gaussian? (Fréchet audio distance)

Kilgour et al. 2019: with mean m and covariance S of the embeddings of each set,

    FAD = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

0 is the same; there is no upper end, and the scale is the encoder's. It is too large by an amount that falls with
the number of recordings n: two small sets of the same kind are "apart". So both sets are cut into k = 1, 2, ...
disjoint parts, nothing drawn twice. The mean distance of the parts lies near a line in k, for k goes with 1/n. At k = 0
that line gives the distance of sets without end (Chong and Forsyth 2020; for music Gui et al. 2024, "Adapting Frechet
audio distance for generative music evaluation").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import InputError
from timbrel.metrics.sets import Distance, Embeddings, orders, standard_error, validate

FEWEST_PARTS, MOST_PARTS = 2, 4


def frechet_distance(mean1: NDArray, covariance1: NDArray, mean2: NDArray, covariance2: NDArray) -> float:
    """Fréchet distance, squared, of two Gaussians (Dowson and Landau 1982), in float64.

    (S1 S2)^(1/2) has the trace of (R S2 R)^(1/2) with R = S1^(1/2), which is symmetric: two eigendecompositions give
    it, also where a covariance is singular because there are fewer embeddings than dimensions.

    Args:
        mean1, mean2: [d].
        covariance1, covariance2: [d, d], symmetric.

    Raises:
        InputError: if the shapes do not fit.
    """
    d = len(mean1)
    if mean1.shape != (d,) or mean2.shape != (d,) or not covariance1.shape == covariance2.shape == (d, d):
        shapes = ", ".join(str(part.shape) for part in (mean1, covariance1, mean2, covariance2))
        raise InputError(f"means and covariances have the shapes {shapes}; expected [d], [d, d], [d], [d, d]")
    mean1, covariance1, mean2, covariance2 = (
        np.asarray(part, np.float64) for part in (mean1, covariance1, mean2, covariance2)
    )
    values, vectors = np.linalg.eigh(covariance1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    values = np.linalg.eigvalsh(root @ covariance2 @ root)
    trace = np.trace(covariance1) + np.trace(covariance2) - 2 * np.sqrt(values.clip(0)).sum()
    return float(np.square(mean1 - mean2).sum() + trace)


def plain_distance(reference: NDArray, other: NDArray) -> float:
    """Fréchet distance between embeddings [n, d] and [m, d], as they are: too large, by what goes with 1/n + 1/m."""
    return frechet_distance(*_moments(reference), *_moments(other))


def frechet_audio_distance(reference: Embeddings, other: Embeddings, *, seed: int = 0) -> Distance:
    """FAD with its bias taken out. `seed` decides which recordings come into one part.

    The sets are cut into up to 4 parts, as many as leave each at least as many recordings as embeddings have
    dimensions: windows of one recording sound alike, and hardly count as more. Below that the bias no longer goes with
    1/n: where not even the halves have them, the result says so in `warning`.

    Raises:
        InputError: as `timbrel.metrics.sets.validate`.
    """
    validate(reference, other)
    counts = len(reference.rows()), len(other.rows())
    dimensions = reference.recordings[0].shape[1]
    fewest = min(len(embeddings.recordings) for embeddings in (reference, other))
    enough = fewest // dimensions
    most = min(max(enough, FEWEST_PARTS), MOST_PARTS)

    def distance(first: NDArray, second: NDArray) -> float:
        parts = np.arange(1, most + 1)
        means = [
            np.mean(
                [
                    plain_distance(reference.rows(a), other.rows(b))
                    for a, b in zip(np.array_split(first, k), np.array_split(second, k), strict=True)
                ]
            )
            for k in parts
        ]
        return float(np.polyfit(parts, means, 1)[1])

    order = orders(reference, other, seed)
    return Distance(
        value=distance(*order),
        standard_error=standard_error(distance, *order),
        plain=plain_distance(reference.rows(), other.rows()),
        encoder=reference.encoder,
        recordings=(len(reference.recordings), len(other.recordings)),
        embeddings=counts,
        warning="" if enough >= FEWEST_PARTS else _too_few(fewest, dimensions),
    )


def _too_few(recordings: int, dimensions: int) -> str:
    return (
        f"{recordings} recordings are too few to take FAD's bias out well with embeddings of {dimensions} dimensions; "
        f"take at least {FEWEST_PARTS * dimensions} in each set, or go by KAD"
    )


def _moments(rows: NDArray) -> tuple[NDArray, NDArray]:
    return rows.mean(axis=0), np.cov(rows, rowvar=False).reshape(rows.shape[1], rows.shape[1])


def evaluate(reference: Embeddings, other: Embeddings, *, seed: int = 0) -> dict[str, Distance]:
    """The measure of this file, by a name that says who listened: {"fad[vggish]": ...}."""
    return {f"fad[{reference.encoder}]": frechet_audio_distance(reference, other, seed=seed)}
