import numpy as np
import pytest

from timbrel.audio.level import HOP, TARGET_RMS
from timbrel.audio.stereo import StereoImage, loudest_channel, scan_blocks

RATE = 22050
NOISE = np.random.default_rng(0).standard_normal((2, 60 * HOP)).astype(np.float32) / 10


def blocks(waveform, size=8 * HOP):
    return (waveform[:, start : start + size] for start in range(0, waveform.shape[1], size))


def test_a_scan_does_not_depend_on_blocks():
    one, other = scan_blocks(blocks(NOISE), RATE), scan_blocks(blocks(NOISE, NOISE.shape[1]), RATE)
    assert (one.sample_rate, one.channels, one.samples) == (RATE, 2, NOISE.shape[1])
    np.testing.assert_allclose(one.power, np.square(NOISE).mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(one.mono_powers, other.mono_powers, rtol=1e-6)


def test_a_channel_that_is_upside_down_does_not_cancel_the_other():
    scan = scan_blocks(blocks(np.stack([NOISE[0], -NOISE[0]])), RATE)
    assert scan.signs.prod() == -1
    np.testing.assert_allclose(np.abs(scan.mix(np.stack([NOISE[0], -NOISE[0]]))), np.abs(NOISE[0]), atol=1e-6)


def test_an_offset_is_no_sound():
    scan = scan_blocks(blocks(NOISE + np.array([[0.3], [0.0]], np.float32)), RATE)
    assert scan.offset[0, 0] == pytest.approx(0.3, abs=1e-3)
    np.testing.assert_allclose(scan.power, np.square(NOISE).mean(axis=1), rtol=0.02)


def test_soft_and_loud_passages_get_one_level():
    loud = np.concatenate([NOISE[:1]] * 4, axis=1)
    passages = np.concatenate([loud, 0.25 * loud], axis=1)
    scan = scan_blocks(blocks(passages), RATE)
    heard = passages * scan.gain(0, passages.shape[1], RATE)
    middles = [heard[0, start : start + 60 * HOP].std() for start in (90 * HOP, 330 * HOP)]
    np.testing.assert_allclose(middles, TARGET_RMS, rtol=0.05)


def test_a_mono_result_sounds_where_the_source_did():
    source = (NOISE[:1] * [[0.9], [0.3]]).astype(np.float32)
    scan = scan_blocks(blocks(source), RATE)
    out = StereoImage(scan).apply(scan.mix(source), source)
    np.testing.assert_allclose(out, source, atol=2e-3)
    np.testing.assert_array_equal(loudest_channel(source[::-1]), source[0])
