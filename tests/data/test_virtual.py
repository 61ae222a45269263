import numpy as np
import pytest

from timbrel.data.scores import Note
from timbrel.data.virtual import render_virtual

TUNE = [Note(0.3, 0.6, 57), Note(0.5, 0.9, 69)]


@pytest.mark.parametrize("number", range(6))
def test_an_invented_instrument_plays_in_time_and_in_tune(number):
    waveform = render_virtual(TUNE, number, sample_rate=16000, duration_s=1.2)
    assert waveform.shape == (19200,)
    assert waveform.dtype == np.float32
    assert 0.01 < np.abs(waveform).max() <= 1
    assert not waveform[: int(0.29 * 16000)].any()
    part = waveform[int(0.32 * 16000) : int(0.48 * 16000)]  # the first note alone, 220 Hz
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16)) ** 2
    near = np.zeros(len(power), bool)
    for harmonic in range(1, 25):
        middle = harmonic * 220 * (1 << 16) / 16000
        near[int(middle * 0.97 - 40) : int(middle * 1.04 + 40)] = True
    assert power[near].sum() > 0.8 * power.sum()


def test_a_number_is_one_instrument_and_another_is_another():
    one, same, other = (render_virtual(TUNE, n, sample_rate=16000, duration_s=1.0) for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.corrcoef(one, other)[0, 1] < 0.9


def test_notes_past_the_end_and_too_high_ones_do_no_harm():
    notes = [*TUNE, Note(5.0, 6.0, 60), Note(0.1, 0.2, 127)]
    waveform = render_virtual(notes, 3, sample_rate=8000, duration_s=1.0)
    assert waveform.shape == (8000,)
    assert np.isfinite(waveform).all()
