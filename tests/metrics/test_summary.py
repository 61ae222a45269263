import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import summary


def test_interval_covers_the_mean_as_theory_says():
    values = np.random.default_rng(3).normal(5, 2, 400)
    mean, low, high, clips = summary.mean_interval(values)
    assert (mean, clips) == (pytest.approx(values.mean()), 400)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(mean - half, abs=0.03)
    assert high == pytest.approx(mean + half, abs=0.03)
    assert summary.mean_interval(values) == (mean, low, high, clips)


def test_ratio_draws_both_together():
    values = np.random.default_rng(4).uniform(0.5, 1, 50)
    assert summary.ratio_interval(0.8 * values, values)[:3] == pytest.approx((0.8, 0.8, 0.8))


def test_the_same_values_and_one_alone_leave_nothing_to_draw():
    assert summary.mean_interval([1.0, 1.0]) == (1, 1, 1, 2)
    assert summary.mean_interval([3.0]) == (3, 3, 3, 1)


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="at least one"):
        summary.mean_interval([])
    with pytest.raises(InputError, match="finite"):
        summary.mean_interval([1.0, np.nan])
    with pytest.raises(InputError, match="as many"):
        summary.ratio_interval([1.0], [1.0, 2.0])
