import numpy as np
import pytest

from timbrel.audio.bandpass import BandPass
from timbrel.errors import InputError

RATE = 44100


def gain_db(hz, **options):
    sine = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)[None].astype(np.float32)
    out = BandPass(RATE, 1, **options).push(sine)[:, RATE // 2 :]
    return 10 * np.log10(2 * np.mean(out.astype(np.float64) ** 2) + 1e-20)


def test_music_passes_and_rumble_and_hiss_do_not():
    for hz in (110, 440, 3000, 8000):
        assert gain_db(hz) == pytest.approx(0, abs=0.3)
    assert gain_db(60) == pytest.approx(-3, abs=0.2)
    assert gain_db(12000) == pytest.approx(-3, abs=0.2)
    assert gain_db(20) < -35
    assert gain_db(18000) < -25
    assert gain_db(18000, high_hz=21000) == pytest.approx(0, abs=0.1)


def test_blocks_and_channels_do_not_matter():
    waveform = np.random.default_rng(0).normal(0, 0.1, (2, 5000)).astype(np.float32)
    whole = BandPass(RATE, 2).push(waveform)
    stream = BandPass(RATE, 2)
    parts = [stream.push(waveform[:, a:b]) for a, b in ((0, 1), (1, 1), (1, 3000), (3000, 5000))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(BandPass(RATE, 1).push(waveform[1:]), whole[1:], atol=1e-6)
    assert whole.dtype == np.float32


def test_a_low_rate_keeps_its_top():
    assert BandPass(16000, 1).push(np.ones((1, 10), np.float32)).shape == (1, 10)


@pytest.mark.parametrize(("low", "high"), [(0, 100), (100, 100), (200, 100), (23000, 24000), (float("nan"), 100)])
def test_a_band_that_is_none_is_refused(low, high):
    with pytest.raises(InputError, match="expected 0 < low_hz < high_hz"):
        BandPass(RATE, 1, low_hz=low, high_hz=high)
