import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics.periodicity import periodicity


def comb(spacing, bands=64, frames=5):
    """Partials a fixed number of bands apart."""
    mel = np.full((bands, frames), -80.0)
    mel[::spacing] = -20
    return mel


def test_a_comb_repeats_and_one_band_or_noise_does_not():
    rng = np.random.default_rng(0)
    tone = np.full((64, 5), -80.0)
    tone[20] = -20
    assert periodicity(comb(8)) > 0.9
    assert periodicity(tone) < 0.1
    assert periodicity(rng.normal(-50, 5, (64, 50))) < 0.5 < periodicity(comb(11) + rng.normal(0, 5, (64, 5)))


def test_a_spectrum_that_is_empty_but_for_an_end_of_it_is_within_bounds():
    for place in (0, 1, 30, 63):
        mel = np.full((64, 3), -100.0)
        mel[place] = -20
        assert 0 <= periodicity(mel) <= 0.3


def test_silence_repeats_nothing_and_silent_moments_do_not_count():
    assert periodicity(np.full((32, 4), -100.0)) == 0
    padded = np.concatenate([comb(8), np.full((64, 20), -100.0)], axis=1)
    assert periodicity(padded) == pytest.approx(periodicity(comb(8)))


def test_errors():
    with pytest.raises(InputError, match=r"mel has shape \(8, 4\)"):
        periodicity(np.zeros((8, 4)))
