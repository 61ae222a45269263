"""Report 003's tables with models of no sense, on notes that are sines: what is asked, kept, resumed and written."""

import csv
import json
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image

from timbrel import load_cross
from timbrel.audio.mel import MelConfig
from timbrel.audio.stereo import Scan
from timbrel.data.splits import assign_split
from timbrel.errors import InputError, ModelError
from timbrel.experiments.benchmark import cases
from timbrel.experiments.benchmark import rows as benchmark_rows
from timbrel.experiments.benchmark.cases import SAMPLE_RATE
from timbrel.experiments.benchmark.manifest import Excerpt
from timbrel.experiments.report_003 import clips as report_clips
from timbrel.experiments.report_003 import rows as report_rows
from timbrel.experiments.report_003 import run as report_run
from timbrel.experiments.report_003 import speed as report_speed
from timbrel.experiments.report_003.cells import ROWS
from timbrel.experiments.report_003.rows import Direction, Run
from timbrel.experiments.report_003.run import reproduce
from timbrel.experiments.run import keep_settings
from timbrel.metrics import notes
from timbrel.models.features import FeatureConfig, FeatureNetwork
from timbrel.pipelines.transfer import TransferPipeline, load
from timbrel.systems import folder as folders
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import save_system

counts_notes = pytest.mark.skipif(
    not notes.available(), reason="basic-pitch is not installed: pip install --no-deps basic-pitch"
)

draw = report_clips.draw
GRID = {"forward_steps": (300,), "starts": (20, 40)}
TAKEN = {"seconds": 3.0, "cpu_s": 2.0, "peak_bytes": 5e8, "threads": 1}


def sines(score, instrument, library, duration_s):
    """Instead of a synthesiser; a guitar's notes die away."""
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros_like(t)
    for note in score:
        on = (t >= note.start_s) & (t < note.end_s)
        fade = np.exp(-4 * (t - note.start_s)) if instrument == "guitar" else 1
        wave += on * fade * np.sin(2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * t)
    return (0.5 * wave / np.abs(wave).max())[None].astype(np.float32)


def passages(clips, seed):
    rng = np.random.default_rng(seed)

    def one():
        return {"score": "s", "notes": [[s, s + 0.3, int(rng.integers(60, 80)), 80] for s in np.arange(0.1, 2, 0.4)]}

    return {kind: [one() for _ in range(clips)] for kind in ("content", "reference")}


@pytest.fixture(scope="module")
def ear(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    network = FeatureNetwork(FeatureConfig(("guitar", "violin"), width=4, embedding=6))
    save_system(folder, FeaturesSystem(mel=MelConfig(), features=network))
    return folder


@pytest.fixture(scope="module")
def reproduced(tiny_singles, tiny_model_folder, ear, tmp_path_factory):
    """A finished run, how to go on with it, and its results."""
    out = tmp_path_factory.mktemp("reproduced") / "003"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_clips, "draw", passages)
        patch.setattr(report_run, "installed_libraries", lambda: ["a", "b"])
        patch.setattr(report_rows, "NOTE_SHARE", 5)
        patch.setattr(report_clips, "DURATION_S", 2.3)
        for module in (report_rows, report_run):
            patch.setattr(module, "SHOWN", 1)
        patch.setattr(cases, "play", sines)
        main = TransferPipeline(load(tiny_model_folder).model, {"guitar": torch.randn(5, 16)})
        patch.setattr(benchmark_rows, "pipeline", lambda model: main)
        for module in (report_run, report_speed):
            patch.setattr(module, "load_system", lambda *_: main.model)
        taken = count(1)
        patch.setattr(report_speed, "timed_transfer", lambda music, words: TAKEN | {"seconds": 3.0 * next(taken)})

        def run(**options):
            settings = {"models": tiny_singles, "weights": ear, "clips": 10, **GRID, "workers": 1, "progress": False}
            return reproduce(**({"out": out} | settings | options))

        yield out, run, run()


