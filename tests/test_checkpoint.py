import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from timbrel import checkpoint
from timbrel.checkpoint import list_models, load_codec, load_instruments, load_transfer_model, save_instruments
from timbrel.errors import ModelError


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    """A model folder that a test may spoil."""
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def test_a_model_comes_back_as_it_was_saved(folder, tmp_path):
    model = load_transfer_model(folder)
    checkpoint.save_transfer_model(tmp_path / "again", model)
    again = load_transfer_model(tmp_path / "again")
    for part in ("codec", "style", "denoiser"):
        one, other = getattr(model, part), getattr(again, part)
        assert one.config == other.config
        assert not one.training
        assert not any(p.requires_grad for p in one.parameters())
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert (again.mel, again.schedule_config, again.info) == (model.mel, model.schedule_config, model.info)
    torch.testing.assert_close(again.instruments, model.instruments, rtol=0, atol=0)
    torch.testing.assert_close(again.schedule.alphas_cumprod, model.schedule.alphas_cumprod)


def test_networks_are_bfloat16_on_disk_and_the_rest_is_exact(folder):
    tensors = load_file(folder / "denoiser.safetensors")
    assert tensors["enter.weight"].dtype == torch.bfloat16
    assert tensors["std"].dtype == torch.float32
    assert {t.dtype for t in load_file(folder / "codec.safetensors").values()} == {torch.float32}


def test_a_codec_comes_out_of_a_codec_folder_and_of_a_model_folder(folder, tmp_path):
    mel, codec = load_codec(folder)
    checkpoint.save_codec(tmp_path / "codec", mel, codec, {"purpose": "codec"})
    other_mel, other = load_codec(tmp_path / "codec")
    assert other_mel == mel
    torch.testing.assert_close(other.state_dict(), codec.state_dict(), rtol=0, atol=0)
    with pytest.raises(ModelError, match="'codec' model; expected a 'transfer' model"):
        load_transfer_model(tmp_path / "codec")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "neither a model folder"),
        (lambda f: (f / "config.json").write_text("{"), "is not a timbrel model"),
        (lambda f: (f / "config.json").write_text("[]"), "is not a timbrel model"),
        (lambda f: (f / "denoiser.safetensors").unlink(), "does not hold this model's weights"),
        (lambda f: (f / "style.safetensors").write_bytes(b"no weights"), "does not hold this model's weights"),
        (lambda f: shutil.copy(f / "style.safetensors", f / "codec.safetensors"), "does not hold this model's weights"),
        (lambda f: _change(f, codec={"colour": "red"}), "does not describe a codec"),
        (lambda f: _change(f, denoiser={"width": "wide"}), "does not describe a transfer model"),
        (lambda f: _change(f, schedule={"kind": "square"}), "'square'; expected 'cosine' or 'linear'"),
        (lambda f: (f / "instruments.safetensors").write_bytes(b"x"), "is broken"),
    ],
)
def test_a_broken_model_is_refused_with_its_reason(folder, spoil, said):
    spoil(folder)
    with pytest.raises(ModelError, match=said):
        load_transfer_model(folder)


def _change(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_unknown_name_names_what_ships():
    with pytest.raises(ModelError, match=r"'lute' is neither a model folder .* nor a shipped model"):
        load_transfer_model("lute")


def test_models_of_a_folder_are_listed_and_broken_ones_left_out(folder):
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "config.json").write_text("{}")
    [found] = [m for m in list_models(folder.parent) if m.path.parent == folder.parent]
    assert (found.name, found.purpose, found.training, found.sample_rate) == ("model", "tests", "none", 16000)
    assert found.instruments == ["piano", "violin"]
    assert found.figures == {"lsd_db": 9.5}
    assert found.size_bytes == sum(f.stat().st_size for f in folder.iterdir())
    (folder / "instruments.safetensors").write_bytes(b"x")
    assert not [m for m in list_models(folder.parent) if m.path.parent == folder.parent]


