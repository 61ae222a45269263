import dataclasses
import json

import numpy as np
import pytest
import torch

from timbrel.data.sounds.ontology import Ontology
from timbrel.data.store import Entry, StoreWriter, levelled
from timbrel.errors import InputError
from timbrel.experiments.generate import evaluate as module
from timbrel.experiments.generate import rows
from timbrel.experiments.generate.evaluate import evaluate
from timbrel.experiments.generate.summary import class_table, summarise
from timbrel.metrics import heard
from timbrel.models.listener import ListenerConfig
from timbrel.pipelines import generate as pipelines
from timbrel.systems.alone import ListenerSystem
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.generate import GenerateSystem

CLASSES = {"violin": 440.0, "cello": 110.0, "whistle": 2000.0}


@pytest.fixture
def store(tmp_path, tiny_generator):
    """Five sounds of each class, one of them held out."""
    rng, mel = np.random.default_rng(0), load_system(tiny_generator, GenerateSystem).mel
    writer = StoreWriter(tmp_path / "sounds", mel)
    for label, hz in CLASSES.items():
        for number in range(5):
            phase = 2 * np.pi * hz * rng.uniform(0.9, 1.1) * np.arange(2 * mel.sample_rate) / mel.sample_rate
            levels, _ = levelled(sum(np.sin(k * phase) / k for k in (1, 2, 3)).astype(np.float32), mel)
            split = "validation" if number == 4 else "train"
            writer.add(Entry(f"{label}-{number}", label, split, len(levels), f"{label}-{number}"), levels)
    return tmp_path / "sounds"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without musicnn, and a short training of the judge."""
    monkeypatch.setattr(heard, "available", lambda: False)
    train = rows.train_classifier
    monkeypatch.setattr(rows, "train_classifier", lambda *args, **kw: train(*args, epochs=150, **kw))
    rows._judge.cache_clear()


def test_a_model_is_measured_and_a_second_run_measures_nothing(store, tiny_generator, tmp_path, monkeypatch, capsys):
    options = {"model": tiny_generator, "takes": 2, "steps": 1, "workers": 1, "progress": False}
    results = evaluate(store, tmp_path / "out", **options)
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())
    made, real = results["rows"]["generated"], results["rows"]["real"]
    assert real["accuracy"]["mean"] == 1  # three tones
    assert made["accuracy"]["mean"] < 1  # a model of random weights
    assert (made["sounds"], real["sounds"], results["rows"]["silence"]["sounds"]) == (6, 3, 3)
    assert {name.partition(":")[0] for name in made["diversity"]} == {"timbrel-sounds", "timbrel-features"}
    assert results["left_out"] == {"heard_as": heard.MISSING}
    takes = sorted(path.name for path in (tmp_path / "out" / "takes").iterdir())
    assert takes[:3] == ["cello-1.flac", "cello-2.flac", "violin-1.flac"]
    assert "held-out real sounds (3)" in capsys.readouterr().out

    monkeypatch.setattr(module, "measure", lambda *job: pytest.fail(f"{job} again"))
    assert evaluate(store, tmp_path / "out", **options) == results
    with pytest.raises(InputError, match="seed 0; now seed is 1"):
        evaluate(store, tmp_path / "out", **options | {"seed": 1})


def test_texts_that_training_never_draws_and_those_that_the_model_refuses(store, tiny_generator, tmp_path):
    run = module.Run(tmp_path, str(store), str(tiny_generator), None, (), 2, 1, None, 0)
    rows.train_judge(rows.MelStore(store), list(CLASSES)).save(tmp_path / "classifier.safetensors")
    judge = rows._judge(run)
    ontology = Ontology.load()
    assert judge._prompts("generated", "violin") == ["violin", "violin"]
    unseen = {f"the sound of a {alias}" for alias in ontology.find("violin").aliases_held_out}
    assert unseen.issuperset(judge._prompts("aliases", "violin"))
    assert len(judge._prompts("wordings", "violin")) == 2
    assert unseen.isdisjoint(judge._prompts("wordings", "violin"))
    [refused], [mel] = judge._made(["xqzzk"]), judge._made_mels(["xqzzk"])
    assert not refused.any()
    assert (mel == judge.mel.floor_db).all()


def test_a_run_on_mels_judges_what_the_pipeline_inverts(store, tiny_generator, tmp_path, monkeypatch):
    inverted = []
    monkeypatch.setattr(
        pipelines, "invert_mel", lambda mel, *_, length, **kw: inverted.append(mel) or torch.ones(1, 1, length)
    )
    run = module.Run(tmp_path, str(store), str(tiny_generator), None, (), 2, 3, None, 7, on_mels=True)
    rows.train_judge(rows.MelStore(store), list(CLASSES)).save(tmp_path / "classifier.safetensors")
    judge = rows._judge(run)
    list(judge._made(["violin", "a cello"]))
    mels = [mel for _, mel in judge.sounds("generated", "violin")]
    np.testing.assert_allclose(mels[0], inverted[0][0, 0].numpy(), atol=1e-3)
    assert np.abs(mels[1] - mels[0]).max() > 1
    [(waveform, noise)] = judge.sounds("noise", "violin")
    assert waveform is None
    assert noise.shape == mels[0].shape
    measured = rows.measure(run, "real", "violin")
    assert [list(sound["embeddings"]) for sound in measured] == [[judge.classifier.name]]


def test_a_listener_of_ones_own_chooses_among_candidates(store, tiny_generator, tmp_path):
    mel = load_system(tiny_generator, GenerateSystem).mel
    config = ListenerConfig(tuple(CLASSES), mel.n_mels, 32, (8,), 8, mel.floor_db)
    for name in ("first", "second"):
        save_system(tmp_path / name, ListenerSystem.build(mel, config))
    options = {"model": tiny_generator, "takes": 2, "steps": 1, "on_mels": True, "workers": 1, "progress": False}
    run = module.Run(tmp_path / "out", str(store), str(tiny_generator), None, (), 2, 1, None, 0, True, 2)
    module._check(dataclasses.replace(run, listener=str(tmp_path / "first")))
    assert rows.Judge(dataclasses.replace(run, listener=str(tmp_path / "first"))).pipe.listener is not None
    with pytest.raises(InputError, match="now listener is"):
        evaluate(store, tmp_path / "out", candidates=2, listener=tmp_path / "second", **options)


def test_what_would_be_ignored_is_refused(store, tiny_generator, tmp_path):
    for options, said in (
        ({"encoder": "vggish", "on_mels": True}, "nothing to hear"),
        ({"weights": "w"}, "no encoder"),
    ):
        with pytest.raises(InputError, match=said):
            module.evaluate(store, tmp_path / "out", **options)
    mel = load_system(tiny_generator, GenerateSystem).mel
    config = ListenerConfig(tuple(CLASSES), mel.n_mels, 32, (8,), 8, mel.floor_db)
    save_system(tmp_path / "listener", ListenerSystem.build(mel, config))
    options = {"model": tiny_generator, "takes": 2, "candidates": 1, "listener": tmp_path / "listener"}
    with pytest.raises(InputError, match="of each take there is one candidate: leave one out"):
        module.evaluate(store, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def sound(taken_for, at, nearest_db=30.0):
    return {"taken_for": [taken_for], "embeddings": {"ear": [at]}, "nearest_db": nearest_db}


def test_a_class_counts_as_one_and_copies_are_counted():
    rng = np.random.default_rng(0)
    names = ("violin", "cello")
    real = {label: [sound(label, rng.normal(size=2).tolist()) for _ in range(5)] for label in names}
    made = {
        "violin": [sound("violin", rng.normal(size=2).tolist(), 4.0) for _ in range(6)],
        "cello": [sound("violin", [0.0, 0.0]), sound("harp", [0.0, 0.0])],
    }
    copied = {label: [sound(label, [0.0, 0.0], 5.0)] for label in names}
    results = summarise(
        dict.fromkeys((rows.REFERENCE, *rows.ROWS), real) | {"generated": made, "copies": copied}, Ontology.load()
    )
    row = results["rows"]["generated"]
    assert row["accuracy"]["mean"] == results["relative_accuracy"]["mean"] == 0.5
    assert row["parent_accuracy"]["mean"] == 0.75  # a violin is a bowed string instrument, too
    assert (row["copies"]["mean"], results["rows"]["real"]["copies"]["mean"]) == (0.5, 0.0)
    assert results["classes_reached"] == 1
    assert results["classes"]["cello"]["diversity[ear]"] == 0
    assert results["rows"]["half"]["fad"]["ear"]["plain"] == pytest.approx(0, abs=1e-9)
    assert class_table(results).rows[0][0] == "cello"  # the worst


def test_errors(store, tiny_generator, tmp_path):
    with pytest.raises(InputError, match="takes is 1"):
        evaluate(store, tmp_path / "out", model=tiny_generator, takes=1)
    with pytest.raises(InputError, match="has 0 classes of 6 training sounds"):
        evaluate(store, tmp_path / "out", model=tiny_generator, takes=3)
    assert not (tmp_path / "out").exists()
