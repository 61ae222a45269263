"""Loops: their pitch, their length and their seam."""

import numpy as np
import pytest
import torch

from timbrel.audio.loop import _from_zero, close_loop, invert_loop, stretch_circle
from timbrel.audio.mel import MelConfig, mel_spectrogram

MEL = MelConfig()


def pitch_hz(waveform, rate):
    """Of a sine that repeats: the centre of its peak."""
    power = np.abs(np.fft.rfft(np.tile(waveform, 16) * np.hanning(16 * len(waveform)))) ** 2
    peak = int(power.argmax())
    near = np.arange(peak - 40, peak + 41)
    return float((near * power[near]).sum() / power[near].sum()) * rate / (16 * len(waveform))


@pytest.mark.parametrize("length", [6174, 47187, 88200])
@pytest.mark.parametrize("frames_off", [-8, 0, 8])
def test_a_loop_keeps_its_pitch_at_any_length(length, frames_off):
    frames = max(8, round(length / MEL.hop_length) + frames_off)
    time = np.arange(frames * MEL.hop_length + 2 * MEL.n_fft) / MEL.sample_rate
    sine = torch.from_numpy(0.1 * np.sin(2 * np.pi * 440 * time)).float()
    mel = mel_spectrogram(sine[None, None], MEL)[..., 4 : 4 + frames]
    loop = invert_loop(mel, MEL, length)
    assert loop.shape == (length,)
    nearest = MEL.sample_rate / length  # a loop's partials are whole numbers of this
    assert abs(pitch_hz(loop, MEL.sample_rate) - 440) < max(440 * 0.006, 0.6 * nearest)
    steps = np.abs(np.diff(loop))
    assert abs(loop[0] - loop[-1]) <= 1.05 * steps.max()
    if length > 40000:
        levels = [np.square(np.roll(loop, -shift)[:4410]).mean() for shift in range(-4410, length, 2205)]
        assert 10 * np.log10(max(levels) / min(levels)) < 1.5


@pytest.mark.parametrize(("hz", "most"), [(60, 221), (1000, 221), (1000, 5)])
def test_a_loop_is_turned_to_begin_and_end_near_zero_and_no_farther_than_it_may(hz, most):
    loop = np.cos(2 * np.pi * hz / 44100 * np.arange(44100)).astype(np.float32)
    turned, quarter = _from_zero(loop, most), 44100 / hz / 4
    by = min(range(-most, most + 1), key=lambda shift: np.abs(np.roll(loop, shift) - turned).max())
    np.testing.assert_array_equal(np.roll(loop, by), turned)
    assert abs(abs(by) - min(quarter, most)) <= 1
    if most > quarter:
        assert max(abs(turned[0]), abs(turned[-1])) < 1.1 * np.abs(np.diff(loop)).max()


def test_a_loop_that_begins_in_silence_stays_and_a_short_one_is_whole():
    loop = np.r_[np.zeros(500), np.hanning(500)].astype(np.float32)
    np.testing.assert_array_equal(_from_zero(loop, 221), loop)
    assert sorted(_from_zero(np.arange(5, dtype=np.float32), 221)) == [0, 1, 2, 3, 4]


def test_stretching_in_a_circle_goes_from_the_end_to_the_start():
    mel = torch.tensor([[0.0, 3.0, 9.0]])
    torch.testing.assert_close(stretch_circle(mel, 6), torch.tensor([[0.0, 1.5, 3.0, 6.0, 9.0, 4.5]]))
    assert torch.equal(stretch_circle(mel, 3), mel)


def test_the_end_of_a_closed_loop_goes_on_at_its_start():
    time = np.arange(3000)
    waveform = np.stack([np.sin(0.05 * time), np.cos(0.03 * time)]).astype(np.float32)  # no period of the loop's
    closed = close_loop(waveform, 1000, 1234, 200)
    np.testing.assert_array_equal(closed[:, :1034], waveform[:, 1000:2034])
    np.testing.assert_allclose(closed[:, -1], waveform[:, 999], atol=1e-6)
    assert np.abs(closed[:, 0] - closed[:, -1]).max() < 0.06
    assert np.abs(waveform[:, 1000] - waveform[:, 2233]).max() > 0.5
