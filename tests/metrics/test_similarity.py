"""The report's measures on cases that were worked by hand."""

import math

import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import similarity
from timbrel.metrics.similarity import angle_score, by_clip, cosines, label_margins, margins, win_rates

HALF, DIAGONAL = math.sqrt(0.5), np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])


def test_cosines_know_no_length():
    np.testing.assert_allclose(cosines(DIAGONAL[:2], DIAGONAL), [[1, 0, HALF], [0, 1, HALF]])
    with pytest.raises(InputError, match="is 0 or not finite"):
        cosines(np.zeros((1, 2)), DIAGONAL)
    with pytest.raises(InputError, match=r"shapes \(3, 2\) and \(1, 3\)"):
        cosines(DIAGONAL, np.ones((1, 3)))


@pytest.mark.parametrize(
    ("margin", "halved", "expected"),
    [(0, False, 50), (0.5, False, 200 / 3), (-0.5, False, 100 / 3), (1, True, 200 / 3), (2, True, 100), (0, True, 50)],
)
def test_the_angle_of_a_margin(margin, halved, expected):
    assert angle_score(margin, halved=halved) == pytest.approx(expected)


def test_margins_leave_the_own_out_of_a_mean_over_all():
    likeness = np.array([[0.9, 0.3, 0.3], [0.2, 0.5, 0.4]])
    np.testing.assert_allclose(margins(likeness, [0, 1]), [0.9 - 0.6 / 3, 0.5 - 0.6 / 3])
    with pytest.raises(InputError, match="own has numbers from 0 to 3"):
        margins(likeness, [0, 3])
    with pytest.raises(InputError, match="and 1 have their own"):
        margins(likeness, [0])


def test_wins_count_equals_half():
    likeness = np.array([[0.9, 0.3, 0.3], [0.2, 0.5, 0.6], [0.1, 0.1, 0.1]])
    np.testing.assert_allclose(win_rates(likeness, [0, 1, 2]), [1, 0.5, 0.5])


def test_likeness_within_a_label_is_measured_against_all_pictures():
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    # of the first: to its like 1, to all but itself (1 + 0) / 3
    np.testing.assert_allclose(label_margins(vectors, [4, 4, 5], 4), [2 / 3, 2 / 3])
    np.testing.assert_allclose(label_margins(vectors, [4, 5, 4], 4), [-1 / 3, 0])
    assert len(label_margins(np.ones((12, 2)), [0] * 12, 0)) == 10 * 9
    with pytest.raises(InputError, match="label 5 has 1 pictures"):
        label_margins(vectors, [4, 4, 5], 5)


def test_pictures_of_one_clip_are_one_case():
    np.testing.assert_allclose(by_clip(np.array([1.0, 3.0, 5.0]), [7, 7, 8]), [2, 5])


def test_all_of_it_on_pictures_that_are_their_music_and_on_chance():
    directions = np.eye(4)
    own = [0, 1, 2, 3]
    right = similarity.evaluate("a-space:12345678", directions, directions, own, directions, own)
    assert right["ais[a-space:12345678]"].mean == pytest.approx(200 / 3)  # arccos(1 / 2)
    assert right["iis[a-space:12345678]"].mean == pytest.approx(100)
    assert right["wins[a-space:12345678]"].mean == 1
    rng = np.random.default_rng(0)
    music, pictures = rng.normal(size=(200, 8)), rng.normal(size=(200, 8))
    chance = similarity.evaluate("x", pictures, music, list(range(200)), music, list(range(200)))
    assert all(low < {"wins[x]": 0.5}.get(name, 50) < high for name, (_, low, high, _) in chance.items())