def direction(out, models, ear, name="guitar-to-violin"):
    return Direction(Run(out, str(models), weights=str(ear), clips=10), name)


def test_a_cell_is_what_the_transfer_pipeline_gives_but_for_levels(reproduced, tiny_singles, ear, monkeypatch):
    def one_gain(scan, start, length, rate):
        return np.full(length, 0.1 / scan.active_rms, np.float32)

    monkeypatch.setattr(Scan, "gain", one_gain)  # a passage's level goes around the model there
    out, _, _ = reproduced
    one = direction(out, tiny_singles, ear)
    assert (one.source, one.target, one.rate) == ("guitar", "violin", 16000)
    made = list(one.outputs("000-40"))  # no noise, so that nothing is left to chance
    pipe = load_cross("violin", start=40, forward_steps=0, equalise=False, models=tiny_singles)
    for source, waveform in zip(one.sources[:2], made[:2], strict=True):
        expected = pipe(source, "violin", sample_rate=16000).waveform[0]
        assert np.corrcoef(waveform, expected)[0, 1] > 0.99
        assert np.corrcoef(waveform, source)[0, 1] < 0.9  # and that is not for want of a change
    assert len(made) == 10


def test_noise_is_a_clips_own_whatever_the_batch(reproduced, tiny_singles, ear, monkeypatch):
    out, _, _ = reproduced
    one = direction(out, tiny_singles, ear)
    made = list(one.outputs("300-20"))
    monkeypatch.setattr(report_rows, "BATCH", 4)
    for a, b in zip(made, one.outputs("300-20"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert np.abs(made[0] - next(one.outputs("000-20"))).max() > 0.01


@counts_notes
def test_rows_whose_quality_is_known(reproduced):
    _, _, results = reproduced
    for name, found in results["directions"].items():
        assert list(found) == [*ROWS, "300-20", "300-40"]
        misdealt, answer = (found[row]["fad"]["plain"] for row in ("misdealt", "answer"))
        assert misdealt == pytest.approx(answer)  # of the same recordings
        assert found["misdealt"]["instrument"]["mean"] == found["answer"]["instrument"]["mean"]
        assert found["answer"]["note_f1_ratio"]["mean"] == 1, name
        assert found["misdealt"]["note_f1_ratio"]["mean"] < 0.5 < found["unchanged"]["note_f1_ratio"]["mean"]
        assert found["unchanged"]["fad"]["recordings"] == [10, 10]
        assert found["unchanged"]["fad"]["value"] > 3 * abs(found["answer"]["fad"]["value"])
        assert found["unchanged"]["note_f1_ratio"]["clips"] == 2
    speed = results["speed"]["cross-diffusion, start 0"]
    assert speed["seconds_a_second"] == pytest.approx(3 / 60)
    assert results["speed"]["the main method"]["parameters"] != speed["parameters"] > 0
    assert results["partial"]
    assert "10 recordings are too few" in results["warning"]
    assert results["settings"]["encoder"].startswith("timbrel-features:")


@counts_notes
def test_tables_maps_and_page(reproduced):
    out, _, results = reproduced
    with open(out / "violin-to-guitar.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == [*ROWS, "cross", "cross"]
    last = lines[-1]
    found = results["directions"]["violin-to-guitar"]["300-40"]
    assert (last["row"], last["forward_steps"], last["start"], last["clips"]) == ("cross", "300", "40", "10")
    assert float(last["kad"]) == pytest.approx(found["kad"]["value"], rel=1e-4)
    assert float(last["fad_error"]) == pytest.approx(found["fad"]["standard_error"], rel=1e-4)
    assert last["note_f1_ratio_clips"] == "2"
    with Image.open(out / "guitar-to-violin.png") as picture:
        assert picture.width > 1000
    page = (out / "index.html").read_text()
    assert page.count("data:audio/ogg") == 2 * 5  # of each direction: source, start 20, equalised, main method, answer
    assert "PARTIAL" in page
    said = (out / "tables.md").read_text()
    assert "guitar to violin (table 5.1)" in said
    assert "| FAD | start 20 | start 40 |" in said
    assert json.loads((out / "results.json").read_text())["starts"] == [20, 40]


def test_it_goes_on_where_it_stopped(reproduced, monkeypatch):
    out, run, results = reproduced
    asked = []
    measure = Direction.measure
    monkeypatch.setattr(Direction, "measure", lambda self, row: asked.append((self.target, row)) or measure(self, row))
    monkeypatch.setattr(cases, "play", None)
    row = out / "violin-to-guitar" / "rows" / "300-20.json"
    before = row.read_bytes()
    row.unlink()
    again = run()
    assert asked == [("guitar", "300-20")]
    assert row.read_bytes() == before
    assert json.dumps(again) == json.dumps(results)


def test_other_settings_are_refused_before_anything_is_touched(reproduced):
    out, run, _ = reproduced
    files = sorted(out.rglob("*"))
    with pytest.raises(InputError, match="was made with clips 10; now clips is 11"):
        run(clips=11)
    with pytest.raises(InputError, match="guitar-to-violin was made with precision fp32; now precision is bf16"):
        run(precision="bf16")
    assert sorted(out.rglob("*")) == files


def test_damaged_settings_are_said(tmp_path):
    (tmp_path / "settings.json").write_text('{"clips"')
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        keep_settings(tmp_path, {"clips": 10})


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"starts": (50,)}, InputError, "start is 50; expected 0 to 49"),
        ({"forward_steps": (0, 501)}, InputError, "forward_steps is 501; expected 0 .* to 500"),
        ({"clips": 9}, InputError, "clips is 9; expected at least 10"),
        ({"precision": "half"}, InputError, "'half'; expected 'fp32' or 'bf16'"),
        ({"encoder": "vggish", "weights": None}, ModelError, "vggish has no weights"),
        ({"models": "none"}, ModelError, "none is not a folder"),
    ],
)
def test_bad_input_is_said_before_there_is_work(reproduced, tmp_path, options, error, said):
    _, run, _ = reproduced
    with pytest.raises(error, match=said):
        run(out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_missing_model_names_the_instrument(reproduced, tmp_path, monkeypatch):
    _, run, _ = reproduced
    monkeypatch.setattr(folders, "PRETRAINED", tmp_path)
    with pytest.raises(ModelError, match="no model of 'violin' or 'guitar', only of nothing"):
        run(out=tmp_path / "new", models=None)


def test_a_file_is_no_folder(reproduced, tmp_path):
    _, run, _ = reproduced
    (tmp_path / "new").write_text("")
    with pytest.raises(InputError, match="new is a file; expected a folder"):
        run(out=tmp_path / "new")


def test_passages_are_of_scores_that_training_keeps_for_validation(monkeypatch):
    names = [f"bach/{i}" for i in range(400)]
    monkeypatch.setattr(report_clips, "corpus_scores", lambda composers: names)
    monkeypatch.setattr(Excerpt, "notes", lambda self: [])
    monkeypatch.setattr(
        report_clips, "places", lambda score, span, rest, rng: (Excerpt(score, float(i), 0, span) for i in range(3))
    )
    drawn = draw(20, seed=0)
    content, reference = ([passage["score"] for passage in drawn[kind]] for kind in ("content", "reference"))
    assert not set(content) & set(reference)
    assert {assign_split(name, 0.06, 0) for name in content + reference} == {"validation"}
    assert len(content) == 20
    counts = [content.count(name) for name in set(content)]
    assert max(counts) - min(counts) <= 1  # every score in turn
    assert draw(20, seed=0) == drawn != draw(20, seed=1)
    with pytest.raises(InputError, match=r"clips is 500; the scores kept for validation give .* for the set content"):
        draw(500, seed=0)
