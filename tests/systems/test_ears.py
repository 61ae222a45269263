"""Audio encoders hear all of the music, at one level, and say what is missing."""

import numpy as np
import pytest
import torch

from timbrel.audio.musicnn import full_scale
from timbrel.errors import InputError, ModelError
from timbrel.systems.ears import EARS, WindowEar, load_ear


@pytest.fixture(scope="module")
def tiny_ast(tmp_path_factory):
    """An AST of random weights, as transformers saves it: windows of half a second."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, max_length=50, num_mel_bins=32
    )
    folder = tmp_path_factory.mktemp("ast")
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=50).save_pretrained(folder)
    return folder


class CountingEar(WindowEar):
    """Windows of ten samples, whose moments are five pairs of them."""

    sample_rate, window_s, width = 10, 1.0, 2

    def _window(self, window):
        return window.view(5, 2)


def song(seconds, rate):
    return torch.from_numpy(0.3 * np.sin(np.arange(round(seconds * rate)) / 9, dtype=np.float32))


@pytest.mark.parametrize("samples", [10, 20, 24, 26])
def test_music_is_heard_to_its_end_and_each_moment_once(samples):
    music = torch.arange(1.0, samples + 1)
    torch.testing.assert_close(CountingEar().hear(music).flatten() * samples, music)


def test_half_a_moment_at_the_end_is_a_moment():
    heard = CountingEar().hear(torch.arange(1.0, 32)) * 31
    torch.testing.assert_close(heard[-2:], torch.tensor([[29.0, 30], [30, 31]]))


def test_music_shorter_than_a_window_is_repeated():
    assert (CountingEar().hear(torch.arange(1.0, 5)).flatten() * 4).tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]


def test_music_is_heard_at_one_level():
    music = torch.tensor([0.1, -0.4, 0.2])
    torch.testing.assert_close(full_scale(music), torch.tensor([0.25, -1.0, 0.5]))
    torch.testing.assert_close(CountingEar().hear(music), CountingEar().hear(music * 2))
    assert not full_scale(torch.zeros(3)).any()


@pytest.mark.parametrize("kind", ["musicnn", "timbrel-features"])
def test_no_music_is_refused(kind):
    with pytest.raises(InputError, match="no samples; expected some music"):
        load_ear(kind).hear(torch.zeros(0))


def test_ast_gives_three_layers_side_by_side_over_time(tiny_ast):
    ear = load_ear("ast", str(tiny_ast))
    features = ear.hear(song(2.0, ear.sample_rate))
    assert (ear.width, features.shape[1]) == (24, 24)
    assert len(features) == 4 * 4  # four windows of half a second
    assert len(ear.hear(song(2.2, ear.sample_rate))) == 4 * 4 + 2
    assert len(ear.hear(torch.randn(60 * ear.sample_rate))) == 248


def test_claps_tower_and_ours_hear(tiny_clap):
    for kind, source in (("clap", str(tiny_clap)), ("timbrel-features", ""), ("musicnn", "")):
        ear = load_ear(kind, source)
        features = ear.hear(song(4.0, ear.sample_rate))
        assert features.shape[1] == ear.width
        assert torch.isfinite(features).all()


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match="'beats' is left out"):
        load_ear("beats")
    with pytest.raises(InputError, match=f"'ear' is unknown; expected one of {', '.join(EARS)}"):
        load_ear("ear")
    with pytest.raises(ModelError, match="cannot be read as AST"):
        load_ear("ast", str(tmp_path))
