import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from timbrel.errors import InputError
from timbrel.experiments.benchmark import evaluate as benchmark
from timbrel.experiments.benchmark import longer, measures, rows
from timbrel.experiments.benchmark.cases import SAMPLE_RATE, Case, load
from timbrel.experiments.benchmark.manifest import triplets
from timbrel.experiments.benchmark.measures import measure
from timbrel.metrics import notes

NOTES = [[0.25 + 0.5 * k, 0.7 + 0.5 * k, 60 + (5 * k) % 17, 80] for k in range(7)]


def tone(colour, notes=NOTES, seconds=4.0):
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(t)
    for start, end, pitch, _ in notes:
        age = t[(t >= start) & (t < end)] - start
        hz = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 6)[:, None]
        partials = np.sin(2 * np.pi * hz * age) / np.arange(1, 6)[:, None] ** colour
        sound[(t >= start) & (t < end)] += partials.sum(0) * np.exp(-3 * age)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Two triplets of a benchmark whose sounds are made up, four seconds each."""
    folder = tmp_path_factory.mktemp("benchmark")
    backwards = [[a, b, p, v] for (a, b, _, v), (_, _, p, _) in zip(NOTES, NOTES[::-1], strict=True)]
    made = [Case(t, folder) for t in triplets()[:2]]
    (folder / "notes").mkdir()
    for k, case in enumerate(made):
        (folder / "notes" / f"{case.triplet.content.digest}.json").write_text(json.dumps(NOTES))
        sounds = {"content": tone(0.5), "target": tone(2 + k), "style": tone(2 + k, backwards)}
        for kind, sound in {**sounds, "other-style": tone(1, backwards)}.items():
            case.path(kind).parent.mkdir(exist_ok=True)
            soundfile.write(case.path(kind), sound, SAMPLE_RATE)
    return made


def perfect(case, **_):
    return case.read("target")


def test_the_truth_scores_full_marks_and_the_rest_what_it_should(cases):
    for case in cases:
        truth, nothing, piece = (measure(case, case.read(kind)) for kind in ("target", "content", "style"))
        assert truth["lsd_db"] == truth["mfcc_distance"] == 0
        assert [truth[name] for name in ("detail", "modulation_4_9", "modulation_9_20")] == pytest.approx([1, 1, 1])
        assert truth["chroma"] == pytest.approx(1)
        assert nothing["mfcc_distance"] > piece["mfcc_distance"] > 0
        assert nothing["chroma"] > 0.9 > piece["chroma"]
        assert nothing["onset_f1"] > 0.5


def test_every_measure_has_a_column_and_every_column_a_measure(cases):
    clip = measure(cases[0], cases[0].read("content"))
    measured = {*clip, *measures.against_truth(clip, clip), *measures.left_out()} - {"clip_is_instrument"}
    columns = {column.name for column in measures.COLUMNS if not column.name.endswith("_ratio")}
    assert measured == columns - (set() if notes.available() else {"both"})


def test_a_model_is_measured_by_clip_by_name_and_by_a_strange_clip(cases, tmp_path, monkeypatch, capsys):
    """The truth and some noise for a clip, silence for a name, and the source for a strange clip."""
    asked = []
    noise = 1e-4 * np.random.default_rng(0).standard_normal((1, 4 * SAMPLE_RATE)).astype(np.float32)

    def pipe(source, *, to, seed):
        asked.append(to)
        case = next(c for c in cases if c.path("content") == source)
        answers = {case.path("style"): "target", case.path("other-style"): "content"}
        sound = case.read(answers[to]) + noise if to in answers else np.zeros_like(noise)
        return SimpleNamespace(waveform=sound, sample_rate=SAMPLE_RATE)

    monkeypatch.setattr(rows, "pipeline", lambda model: pipe)
    names = ["unchanged", "model-clip", "model-name", "model-other-style"]
    options: dict[str, Any] = {"model": "fake", "rows": names, "limit": 2, "workers": 1, "progress": False}
    results = benchmark.evaluate(cases[0].folder, tmp_path, **options)
    assert cases[0].triplet.target in asked
    assert list(results["rows"]) == ["target", *names]
    clip, name = results["rows"]["model-clip"], results["rows"]["model-name"]
    assert results["rows"]["target"]["lsd_db"] == {"mean": 0, "low": 0, "high": 0, "clips": 2}
    assert clip["onset_f1_ratio"]["mean"] == pytest.approx(1, abs=0.1)
    assert name["onset_f1"]["mean"] == 0
    assert name["lsd_db"]["mean"] > 10
    heard = results["style_is_heard"]
    assert heard["ratio"]["low"] > 1.1
    assert heard["mfcc_distance_right_library"]["mean"] == clip["mfcc_distance"]["mean"]
    assert results == json.loads((tmp_path / "results.json").read_text())
    assert set(json.loads((tmp_path / "clips.json").read_text())["model-clip"]) == {c.id for c in cases}
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert page.count("data:audio/ogg;base64,") == 8
    printed = capsys.readouterr().out
    assert "PARTIAL: only 2 triplets" in printed
    assert "the model, by clip" in printed
    kept = cases[0].folder / "cache" / f"unchanged-{measures.measured_by()}"
    assert {path.stem for path in kept.iterdir()} == {case.id for case in cases}


def test_a_folder_of_outputs_is_judged_whatever_its_format(cases, tmp_path):
    for case in cases:
        soundfile.write(tmp_path / f"{case.id}.flac", case.read("target").T[:-50, :], SAMPLE_RATE)
    options = {"outputs": tmp_path, "limit": 2, "workers": 1, "progress": False}
    results = benchmark.evaluate(cases[0].folder, tmp_path / "out", rows=["outputs"], **options)
    assert results["model"] is None
    assert results["rows"]["outputs"]["lsd_db"]["mean"] < 0.5
    (tmp_path / f"{cases[1].id}.flac").unlink()
    with pytest.raises(InputError, match=f"no output for {cases[1].id}"):
        benchmark.evaluate(cases[0].folder, tmp_path / "out", rows=["outputs"], **options)


def test_what_is_remembered_is_not_measured_again(cases, monkeypatch):
    row = rows.Row("remembered", "", perfect, kept=True)
    first = benchmark._measure(row, cases, 1, False)
    monkeypatch.setattr(measures, "measure", lambda *_: pytest.fail("measured again"))
    assert benchmark._measure(row, cases, 1, False) == first
    monkeypatch.setattr(measures, "measured_by", lambda: "other measures")
    with pytest.raises(pytest.fail.Exception):
        benchmark._measure(row, cases, 1, False)


def test_other_measures_are_needed_where_others_can_be_taken(monkeypatch):
    before = measures.measured_by.__wrapped__()
    monkeypatch.setattr(measures, "left_out", lambda: {"something": "else"})
    assert measures.measured_by.__wrapped__() != before


def test_both_at_once_needs_both():
    truth = {"note_f1": 0.5}
    both = partial(measures.against_truth, truth=truth)
    assert both({"note_f1": 0.41, "clip_is_instrument": 1.0})["both"] == 1
    assert both({"note_f1": 0.39, "clip_is_instrument": 1.0})["both"] == 0
    assert both({"note_f1": 0.41, "clip_is_instrument": 0.0})["both"] == 0
    assert "both" not in both({"clip_is_instrument": 1.0})


def test_a_seam_is_heard_as_one(cases, monkeypatch):
    def pipe(source, *, to, sample_rate, seed):
        """The truth in noise, much louder for a moment where windows join, if they do."""
        sound = cases[0].read("target")
        at = slice(int(1.9 * SAMPLE_RATE), int(2.1 * SAMPLE_RATE))
        noise = 0.02 * np.random.default_rng(0).standard_normal(sound.shape).astype(np.float32)
        calls.append(1)
        noise[:, at] *= 10 if glitch and len(calls) % 2 else 1
        return SimpleNamespace(waveform=sound + noise, sample_rate=SAMPLE_RATE)

    monkeypatch.setattr(rows, "pipeline", lambda model: pipe)
    monkeypatch.setattr(longer, "_joins", lambda pipe, duration_s: [(1.9, 2.1)])
    glitch = False
    calls: list[int] = []
    assert longer.seams(None, cases[:1])["unjoined"].mean == pytest.approx(1)
    glitch, calls = True, []
    heard = longer.seams(None, cases[:1])
    assert heard["unjoined"].mean > 1.2
    assert heard["elsewhere"].mean > 1.1
    monkeypatch.setattr(longer, "_joins", lambda pipe, duration_s: [])
    assert longer.seams(None, cases[:1]) is None


def test_joins_are_where_the_pipeline_fades():
    mel, codec = SimpleNamespace(frame_rate=43.0), SimpleNamespace(factor=4)
    model = SimpleNamespace(codec=codec, mel=mel, window=256, overlap=16)
    joins = longer._joins(SimpleNamespace(model=model), 60.0)
    assert joins[0] == pytest.approx((240 * 4 / 43, 256 * 4 / 43))
    assert joins[1][0] == pytest.approx(2 * joins[0][0])
    assert longer._joins(SimpleNamespace(model=model), 8.0) == []


def test_mistakes_are_explained(cases, tmp_path):
    folder = cases[0].folder
    with pytest.raises(InputError, match="timbrel evaluate build"):
        load(folder)
    with pytest.raises(InputError, match="at least 1"):
        load(folder, limit=0)
    with pytest.raises(InputError, match="'nonsense' is unknown"):
        benchmark.evaluate(folder, tmp_path, rows=["nonsense"], limit=2)
    with pytest.raises(InputError, match=r"expected 4\.00 s"):
        measure(cases[0], cases[0].read("target")[:, : 3 * SAMPLE_RATE])


def test_speed_is_of_a_process_of_its_own(tmp_path):
    taken = longer.timed(["duet", "--help"])
    assert taken["seconds"] > 0.5 * taken["cpu_s"] > 0
    assert 20e6 < taken["peak_bytes"] < 3e9
    with pytest.raises(InputError, match=r"timbrel transfer nothing.wav .* failed.*nothing.wav"):
        longer.timed(["transfer", "nothing.wav", "--to", "violin"])
