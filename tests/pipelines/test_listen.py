"""What is read from a recording, from a file and from an array alike."""

import numpy as np
import pytest
import torch

from timbrel.audio.io import resample, write_audio
from timbrel.audio.level import HOP, TARGET_RMS, active_rms, span_powers
from timbrel.errors import AudioError, InputError
from timbrel.pipelines import listen
from timbrel.pipelines.listen import Recording

RATE = 16000
NOISE = np.random.default_rng(0).normal(0, [[0.03], [0.05]], (2, 3 * RATE + 5)).astype(np.float32)


@pytest.fixture(params=["file", "array"])
def recording(request, tmp_path):
    write_audio(tmp_path / "noise.wav", NOISE, RATE)
    return Recording.of(tmp_path / "noise.wav" if request.param == "file" else NOISE, RATE)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(listen, "BLOCK", 4 * HOP)


def test_it_can_be_read_more_than_once(recording):
    assert (recording.sample_rate, recording.channels) == (RATE, 2)
    for _ in range(2):
        np.testing.assert_allclose(np.concatenate(list(recording.blocks()), axis=1), NOISE, atol=1e-6)
    assert recording.scan().samples == NOISE.shape[1]


@pytest.mark.parametrize("rate", [RATE, 11025, 44100])
def test_at_another_rate_the_blocks_are_even(recording, rate):
    *blocks, last = recording.blocks_at(rate)
    assert {block.shape for block in blocks} == {(2, 4 * HOP)}
    assert 0 < last.shape[1] <= 4 * HOP
    whole = np.concatenate([*blocks, last], axis=1)
    np.testing.assert_allclose(whole, resample(NOISE, RATE, rate), atol=1e-4)


def test_the_beginning_is_the_loudest_channel_s(recording):
    start = recording.beginning(1.5, 8000)
    assert start.shape == (12000,)
    np.testing.assert_allclose(start, resample(NOISE, RATE, 8000)[1, :12000], atol=1e-4)
    assert recording.beginning(60, RATE).shape == (NOISE.shape[1],)


def test_a_style_is_the_loudest_stretch_at_one_level(monkeypatch):
    monkeypatch.setattr(listen, "CLIP_S", 1.024)
    wave = np.random.default_rng(1).normal(0, 0.0001, (1, 6 * RATE)).astype(np.float32)
    wave[:, 3 * RATE : 4 * RATE] *= 1000
    clip = Recording.of(wave, RATE).style_clip(RATE)
    assert clip.shape == (1, round(1.024 * RATE))
    assert active_rms(span_powers(clip[0], HOP)) == pytest.approx(TARGET_RMS, rel=0.05)
    with pytest.raises(AudioError, match="is silent"):
        Recording.of(0 * wave, RATE).style_clip(RATE)


def test_a_pitch_range_is_none_where_there_is_no_pitch():
    time = np.arange(2 * RATE) / RATE
    tone = np.sum([np.sin(2 * np.pi * 440 * k * time) / k for k in range(1, 6)], axis=0) / 4
    assert Recording.of(tone, RATE).pitch_range(RATE) == (69, 69)
    assert Recording.of(np.zeros(RATE), RATE).pitch_range(RATE) is None


def test_a_tensor_may_want_gradients_or_be_of_half_precision():
    tone = torch.sin(torch.arange(100.0))[None]
    for tensor in (tone.clone().requires_grad_(), tone.bfloat16()):
        np.testing.assert_allclose(next(Recording.of(tensor, RATE).blocks()), tone, atol=0.01)
    with pytest.raises(InputError, match="expected floats"):
        Recording.of(torch.ones(1, 100, dtype=torch.int16), RATE)


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(InputError, match="sample_rate is missing"):
        Recording.of(NOISE, None)
    with pytest.raises(InputError, match="sample_rate is 0; expected a whole number of Hz, 1000"):
        Recording.of(NOISE, 0)
    with pytest.raises(AudioError, match="does not exist"):
        Recording.of(tmp_path / "none.wav", None)


def clip(rate, seconds=2.0):
    """Notes with all their partials, and the noise of a room."""
    time = np.arange(round(seconds * rate)) / rate
    partials = range(1, int(0.45 * rate / 330))
    tone = sum(np.sin(2 * np.pi * 330 * k * time) / k for k in partials)
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.1 * tone * np.exp(-2 * time % 1) + 1e-4 * noise).astype(np.float32)


@pytest.mark.parametrize(
    ("mono", "rate", "said"),
    [
        (clip(44100), 44100, None),
        (np.sin(0.1 * np.arange(44100)).astype("f4"), 44100, None),
        (clip(44100)[:10], 44100, "lasts 0.00023 s"),
        (NOISE[0], 44100, "is noise, without tones"),
        (clip(8000), 8000, "has nothing above 3"),
        (resample(clip(16000)[None], 16000, 44100)[0], 44100, "has nothing above 7.5 kHz"),
    ],
)
def test_what_makes_a_clip_a_poor_example_is_said(mono, rate, said, recwarn):
    assert [reason[: len(said or "")] for reason in listen.weaknesses(mono, rate)] == ([] if said is None else [said])
    Recording.of(mono, rate).style_clip(44100)
    assert [said in str(warning.message) for warning in recwarn] == ([] if said is None else [True])
