import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from timbrel.data.render import LIBRARIES
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.experiments.benchmark import beyond, rows, variations
from timbrel.experiments.benchmark import cases as rendered
from timbrel.experiments.benchmark.cases import SAMPLE_RATE, Case
from timbrel.experiments.benchmark.manifest import triplets
from timbrel.instruments import INSTRUMENTS, UNSEEN_INSTRUMENTS

SCORE = [Note(0.2 + 0.5 * i, 0.6 + 0.5 * i, 60 + i, 80) for i in range(12)]
plays = pytest.mark.skipif(
    shutil.which("timidity") is None or LIBRARIES["freepats"].path is None,
    reason="TiMidity++ or its library is not installed: apt-get install timidity freepats",
)


@pytest.mark.parametrize(
    "change", [variations.rubato, variations.legato, variations.dynamics, variations.swell, variations.loose]
)
def test_a_performance_keeps_its_notes_and_changes_something(change):
    one, same = (change(SCORE, np.random.default_rng(0)) for _ in range(2))
    assert one == same != SCORE
    assert [n.pitch for n in one] == [n.pitch for n in SCORE]
    assert all(abs(a.start_s - b.start_s) < 0.4 and a.end_s > a.start_s >= 0 for a, b in zip(one, SCORE, strict=True))


def test_legato_reaches_into_the_next_note():
    played = variations.legato([Note(0, 0.2, 60), Note(0, 0.2, 64), Note(0.5, 0.7, 62)], np.random.default_rng(0))
    assert [n.end_s for n in played] == pytest.approx([0.6, 0.6, 0.7])


def test_rubato_moves_time_forward_only():
    starts = [n.start_s for n in variations.rubato(SCORE, np.random.default_rng(3))]
    assert starts == sorted(starts)
    steps = np.diff(starts)
    assert 0.5 * 0.84 < steps.min() < 0.49
    assert 0.51 < steps.max() < 0.5 * 1.16


@pytest.mark.parametrize(
    "change", [variations.room, variations.noise, variations.telephone, variations.compression, variations.mp3]
)
def test_a_recording_keeps_time_and_length(change):
    x = np.zeros(2 * SAMPLE_RATE)
    t = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    for start in (0.3, 1.2):
        at = int(start * SAMPLE_RATE)
        x[at : at + len(t)] = np.sin(2 * np.pi * 700 * t) * np.exp(-8 * t)
    heard = change(x, np.random.default_rng(0))
    assert heard.shape == x.shape
    assert np.isfinite(heard).all()
    np.testing.assert_array_equal(heard, change(x, np.random.default_rng(0)))
    envelopes = [np.convolve(y**2, np.ones(441))[:: SAMPLE_RATE // 100] for y in (x, heard)]
    lag = np.correlate(envelopes[1], envelopes[0], "full").argmax() - (len(envelopes[0]) - 1)
    assert abs(lag) <= 1  # 10 ms
    assert np.abs(heard / np.abs(heard).max() - x / np.abs(x).max()).max() > 0.01


def test_questions_ask_what_they_say(tmp_path):
    cases = [Case(triplet, tmp_path) for triplet in triplets()[:12]]
    asked = beyond.questions(cases)
    assert len(asked["variations"]) == 12 * len(beyond.VARIATIONS)
    assert {q.source for q in asked["sources"]} == {INSTRUMENTS[name].program for name in beyond.SOURCES}
    assert {q.case.triplet.target for q in asked["sources"]} == {"piano", "guitar", "harp", "violin"}
    assert {q.target for q in asked["targets"]} == {unseen.program for unseen in UNSEEN_INSTRUMENTS.values()}
    assert {q.case.triplet.source for q in asked["targets"]} == {"piano", "guitar", "harp", "violin"}
    assert all(q.label is None for q in asked["targets"])


@plays
def test_doing_nothing_leaves_the_distance_and_the_truth_none(tmp_path, monkeypatch, capsys):
    case = Case(triplets()[0], tmp_path)  # piano to guitar
    monkeypatch.setattr(Case, "score", lambda self, excerpt=None: SCORE)
    monkeypatch.setattr(rendered, "load", lambda folder, limit: [case])
    monkeypatch.setattr(
        rows, "pipeline", lambda model: lambda x, **_: SimpleNamespace(waveform=x, sample_rate=SAMPLE_RATE)
    )
    some = ["clean", "all-style"]
    found = beyond.evaluate(
        tmp_path, tmp_path / "out", tables=["variations"], variations=some, workers=1, progress=False
    )
    assert list(found["variations"]) == some
    assert found["variations"]["clean"]["of_unchanged"]["mean"] == pytest.approx(1)
    assert found["variations"]["clean"]["instrument_accuracy"]["mean"] < 0.5
    assert found["variations"]["all-style"]["lsd_db"]["mean"] > 5
    assert json.loads((tmp_path / "out" / "beyond.json").read_text())["variations"]["clean"]["clips"] == 1
    assert "clean: as the benchmark" in capsys.readouterr().out
    true = beyond.Question("t", case, 24, 24, "guitar")
    assert beyond.answer(None, true)["lsd_db"] == pytest.approx(0, abs=1e-6)


def test_wrong_settings_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="per_direction is 21"):
        beyond.evaluate(tmp_path, tmp_path, per_direction=21)
    monkeypatch.setattr(rendered, "load", lambda folder, limit: [])
    with pytest.raises(InputError, match="variation 'hiss' is unknown; expected some of clean, "):
        beyond.evaluate(tmp_path, tmp_path, variations=["hiss"])
    with pytest.raises(InputError, match="variations are given, and tables targets; expected 'variations' among"):
        beyond.evaluate(tmp_path, tmp_path, tables=["targets"], variations=["clean"])
    monkeypatch.undo()
    with pytest.raises(InputError, match="lacks"):
        beyond.evaluate(tmp_path, tmp_path)
