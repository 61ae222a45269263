import json

import numpy as np
import pytest

from timbrel.audio.io import write_audio
from timbrel.errors import InputError
from timbrel.metrics import fad, kad, sets
from timbrel.metrics.sets import Distance, Embeddings, embed_folder


class Ear:
    """Level and zero crossings of every second."""

    name, sample_rate = "ear", 8000

    def embed(self, waveform):
        assert waveform.ndim == 1
        assert waveform.dtype == np.float32
        if len(waveform) < self.sample_rate:
            raise InputError("too short; expected a second")
        seconds = waveform[: len(waveform) // self.sample_rate * self.sample_rate].reshape(-1, self.sample_rate)
        return np.stack([seconds.std(axis=1), np.diff(np.signbit(seconds)).mean(axis=1)], axis=1)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, rate, channels in (("b/ü ñ.flac", 16000, 2), ("a.WAV", 8000, 1), ("b/c.ogg", 22050, 1)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write_audio(path, (0.1 * rng.standard_normal((channels, 2 * rate))).astype("f4"), rate)
    write_audio(tmp_path / "short.wav", np.ones((1, 100), "f4"), 8000)
    write_audio(tmp_path / ".hidden.wav", np.ones((1, 16000), "f4"), 8000)
    (tmp_path / "broken.mp3").write_bytes(b"no music")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


def test_a_folder_is_heard_and_what_is_wrong_with_it_said(folder):
    made = embed_folder(folder, Ear(), progress=False)
    assert made.encoder == "ear"
    assert [rows.shape for rows in made.recordings] == [(2, 2)] * 3  # a.WAV, b/c.ogg, b/ü ñ.flac
    assert made.rows().shape == (6, 2)
    assert made.rows().dtype == np.float64
    np.testing.assert_array_equal(made.rows(np.array([2])), made.recordings[2])
    reasons = dict(made.failures)
    assert set(reasons) == {"broken.mp3", "empty.wav", "short.wav"}
    assert "too short" in reasons["short.wav"]
    assert "empty" in reasons["empty.wav"]


def test_what_a_cache_holds_is_not_heard_again(folder, tmp_path):
    class Counting(Ear):
        heard = 0

        def embed(self, waveform):
            self.heard += 1
            return super().embed(waveform)

    ear, cache = Counting(), tmp_path / "deep" / "cache"
    made = embed_folder(folder, ear, cache=cache, progress=False)
    assert (ear.heard, len(list(cache.iterdir()))) == (4, 3)  # too short a one is not kept
    (folder / "a.WAV").rename(folder / "z.wav")
    write_audio(folder / "b" / "c.ogg", np.full((1, 16000), 0.5, "f4"), 8000, overwrite=True)
    again = embed_folder(folder, ear, cache=cache, progress=False)
    assert ear.heard == 4 + 2  # the one that has changed, and the short one
    np.testing.assert_array_equal(again.recordings[2], made.recordings[0])
    np.testing.assert_array_equal(again.recordings[1], made.recordings[2])
    assert np.abs(again.recordings[0] - made.recordings[1]).max() > 0.1
    ear.name = "another"
    embed_folder(folder, ear, cache=cache, progress=False)
    assert ear.heard == 6 + 4
    for kept in cache.iterdir():
        kept.write_bytes(b"")
    for heard in (10 + 4, 14 + 1):  # what is damaged is heard again, and kept anew
        embed_folder(folder, ear, cache=cache, progress=False)
        assert ear.heard == heard
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="name another cache"):
        embed_folder(folder, ear, cache=tmp_path / "file", progress=False)


def test_a_folder_with_nothing_to_hear_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        embed_folder(tmp_path / "none", Ear())
    with pytest.raises(InputError, match="holds no recording; expected at least 10"):
        embed_folder(tmp_path, Ear())
    (tmp_path / "x.wav").touch()
    with pytest.raises(InputError, match=r"skipped x\.wav: .*empty"):
        embed_folder(tmp_path, Ear(), progress=False)


def good(n=12, d=2, encoder="ear"):
    return Embeddings(encoder, list(np.random.default_rng(n).standard_normal((n, 3, d))))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (good(encoder="nose"), "heard by ear and nose"),
        (good(n=9), "other set has 9 recordings"),
        (good(d=3), "with one d"),
        (Embeddings("ear", [*good().recordings, np.zeros((0, 2))]), "at least 1"),
        (Embeddings("ear", [*good().recordings, np.full((1, 2), np.nan)]), "NaN"),
    ],
)
@pytest.mark.parametrize("measure", [fad, kad])
def test_sets_that_do_not_fit_are_refused(measure, other, said):
    with pytest.raises(InputError, match=said):
        measure.evaluate(good(), other)


def test_sets_of_one_size_stay_pairs():
    first, second = sets.orders(good(), good(), 3)
    np.testing.assert_array_equal(first, second)
    assert sorted(first) == list(range(12))
    assert sorted(sets.orders(good(), good(n=15), 3)[1]) == list(range(15))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(0, 2, 4000)
    everything = np.arange(4000)
    error = sets.standard_error(lambda a, b: values[a].mean() - values[b].mean() / 2, everything, everything)
    assert error == pytest.approx(1 / np.sqrt(4000), rel=0.5)


def test_distances_are_written_whole(tmp_path):
    found = Distance(1.5, 0.1, 2.0, "ear", (10, 20), (30, 40), "few")
    sets.write_distances(tmp_path / "x.json", {"fad[ear]": found})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    read = json.loads((tmp_path / "x.json").read_text())["fad[ear]"]
    assert read | {"recordings": (10, 20), "embeddings": (30, 40)} == found.__dict__
