import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import intonation
from timbrel.metrics.intonation import HOP, SAMPLE_RATE

T = np.arange(0, 4, HOP / SAMPLE_RATE)
VIBRATO = np.sin(2 * np.pi * 6 * T)
TUNE = np.repeat([-1200.0, -1000, -800, -700], -(-len(T) // 4))[: len(T)]  # notes of one second
GLIDE = -1200 + 300 * T


def tone(cents):
    """Eight partials that follow a curve [frames] in cents above 440 Hz."""
    hz = np.interp(np.arange(int(4 * SAMPLE_RATE)), np.arange(len(cents)) * HOP, 440 * 2 ** (cents / 1200))
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(phase))
    return (0.2 * sum(np.sin(k * phase) / k for k in range(1, 9)) + noise).astype(np.float32)


# curves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-49.0, -30.0, 0.0, 37.0])
def test_tuning_is_the_offset_from_the_semitones(offset):
    assert intonation.tuning(TUNE + offset) == pytest.approx(offset)
    assert intonation.compare(TUNE, TUNE + offset)["tuning_error"] == pytest.approx(offset)


def test_whole_semitones_are_no_tuning_error():
    assert intonation.compare(TUNE, TUNE - 1215)["tuning_error"] == pytest.approx(-15)


def test_vibrato_has_its_amplitude():
    assert np.nanmean(intonation.vibrato_depths(TUNE + 35 * VIBRATO)) == pytest.approx(35, rel=0.1)
    figures = intonation.compare(TUNE + 35 * VIBRATO, TUNE + 7 * VIBRATO)
    assert figures["vibrato_source"] == pytest.approx(35, rel=0.1)
    assert figures["vibrato_kept"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    "curve", [np.round(GLIDE / 100) * 100, 12 * GLIDE, np.where(np.arange(len(T)) % 30 < 3, np.nan, TUNE)]
)
def test_steps_glides_and_gaps_are_no_vibrato(curve):
    depths = intonation.vibrato_depths(curve)
    assert np.isnan(depths).all() or np.nanmax(depths) < 8


def test_a_staircase_is_nearer_to_the_grid_than_a_glide():
    assert intonation.grid_distance(GLIDE) == pytest.approx(25, abs=0.5)
    assert intonation.grid_distance(np.round(GLIDE / 100) * 100) == pytest.approx(0, abs=0.5)
    assert intonation.grid_distance(TUNE + 40) == pytest.approx(0, abs=0.01)


def test_only_frames_with_a_pitch_in_both_count():
    rest = np.where(T < 2, TUNE, np.nan)
    assert intonation.compare(rest, TUNE + np.where(T < 2, 10, 40))["tuning_error"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("source", "result", "reason"),
    [
        (TUNE, TUNE[:-1], "cut alike"),
        (TUNE, TUNE + np.nan, "0.0 s together"),
        (TUNE, np.where(T < 0.9, TUNE, np.nan), "1.0 s"),
    ],
)
def test_what_cannot_be_compared_is_refused(source, result, reason):
    with pytest.raises(InputError, match=reason):
        intonation.compare(source, result)


# sound -----------------------------------------------------------------------------------------------


def test_a_shifted_tune_with_half_the_vibrato_is_measured_from_its_sound():
    pytest.importorskip("librosa")
    figures = intonation.evaluate(tone(TUNE + 35 * VIBRATO), tone(TUNE + 50 - 8 + 17.5 * VIBRATO))
    assert figures["tuning_error"] == pytest.approx(42, abs=2)
    assert figures["vibrato_source"] == pytest.approx(35, rel=0.2)
    assert figures["vibrato_kept"] == pytest.approx(0.5, abs=0.1)


def test_a_glide_is_followed():
    pytest.importorskip("librosa")
    curve = intonation.pitch_curve(tone(GLIDE))
    assert np.isfinite(curve).mean() > 0.9
    assert np.nanpercentile(np.abs(curve[: len(T)] - GLIDE), 90) < 3
    assert intonation.grid_distance(curve) == pytest.approx(25, abs=1.5)


def test_noise_has_no_pitch():
    pytest.importorskip("librosa")
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    assert np.isfinite(intonation.pitch_curve(noise)).mean() < 0.05
