import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import chroma


def tone(*pitches, colour=4):
    t = np.arange(2 * chroma.SAMPLE_RATE) / chroma.SAMPLE_RATE
    hz = 440 * 2 ** ((np.array(pitches) - 69) / 12)
    return sum(np.sin(2 * np.pi * f * k * t) / colour**k for f in hz for k in range(1, 5)).astype(np.float32)


OTHERS = (tone(60, 64, 67, colour=2), tone(72, 64, 67), tone(61, 66, 70))


def test_timbre_hardly_matters_and_harmony_does():
    chord, *others = (chroma.chromagram(x) for x in (tone(60, 64, 67), *OTHERS))
    same, octave, other = (chroma.chroma_cosine(chord, x) for x in others)
    assert same > 0.95
    assert octave > 0.8
    assert other < 0.5


def test_frames_silent_in_both_agree():
    reference, silent = np.ones((12, 4)), np.zeros((12, 4))
    assert chroma.chroma_cosine(silent, silent) == 1
    assert chroma.chroma_cosine(reference, silent) == 0
    with pytest.raises(InputError, match="cut alike"):
        chroma.chroma_cosine(reference, silent[:, :3])
