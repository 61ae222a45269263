import numpy as np
import pytest

from timbrel.errors import InputError, ModelError
from timbrel.metrics import sounds

FLOOR = -100.0


def mel(kind, rng, frames=sounds.FRAMES):
    """A tone in some band, noise, or clicks: dB [64, frames]."""
    x = rng.normal(-80, 2, (64, frames))
    if kind == "tone":
        x[rng.integers(5, 60)] = -20
    elif kind == "noise":
        x += 50
    else:
        x[:, :: rng.integers(8, 20)] = -25
    return x.astype(np.float32)


def seen(kind, rng, **options):
    return sounds.features(sounds.window(mel(kind, rng, **options), FLOOR))


@pytest.fixture(scope="module")
def classifier():
    rng = np.random.default_rng(0)
    kinds = ["tone", "noise", "clicks"] * 12
    return sounds.train_classifier(np.stack([seen(kind, rng) for kind in kinds]), kinds, epochs=30)


def test_it_tells_sounds_apart_that_it_has_not_heard(classifier):
    rng = np.random.default_rng(1)
    for kind in ("tone", "noise", "clicks") * 5:
        assert sounds.evaluate(classifier, kind, mel(kind, rng), FLOOR) == {"accuracy": 1.0, "top_5": 1.0}
    wrong = sounds.evaluate(classifier, "noise", mel("tone", rng), FLOOR)
    assert wrong == {"accuracy": 0.0, "top_5": 1.0}  # there are three classes


def test_level_plays_no_part():
    x = mel("clicks", np.random.default_rng(0))
    np.testing.assert_allclose(sounds.features(x), sounds.features(x - 12), atol=1e-3)


def test_a_short_sound_has_silence_after_it_and_of_a_long_one_the_beginning_counts():
    rng = np.random.default_rng(0)
    short, long = mel("noise", rng, frames=10), mel("noise", rng, frames=600)
    assert (sounds.window(short, FLOOR)[:, 10:] == FLOOR).all()
    np.testing.assert_array_equal(sounds.window(long, FLOOR), long[:, : sounds.FRAMES])


@pytest.mark.parametrize("bands", [32, 80, 256])
def test_mels_of_any_number_of_bands(bands):
    x = np.random.default_rng(0).uniform(-90, 0, (bands, sounds.FRAMES))
    assert sounds.features(x).shape == (387,)


def test_a_silent_sound_has_features(classifier):
    silence = np.full((64, sounds.FRAMES), FLOOR, np.float32)
    assert np.isfinite(sounds.features(silence)).all()


def test_the_same_seed_trains_the_same(classifier):
    rng = np.random.default_rng(0)
    kinds = ["tone", "noise"] * 4
    x = np.stack([seen(kind, rng) for kind in kinds])
    one, again, other = (sounds.train_classifier(x, kinds, epochs=2, seed=seed).name for seed in (0, 0, 1))
    assert one == again != other


def test_it_is_kept_in_a_file(classifier, tmp_path):
    classifier.save(tmp_path / "c.safetensors")
    again = sounds.SoundClassifier.load(tmp_path / "c.safetensors")
    x = seen("tone", np.random.default_rng(3))
    assert (again.name, again.labels, again.ranked(x)) == (classifier.name, classifier.labels, classifier.ranked(x))
    with pytest.raises(ModelError, match="is broken"):
        sounds.SoundClassifier.load(tmp_path / "missing.safetensors")


def test_errors(classifier):
    x = np.zeros((3, 387), np.float32)
    with pytest.raises(InputError, match="3 sounds with 2 labels"):
        sounds.train_classifier(x, ["a", "b"])
    with pytest.raises(InputError, match="at least two classes"):
        sounds.train_classifier(x, ["a", "a", "a"])
    with pytest.raises(InputError, match="does not know 'harp'; expected one of clicks, noise, tone"):
        sounds.evaluate(classifier, "harp", mel("tone", np.random.default_rng(0)), FLOOR)
    with pytest.raises(InputError, match=r"mel has shape \(64, 10\)"):
        sounds.features(np.zeros((64, 10)))
