import numpy as np
import pytest

from timbrel.audio.level import (
    HOP,
    TARGET_RMS,
    TARGET_RMS_DB,
    Limiter,
    Ramps,
    active_rms,
    headroom,
    level_gain,
    levelled,
    loudness,
    span_powers,
)

TONE = np.sin(np.arange(40 * HOP) / 7).astype(np.float32)


def test_rests_do_not_count():
    with_rests = np.concatenate([TONE, np.zeros_like(TONE)])
    assert active_rms(span_powers(0.2 * with_rests, HOP)) == pytest.approx(0.2 / np.sqrt(2), rel=0.01)


def test_sound_is_brought_to_one_level_and_silence_stays():
    for gain in (0.001, 0.7):
        assert active_rms(span_powers(levelled(gain * TONE, HOP), HOP)) == pytest.approx(TARGET_RMS, rel=1e-4)
    assert 20 * np.log10(TARGET_RMS) == pytest.approx(TARGET_RMS_DB)
    assert not levelled(np.zeros(4 * HOP, np.float32), HOP).any()
    assert active_rms(np.zeros(0)) == 0


def test_the_blocks_of_a_stream_and_its_last_short_one_do_not_matter():
    waveform = np.stack([TONE, 0.5 * TONE])[:, : 20 * HOP + 100]
    blocks = [waveform[:, : 8 * HOP], waveform[:, 8 * HOP :]]
    assert loudness(blocks) == pytest.approx(loudness([waveform]), rel=1e-12)
    assert loudness(blocks) == pytest.approx(np.sqrt(np.square(waveform).mean()), rel=0.01)


def test_gains():
    assert level_gain(0.2, 0.1) == 0.5
    assert level_gain(1e-6, 0.1) == 0  # silence is not made louder
    assert headroom(0.5) == 1
    assert 2 * headroom(2.0) < 1


def test_a_gain_runs_in_ramps_and_nothing_clips():
    ramps, ones = Ramps(), np.ones((2, 3), np.float32)
    assert not list(ramps.push(0.5 * ones, 1.0))
    out = [*ramps.push(ones, 2.0), *ramps.push(0.1 * ones, 2.0), *ramps.finish()]
    np.testing.assert_allclose(out[0], 0.5 * np.linspace([1, 1], [0.999, 0.999], 3).T, rtol=1e-6)
    np.testing.assert_allclose(out[1], 0.999 * ones, rtol=1e-6)
    np.testing.assert_allclose(out[2], 0.1 * np.linspace([0.999, 0.999], [2, 2], 3).T, rtol=1e-6)
    assert not list(Ramps().finish())


@pytest.mark.parametrize("block", [300, 5000])
def test_a_limiter_holds_peaks_between_samples_too_and_leaves_the_rest(block):
    from scipy.signal import resample_poly

    rate, time = 16000, np.arange(32000) / 16000
    tone = 0.5 * np.sin(2 * np.pi * 3999.9 * time + 0.7)
    tone[16000:16200] *= 4
    waveform = np.stack([tone, 0.1 * tone]).astype(np.float32)
    stage = Limiter(2, rate)
    parts = [stage.push(waveform[:, i : i + block]) for i in range(0, 32000, block)]
    limited = np.concatenate([*parts, stage.finish()], axis=1)
    assert limited.shape == waveform.shape
    assert np.abs(resample_poly(limited, 8, 1, axis=1)).max() < 0.93
    np.testing.assert_allclose(limited[1], 0.1 * limited[0], atol=1e-6)
    np.testing.assert_array_equal(limited[:, :15800], waveform[:, :15800])
    np.testing.assert_array_equal(limited[:, 16400:], waveform[:, 16400:])
