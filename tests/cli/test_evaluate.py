"""`timbrel evaluate`: words arrive at the benchmark; two folders are compared."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from timbrel.audio.io import write_audio
from timbrel.audio.mel import MelConfig
from timbrel.cli.main import main
from timbrel.experiments import real
from timbrel.experiments.benchmark import cases, evaluate
from timbrel.experiments.generate import evaluate as generate
from timbrel.models.features import FeatureConfig, FeatureNetwork
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import save_system


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(cases, "build", lambda *args, **kw: made.append((args, kw)) or [1, 2, 3])
    monkeypatch.setattr(evaluate, "evaluate", lambda *args, **kw: made.append((args, kw)))
    return made


def test_build(calls, capsys):
    assert main(["evaluate", "build", "b", "--limit", "3", "--workers", "2"]) == 0
    assert calls == [((Path("b"),), {"limit": 3, "workers": 2})]
    assert capsys.readouterr().out == "b: 3 triplets\n"


def test_a_model_is_the_default_one_or_named(calls):
    assert main(["evaluate", "model", "b"]) == 0
    assert main(["evaluate", "model", "b", "runs/m", "--out", "o", "--rows", "mel", "model-clip", "--limit", "2"]) == 0
    assert calls == [
        ((Path("b"), Path("evaluation")), {"model": None, "rows": None, "limit": None, "workers": None}),
        (
            (Path("b"), Path("o")),
            {"model": "runs/m", "rows": ("mel", "model-clip"), "limit": 2, "workers": None},
        ),
    ]


def test_outputs_of_another_program(calls):
    assert main(["evaluate", "outputs", "b", "theirs", "--out", "o"]) == 0
    options = {"outputs": Path("theirs"), "rows": None, "limit": None, "workers": None}
    assert calls == [((Path("b"), Path("o")), options)]


def test_generated_sounds(monkeypatch):
    made = []
    monkeypatch.setattr(generate, "evaluate", lambda *args, **kw: made.append((args, kw)))
    assert (
        main(
            [
                "evaluate",
                "generate",
                "s",
                "runs/m",
                "-n",
                "2",
                "--encoder",
                "clap",
                "--workers",
                "1",
                "--candidates",
                "3",
                "--listener",
                "runs/l",
            ]
        )
        == 0
    )
    options = dict.fromkeys(("steps", "guidance", "weights", "ontology")) | {"on_mels": False, "seed": 0, "workers": 1}
    words = {"model": "runs/m", "takes": 2, "candidates": 3, "listener": "runs/l", "encoder": "clap"}
    assert made == [((Path("s"), Path("evaluation-generate")), words | options)]


def test_real_recordings(monkeypatch):
    made = []
    monkeypatch.setattr(real, "evaluate", lambda *args, **kw: made.append((args, kw)))
    assert main(["evaluate", "real", "r", "runs/m", "--clips", "c", "--steps", "20", "--workers", "1"]) == 0
    options = {"references": None, "guidance": None, "seed": 0, "workers": 1}
    words = {"model": "runs/m", "clips": Path("c"), "steps": 20}
    assert made == [((Path("r"), Path("evaluation-real")), words | options)]


def test_a_folder_that_is_no_benchmark_is_said(tmp_path, capsys):
    assert main(["evaluate", "model", str(tmp_path)]) == 2
    assert f"timbrel evaluate build {tmp_path}" in capsys.readouterr().err


@pytest.fixture
def two_folders(tmp_path):
    """Low tones, and high ones; and a feature network with random weights."""
    rng = np.random.default_rng(0)
    t = np.arange(8000) / 8000
    for folder, low in (("low", 100), ("high", 2000)):
        (tmp_path / folder).mkdir()
        for k in range(12):
            tone = (0.3 * np.sin(2 * np.pi * low * rng.uniform(1, 1.5) * t)).astype("f4")
            write_audio(tmp_path / folder / f"{k}.wav", tone[None], 8000)
    (tmp_path / "low" / "broken.wav").write_bytes(b"x")
    torch.manual_seed(0)
    network = FeatureNetwork(FeatureConfig(("high", "low"), width=4, embedding=4))
    save_system(tmp_path / "ear", FeaturesSystem(mel=MelConfig(8000, 512, 128, 32), features=network))
    return tmp_path


def test_the_distance_of_two_folders(two_folders, monkeypatch, capsys):
    monkeypatch.chdir(two_folders)
    assert main(["evaluate", "distance", "low", "high", "--weights", "ear", "--out", "d.json"]) == 0
    said = capsys.readouterr()
    assert "low: 12 recordings, 12 embeddings\nhigh: 12 recordings" in said.out
    assert "skipped low/broken.wav" in said.err
    found = json.loads(Path("d.json").read_text())
    assert [name.partition(":")[0] for name in found] == ["fad[timbrel-features", "kad[timbrel-features"]
    for name, distance in found.items():
        assert f"{name}  {distance['value']:.4g} ± " in said.out
        assert distance["value"] > 3 * distance["standard_error"] > 0
    assert main(["evaluate", "distance", "low", "low", "--weights", "ear", "--cache", "kept"]) == 0
    assert "kad[timbrel-features:" in capsys.readouterr().out
    assert len(list(Path("kept").iterdir())) == 12


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("low high --weights nowhere", "`timbrel train features`"),
        ("low high --encoder vggish", "timbrel brings none"),
        ("low high --encoder vggish --weights low/0.wav", "expected a VGGish state dict"),
        ("low none --weights ear", "none is not a folder"),
        ("low ear --weights ear", "ear holds no recording"),
        ("low high --weights ear --out d.txt", ".json"),
        ("low high --weights ear --encoder nose", "nose"),
    ],
)
def test_what_a_distance_cannot_do_is_said(two_folders, monkeypatch, capsys, args, said):
    monkeypatch.chdir(two_folders)
    assert main(["evaluate", "distance", *args.split()]) == 2
    assert said in capsys.readouterr().err