def test_instruments_are_kept_whole_and_read_in_float32(tmp_path):
    path = tmp_path / "deep" / "instruments.safetensors"
    assert load_instruments(path) == {}
    save_instruments(path, {"lute": torch.ones(4, 16)})
    assert load_instruments(path)["lute"].dtype == torch.float32
    assert [f.name for f in path.parent.iterdir()] == [path.name]


def test_the_fingerprint_is_the_style_encoders(folder):
    one, other = load_transfer_model(folder), load_transfer_model(folder)
    assert checkpoint.fingerprint(one.style) == checkpoint.fingerprint(other.style)
    other.denoiser.enter.weight.data.add_(1)
    assert checkpoint.fingerprint(one.style) == checkpoint.fingerprint(other.style)
    other.style.enter.bias.data.add_(1)
    assert checkpoint.fingerprint(one.style) != checkpoint.fingerprint(other.style)


@pytest.fixture
def singles(tiny_singles, tmp_path):
    """A folder with single models that a test may spoil."""
    return shutil.copytree(tiny_singles, tmp_path / "singles")


def test_a_single_model_comes_back_as_it_was_saved(singles, tmp_path):
    model = checkpoint.load_single_model(singles / "single-violin")
    checkpoint.save_single_model(tmp_path / "again", model)
    again = checkpoint.load_single_model(tmp_path / "again")
    for part in ("codec", "denoiser"):
        one, other = getattr(model, part), getattr(again, part)
        assert one.config == other.config
        assert not one.training
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    for name in ("instrument", "mel", "schedule_config", "info"):
        assert getattr(again, name) == getattr(model, name)
    assert load_file(tmp_path / "again" / "denoiser.safetensors")["enter.weight"].dtype == torch.bfloat16
    assert load_codec(tmp_path / "again")[0] == model.mel
    with pytest.raises(ModelError, match="'single' model; expected a 'transfer' model"):
        load_transfer_model(tmp_path / "again")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "neither a model folder"),
        (lambda f: (f / "denoiser.safetensors").unlink(), "does not hold this model's weights"),
        (lambda f: _change(f, kind="codec"), "'codec' model; expected a 'single' model"),
        (lambda f: _change(f, denoiser={"widths": "wide"}), "does not describe a single model"),
        (lambda f: _change(f, denoiser={"widths": [8, 8]}), "does not hold this model's weights"),
        (lambda f: _change(f, schedule={"prediction_type": "sample"}), "'sample'; expected 'epsilon' or 'v'"),
    ],
)
def test_a_broken_single_model_is_refused_with_its_reason(singles, spoil, said):
    spoil(singles / "single-violin")
    with pytest.raises(ModelError, match=said):
        checkpoint.load_single_model(singles / "single-violin")


def test_single_models_are_found_by_their_instrument(singles, tmp_path):
    run = tmp_path / "runs" / "my violin" / "model"
    shutil.copytree(singles / "single-violin", run)
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.json").write_text("{}")
    for place in (tmp_path / "runs", tmp_path / "runs" / "my violin", run):
        assert checkpoint.single_models(place)["violin"] == [run]
        assert [m.path for m in list_models(place) if m.path.is_relative_to(tmp_path)] == [run]
    found = checkpoint.single_models(singles)
    assert {name: found[name] for name in ("violin", "guitar")} == {
        name: [singles / f"single-{name}"] for name in ("violin", "guitar")
    }
    [listed] = [m for m in list_models(singles) if m.path == singles / "single-violin"]
    assert listed.instruments == ["violin"]
    shutil.copytree(run, run.with_name("model.old"))  # as a killed run may leave it
    assert checkpoint.single_models(run.parent)["violin"] == [run]
    assert [m.path for m in list_models(run.parent) if m.path.is_relative_to(tmp_path)] == [run]
    shutil.copytree(run, tmp_path / "runs" / "other")
    shutil.copytree(singles / "single-guitar", tmp_path / "runs" / "guitar")
    with pytest.raises(ModelError, match="are all models of 'violin'"):
        checkpoint.load_single_models(["guitar", "violin"], tmp_path / "runs")
    assert checkpoint.load_single_models(["guitar"], tmp_path / "runs")[0].instrument == "guitar"
