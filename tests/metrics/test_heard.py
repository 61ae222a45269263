import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from timbrel.audio.io import read_audio
from timbrel.errors import InputError, MissingDependencyError
from timbrel.metrics import heard, installed_file
from timbrel.metrics.tf_checkpoint import read_checkpoint

needs_musicnn = pytest.mark.skipif(
    not heard.available(), reason="musicnn is not installed: pip install --no-deps musicnn"
)
PIANO = Path(__file__).parents[2] / "examples" / "piano.flac"


@pytest.fixture(scope="module")
def piano():
    return read_audio(PIANO)


def test_the_network_sees_what_librosa_makes_of_a_recording():
    librosa = pytest.importorskip("librosa")
    waveform = np.random.default_rng(0).uniform(-0.9, 0.9, 3 * heard.SAMPLE_RATE).astype(np.float32)
    mel = librosa.feature.melspectrogram(y=waveform, sr=heard.SAMPLE_RATE, n_fft=512, hop_length=256, n_mels=96)
    [patch] = heard.patches(waveform)
    np.testing.assert_allclose(patch, np.log10(10000 * mel + 1).T[:187], atol=1e-4)


def test_every_instrument_has_tags_that_the_network_knows():
    for instrument in heard.INSTRUMENTS.values():
        assert set(instrument.tags) <= set(heard.TAGS)
        assert 0 < instrument.base_rate < 1


def test_a_piece_for_each_three_seconds():
    for seconds, pieces in ((0.1, 1), (3, 1), (3.1, 2), (8, 3)):
        waveform = np.ones(int(seconds * heard.SAMPLE_RATE), np.float32)
        assert heard.patches(waveform).shape == (pieces, 187, 96)


@needs_musicnn
def test_a_piano_is_heard_as_one(piano):
    waveform, sample_rate = piano
    assert heard.heard_as(*piano) == "piano"
    assert heard.heard_as(waveform, sample_rate, among=tuple(heard.INSTRUMENTS)) == "piano"
    assert heard.evaluate("piano", *piano) == {"heard_as": 1.0}
    assert heard.evaluate("harp", waveform, sample_rate, among=("piano", "guitar")) == {"heard_as": 0.0}


@needs_musicnn
def test_level_and_channels_play_no_part(piano):
    waveform, sample_rate = piano
    expected = heard.scores(waveform, sample_rate)
    stereo = 0.1 * np.concatenate([waveform, waveform])
    assert heard.scores(stereo, sample_rate) == pytest.approx(expected, rel=1e-3)


@needs_musicnn
def test_scores_are_probabilities_over_base_rates(piano):
    tags = heard.tags(*piano)
    assert all(0 <= probability <= 1 for probability in tags.values())
    assert heard.scores(*piano)["guitar"] == pytest.approx(tags["guitar"] / 0.19)


@pytest.mark.parametrize("among", [("piano", "kazoo"), ("piano",), ()])
def test_instruments_without_a_tag_are_refused(among):
    with pytest.raises(InputError, match="expected two or more of piano, guitar"):
        heard.heard_as(np.zeros(48000, np.float32), 16000, among=among)


def test_without_musicnn_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(heard, "installed_file", lambda *parts: None)
    heard.load_musicnn.cache_clear()
    assert not heard.available()
    with pytest.raises(MissingDependencyError, match="pip install --no-deps musicnn"):
        heard.load_musicnn()


@needs_musicnn
def test_the_weights_are_those_of_another_reading():
    """The digest is that of the same variables as another program read them."""
    index: Any = installed_file("musicnn", "MTT_musicnn", ".index")
    digest = hashlib.sha256()
    for name, value in sorted(read_checkpoint(index, index.with_name(".data-00000-of-00001")).items()):
        if "Adam" not in name and "power" not in name:
            digest.update(name.encode() + value.tobytes())
    assert digest.hexdigest() == "5d30fa395db6e231765a42257b187da2d40d7db09ab549b84e0659a97fc6071c"
