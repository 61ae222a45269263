import json
import re
import sys
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from timbrel.audio import vggish
from timbrel.audio.mel import MelConfig
from timbrel.errors import InputError, MissingDependencyError, ModelError
from timbrel.metrics import encoders, heard
from timbrel.metrics.encoders import ClapEncoder, FeatureEncoder, VGGishEncoder, load_encoder
from timbrel.models.features import FeatureConfig, FeatureNetwork, VGGish
from timbrel.systems import foreign
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.listing import list_models


def sound(seconds, sample_rate, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * sample_rate)) / sample_rate
    tone = np.sin(2 * np.pi * 440 * t) * np.exp(-3 * (t % 0.5)) + 0.01 * rng.standard_normal(len(t))
    return (0.3 * tone).astype(np.float32)


# the offline one ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("features")
    mel = MelConfig(sample_rate=16000, n_fft=512, hop_length=256, n_mels=32)
    network = FeatureNetwork(FeatureConfig(("harp", "violin"), width=4, embedding=8))
    save_system(folder, FeaturesSystem(mel=mel, features=network, info={"purpose": "tests"}))
    return folder


def test_features_come_back_as_they_were_saved(features, tmp_path):
    system = load_system(features, FeaturesSystem)
    save_system(tmp_path, system)
    loaded = load_system(tmp_path, FeaturesSystem)
    network, again = system.features, loaded.features
    assert (loaded.mel, again.config) == (system.mel, network.config)
    assert not any(p.requires_grad for p in again.parameters())
    torch.testing.assert_close(again.state_dict(), network.state_dict(), rtol=0, atol=0)
    [listed] = [model for model in list_models(features) if model.path == features]
    assert (listed.purpose, listed.sample_rate) == ("tests", 16000)


def test_features_hear_windows_of_three_seconds_at_one_level(features):
    ear = load_encoder("timbrel-features", features)
    assert re.fullmatch("timbrel-features:[0-9a-f]{8}", ear.name)
    assert ear.sample_rate == 16000
    waveform = sound(7, 16000)
    embedded = ear.embed(waveform)
    assert embedded.shape == (3, 8)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(ear.embed(0.01 * waveform), embedded, atol=1e-3)
    assert np.abs(ear.embed(sound(7, 16000) ** 3) - embedded).max() > 1e-2
    for short in (waveform[:1], waveform[:8000], np.zeros(16000, np.float32)):
        assert ear.embed(short).shape == (1, 8)
        assert np.isfinite(ear.embed(short)).all()


def change(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "features.safetensors").write_bytes(b"x"), "does not hold this model's weights"),
        (lambda f: change(f, system="codec"), "expected mel, codec"),
        (lambda f: change(f, features=[]), "features is .*; expected a value of type dict"),
        (lambda f: (f / "config.json").unlink(), "`timbrel train features` makes such a folder"),
    ],
)
def test_a_broken_folder_is_refused_with_its_reason(features, tmp_path, spoil, said):
    for path in features.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path)
    with pytest.raises(ModelError, match=said):
        FeatureEncoder(tmp_path)


# VGGish ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state():
    """A state dict of VGGish's shapes that takes no room: one number, shown many times."""
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in VGGish().state_dict().items()}
    return {name: torch.full((1,), 0.003).expand(shape) for name, shape in shapes.items()}


def test_vggish_hears_examples_of_096_seconds(state, tmp_path):
    torch.save(state | {"pproc.pca_means": torch.zeros(128, 1)}, tmp_path / "vggish.pth")
    ear: Any = load_encoder("vggish", tmp_path / "vggish.pth")
    assert re.fullmatch("vggish:[0-9a-f]{8}", ear.name)
    assert ear.sample_rate == 16000
    ear.network.embeddings = torch.nn.Flatten()
    waveform = sound(2.5, 16000)
    embedded = ear.embed(waveform)
    examples = vggish.examples(torch.from_numpy(waveform))
    assert len(examples) == 2
    np.testing.assert_allclose(embedded, ear.network(examples).numpy(), rtol=1e-5)
    with pytest.raises(InputError, match="15600"):
        ear.embed(waveform[:15599])


def test_vggish_reads_safetensors_too(state, monkeypatch, tmp_path):
    monkeypatch.setattr(foreign, "load_file", lambda path: dict(state))
    network = foreign.load_vggish(tmp_path / "vggish.safetensors")
    assert network.embeddings[4].weight.shape == (128, 4096)
    assert not network.training


