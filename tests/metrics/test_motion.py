import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import motion as measure
from timbrel.metrics.motion import motion, peaks_s, shuffled
from timbrel.metrics.spectral import SAMPLE_RATE

FPS = 25
HITS = (20, 57, 90, 140, 166, 210)  # frames


def test_motion_is_the_mean_difference_from_the_frame_before():
    frames = [np.full((2, 2, 3), level, np.uint8) for level in (10, 10, 250, 245)]
    assert motion(frames).tolist() == [0, 0, 240, 5]


def test_peaks_are_what_stands_out():
    moved = np.ones(240)
    moved[list(HITS)] = 9
    moved[100] = 1.2
    assert peaks_s(moved, FPS).tolist() == [hit / FPS for hit in HITS]
    assert not len(peaks_s(np.ones(50), FPS)[1:-1])


def test_seconds_are_shuffled_whole():
    sound = np.repeat(np.arange(8.0), 10)
    mixed = shuffled(sound, 10)
    assert sorted(mixed.tolist()) == sound.tolist()
    assert (mixed.reshape(8, 10) == mixed.reshape(8, 10)[:, :1]).all()
    assert (mixed != sound).any()


def test_a_movie_that_moves_with_the_hits_beats_the_same_under_shuffled_sound():
    pytest.importorskip("librosa")
    pytest.importorskip("mir_eval")
    time = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    after = [np.where(time < hit / FPS, np.inf, time - hit / FPS) for hit in HITS]
    sound = np.sum([np.exp(-20 * since) for since in after], axis=0) * np.sin(2000 * time)
    moved = np.ones(240)
    moved[list(HITS)] = 9
    figures = measure.evaluate(moved, sound.astype(np.float32), FPS)
    assert figures["beat_f1"] > 0.9
    assert figures["beat_f1_shuffled"] < 0.5
    with pytest.raises(InputError, match=r"motion has shape \(3,\)"):
        measure.evaluate(np.ones(3), sound, FPS)
