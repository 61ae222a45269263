"""The examples, and every piece of Python in the README and docs/, run as written."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import timbrel
from timbrel import checkpoint
from timbrel.audio.mel import MelConfig
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.denoiser import DenoiserConfig
from timbrel.models.style import StyleConfig

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SNIPPETS = [
    pytest.param(block, id=f"{page.stem}-{k}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for k, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where models ship; if none does, a folder with an untrained one that does all the same steps."""
    if (checkpoint.PRETRAINED / checkpoint.DEFAULT_MODEL / "config.json").exists():
        return checkpoint.PRETRAINED
    torch.manual_seed(0)
    model = checkpoint.DefaultModel.build(
        MelConfig(),
        MelAutoencoder(AutoencoderConfig(width=8, num_blocks=1)),
        StyleConfig(width=16, num_blocks=1),
        DenoiserConfig(token_width=16, width=16, dilations=(1,), num_heads=2),
        checkpoint.ScheduleConfig(),
    )
    model.instruments = {name: torch.randn(8, 16) for name in ("piano", "violin")}
    folder = tmp_path_factory.mktemp("pretrained")
    checkpoint.save_transfer_model(folder / checkpoint.DEFAULT_MODEL, model)
    return folder


@pytest.fixture
def place(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the examples beside it and a default model."""
    monkeypatch.setattr(checkpoint, "PRETRAINED", shelf)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "own"))
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, script: str, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", [script, *args])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def test_the_recording_is_short_and_full_of_sound():
    waveform, sample_rate = timbrel.read_audio(EXAMPLES / "piano.flac")
    assert (waveform.shape[0], sample_rate) == (2, 44100)
    assert 8 <= waveform.shape[1] / sample_rate <= 12
    assert (EXAMPLES / "piano.flac").stat().st_size < 700e3
    assert 0.3 < np.abs(waveform).max() < 0.99
    assert 0.7 < np.corrcoef(waveform)[0, 1] < 0.9999, "stereo, and the same piano on both sides"


def test_transfer(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "transfer.py", "examples/piano.flac", "violin", "result.wav")
    source, result = (timbrel.read_audio(path)[0] for path in ("examples/piano.flac", "result.wav"))
    assert source.shape == result.shape
    assert np.abs(source - result).max() > 0.01
    assert "violin" in capsys.readouterr().out


def test_own_instrument(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "own_instrument.py")
    assert "(1, 132300) samples" in capsys.readouterr().out


def test_measure(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "measure.py", "examples/piano.flac", "examples/piano.flac")
    figures = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert {name: float(value) for name, value in figures.items()} == {"lsd_db": 0, "mfcc_distance": 0, "detail": 1}


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_in_the_documentation_runs(snippet: str, place: Path):
    names: dict[str, object] = {}
    exec(compile(snippet, "documentation", "exec"), names)
    assert names.keys() - {"__builtins__"}
    for made in place.glob("*.wav"):
        assert np.isfinite(timbrel.read_audio(made)[0]).all()


def test_the_readme_has_python():
    assert any("timbrel.load" in block.values[0] for block in SNIPPETS)
