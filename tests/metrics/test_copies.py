import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import copies


def by_hand(mel, other):
    """Shift by shift."""
    a, b = (np.maximum(x - x.max(), copies.RANGE_DB) - copies.RANGE_DB for x in (mel, other))
    n, m, found = a.shape[1], b.shape[1], []
    for shift in range(-m + 1, n):
        laid = np.zeros_like(a)
        low, high = max(0, shift), min(n, shift + m)
        laid[:, low:high] = b[:, low - shift : high - shift]
        if high - low >= copies.OVERLAP * min(n, m):
            found.append(np.sqrt(np.square(a - laid).mean()))
    return min(found)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (12, 30), (30, 12)])
def test_it_is_the_smallest_difference_of_all_shifts(n, m):
    rng = np.random.default_rng(n)
    mel, other = rng.uniform(-60, 0, (5, n)), rng.uniform(-60, 0, (5, m))
    assert copies.difference_db(mel, other) == pytest.approx(by_hand(mel, other), rel=1e-6)


def test_a_copy_is_found_at_another_moment_and_level():
    rng = np.random.default_rng(0)
    others = [rng.uniform(-60, 0, (8, 50)) for _ in range(4)]
    others[2][0, 20] = 0  # the loudest, which both have
    copy = others[2][:, 10:45] - 7 + rng.normal(0, 1, (8, 35))
    assert copies.nearest_db(copy, others) < 3
    assert copies.nearest_db(copy, others[:2]) > 10
    assert copies.nearest_db(copy, []) == np.inf


def test_errors():
    with pytest.raises(InputError, match=r"mels have the shapes \(4, 3\) and \(5, 3\)"):
        copies.difference_db(np.zeros((4, 3)), np.zeros((5, 3)))
