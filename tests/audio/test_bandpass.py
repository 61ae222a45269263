import numpy as np
import pytest

from timbrel.audio.bandpass import BandPass

RATE = 44100


def gain_db(hz, rate=RATE):
    sine = np.sin(2 * np.pi * hz * np.arange(rate) / rate)[None].astype(np.float32)
    out = BandPass(rate, 1).push(sine)[:, rate // 2 :]
    return 10 * np.log10(2 * np.mean(out.astype(np.float64) ** 2) + 1e-20)


def test_music_passes_and_rumble_and_hiss_do_not():
    for hz in (110, 440, 3000, 8000):
        assert gain_db(hz) == pytest.approx(0, abs=0.3)
    assert gain_db(60) == pytest.approx(-3, abs=0.2)
    assert gain_db(12000) == pytest.approx(-3, abs=0.2)
    assert gain_db(20) < -35
    assert gain_db(18000) < -25


def test_blocks_and_channels_do_not_matter():
    waveform = np.random.default_rng(0).normal(0, 0.1, (2, 5000)).astype(np.float32)
    whole = BandPass(RATE, 2).push(waveform)
    stream = BandPass(RATE, 2)
    parts = [stream.push(waveform[:, a:b]) for a, b in ((0, 1), (1, 1), (1, 3000), (3000, 5000))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(BandPass(RATE, 1).push(waveform[1:]), whole[1:], atol=1e-6)
    assert whole.dtype == np.float32


def test_a_low_rate_keeps_its_top():
    assert gain_db(7500, rate=16000) == pytest.approx(0, abs=0.1)
