import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from timbrel.audio.mel import MelConfig
from timbrel.data import synth
from timbrel.data.render import LIBRARIES, write_midi
from timbrel.data.scores import Note, compose
from timbrel.data.store import MelStore
from timbrel.data.synth import SynthConfig, degrade, synthesise, vary
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=64)
plays = pytest.mark.skipif(
    shutil.which("timidity") is None or LIBRARIES["timgm6mb"].path is None,
    reason="TiMidity++ or its library is not installed: apt-get install timidity timgm6mb-soundfont",
)
SMALL = {"num_groups": 1, "duration_s": 6.0, "libraries": ("timgm6mb",), "num_others": 1, "composers": ()}


def test_a_performance_varies_the_score_within_its_bounds():
    notes = compose(1, 30)
    one, same, other = (vary(notes, random.Random(seed), 12) for seed in (0, 0, 1))
    assert one == same != other
    for performance in (one, other):
        assert all(0 <= n.start_s < 11.9 and n.end_s > n.start_s for n in performance)
        assert all(36 <= n.pitch <= 96 and 20 <= n.velocity <= 127 for n in performance)


@pytest.mark.parametrize("seed", range(4))
def test_degrading_keeps_the_time(seed):
    rng = np.random.default_rng(0)
    clean = np.zeros(16000, np.float32)
    for start in (3000, 9000):
        clean[start : start + 3000] = 0.3 * rng.standard_normal(3000) * np.exp(-np.arange(3000) / 600)
    heard = degrade(clean, 16000, seed)
    assert heard.shape == clean.shape
    assert heard.dtype == np.float32
    assert np.abs(heard).max() < 1.1  # a codec overshoots
    np.testing.assert_array_equal(heard, degrade(clean, 16000, seed))
    energies = [(x.reshape(-1, 100) ** 2).mean(axis=1) for x in (clean, heard)]
    lags = [np.dot(energies[0][20:-20], energies[1][20 + k : 140 + k]) for k in range(-20, 21)]
    assert abs(int(np.argmax(lags)) - 20) <= 2


@plays
def test_a_group_is_one_piece_on_many_instruments_and_a_run_goes_on(tmp_path):
    config = SynthConfig(**SMALL, composed_share=1.0)
    assert synthesise(config, tmp_path / "one", mel=MEL, workers=1, progress=False) == 7
    store = MelStore(tmp_path / "one")
    labels = [entry.label for entry in store.entries]
    assert labels[:4] == ["piano", "guitar", "harp", "violin"]
    assert [entry.degraded for entry in store.entries] == [False] * 6 + [True]
    assert labels[5].startswith("virtual-")
    assert len({(e.group, e.frames, e.source, e.split) for e in store.entries}) == 1
    # the same notes: loud where the others are
    loudness = [store.mel(entry).amax(dim=0).numpy() for entry in store.entries[:4]]
    assert min(np.corrcoef(loudness)[0]) > 0.3

    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "one" / "mels").iterdir()}
    more = SynthConfig(**(SMALL | {"num_groups": 2}), composed_share=1.0)
    assert synthesise(more, tmp_path / "one", mel=MEL, workers=1, progress=False) == 14
    for name, time in made.items():
        assert (tmp_path / "one" / "mels" / name).stat().st_mtime_ns == time

    synthesise(config, tmp_path / "again", mel=MEL, workers=1, progress=False)
    again = MelStore(tmp_path / "again")
    assert again.entries == store.entries
    for entry in store.entries:
        np.testing.assert_array_equal(again.levels(entry), store.levels(entry))

    with pytest.raises(InputError, match=r"made with seed 0; now seed is 1"):
        synthesise(SynthConfig(**SMALL, composed_share=1.0, seed=1), tmp_path / "one", mel=MEL, progress=False)
    (tmp_path / "one" / "synth.json").unlink()
    with pytest.raises(InputError, match="not the settings that it was made with"):
        synthesise(config, tmp_path / "one", mel=MEL, progress=False)


