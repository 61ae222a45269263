import functools
import json
from pathlib import Path

import numpy as np
import pytest

from timbrel.audio.mel import MelConfig
from timbrel.data.sounds import kits, make
from timbrel.data.sounds.make import SoundsConfig, find_makers, make_sounds
from timbrel.data.sounds.maker import Maker
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.sounds.signals import SIGNALS
from timbrel.data.store import MelStore
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=8000, n_fft=512, hop_length=256, n_mels=16)
CLASSES = ("click", "sine wave", "white noise", "brown noise")
SIGNALS_ONLY = SoundsConfig(num_sounds=2, sources=("signals",), validation_share=0.5)


def small_ontology(tmp_path: Path) -> Ontology:
    rows = [{"id": name, "name": name, "child_ids": []} for name in CLASSES]
    (tmp_path / "small.json").write_text(json.dumps([{"id": "r", "name": "sound", "child_ids": CLASSES}, *rows]))
    return Ontology.load(tmp_path / "small.json")


@pytest.fixture
def made(tmp_path):
    def run(name: str, config: SoundsConfig = SIGNALS_ONLY, workers: int = 1):
        ontology = small_ontology(tmp_path)
        return make_sounds(config, tmp_path / name, ontology=ontology, mel=MEL, workers=workers, progress=False)

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*") if p.name[0] != "."}


def test_every_class_has_as_many_sounds_each_with_its_source_and_licence(made, tmp_path):
    report = made("out")
    assert report.counts == dict.fromkeys(sorted(CLASSES), 2)
    entries = MelStore(tmp_path / "out").entries
    assert [e.split for e in entries if e.label == "click"] == ["train", "validation"]
    assert len({e.source for e in entries}) == 8
    assert all(e.licence and e.library == "signals" for e in entries)
    assert all(e.frames * MEL.hop_length / MEL.sample_rate < 11 for e in entries)


def test_the_same_seed_makes_the_same_bytes_in_any_number_of_processes(made, tmp_path):
    made("one")
    made("two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    made("three", SoundsConfig(num_sounds=2, sources=("signals",), validation_share=0.5, seed=1))
    assert content(tmp_path / "one") != content(tmp_path / "three")


def test_a_larger_number_goes_on_and_other_settings_are_refused(made, tmp_path):
    made("out", SoundsConfig(num_sounds=1, sources=("signals",), validation_share=0.5))
    first = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "mels").iterdir()}
    made("out")
    assert len(first) == 4
    assert all(p.stat().st_mtime_ns == time for p, time in first.items())
    made("whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    with pytest.raises(InputError, match="only num_sounds may change"):
        made("out", SoundsConfig(num_sounds=2, sources=("signals",), seed=3))


def test_sounds_of_one_recording_are_of_one_split():
    def silent(rng, rate):
        raise AssertionError

    makers = [Maker("dog", "kit", "CC0", silent, recording=str(k)) for k in range(10)]
    jobs = [make._job(SoundsConfig(validation_share=0.2), "dog", k, makers) for k in range(20)]
    sides = {
        split: {m.recording for j in jobs if j.split == split for m in j.makers} for split in ("train", "validation")
    }
    assert sides["train"].isdisjoint(sides["validation"])
    assert len(sides["train"] | sides["validation"]) == 10
    assert [j.split for j in jobs].count("validation") == 4
    alone = [make._job(SoundsConfig(validation_share=0.2), "dog", k, makers[:1]) for k in range(5)]
    assert {j.split for j in alone} == {"train"}


def test_what_is_not_installed_is_left_out_with_a_note(tmp_path):
    config = SoundsConfig(sources=("drumkits", "sonic-pi", "signals"), drumkits="/nowhere", sonic_pi="/nowhere")
    makers, missing = find_makers(config, Ontology.load())
    assert set(makers) == set(SIGNALS)
    assert any(note.startswith("drumkits (/nowhere") and "apt-get install hydrogen-data" in note for note in missing)
    assert any(note.startswith("sonic-pi (/nowhere") for note in missing)
    (without,) = (note for note in missing if "no source has" in note)
    assert "violin" in without
    assert "sine wave" not in without


def test_wrong_values_are_refused(tmp_path):
    for config, message in (
        (SoundsConfig(num_sounds=0), "num_sounds is 0"),
        (SoundsConfig(sources=("radio",)), "expected some of soundfonts"),
        (SoundsConfig(validation_share=1.0), r"validation_share is 1\.0"),
        (SoundsConfig(sources=("samples",)), "none has a sound"),
        (SoundsConfig(libraries=("freepats",)), "held out"),
    ):
        with pytest.raises(InputError, match=message):
            make_sounds(config, tmp_path / "out", mel=MEL)
    assert not (tmp_path / "out").exists()


def test_a_silent_maker_is_drawn_anew(tmp_path):
    silent = Maker("dog", "a", "CC0", lambda rng, rate: np.zeros(4000))
    loud = Maker("dog", "b", "CC0", lambda rng, rate: np.full(4000, 0.5))
    make.StoreWriter(tmp_path, MEL)
    for number in range(6):
        make._make(0, MEL, str(tmp_path), make._Job(f"dog-{number}", "train", (silent, loud)))
    assert {e.library for e in MelStore(tmp_path).entries} == {"b"}
    broken = Maker("dog", "c", "CC0", functools.partial(kits._once, tmp_path / "none.wav"))
    for number in range(6, 9):
        make._make(0, MEL, str(tmp_path), make._Job(f"dog-{number}", "train", (broken, loud)))
    with pytest.raises(InputError, match="ten sounds of dog"):
        make._make(0, MEL, str(tmp_path), make._Job("dog-9", "train", (silent,)))
