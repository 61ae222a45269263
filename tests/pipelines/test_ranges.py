import pytest

from timbrel.data.render import INSTRUMENTS
from timbrel.pipelines.ranges import RANGES, octaves_into


def test_every_instrument_of_the_training_data_has_a_range():
    assert set(RANGES) == set(INSTRUMENTS)
    assert all(0 <= low < high - 11 <= 127 for low, high in RANGES.values())


@pytest.mark.parametrize(
    ("source", "target", "semitones"),
    [
        ((60, 72), (55, 100), 0),
        ((33, 45), (55, 100), 24),
        ((50, 62), (55, 100), 12),
        ((53, 72), (55, 100), 0),  # a little outside is left alone
        ((84, 100), (28, 60), -36),
        ((30, 90), (55, 100), 12),
    ],
)
def test_the_least_octaves_that_fit(source, target, semitones):
    assert octaves_into(source, target) == semitones
