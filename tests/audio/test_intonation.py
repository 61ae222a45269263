"""Tones whose intonation is known: is it followed, is the recording steady without it, and does it come back?"""

import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import correlate1d, distance_transform_edt

from timbrel.audio.intonation import (
    CURVE_HZ,
    FRAME,
    GAP_S,
    RATE,
    StreamIntonation,
    _bridged,
    _filtered,
    steady_and_back,
    yin,
)

SAMPLE_RATE = 44100


def seconds(length_s):
    return np.arange(round(length_s * SAMPLE_RATE)) / SAMPLE_RATE


def tone(cents, harmonics=8):
    """Cents above A = 440 Hz, [samples] -> a voice, [samples]."""
    phase = 2 * np.pi * np.cumsum(440 * 2 ** (cents / 1200)) / SAMPLE_RATE
    return sum(0.1 * np.sin(k * phase) / k for k in range(1, harmonics + 1)).astype(np.float32)


def follow(waveform, block=50_000):
    follower = StreamIntonation(SAMPLE_RATE)
    for start in range(0, len(waveform), block):
        follower.push(waveform[start : start + block])
    return follower.finish()


def through(stage, waveform, block):
    parts = [stage.push(waveform[start : start + block]) for start in range(0, len(waveform), block)]
    return np.concatenate([*parts, stage.finish()])


@pytest.mark.parametrize("hz", [60.0, 98.7, 440.0, 1318.5, 2093.0])
def test_yin_hears_a_tone_to_two_cents_octaves_apart(hz):
    samples = np.arange(FRAME) / RATE
    frames = np.stack([sum(np.sin(2 * np.pi * k * hz * samples + phase) / k for k in (1, 2, 3)) for phase in (0, 1)])
    pitch, aperiodicity = yin(frames)
    away = 100 * (pitch - 12 * np.log2(hz / 440))
    assert np.abs(away - 1200 * np.round(away / 1200)).max() < 2
    assert (aperiodicity < 0.02).all()


def test_yin_hears_no_period_in_noise():
    assert (yin(np.random.default_rng(0).normal(size=(20, FRAME)))[1] > 0.3).all()


CURVES = {
    "a vibrato": lambda t: 35 * np.sin(2 * np.pi * 6 * t),
    "a quarter tone, with vibrato": lambda t: 200 * np.floor(2 * t) + 40 + 25 * np.sin(2 * np.pi * 5 * t),
    "A = 432 Hz, with vibrato": lambda t: 300 * np.floor(2 * t) - 31.8 + 15 * np.sin(2 * np.pi * 6 * t),
    "a slide": lambda t: 200 * np.clip((t - 1) / 0.4, 0, 1) + 10 * np.sin(2 * np.pi * 5 * t),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_a_voice_is_followed_from_its_semitones(curve):
    wanted = curve(seconds(3))
    cents = follow(tone(wanted))
    wanted = np.interp(np.arange(len(cents)) / CURVE_HZ, seconds(3), wanted)[20:-20]
    away = cents[20:-20] - wanted
    away -= 100 * np.round(away / 100)  # which semitone is the voice's own is the follower's choice
    assert np.quantile(np.abs(away), 0.9) < 6


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_a_voice_is_steady_without_its_intonation_and_gets_it_back(curve):
    voice = tone(curve(seconds(3)))
    steady, back = steady_and_back(follow(voice), len(voice), SAMPLE_RATE)
    flat = through(steady, voice, 7000)
    assert np.quantile(np.abs(follow(flat)), 0.9) < 10
    assert np.quantile(np.abs(follow(voice)), 0.9) > 15
    again = through(back, flat, 9000)
    assert len(again) == len(voice)
    assert np.square(again - voice).mean() < 1e-5 * np.square(voice).mean()


def test_chords_have_a_tuning_alone():
    notes = sum(tone(100 * np.array(step) - 30 + 0 * seconds(3)) for step in (-12, -8, -5, 0))
    cents = follow(notes)
    assert np.ptp(cents) == 0
    assert cents[0] == pytest.approx(-30, abs=3)


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silence_and_noise_have_none(level):
    assert not follow(level * np.random.default_rng(0).normal(size=2 * SAMPLE_RATE).astype(np.float32)).any()


def test_what_is_in_tune_stays_as_it_is():
    assert not follow(tone(300 * np.floor(2 * seconds(2)) + 1)).any()


@pytest.mark.parametrize("length", [0, 1, 100, 1000])
def test_next_to_nothing_has_none(length):
    assert not follow(tone(np.full(length, 30.0))).any()


def test_the_size_of_blocks_changes_nothing():
    chord = sum(tone(100 * np.array(step) - 20 + 0 * seconds(2)) for step in (-12, -8, -5, 0))
    assert follow(chord, block=SAMPLE_RATE) == pytest.approx(follow(chord, block=997), abs=1e-6)
    voice = tone(CURVES["a vibrato"](seconds(2)))
    cents = follow(voice, block=SAMPLE_RATE)
    assert np.array_equal(cents, follow(voice, block=997))
    results = [through(steady_and_back(cents, len(voice), SAMPLE_RATE)[0], voice, block) for block in (311, len(voice))]
    assert len(results[0]) == len(results[1])
    assert np.abs(results[0] - results[1]).max() < 1e-6


def test_beyond_what_was_pushed_there_is_silence():
    _, back = steady_and_back(np.full(100, 20.0), 10_000, SAMPLE_RATE)
    result = through(back, np.ones(500, np.float32), 500)
    assert len(result) == 10_000
    assert not result[1000:].any()


@pytest.mark.parametrize(("beyond", "of_scipy"), [("wrap", "wrap"), ("symmetric", "reflect"), ("edge", "nearest")])
@pytest.mark.parametrize(("length", "width"), [(100, 11), (100, 86), (5, 86)])
def test_sums_of_what_is_near_are_scipys(length, width, beyond, of_scipy):
    x, weights = np.random.default_rng(0).random(length), np.hanning(width + 2)[1:-1]
    wanted = correlate1d(x, weights, mode=of_scipy)
    np.testing.assert_allclose(_filtered(x, weights, beyond), wanted)


@pytest.mark.parametrize("missing", [0.02, 0.5, 0.98])
def test_short_gaps_are_bridged_and_long_ones_are_in_tune(missing):
    rng = np.random.default_rng(1)
    cents = np.where(rng.random(600) < missing, np.nan, rng.random(600))
    distant = distance_transform_edt(np.isnan(cents)) > GAP_S * CURVE_HZ
    bridged = _bridged(cents, 7.0)
    assert distant.any() == (missing == 0.98)
    assert (bridged[distant] == 7).all()
    np.testing.assert_array_equal(bridged[~np.isnan(cents)], cents[~np.isnan(cents)])
    assert not np.isnan(bridged).any()


def test_a_transfer_starts_without_scipy():
    started = "import sys, timbrel; timbrel.load(); sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", started], check=False).returncode == 0
