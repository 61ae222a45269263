import numpy as np
import pytest

from timbrel.data.degrade import degrade


@pytest.mark.parametrize("seed", range(4))
def test_degrading_keeps_the_time(seed):
    rng = np.random.default_rng(0)
    clean = np.zeros(16000, np.float32)
    for start in (3000, 9000):
        clean[start : start + 3000] = 0.3 * rng.standard_normal(3000) * np.exp(-np.arange(3000) / 600)
    heard = degrade(clean, 16000, seed)
    assert heard.shape == clean.shape
    assert heard.dtype == np.float32
    assert np.abs(heard).max() < 1.1  # a codec overshoots
    np.testing.assert_array_equal(heard, degrade(clean, 16000, seed))
    energies = [(x.reshape(-1, 100) ** 2).mean(axis=1) for x in (clean, heard)]
    lags = [np.dot(energies[0][20:-20], energies[1][20 + k : 140 + k]) for k in range(-20, 21)]
    assert abs(int(np.argmax(lags)) - 20) <= 2