class Trap:
    def __reduce__(self):
        return print, ("a pickle ran",)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("none.pth", lambda path, state: None),
        ("empty.pth", lambda path, state: path.touch()),
        ("text.pth", lambda path, state: path.write_text("no weights")),
        ("text.safetensors", lambda path, state: path.write_text("no weights")),
        ("list.pth", lambda path, state: torch.save([1, 2], path)),
        ("other.pth", lambda path, state: torch.save({"weight": torch.zeros(3)}, path)),
        ("less.pth", lambda path, state: torch.save(dict(list(state.items())[:-1]), path)),
        ("trap.pth", lambda path, state: torch.save(Trap(), path)),
        ("other.safetensors", lambda path, state: save_file({"weight": torch.zeros(3)}, path)),
    ],
)
def test_what_is_no_vggish_is_refused(state, tmp_path, name, write, capsys):
    write(tmp_path / name, state)
    with pytest.raises(ModelError, match="expected a VGGish state dict") as error:
        VGGishEncoder(tmp_path / name)
    assert "\n" not in str(error.value)
    assert "a pickle ran" not in capsys.readouterr().out


def test_without_weights_vggish_says_what_it_needs():
    with pytest.raises(ModelError, match="timbrel brings none"):
        load_encoder("vggish")


# CLAP -----------------------------------------------------------------------------------------------


def test_clap_hears_windows_of_ten_seconds_and_the_same_every_time(tiny_clap):
    ear = load_encoder("clap", tiny_clap)
    assert re.fullmatch(f"clap:{tiny_clap.name}:[0-9a-f]{{8}}", ear.name)
    assert ear.sample_rate == 48000
    waveform = sound(21, 48000)
    embedded = ear.embed(waveform)
    assert embedded.shape == (3, 12)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(ear.embed(waveform[:480000]), embedded[:1], atol=1e-5)
    short = ear.embed(waveform[:48000])
    np.testing.assert_array_equal(ear.embed(waveform[:48000]), short)
    assert short.shape == (1, 12)


def test_clap_that_is_not_there_is_said(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="cannot be read as a CLAP model"):
        ClapEncoder(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"timbrel\[hub\]"):
        ClapEncoder(tmp_path)


# musicnn --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not heard.available(), reason="musicnn is not installed: pip install --no-deps musicnn")
def test_musicnn_hears_windows_of_three_seconds_at_one_level():
    ear: Any = load_encoder("musicnn")
    assert re.fullmatch("musicnn:[0-9a-f]{8}", ear.name)
    waveform = sound(7, 16000)
    embedded = ear.embed(waveform)
    assert embedded.shape == (3, 200)
    np.testing.assert_allclose(ear.embed(0.01 * waveform), embedded, atol=1e-3)
    assert np.isfinite(ear.embed(np.zeros(100, np.float32))).all()
    probabilities = torch.sigmoid(ear.network.output(torch.from_numpy(embedded))).mean(0)
    np.testing.assert_allclose(probabilities, list(heard.tags(waveform, 16000).values()), atol=1e-5)


def test_musicnn_takes_no_other_weights():
    with pytest.raises(InputError, match="they come with its package"):
        load_encoder("musicnn", "weights.pth")


# all ------------------------------------------------------------------------------------------------


def test_an_unknown_encoder_names_the_known_ones():
    with pytest.raises(InputError, match="timbrel-features, vggish, clap"):
        load_encoder("vgish")


@pytest.mark.parametrize(
    ("waveform", "said"),
    [(np.zeros((1, 16000)), "mono"), (np.zeros(0), "not empty"), (np.array([0, np.nan]), "NaN")],
)
def test_bad_waveforms_are_refused(features, waveform, said):
    with pytest.raises(InputError, match=said):
        load_encoder("timbrel-features", features).embed(waveform.astype(np.float32))


def test_many_windows_go_through_in_batches(features, monkeypatch):
    ear, waveform = load_encoder("timbrel-features", features), sound(13, 16000)
    whole = ear.embed(waveform)
    monkeypatch.setattr(encoders, "BATCH", 2)
    np.testing.assert_allclose(ear.embed(waveform), whole, atol=1e-5)
