import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import life

RATE = life.SAMPLE_RATE
T = np.arange(4 * RATE) / RATE


def tone(vibrato_hz=6.0, cents=0.0, hz=311.0):
    """Twelve partials with vibrato of so many cents up and down."""
    swing = cents / 1200 * np.log(2) / (2 * np.pi * vibrato_hz) * np.sin(2 * np.pi * vibrato_hz * T)
    phase = 2 * np.pi * hz * (T + swing)
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 13))).astype(np.float32)


def tremolo(hz, depth_db):
    return (tone() * 10 ** (depth_db * np.sin(2 * np.pi * hz * T) / 20)).astype(np.float32)


def test_a_still_tone_has_none():
    assert life.modulation(tone()).max() < 0.05


@pytest.mark.parametrize(("hz", "inside"), [(6, 0), (14, 1)])
def test_tremolo_of_3_db_has_its_rms_in_its_range(hz, inside):
    found = life.modulation(tremolo(hz, 3.0))
    assert found[inside] == pytest.approx(3 / np.sqrt(2), rel=0.15)
    assert found[1 - inside] < 0.25


def test_half_the_tremolo_is_half_the_life():
    figures = life.evaluate(tremolo(6, 4.0), tremolo(6, 2.0))
    assert figures["modulation_4_9"] == pytest.approx(0.5, abs=0.03)


def test_vibrato_counts_and_its_loss_shows():
    deep, shallow = tone(cents=35), tone(cents=8)
    assert life.modulation(deep)[0] > 1
    assert life.evaluate(deep, shallow)["modulation_4_9"] < 0.4
    assert life.evaluate(deep, tone())["modulation_4_9"] < 0.1


def test_level_and_trends_play_no_part():
    moved, faded = tremolo(6, 3.0), tremolo(6, 3.0) * np.exp(-T).astype(np.float32)
    np.testing.assert_allclose(life.modulation(0.01 * moved), life.modulation(moved), rtol=1e-3)
    np.testing.assert_allclose(life.modulation(faded)[0], life.modulation(moved)[0], rtol=0.1)


def test_silence_is_still():
    np.testing.assert_allclose(life.modulation(np.zeros(2 * RATE, np.float32)), 0, atol=1e-5)


@pytest.mark.parametrize("waveform", [np.zeros(RATE - 1, np.float32), np.zeros((1, 2 * RATE), np.float32)])
def test_less_than_a_second_is_refused(waveform):
    with pytest.raises(InputError, match="at least 1 s"):
        life.modulation(waveform)
