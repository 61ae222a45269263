import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import onsets


def test_clicks_are_found_where_they_are():
    times = np.array([0.5, 1.0, 1.4, 2.2])
    waveform = np.zeros(3 * onsets.SAMPLE_RATE, np.float32)
    for time in times:
        age = np.arange(4000) / onsets.SAMPLE_RATE
        start = int(time * onsets.SAMPLE_RATE)
        waveform[start : start + 4000] += np.exp(-30 * age) * np.sin(2 * np.pi * 600 * age)
    assert onsets.evaluate(np.repeat(times[::-1], 2), waveform)["onset_f1"] == 1
    assert onsets.evaluate(times + 0.1, waveform)["onset_f1"] == 0


def test_silence_scores_nothing_and_bad_times_are_refused():
    assert onsets.onset_f1(np.array([1.0]), np.array([])) == 0
    with pytest.raises(InputError, match="ascending"):
        onsets.onset_f1(np.array([1.0, 0.5]), np.array([1.0]))
