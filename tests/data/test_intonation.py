import random

import numpy as np
import pytest

from timbrel.data.intonation import CURVE_HZ, bend, glide, pitch_curve, score_times, vibrato
from timbrel.data.scores import Note

RATE = 16000
MELODY = [Note(0.5 * k, 0.5 * k + 0.48, pitch) for k, pitch in enumerate([60, 62, 64, 67, 65, 60] * 4)]


def _peak_hz(x):
    return np.argmax(np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 20))) * RATE / (1 << 20)


def _sine(seconds, hz=440.0):
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


@pytest.mark.parametrize("cents", [-101.0, -30.0, 0.0, 50.0, 110.0])
def test_a_constant_curve_moves_a_sine_by_as_much(cents):
    bent = bend(_sine(3), np.full(2 * CURVE_HZ, cents), RATE)
    assert bent.shape == (2 * RATE,)
    assert bent.dtype == np.float32
    assert 1200 * np.log2(_peak_hz(bent) / 440) == pytest.approx(cents, abs=0.1)


def test_what_is_read_faster_ends_sooner_in_silence():
    bent = bend(np.ones(RATE, np.float32), np.full(CURVE_HZ, 1200.0), RATE)
    assert bent[200 : RATE // 2 - 200] == pytest.approx(1, abs=1e-3)
    assert not bent[RATE // 2 + 100 :].any()
    assert not bend(np.ones(RATE // 2, np.float32), np.zeros(CURVE_HZ), RATE)[RATE // 2 :].any()


def test_a_wave_bent_by_a_vibrato_sways_as_deep():
    seconds = np.arange(2 * CURVE_HZ) / CURVE_HZ
    cents = 40 * np.sin(2 * np.pi * 5 * seconds)
    bent = bend(_sine(3), cents, RATE)
    spectrum = np.fft.fft(bent)
    spectrum[len(bent) // 2 :] = 0  # the analytic signal
    hz = np.diff(np.unwrap(np.angle(np.fft.ifft(spectrum)))) * RATE / (2 * np.pi)
    heard = 1200 * np.log2(hz[RATE // 4 : -RATE // 4] / 440)
    assert np.percentile(heard, [1, 99]) == pytest.approx([-40, 40], abs=2)


def test_a_vibrato_stays_within_its_depth_and_near_its_rate():
    seconds = np.arange(20 * CURVE_HZ) / CURVE_HZ
    cents = vibrato(seconds, 5.5, 40.0, random.Random(1))
    assert 25 < np.abs(cents).max() <= 40
    turns = np.count_nonzero(np.diff(np.signbit(cents)))
    assert turns / 2 / 20 == pytest.approx(5.5, rel=0.1)


def test_a_glide_starts_at_the_step_and_ends_at_the_note():
    seconds = np.arange(CURVE_HZ) / CURVE_HZ
    cents = glide(seconds, -300.0, 0.2)
    assert cents[0] == -300
    assert cents[CURVE_HZ // 10] == pytest.approx(-150)
    assert not cents[CURVE_HZ // 5 + 1 :].any()
    assert (np.diff(cents) >= 0).all()


def _steps(curve):
    """Where the curve jumps, in seconds of the score."""
    return score_times(curve)[1:][np.abs(np.diff(curve)) > 100]


def test_glides_begin_with_their_notes_however_sharp_the_music_is_read():
    begins = np.array([n.start_s for n in MELODY])
    jumps = 0
    for seed in range(60):
        curve = pitch_curve(MELODY, 11.5, random.Random(seed))
        for moment in _steps(curve):
            assert np.abs(begins - moment).min() < 0.012
            jumps += 1
    assert jumps > 40


def test_chords_have_no_glides():
    chords = [Note(n.start_s, n.end_s, n.pitch + k) for n in MELODY for k in (0, 4)]
    assert not any(len(_steps(pitch_curve(chords, 11.5, random.Random(seed)))) for seed in range(60))


def test_the_same_seed_is_the_same_curve_and_some_music_is_left_alone():
    curves = [pitch_curve(MELODY, 8.0, random.Random(seed)) for seed in range(60)]
    np.testing.assert_array_equal(curves[5], pitch_curve(MELODY, 8.0, random.Random(5)))
    assert all(curve.shape == (8 * CURVE_HZ,) for curve in curves)
    assert 3 <= sum(not curve.any() for curve in curves) <= 20
    tunings = [np.median(curve) for curve in curves]
    assert min(tunings) < -50
    assert max(tunings) > 50
