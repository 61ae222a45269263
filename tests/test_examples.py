"""The examples, and every piece of Python in the README and docs/, run as written."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import timbrel
from timbrel.systems import folder as folders

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SNIPPETS = [
    pytest.param(block, id=f"{page.stem}-{k}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for k, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.fixture
def place(
    tiny_model_folder: Path,
    tiny_generator: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder to work in, with the examples in it; where no model ships, and for one that makes sound, untrained ones
    stand in."""
    (tmp_path / "runs" / "generate").mkdir(parents=True)
    (tmp_path / "runs" / "generate" / "model").symlink_to(tiny_generator)
    if not (folders.PRETRAINED / folders.DEFAULT_MODEL / "config.json").exists():
        (tmp_path / folders.DEFAULT_MODEL).symlink_to(tiny_model_folder)
        monkeypatch.setattr(folders, "PRETRAINED", tmp_path)
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
    assert 0.7 < np.asarray(np.corrcoef(waveform))[0, 1] < 0.9999, "stereo, and the same piano on both sides"


def test_transfer(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "transfer.py", "examples/piano.flac", "violin", "result.wav")
    result, sample_rate = timbrel.read_audio("result.wav")
    source, _ = timbrel.read_audio("examples/piano.flac", sample_rate=sample_rate)
    assert source.shape == result.shape
    assert np.abs(source - result).max() > 0.01
    assert "violin" in capsys.readouterr().out


def test_own_instrument(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "own_instrument.py")
    assert capsys.readouterr().out.startswith(f"(1, {3 * timbrel.load().sample_rate}) samples")


def test_measure(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "measure.py", "examples/piano.flac", "examples/piano.flac")
    figures = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert {name: float(value) for name, value in figures.items()} == {"lsd_db": 0, "mfcc_distance": 0, "detail": 1}


def test_the_notebook(place: Path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "transfer.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": EXAMPLES}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs if "data" in output]
    assert any("<audio" in data.get("text/html", "") for data in shown)
    assert any("image/png" in data for data in shown)
    (chroma,) = (output["text"] for output in outputs if output.get("name") == "stdout")
    assert 0.5 < float(chroma.removeprefix("chroma ")) <= 1


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_in_the_documentation_runs(snippet: str, place: Path):
    names: dict[str, object] = {}
    exec(compile(snippet, "documentation", "exec"), names)
    assert names.keys() - {"__builtins__"}
    for made in place.glob("*.wav"):
        assert np.isfinite(timbrel.read_audio(made)[0]).all()


def test_the_readme_has_python():
    assert any("timbrel.load" in str(block.values[0]) for block in SNIPPETS)
