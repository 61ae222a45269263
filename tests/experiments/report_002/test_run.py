"""Report 002 computed anew: every part on the smallest budget, resumed, and what is refused."""

import csv
import dataclasses

import numpy as np
import pytest

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, StoreWriter, levelled
from timbrel.errors import InputError, MissingDependencyError
from timbrel.experiments.report_002 import budget, codecs
from timbrel.experiments.report_002 import parts as report_parts
from timbrel.experiments.report_002.run import reproduce

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

TINY = dataclasses.replace(
    budget.QUICK,
    takes=1,
    batch_size=2,
    generator_steps=2,
    squares_steps=2,
    codec_steps=1,
    codec_windows=1,
    checkpoints=2,
    square_widths=(8, 8),
    sampling_steps=1,
    changes={"widths": (16, 16), "picture_width": 4, "warmup_steps": 1},
)
CLASSES = {"sine wave": 440.0, "cricket": 4000.0, "bell": 800.0, "dog": 200.0}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three sounds of each class, one of them held out."""
    folder, mel, rng = tmp_path_factory.mktemp("data") / "sounds", MelConfig(), np.random.default_rng(0)
    writer = StoreWriter(folder, mel)
    for label, hz in CLASSES.items():
        for number in range(3):
            phase = 2 * np.pi * hz * rng.uniform(0.9, 1.1) * np.arange(mel.sample_rate) / mel.sample_rate
            levels, _ = levelled(np.sin(phase).astype(np.float32), mel)
            name = f"{label.replace(' ', '-')}-{number}"
            writer.add(Entry(name, label, "validation" if number == 2 else "train", len(levels), name), levels)
    return folder


def test_all_parts_and_a_second_call_computes_none(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(budget, "QUICK", TINY)
    monkeypatch.setattr(codecs, "compare", lambda *args, **kw: {"ours": {}})  # test_codecs.py has them
    out = tmp_path / "out"
    done = reproduce(out, quick=True, data=store, progress=False)
    assert list(done) == ["data", "known", "generator", "squares", "agreement", "codecs", "figures"]
    assert done["data"] | {"minutes": 0} == {"sounds": 12, "classes": 4, "minutes": 0}
    assert done["known"]["half"]["fd"] < done["known"]["noise"]["fd"]
    assert done["codecs"] | {"minutes": 0} == {"rows": {"ours": {}}, "minutes": 0}
    assert set(done["squares"]["after"]) == {"square", "wide"}
    assert [line["step"] for line in done["generator"]["validation"]] == [1, 2]
    assert all(line["validation/fd"] > 0 for line in done["generator"]["validation"])
    rows = list(csv.reader((out / "tables" / "table-3.1.csv").open()))
    assert [row[0] for row in rows[1:3]] == ["before training, square 64 x 64", "before training, wide 8 x 50"]
    assert len(rows) == 10
    page = (out / "index.html").read_text()
    for number in ("3.4", "3.7", "3.8", "4.1", "4.2"):
        assert (out / "figures" / f"figure-{number}.png").stat().st_size > 1000
        assert f"figures/figure-{number}.png" in page
    for files in done["figures"]["sounds"].values():
        assert all((out / file).exists() for file in files.values())
    assert f"the page is {out / 'index.html'}" in capsys.readouterr().out

    monkeypatch.setattr(report_parts, "fit", lambda *args: pytest.fail("trained again"))
    assert reproduce(out, quick=True, data=store, progress=False) == done
    monkeypatch.setattr(budget, "QUICK", dataclasses.replace(TINY, takes=2))
    with pytest.raises(InputError, match="has 0 classes of 4 training sounds"):
        reproduce(out, quick=True, data=store, progress=False)
    monkeypatch.setattr(budget, "QUICK", dataclasses.replace(TINY, batch_size=3))
    with pytest.raises(InputError, match="batch_size 2; now batch_size is 3"):
        reproduce(out, quick=True, data=store, progress=False)


def test_codecs_without_their_packages_are_left_out(store, tmp_path, monkeypatch):
    def missing(*args, **options):
        raise MissingDependencyError("diffusers is not installed")

    monkeypatch.setattr(codecs, "compare", missing)
    run = report_parts.Run(tmp_path, TINY, store, None, False)
    assert report_parts.parts(run)["codecs"](run) == {"left_out": "diffusers is not installed"}


def test_a_budget_is_one_of_three(tmp_path):
    with pytest.raises(InputError, match="quick is a budget of its own"):
        reproduce(tmp_path / "out", quick=True, budget="cpu")
    with pytest.raises(InputError, match="budget is 'tpu'"):
        reproduce(tmp_path / "out", budget="tpu")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    assert budget.GPU.generator_steps == 25_000  # the report's
