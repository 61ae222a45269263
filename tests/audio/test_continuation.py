"""What is expected in a hole of a mel, by what is around it."""

import numpy as np
import pytest
import torch

from timbrel.audio.continuation import _possible, expected

RATE = 43.0
KNOWN = torch.ones(258, dtype=torch.bool)
KNOWN[97:162] = False


def error(mel, guess):
    """RMS in dB where the mel is not known."""
    return float((guess - mel)[:, ~KNOWN].square().mean().sqrt())


def strokes(period, seed=0):
    """A stroke over all bands each so many frames, that dies away within a few: [n_mels, frames]."""
    rng = np.random.default_rng(seed)
    since = torch.arange(258) % period
    return -70 + 50 * (-since / 4).exp() + torch.from_numpy(rng.normal(0, 1, (32, 258))).float()


@pytest.mark.parametrize("period", [21, 40])
def test_strokes_that_keep_time_are_expected_in_time(period):
    mel = strokes(period)
    guess = expected(torch.where(KNOWN, mel, 0.0), KNOWN, RATE)
    level = mel[:, KNOWN].mean(dim=1, keepdim=True)
    assert error(mel, guess) < 0.5 * error(mel, level.expand_as(mel))
    hole = guess[:, ~KNOWN].mean(dim=0)
    expected_strokes = (torch.arange(97, 162) % period == 0).nonzero()[:, 0]
    for stroke in expected_strokes:  # louder than everything within a third of the period
        near = hole[max(0, stroke - period // 3) : stroke + period // 3]
        assert hole[stroke] == near.max()


def test_what_is_known_stays_and_what_was_in_the_hole_does_not_count():
    mel = strokes(21)
    guess = expected(mel, KNOWN, RATE)
    torch.testing.assert_close(guess[:, KNOWN], mel[:, KNOWN])
    other = torch.where(KNOWN, mel, -20.0)
    torch.testing.assert_close(expected(other, KNOWN, RATE), guess, rtol=0, atol=0)


def test_of_noise_the_level_is_expected_and_little_else():
    rng = np.random.default_rng(0)
    mel = torch.from_numpy(rng.normal(-50, 5, (32, 258))).float()
    guess = expected(mel, KNOWN, RATE)
    assert float((guess[:, ~KNOWN] + 50).abs().mean()) < 2.5
    assert error(mel, guess) < 1.15 * 5


def test_what_holds_goes_on():
    mel = torch.full((8, 258), -30.0) + torch.arange(8.0)[:, None]
    guess = expected(torch.where(KNOWN, mel, -100.0), KNOWN, RATE)
    torch.testing.assert_close(guess, mel)


def test_far_from_all_that_is_known_nothing_is_told_but_the_mean():
    known = torch.arange(1500) < 250
    mel = torch.cat([strokes(21)[:, :250], torch.zeros(32, 1250)], dim=1)
    guess = expected(mel, known, RATE)
    torch.testing.assert_close(guess[:, -1], mel[:, :250].mean(dim=1), atol=1.5, rtol=0)


def test_one_known_moment_is_enough():
    known = torch.arange(20) == 3
    guess = expected(torch.full((4, 20), -40.0), known, RATE)
    torch.testing.assert_close(guess, torch.full((4, 20), -40.0))


def test_many_moments_that_are_near_each_other_count_for_few():
    known = (torch.arange(400) < 50) | (torch.arange(400) == 399)
    mel = torch.where(torch.arange(400) < 50, -40.0, -60.0).expand(4, 400)
    assert float(expected(mel, known, RATE)[0, 225]) < -43  # their plain mean is -40.4


def test_what_is_near_counts_more_where_hardly_anything_is_known():
    known = (torch.arange(60) == 10) | (torch.arange(60) == 50)
    guess = expected(torch.linspace(-20, -80, 60).expand(4, 60), known, RATE)[0]
    at_10, at_50 = guess[[10, 50]]
    assert guess[12] > guess[30] + 3
    assert guess[48] < guess[30] - 3
    assert at_50 < guess[30] < at_10


def test_no_sum_of_moments_has_a_variance_below_zero():
    away = torch.arange(30.0, dtype=torch.float64)
    impossible = torch.where(away < 10, 1.0, -0.8)
    at = torch.arange(30)
    matrices = [x[(at[:, None] - at).abs()] for x in (impossible, _possible(impossible))]
    least = [float(torch.linalg.eigvalsh(matrix)[0]) for matrix in matrices]
    assert least[0] < -1
    assert least[1] > -1e-9
    assert float(_possible(impossible)[0]) == pytest.approx(1)
