"""What comes again and again around a hole, and how far it is relied on there."""

import pytest
import torch

from timbrel.pipelines import recurrence
from timbrel.pipelines.generate import GeneratePipeline
from timbrel.pipelines.recurrence import relied_on

WIDTH = 2.0


def recurring(system, mel, mask, width):
    """What is expected, and how far it is relied on."""
    latents, share = recurrence.recurring(system, mel, mask, width)
    assert 0 <= float(share.min()) <= float(share.max()) <= 1
    return latents, relied_on(share)


@pytest.fixture(scope="module")
def system(tiny_generator):
    return GeneratePipeline.load(tiny_generator).model


def frames_of(system, seconds):
    factor = system.codec.factor
    return round(seconds * system.mel.frame_rate) // factor * factor


def strokes(system, frames, period_s=0.5):
    """Over all bands, as loud each time, that die away; [1, 1, n_mels, frames]."""
    period = round(period_s * system.mel.frame_rate)
    since = torch.arange(frames) % period
    return (-80 + 60 * (-since / 3).exp()).expand(1, 1, system.mel.n_mels, frames).contiguous()


def noise(system, frames, seed=0):
    drawn = torch.randn(1, 1, system.mel.n_mels, frames, generator=torch.Generator().manual_seed(seed))
    return -50 + 6 * drawn


def open_within(system, frames, start_s, end_s, low=0):
    mask = torch.zeros(system.mel.n_mels, frames, dtype=torch.bool)
    mask[low:, frames_of(system, start_s) : frames_of(system, end_s)] = True
    return mask


def latents_of(system, start_s, end_s):
    return slice(frames_of(system, start_s) // system.codec.factor, frames_of(system, end_s) // system.codec.factor)


def test_what_keeps_time_is_relied_on_and_what_does_not_is_not(system):
    frames = frames_of(system, 6)
    mask, hole = open_within(system, frames, 2.25, 3.75), latents_of(system, 2.25, 3.75)
    beat, hiss = strokes(system, frames), noise(system, frames)
    latents, reliance = recurring(system, torch.where(mask, -100.0, beat), mask, WIDTH)
    error = (latents - system.codec.encode(beat))[..., hole].square().mean()
    assert float(error) < 0.3 * float((system.codec.encode(beat))[..., hole].var())
    assert float(reliance[:, 0, :, hole].mean()) > 0.3
    assert not reliance[..., : hole.start].any()
    assert not reliance[..., hole.stop :].any()
    _, in_noise = recurring(system, hiss, mask, WIDTH)
    assert float(in_noise[..., hole].mean()) < 0.01


def test_of_bands_that_are_open_the_others_say_nothing(system):
    frames, half = frames_of(system, 6), system.mel.n_mels // 2
    mask = open_within(system, frames, 2.25, 3.75, low=half)
    beat = strokes(system, frames)
    one, other = (
        recurring(system, torch.cat([low, beat[:, :, half:]], dim=2), mask, WIDTH)
        for low in (beat[:, :, :half], noise(system, frames)[:, :, :half])
    )
    above = half // system.codec.factor
    torch.testing.assert_close(one[0][:, :, above:], other[0][:, :, above:])


def test_far_from_both_ends_nothing_is_expected_and_each_hole_has_what_is_near(system, monkeypatch):
    monkeypatch.setattr(recurrence, "FARTHEST_S", 2.0)
    frames = frames_of(system, 20)
    mask = open_within(system, frames, 4, 12) | open_within(system, frames, 14, 15)
    _, reliance = recurring(system, strokes(system, frames), mask, WIDTH)
    total = reliance.sum(dim=(0, 1, 2))
    assert not total[latents_of(system, 6.2, 9.8)].any()
    for start, end in ((4.2, 4.4), (11.6, 11.8), (14.2, 14.4)):
        assert (total[latents_of(system, start, end)] > 0).all()


def test_nothing_known_is_nothing_expected(system):
    frames = frames_of(system, 2)
    mask = torch.ones(system.mel.n_mels, frames, dtype=torch.bool)
    for known in (0, 2):  # frames; fewer than a patch of the codec
        mask[:, :known] = False
        assert not recurring(system, strokes(system, frames), mask, WIDTH)[1].any()


@pytest.mark.parametrize("seconds", [0.3, 0.5, 0.8])
def test_short_noise_says_nothing_of_what_comes_again(system, seconds):
    frames = frames_of(system, seconds)
    mask = open_within(system, frames, seconds / 3, 2 * seconds / 3)
    assert mask.any()
    assert not recurring(system, noise(system, frames), mask, WIDTH)[1].any()
    frames = frames_of(system, 10)
    short = open_within(system, frames, 5, 5.2)
    assert float(recurring(system, noise(system, frames), short, WIDTH)[1].amax()) < 0.2
