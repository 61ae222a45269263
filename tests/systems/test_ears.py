"""Audio encoders hear all of the music, at one level, and say what is missing."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from timbrel.audio.musicnn import full_scale
from timbrel.errors import InputError, ModelError
from timbrel.models.beats import BEATs, BEATsConfig
from timbrel.systems.ears import BEATS_MEAN, BEATS_STD, EARS, WindowEar, beats_mel, load_ear
from timbrel.systems.foreign import load_beats


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


@pytest.fixture
def tiny_beats():
    """A checkpoint as the published ones: settings, and tensors with the convolution's gain and direction."""
    torch.manual_seed(0)
    config = BEATsConfig(layers=3, width=8, inner_width=6, heads=2, patch_width=4, kernel=6, groups=2, buckets=8)
    state = BEATs(config).state_dict()
    weight = state.pop("encoder.pos_conv.0.weight")
    gain = weight.norm(dim=(0, 1), keepdim=True)
    state |= {"encoder.pos_conv.0.weight_g": gain, "encoder.pos_conv.0.weight_v": 3 * weight}
    settings = {"deep_norm": True, "layer_norm_first": False, "gru_rel_pos": True, "max_distance": 800}
    return {"cfg": settings | {"encoder_layers": 3}, "model": state}


def test_beats_hears_by_a_checkpoint_of_torch_or_of_safetensors(tiny_beats, tmp_path):
    pytest.importorskip("transformers")
    torch.save(tiny_beats, tmp_path / "beats.pt")
    save_file(tiny_beats["model"], tmp_path / "beats.safetensors")
    ears = [load_ear("beats", str(tmp_path / name)) for name in ("beats.pt", "beats.safetensors")]
    music = song(11.0, 16000)
    heard = [ear.hear(music) for ear in ears]
    assert heard[0].shape == (62 + 7, ears[0].width)  # 998 frames in patches of 16, and a tenth of them
    assert ears[0].width == 3 * 8
    torch.testing.assert_close(*heard)
    states = load_beats(tmp_path / "beats.pt")(beats_mel(music[:160000] / music.abs().max(), 128)[None])
    torch.testing.assert_close(heard[0][5, 16:], states[2][0, 40:48].mean(0))  # all frequencies of one moment


def test_a_checkpoint_that_is_no_published_beats_is_refused(tiny_beats, tmp_path):
    path = tmp_path / "beats.pt"
    for broken, message in (
        (tiny_beats | {"cfg": tiny_beats["cfg"] | {"max_distance": 1280}}, "'max_distance': 1280"),
        ({"model": {"features.0.weight": torch.zeros(1)}}, "expected a BEATs encoder"),
        (tiny_beats | {"cfg": BEATsConfig()}, "Weights only load failed"),  # more than plain values: never unpickled
    ):
        torch.save(broken, path)
        with pytest.raises(ModelError, match=message):
            load_ear("beats", str(path))


def test_beats_sees_kaldis_log_mel():
    """Against kaldi-native-fbank 1.23 with Povey's window and no dither: bands 0, 13 and 40 of 80."""
    pytest.importorskip("transformers")
    n = np.arange(880)
    music = torch.from_numpy((0.4 * np.sin(n / 9) + 0.2 * np.sin(n / 2.3 + 1) + 0.05).astype(np.float32))
    expected = [[10.227, 14.923, 7.556], [12.409, 14.909, 7.499], [12.014, 14.969, 7.433], [10.022, 14.975, 7.461]]
    seen = beats_mel(music, 80)[:, [0, 13, 40]] * (2 * BEATS_STD) + BEATS_MEAN
    torch.testing.assert_close(seen, torch.tensor(expected), atol=2e-3, rtol=0)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match="'beats' needs its weights; expected the file of a BEATs encoder"):
        load_ear("beats")
    with pytest.raises(InputError, match=f"'ear' is unknown; expected one of {', '.join(EARS)}"):
        load_ear("ear")
    with pytest.raises(ModelError, match="cannot be read as AST"):
        load_ear("ast", str(tmp_path))
