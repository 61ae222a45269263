"""How sure is a mean?

Every mean of a benchmark comes with a bootstrap 95 % interval (Efron 1979): the clips are drawn anew with
replacement many times, and the interval spans the middle 95 % of the means. Seeded: the same values give the
same interval.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from timbrel.errors import InputError


class Summary(NamedTuple):
    """A mean, the ends of its interval, and how many clips are behind it."""

    mean: float
    low: float
    high: float
    clips: int


def validate(values: NDArray) -> None:
    """Finite numbers [n], at least one.

    Raises:
        InputError: if not.
    """
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InputError(f"values have shape {values.shape}; expected [n] finite numbers, at least one")


def mean_interval(values: ArrayLike, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> Summary:
    """Mean of values [n] with its bootstrap interval.

    >>> mean_interval([2, 2, 2])
    Summary(mean=2.0, low=2.0, high=2.0, clips=3)
    """
    return ratio_interval(values, None, resamples=resamples, confidence=confidence, seed=seed)


def ratio_interval(
    values: ArrayLike,
    references: ArrayLike | None,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Summary:
    """Mean of values [n] over that of references [n] (1 if None), drawn together; bootstrap interval."""
    above = np.asarray(values, np.float64)
    below = np.ones_like(above) if references is None else np.asarray(references, np.float64)
    validate(above)
    validate(below)
    if len(above) != len(below):
        raise InputError(f"there are {len(above)} values and {len(below)} references; expected as many of both")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(_ratio(above, below))
        if len(above) == 1:  # nothing to draw from
            return Summary(ratio, ratio, ratio, 1)
        result = bootstrap(
            (above, below),
            _ratio,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return Summary(ratio, float(result.confidence_interval.low), float(result.confidence_interval.high), len(above))


def crossed_interval(values: ArrayLike, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> Summary:
    """Mean of values [listeners, clips] with its bootstrap interval: listeners and clips are drawn anew together, as
    other listeners would have heard other clips.

    >>> crossed_interval([[2, 2], [2, 2], [2, 2]])
    Summary(mean=2.0, low=2.0, high=2.0, clips=6)
    """
    grid = np.asarray(values, np.float64)
    validate(grid.reshape(-1))
    rng = np.random.default_rng(seed)
    means = [
        grid[rng.integers(0, len(grid), len(grid))][:, rng.integers(0, grid.shape[1], grid.shape[1])].mean()
        for _ in range(resamples)
    ]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Summary(float(grid.mean()), float(low), float(high), grid.size)


def _ratio(above: NDArray, below: NDArray, axis: int = -1) -> NDArray:
    return above.mean(axis) / below.mean(axis)
