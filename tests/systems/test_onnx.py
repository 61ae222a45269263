"""The exported networks give what torch gives, at any length."""

import ast
import json
import logging
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import tiny_transfer_model
from timbrel.errors import InputError, MissingDependencyError, TimbrelError
from timbrel.systems import onnx as exports
from timbrel.systems.onnx import TOLERANCE, export_onnx

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_transfer.py"
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(folder, name, **inputs):
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {key: np.asarray(value) for key, value in inputs.items()})[0]


@pytest.fixture(scope="module")
def system():
    return tiny_transfer_model()


@pytest.fixture(scope="module")
def exported(system, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "tiny"
    level = logging.getLogger("torch.onnx._internal.exporter._registration").level
    differences = export_onnx(system, folder)
    assert set(differences) == {"encoder", "style", "denoiser", "decoder"}
    assert max(differences.values()) < TOLERANCE
    assert logging.getLogger("torch.onnx._internal.exporter._registration").level == level
    return folder


@pytest.mark.parametrize("frames", [2, 57])
def test_a_transfer_of_another_length_is_torchs(system, exported, frames):
    torch.manual_seed(1)
    mel = torch.empty(1, 1, 32, 4 * frames).uniform_(-90, -10)
    noise, tokens = torch.randn(1, 4, 8, frames), system.style_tokens(mel.repeat(1, 1, 1, 8))
    latents = system.sample(system.codec.encode(mel), tokens, noise, steps=1, guidance=1.0, strength=1.0)
    expected = system.codec.decode(latents)

    content = run(exported, "encoder", mel=mel)
    heard = run(exported, "style", mel=mel.repeat(1, 1, 1, 8))
    clean = run(exported, "denoiser", noisy_latents=noise, timesteps=np.array([99]), content=content, tokens=heard)
    np.testing.assert_allclose(heard[0], tokens, atol=TOLERANCE)
    np.testing.assert_allclose(clean, latents, atol=TOLERANCE)
    np.testing.assert_allclose(run(exported, "decoder", latents=clean), expected, atol=TOLERANCE)


def test_the_folder_has_what_a_program_needs(system, exported):
    model = json.loads((exported / "model.json").read_text())
    assert model["mel"]["sample_rate"] == 16000
    assert model["factor"] == 4
    assert model["latents"] == [4, 8]
    assert model["sampling"] == {"steps": 1, "guidance": 1.0}
    assert model["postfilter"], "of a denoiser without noise"
    instruments, tables = np.load(exported / "instruments.npz"), np.load(exported / "tables.npz")
    assert set(instruments) == {"violin", "piano"}
    np.testing.assert_array_equal(instruments["violin"], system.instruments["violin"])
    assert {name: array.shape for name, array in tables.items()} == {
        "filters": (32, 513),
        "window": (1024,),
        "alphas_cumprod": (100,),
        "null_token": (16,),
    }


def test_arrays_of_any_name_are_written(tmp_path):
    tensors = {name: torch.full((2, 3), float(k)) for k, name in enumerate(("file", "allow_pickle", "alto flute"))}
    exports._write_arrays(tmp_path / "a.npz", tensors)
    arrays = np.load(tmp_path / "a.npz")
    assert set(arrays) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(arrays[name], tensor)


def test_what_exists_is_not_replaced(system, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="name a new folder"):
        export_onnx(system, tmp_path / "mine")


def test_an_export_that_differs_is_not_kept(system, tmp_path, monkeypatch):
    decoder = {"decoder": exports.graphs(system)["decoder"]}
    monkeypatch.setattr(exports, "graphs", lambda _: decoder)
    monkeypatch.setattr(exports, "_export", lambda *_: None)
    monkeypatch.setattr(exports, "_difference", lambda *_: float("nan"))
    with pytest.raises(TimbrelError, match=r"decoder\.onnx differs from torch by nan"):
        export_onnx(system, tmp_path / "bad")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(system, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"needs onnxscript .*timbrel\[onnx\]"):
        export_onnx(system, tmp_path / "new")


def test_the_example_transfers_a_file_without_torch(exported, tmp_path, monkeypatch):
    tree = ast.walk(ast.parse(EXAMPLE.read_text()))
    names = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    assert {"numpy", "onnxruntime", "soundfile"} <= names <= {"json", "sys", "numpy", "onnxruntime", "soundfile"}

    time = np.arange(11025) / 22050
    source = 0.1 * np.sin(2 * np.pi * np.array([[330], [440]]) * time)
    soundfile.write(tmp_path / "source.wav", source.T, 22050, subtype="FLOAT")
    results = []
    for to in ("violin", "piano", str(tmp_path / "source.wav")):
        monkeypatch.setattr(
            sys, "argv", ["", str(exported), str(tmp_path / "source.wav"), to, str(tmp_path / "to.wav")]
        )
        runpy.run_path(str(EXAMPLE))
        result, rate = soundfile.read(tmp_path / "to.wav")
        assert (len(result), rate) == (8000, 16000)
        results.append(result)
        assert np.sqrt(np.square(result).mean()) == pytest.approx(np.sqrt(np.square(source.mean(0)).mean()), rel=0.02)
    assert min(np.abs(results[0] - results[1]).max(), np.abs(results[0] - results[2]).max()) > 1e-3


def example(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["", *map(str, words)])
    runpy.run_path(str(EXAMPLE))


def test_the_example_takes_a_short_clip_and_says_what_it_cannot_do(exported, tmp_path, monkeypatch):
    tone, out = 0.1 * np.sin(np.arange(8000) / 6), tmp_path / "out.wav"
    for name, samples in (("tone", tone), ("short", tone[:400]), ("silent", 0 * tone), ("empty", tone[:0])):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000, subtype="FLOAT")
    example(monkeypatch, exported, tmp_path / "tone.wav", tmp_path / "short.wav", out)
    assert np.isfinite(soundfile.read(out)[0]).all()
    for name in ("silent", "empty"):
        with pytest.raises(SystemExit, match=rf"{name}\.wav is silent"):
            example(monkeypatch, exported, tmp_path / f"{name}.wav", "violin", out)
    slow = tmp_path / "slow"
    shutil.copytree(exported, slow)
    model = json.loads((slow / "model.json").read_text()) | {"sampling": {"steps": 20, "guidance": 1.0}}
    (slow / "model.json").write_text(json.dumps(model))
    with pytest.raises(SystemExit, match="is sampled in 20 steps"):
        example(monkeypatch, slow, tmp_path / "tone.wav", "violin", out)
