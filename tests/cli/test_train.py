"""`timbrel train`: recipes as verbs, fields as flags."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TINY_MEL
from timbrel.cli.main import main
from timbrel.data.store import Entry, StoreWriter
from timbrel.systems.folder import load_system
from timbrel.systems.transfer import TransferSystem
from timbrel.systems.weights import fingerprint
from timbrel.training import autoencoder, features, loop, single, transfer
from timbrel.training.recipes import (
    AUTOENCODER_RECIPES,
    FEATURES_RECIPES,
    GENERATE_RECIPES,
    LISTENER_RECIPES,
    SINGLE_RECIPES,
    TRANSFER_RECIPES,
    find_recipe,
)


@pytest.fixture
def fitted(monkeypatch):
    calls = []
    stages = (autoencoder, "AutoencoderStage"), (transfer, "TransferStage"), (single, "SingleStage")
    for module, name in stages:
        monkeypatch.setattr(getattr(module, name), "prepare", lambda *args, **kw: (args, kw))
    monkeypatch.setattr(loop, "fit", lambda *args, **kw: calls.append((args, kw)) or True)
    return calls


def test_every_recipe_is_a_word_with_what_it_is_for(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    stages: dict[str, Any] = {
        "autoencoder": AUTOENCODER_RECIPES,
        "transfer": TRANSFER_RECIPES,
        "features": FEATURES_RECIPES,
        "generate": GENERATE_RECIPES,
        "listener": LISTENER_RECIPES,
    }
    for stage, recipes in stages.items():
        assert main(["train", stage, "--help"]) == 0
        lines = capsys.readouterr().out.split("subcommands")[1].splitlines()
        for name, recipe in recipes.items():
            assert any(f"• {name} " in line and type(recipe).__doc__.partition("\n")[0] in line for line in lines)


def test_flags_may_stand_before_the_recipe_too(fitted):
    assert main(["train", "autoencoder", "--data", "d", "--out", "o", "tiny", "--width", "9"]) == 0
    [((stage, _), _)] = fitted
    assert stage[0] == (find_recipe(AUTOENCODER_RECIPES, "tiny", width=9), Path("d"))


def test_a_field_is_a_flag_over_the_named_recipe(fitted, capsys):
    files = "--data d --out runs/x --codec c --restart"
    flags = "--steps 7 --learning-rate 0.01 --dilations 1 2 3 --no-augment"
    assert main(["train", "transfer", "tiny", *files.split(), *flags.split()]) == 0
    [((stage, out), options)] = fitted
    recipe = stage[0][0]
    tiny: Any = TRANSFER_RECIPES["tiny"]
    assert recipe == dataclasses.replace(tiny, steps=7, learning_rate=0.01, dilations=(1, 2, 3), augment=False)
    assert stage == ((recipe, Path("d")), {"codec": "c", "init_from": None})
    assert (out, options) == (Path("runs/x"), {"resume": False})
    assert "runs/x/model" in capsys.readouterr().out


def test_an_autoencoder_starts_from_another(fitted):
    assert main(["train", "autoencoder", "default", "--data", "d", "--out", "o", "--init-from", "x"]) == 0
    [((stage, _), options)] = fitted
    recipe = stage[0][0]
    assert recipe == AUTOENCODER_RECIPES["default"]
    assert stage == ((recipe, Path("d")), {"init_from": "x"})
    assert options == {"resume": True}


def test_features_need_data_alone(fitted, monkeypatch):
    monkeypatch.setattr(features.FeaturesStage, "prepare", lambda *args: args)
    assert main(["train", "features", "tiny", "--data", "d", "--out", "o", "--width", "8"]) == 0
    [((stage, _), _)] = fitted
    recipe = stage[0]
    assert recipe == dataclasses.replace(FEATURES_RECIPES["tiny"], width=8)
    assert stage == (recipe, Path("d"))


def test_a_style_encoder_is_trained_on(tiny_model_folder, tmp_path, capsys):
    writer, rng = StoreWriter(tmp_path / "data", TINY_MEL), np.random.default_rng(0)
    for number, split in enumerate(("train", "validation")):
        levels = rng.integers(0, 255, (120, TINY_MEL.n_mels)).astype(np.uint8)
        writer.add(Entry(id=f"e{number}", label="lute", split=split, frames=120, source=f"{number}"), levels)
    run = tmp_path / "run"
    command = f"train style tiny --data {tmp_path / 'data'} --init-from {tiny_model_folder} --out {run} --steps 2"
    assert main([*command.split(), "--precision", "fp32", "--num-workers", "0"]) == 0
    assert str(run / "model") in capsys.readouterr().out
    saved, was = (load_system(folder, TransferSystem) for folder in (run / "model", tiny_model_folder))
    assert fingerprint(saved.denoiser) == fingerprint(was.denoiser)
    assert fingerprint(saved.style) != fingerprint(was.style)


def test_one_instrument_is_named(fitted, capsys):
    command = "train single --data d --out runs/x --instrument violin --steps 7 --widths 8 16 --no-augment"
    assert main(command.split()) == 0
    [((stage, out), options)] = fitted
    recipe = stage[0][0]
    assert recipe == dataclasses.replace(SINGLE_RECIPES["default"], steps=7, widths=(8, 16), augment=False)
    assert stage == ((recipe, Path("d")), {"instrument": "violin", "codec": "default", "init_from": None})
    assert (out, options) == (Path("runs/x"), {"resume": True})
    assert main(["train", "single", "--data", "d", "--out", "o"]) == 2
    assert "--instrument" in capsys.readouterr().err


def test_a_stopped_run_says_so_by_its_exit_code(fitted, monkeypatch):
    monkeypatch.setattr(loop, "fit", lambda *args, **kw: False)
    assert main(["train", "autoencoder", "tiny", "--data", "d", "--out", "o"]) == 130


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("train transfer tinny --data d --out o", "tiny"),
        ("train transfer tiny --out o", "--data"),
        ("train transfer tiny --data d --out o --precision fp8", "bf16"),
    ],
)
def test_wrong_words_are_said(args, said, capsys):
    assert main(args.split()) == 2
    assert said in capsys.readouterr().err


def test_data_that_is_none_is_said(tmp_path, capsys):
    assert main(["train", "autoencoder", "tiny", "--data", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "is not a mel store" in capsys.readouterr().err
