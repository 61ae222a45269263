import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import diversity


def sounds(rng, spread, count=6):
    return {label: [rng.normal(0, spread, (2, 8)) for _ in range(count)] for label in "abc"}


def test_as_diverse_half_as_diverse_and_one_sound_again_and_again():
    rng = np.random.default_rng(0)
    real = sounds(rng, 1.0, count=40)
    assert diversity.evaluate(real, sounds(rng, 1.0, count=40)).mean == pytest.approx(1, abs=0.1)
    assert diversity.evaluate(real, sounds(rng, 0.5, count=40)).mean == pytest.approx(0.5, abs=0.05)
    assert diversity.evaluate(real, {"a": [real["a"][0]] * 3}).mean == 0


def test_only_classes_with_two_sounds_in_both_sets_count():
    rng = np.random.default_rng(0)
    real, other = sounds(rng, 1.0), sounds(rng, 1.0)
    other["b"] = other["b"][:1]
    assert diversity.evaluate(real, other).clips == 2
    with pytest.raises(InputError, match="no class has two sounds in both sets"):
        diversity.evaluate(real, {"z": other["a"]})


def test_errors():
    with pytest.raises(InputError, match=r"embeddings have shape \(1, 3\)"):
        diversity.mean_distance(np.zeros((1, 3)))
