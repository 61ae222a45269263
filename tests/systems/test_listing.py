import json
import math
import shutil

import pytest
from safetensors.torch import load_file, save_file

from timbrel.cli.main import main
from timbrel.errors import InputError, ModelError
from timbrel.systems import folder as folders
from timbrel.systems.listing import list_models, load_single_models, single_models


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch, tmp_path):
    (tmp_path / "pretrained").mkdir()
    monkeypatch.setattr(folders, "PRETRAINED", tmp_path / "pretrained")


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    """A model folder that a test may spoil, in a folder of its own."""
    return shutil.copytree(tiny_model_folder, tmp_path / "models" / "model")


@pytest.fixture
def singles(tiny_singles, tmp_path):
    return shutil.copytree(tiny_singles, tmp_path / "singles")


def test_models_of_a_folder_are_listed(folder):
    [model] = list_models(folder.parent)
    assert (model.name, model.purpose, model.training, model.sample_rate) == ("model", "tests", "none", 16000)
    assert model.instruments == ["piano", "violin"]
    assert model.figures == {"lsd_db": 9.5}
    assert model.size_bytes == sum(f.stat().st_size for f in folder.iterdir())
    assert model.error == ""


def test_a_broken_model_hides_no_other(folder, capsys):
    bad = shutil.copytree(folder, folder.with_name("bad"))
    (bad / "config.json").write_text("[" * 100_000)
    worse = shutil.copytree(folder, folder.with_name("worse"))
    (worse / "instruments.safetensors").write_bytes(b"x")
    nan = shutil.copytree(folder, folder.with_name("nan"))
    weights = load_file(nan / "style.safetensors")
    save_file(weights | {"std": weights["std"] * math.nan}, nan / "style.safetensors")
    shorn = shutil.copytree(folder, folder.with_name("shorn"))
    (shorn / "denoiser.safetensors").unlink()
    store = folder.with_name("store")  # which is no model, as its config.json says
    store.mkdir()
    (store / "config.json").write_text(json.dumps({"sample_rate": 16000}))

    listed = {model.name: model for model in list_models(folder.parent)}
    assert sorted(listed) == ["bad", "model", "nan", "shorn", "worse"]
    assert "config.json cannot be read" in listed["bad"].error
    assert "instruments.safetensors is broken" in listed["worse"].error
    assert "does not hold this model's weights" in listed["shorn"].error
    assert "'std' holds NaN" in listed["nan"].error
    assert listed["model"].error == ""

    assert main(["models", str(folder.parent)]) == 2
    printed = capsys.readouterr()
    assert "model: tests" in printed.out
    assert "instruments.safetensors is broken" in printed.out
    assert "bad, nan, shorn, worse cannot be loaded" in printed.err
    assert main(["models", str(folder)]) == 0


def test_single_models_are_found_by_their_instrument(singles, tmp_path):
    run = tmp_path / "runs" / "my violin" / "model"
    shutil.copytree(singles / "single-violin", run)
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.json").write_text("{}")
    for place in (tmp_path / "runs", tmp_path / "runs" / "my violin", run):
        assert single_models(place)["violin"] == [run]
        assert [m.path for m in list_models(place)] == [run]
    assert single_models(singles) == {name: [singles / f"single-{name}"] for name in ("violin", "guitar")}
    [listed] = [m for m in list_models(singles) if m.path == singles / "single-violin"]
    assert listed.instruments == ["violin"]
    shutil.copytree(run, tmp_path / "lutes" / "my.old")
    assert [m.path for m in list_models(tmp_path / "lutes")] == [tmp_path / "lutes" / "my.old"]
    shutil.copytree(run, tmp_path / "runs" / "other")
    shutil.copytree(singles / "single-guitar", tmp_path / "runs" / "guitar")
    with pytest.raises(ModelError, match="are all models of 'violin'"):
        load_single_models(["guitar", "violin"], tmp_path / "runs")
    assert load_single_models(["guitar"], tmp_path / "runs")[0].instrument == "guitar"


def test_an_instrument_without_a_model_names_those_that_have_one(singles):
    with pytest.raises(ModelError, match=r"no model of 'lute', only of guitar, violin; `timbrel train single`"):
        load_single_models(["violin", "lute"], singles)
    with pytest.raises(ModelError, match="is not a folder"):
        single_models(singles / "none")
    with pytest.raises(InputError, match="is not a folder"):
        list_models(singles / "none")