@plays
def test_a_folder_of_samples_is_a_library(tmp_path, monkeypatch):
    (tmp_path / "mine" / "harp").mkdir(parents=True)
    for octave in range(1, 8):
        tone = np.sin(2 * np.pi * 27.5 * 2**octave * np.arange(16000) / 16000) * np.exp(-np.arange(16000) / 8000)
        soundfile.write(tmp_path / "mine" / "harp" / f"A{octave}.wav", tone, 16000)
    config = SynthConfig(**(SMALL | {"num_groups": 6}), composed_share=1.0, samples=(str(tmp_path / "mine"),))
    synthesise(config, tmp_path / "out", mel=MEL, workers=1, progress=False)
    before = (tmp_path / "out" / "synth.json").read_bytes()
    monkeypatch.chdir(tmp_path)
    synthesise(replace(config, samples=("mine",)), "out", mel=MEL, workers=1, progress=False)
    assert (tmp_path / "out" / "synth.json").read_bytes() == before  # wherever the folder is
    entries = [e for e in MelStore(tmp_path / "out").entries if not e.degraded]
    assert {e.library for e in entries if e.label == "harp"} == {"mine", "timgm6mb"}
    assert {e.library for e in entries if e.label == "piano"} == {"timgm6mb"}


def test_what_a_library_shares_with_the_held_out_one_is_never_drawn():
    config = SynthConfig(libraries=("generaluser",))
    assert "bassoon" not in synth._instruments(config)
    assert "bassoon" in synth._instruments(SynthConfig(libraries=("generaluser", "timgm6mb")))
    notes = [Note(0.0, 1.0, 60, 80)]
    both = SynthConfig(libraries=("generaluser", "timgm6mb"))
    assert {synth._draw_library(both, "bassoon", notes, random.Random(seed)) for seed in range(20)} == {"timgm6mb"}


def test_libraries_that_share_samples_count_as_one():
    config = SynthConfig(libraries=("fluidr3", "musescore", "timgm6mb", "csound"))
    notes = [Note(0, 1, 60)]
    drawn = [synth._draw_library(config, "harp", notes, random.Random(seed)) for seed in range(400)]
    assert 150 < drawn.count("fluidr3") + drawn.count("musescore") < 250
    assert set(drawn) == set(config.libraries)
    assert "musescore" not in {synth._draw_library(config, "piano", notes, random.Random(seed)) for seed in range(100)}


def test_a_users_own_scores_are_named_from_their_folder(tmp_path):
    for name in ("byrd/pavan.mid", "tune.mid"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_midi(tmp_path / name, [Note(0, 1, 60)], 0)
    pieces = synth._pieces(SynthConfig(composers=(), scores=str(tmp_path)))
    assert [(p.name, p.composer) for p in pieces] == [("byrd/pavan.mid", "byrd"), ("tune.mid", tmp_path.name)]


@pytest.mark.parametrize("folder", ["haydn", "W. A. Mozart/sonatas", "Händel"])
def test_held_out_composers_among_a_users_own_scores_are_refused(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(synth, "find_library", lambda name: None)
    (tmp_path / "scores" / folder).mkdir(parents=True)
    write_midi(tmp_path / "scores" / folder / "piece.mid", [Note(0, 1, 60)], 0)
    with pytest.raises(InputError, match="held out for the benchmark"):
        synthesise(SynthConfig(composers=(), scores=str(tmp_path / "scores")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"libraries": ("freepats",)}, "'freepats' is held out"),
        ({"libraries": ("casio",)}, "'casio' is unknown"),
        ({"libraries": ()}, "libraries is"),
        ({"composers": ("haydn",)}, "'haydn' is held out"),
        ({"composers": ("palestrina",)}, "not on the licence allow-list"),
        ({"num_groups": 0}, "num_groups is 0"),
        ({"duration_s": 0.5}, "duration_s is 0.5"),
        ({"composed_share": 1.5}, "composed_share is 1.5"),
        ({"num_others": 50}, "num_others is 50"),
        ({"scores": "none"}, "none holds no scores"),
        ({"samples": ("none",)}, "none holds no samples"),
        ({"samples": ("my/freepats/piano-set",)}, "held out"),
        ({"samples": ("my/fluidr3",)}, "there is another"),
        ({"samples": ("a/mine", "b/mine")}, "there is another"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_made(tmp_path, changes, said, monkeypatch):
    if "casio" not in json.dumps(changes):
        monkeypatch.setattr(synth, "find_library", lambda name: None)
    with pytest.raises(InputError, match=said):
        synthesise(SynthConfig(**({"composers": ()} | changes)), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
