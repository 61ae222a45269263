"""Report 004 computed anew: every part on the smallest budget, resumed, and what is refused."""

import csv
import dataclasses
import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from timbrel.data.paint.labels import NAMES, find_label
from timbrel.data.paint.procedural import draw_picture
from timbrel.data.paint.store import save_music, save_pictures
from timbrel.errors import InputError
from timbrel.experiments.report_004 import budget, parts, run
from timbrel.experiments.report_004.outside import SCORES
from timbrel.experiments.report_004.page import CONTROLS, measures, outside
from timbrel.experiments.report_004.run import painter_row, reproduce
from timbrel.metrics import picture_label
from timbrel.metrics.spaces import ClapClipSpace, PaintSpace, SpaceNetwork, save_space

for package in ("accelerate", "tensorboard", "sklearn", "librosa", "mir_eval", "music21"):
    pytest.importorskip(package)

TINY = dataclasses.replace(budget.QUICK, clips=2, epochs=(1, 1), movie_s=1.2)
LABELS = ["American traditional folklore", "Heavy metal"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four pictures and four clips of each of two labels and split."""
    folder = tmp_path_factory.mktemp("data") / "set"
    rows = [(NAMES.index(name), split) for name in LABELS for split in (0, 1, 2) for _ in range(4)]
    save_pictures(
        folder, ((draw_picture(find_label(NAMES[k]).pictures, n), k, split) for n, (k, split) in enumerate(rows))
    )
    torch.manual_seed(0)
    save_music(folder, torch.randn(len(rows), 3, 392), *zip(*rows, strict=True))
    return folder


def tones(label, work, sample_rate):
    """Two seconds of a pulse that is another for each label and work."""
    time = np.arange(2 * sample_rate) / sample_rate
    tone = np.sin(2 * np.pi * (300 + 40 * work + 500 * (label == "Heavy metal")) * time) * (time % 0.5 < 0.1)
    return f"{label} {work}", tone.astype(np.float32)


@pytest.fixture
def small(monkeypatch, tmp_path_factory):
    """The smallest budget, a space of no sense, and music without a synthesiser."""
    space = tmp_path_factory.mktemp("space") / "space.safetensors"
    torch.manual_seed(0)
    save_space(space, SpaceNetwork())
    monkeypatch.setattr(run, "SPACE", space)
    monkeypatch.setattr(budget, "QUICK", TINY)
    monkeypatch.setattr(picture_label, "SEEDS", range(10_000, 10_006))
    monkeypatch.setattr(run, "find_library", lambda name: None)
    monkeypatch.setattr(parts, "render_label", tones)
    monkeypatch.setattr(parts, "render_outside", lambda rate: [("horses", tones("", 3, rate)[1])])


def test_all_parts_and_a_second_call_computes_none(data, tiny_painter, tmp_path, small, monkeypatch, capsys):
    out, options = tmp_path / "out", {"quick": True, "data": data, "model": str(tiny_painter), "workers": 1}
    done = reproduce(out, progress=False, **options)
    assert done["data"]["labels"] == LABELS
    assert len(set(done["music"]["works"])) == 4
    for row in (done["painted"], *(row for name, row in done["controls"].items() if name != "minutes")):
        assert 0 <= row["ais"]["low"] <= row["ais"]["mean"] <= row["ais"]["high"] <= 100
        assert row["giils"].keys() == row["accuracies"].keys() == set(LABELS)
    assert all(done["controls"][name]["fid"] > 0 for name in ("true pictures", "shuffled pixels"))
    assert done["experiment-1"]["best_epoch"] == 1
    assert len(done["outside"]["called"]["horses"]) == 4
    assert done["movies"]["minute"]["cpu_s"] > 0
    for name in ("painted", "experiment-2", "outside"):
        with Image.open(out / "figures" / f"{name}.png") as image:
            assert image.width > 1000
        assert f"figures/{name}.png" in (out / "index.html").read_text()
    table = list(csv.reader((out / "tables" / "measures.csv").open()))
    assert [row[0] for row in table[1:4]] == [tiny_painter.name, "experiment-1", "experiment-2"]
    assert {row[0] for row in csv.reader((out / "tables" / "labels.csv").open())} == {"label", *LABELS}
    assert f"the page is {out / 'index.html'}" in capsys.readouterr().out

    monkeypatch.setattr(parts, "fit", lambda *args: pytest.fail("trained again"))
    assert reproduce(out, progress=False, **options) == done
    monkeypatch.setattr(budget, "QUICK", dataclasses.replace(TINY, clips=3))
    with pytest.raises(InputError, match="clips 2; now clips is 3"):
        reproduce(out, progress=False, **options)
    assert json.loads((out / "settings.json").read_text())["space"].startswith("timbrel-paint:")


def test_what_does_not_fit_is_refused(data, tmp_path, small, monkeypatch):
    with pytest.raises(InputError, match="give one of them"):
        reproduce(tmp_path, quick=True, data=data, paintings=tmp_path)
    monkeypatch.setattr(budget, "QUICK", dataclasses.replace(TINY, clips=5))
    with pytest.raises(InputError, match="has 0 labels with 5 pictures"):
        reproduce(tmp_path, quick=True, data=data)


def test_pictures_of_another_size_than_the_painters_are_refused_at_once(data, tiny_painter, tmp_path, small):
    folder = tmp_path / "large"
    shutil.copytree(data, folder)
    pictures = [
        (np.zeros((256, 256, 3), np.uint8), NAMES.index(name), split) for name in LABELS for split in [0, 1, 2] * 2
    ]
    save_pictures(folder, pictures)
    with pytest.raises(InputError, match="256 pixels a side; expected 128: make it with --size 128"):
        reproduce(tmp_path / "out", quick=True, data=folder)
    assert not (tmp_path / "out" / "parts").exists()


def test_music_that_the_painter_does_not_hear_is_refused_at_once(data, tmp_path, small, monkeypatch):
    folder = tmp_path / "otherwise"
    shutil.copytree(data, folder)
    rows = [(NAMES.index(name), split) for name in LABELS for split in (0, 1, 2) for _ in range(4)]
    save_music(folder, torch.randn(len(rows), 3, 7), *zip(*rows, strict=True))
    loads, load = [], parts.load_pictures
    monkeypatch.setattr(parts, "load_pictures", lambda place: loads.append(place) or load(place))
    with pytest.raises(InputError, match="features of 7; expected 392: make it with the model's audio encoder"):
        reproduce(tmp_path / "out", quick=True, data=folder)
    assert loads == [folder], "the set is loaded once"


@pytest.mark.parametrize("name", ["experiment-1", *CONTROLS])
def test_a_model_that_is_called_like_another_row_has_its_own(name):
    controls = {control: {"fid": 2.0} for control in CONTROLS}
    done: dict[str, Any] = {"painted": {"fid": 1.0}, "experiment-1": {"measured": {"fid": 3.0}}, "controls": controls}
    rows = measures(done, painter_row(f"runs/{name}")).rows
    assert [row[0] for row in rows] == [f"{name} (the model)", "experiment-1", *CONTROLS]
    assert [row[1] for row in rows[:2]] == ["1.00", "3.00"]


def test_the_space_of_clap_and_clip_is_fitted_once_on_training_works(
    data, tiny_clap, tiny_clip_vision, tmp_path, small
):
    where = ClapClipSpace(tiny_clap, tiny_clip_vision)
    of_run = parts.Run(tmp_path, TINY, data, None, None, [], lambda: where, 1, progress=False)
    parts.parts(of_run)["music"](of_run)
    assert of_run.music.shape == (4, 12)
    own = {path.name for path in (tmp_path / "music" / "training").iterdir()}
    assert len(own) == 2 * parts.MAP_CLIPS
    fitted = where.map
    where.map = None
    again = parts.Run(tmp_path, TINY, data, None, None, [], lambda: where, 1, progress=False)
    np.testing.assert_allclose(again.music, of_run.music)
    np.testing.assert_array_equal(where.map, fitted)
    with pytest.raises(InputError, match="expected timbrel-paint alone"):
        reproduce(tmp_path, quick=True, data=data, clap="x")


def test_larger_pictures_are_measured_at_128(tmp_path):
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, 1::2] = 200
    save_pictures(tmp_path, [(stripes, 0, 0)])
    of_run = parts.Run(tmp_path, TINY, tmp_path, None, None, [], lambda: PaintSpace(run.SPACE), 1, progress=False)
    assert of_run.pictures.pixels.shape == (1, 128, 128, 3)
    assert abs(of_run.pictures.pixels.float().mean() - 100) < 8  # WebP's loss apart


def test_the_judges_calls_are_counted():
    assert outside({"horses": ["b", "a", "a", "c"]}).rows == [["horses", "a (2), b (1), c (1)"]]


@pytest.mark.parametrize("kind", SCORES)
def test_music_from_outside_fills_30_s(kind):
    composed = SCORES[kind](np.random.default_rng(0))
    ends = [note.end_s for part in composed for note in part.notes]
    assert 25 < max(ends) <= 32
    assert all(0 <= note.pitch <= 127 and note.end_s > note.start_s for part in composed for note in part.notes)
