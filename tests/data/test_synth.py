import itertools
import json
import random
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile

from timbrel.audio.mel import MelConfig
from timbrel.data import synth
from timbrel.data.render import LIBRARIES, write_midi
from timbrel.data.scores import Note, compose
from timbrel.data.store import MelStore
from timbrel.data.synth import SynthConfig, synthesise, upper_voice, vary
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=64)
plays = pytest.mark.skipif(
    shutil.which("timidity") is None or LIBRARIES["timgm6mb"].path is None,
    reason="TiMidity++ or its library is not installed: apt-get install timidity timgm6mb-soundfont",
)
SMALL: dict[str, Any] = {
    "num_groups": 1,
    "duration_s": 6.0,
    "libraries": ("timgm6mb",),
    "num_others": 1,
    "composers": (),
}


def test_a_performance_varies_the_score_within_its_bounds():
    notes = compose(1, 30)
    one, same, other = (vary(notes, random.Random(seed), 12) for seed in (0, 0, 1))
    assert one == same != other
    for performance in (one, other):
        assert all(0 <= n.start_s < 11.9 and n.end_s > n.start_s for n in performance)
        assert all(21 <= n.pitch <= 108 and 20 <= n.velocity <= 127 for n in performance)


def test_performances_lie_in_every_register_from_the_bass_to_the_top():
    notes = compose(1, 30)
    spans = [(min(pitches), max(pitches)) for seed in range(120) if (pitches := _pitches(notes, seed))]
    for low, high in synth.REGISTERS:
        assert any(low <= least and most <= high for least, most in spans)
    assert min(least for least, _ in spans) < 34  # the left hand of a piano, the bass
    assert max(most for _, most in spans) > 96
    assert sum(least >= 55 and most <= 88 for least, most in spans) > 20  # the middle most often


def _pitches(notes, seed):
    return [n.pitch for n in vary(notes, random.Random(seed), 12)]


def test_the_upper_voice_is_one_note_at_a_time_and_the_highest():
    chord = [Note(0, 2, 60), Note(0.01, 2, 64), Note(0, 2, 67)]
    tune = [*chord, Note(0.5, 1, 50), Note(1, 3, 72), Note(4, 5, 55)]
    assert upper_voice(tune) == [Note(0, 1, 67), Note(1, 3, 72), Note(4, 5, 55)]
    composed = upper_voice(compose(3, 20))
    assert all(a.end_s <= b.start_s + 0.03 for a, b in itertools.pairwise(composed))


def test_under_the_pedal_notes_ring_until_it_changes():
    notes = [Note(0.2, 0.4, 60), Note(1.4, 3.2, 62), Note(2.1, 2.2, 64)]
    assert [n.end_s for n in synth._with_pedal(notes, 1.5)] == [1.5, 3.2, 3.0]


def test_what_is_too_deep_is_played_by_relatives():
    notes = [Note(k, k + 1, pitch) for k, pitch in enumerate((30, 40, 50, 60))]
    played = synth._voices("violin", notes)
    assert {name: [n.pitch for n in part] for name, part in played.items()} == {
        "violin": [60], "viola": [50], "cello": [40], "contrabass": [30]
    }  # fmt: skip
    assert synth._voices("violin", notes[3:]) == {"violin": notes[3:]}
    assert synth._voices("violin", notes[:1]) == {"contrabass": notes[:1]}
    assert synth._voices("piano", notes) == {"piano": notes}


@plays
def test_a_group_is_one_piece_on_many_instruments_and_a_run_goes_on(tmp_path):
    config = SynthConfig(**SMALL, composed_share=1.0, virtual_share=1.0)
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
    more = replace(config, num_groups=2)
    assert synthesise(more, tmp_path / "one", mel=MEL, workers=1, progress=False) == 14
    for name, time in made.items():
        assert (tmp_path / "one" / "mels" / name).stat().st_mtime_ns == time

    synthesise(config, tmp_path / "again", mel=MEL, workers=1, progress=False)
    again = MelStore(tmp_path / "again")
    assert again.entries == store.entries
    for entry in store.entries:
        np.testing.assert_array_equal(again.levels(entry), store.levels(entry))

    with pytest.raises(InputError, match=r"made with seed 0; now seed is 1"):
        synthesise(replace(config, seed=1), tmp_path / "one", mel=MEL, progress=False)
    (tmp_path / "one" / "synth.json").unlink()
    with pytest.raises(InputError, match="not the settings that it was made with"):
        synthesise(config, tmp_path / "one", mel=MEL, progress=False)


def _harp(tmp_path):
    (tmp_path / "mine" / "harp").mkdir(parents=True)
    for octave in range(1, 8):
        tone = np.sin(2 * np.pi * 27.5 * 2**octave * np.arange(16000) / 16000) * np.exp(-np.arange(16000) / 8000)
        soundfile.write(tmp_path / "mine" / "harp" / f"A{octave}.wav", tone, 16000)
    return str(tmp_path / "mine")


def test_recorded_notes_play_in_their_share_of_the_cases(tmp_path):
    config = SynthConfig(libraries=("timgm6mb",), samples=(_harp(tmp_path),), recorded_share=0.8)
    drawn = [synth._draw_library(config, "harp", [Note(0, 1, 60)], random.Random(seed)) for seed in range(300)]
    assert drawn.count("timgm6mb") == pytest.approx(60, abs=20)
    never = replace(config, recorded_share=0.0)
    assert synth._draw_library(never, "harp", [Note(0, 1, 60)], random.Random(0)) == "timgm6mb"


@pytest.fixture
def performances(tmp_path):
    """A violin 40 cents sharp: 12 notes, one a second."""
    (tmp_path / "real" / "violin").mkdir(parents=True)
    pitches = [76, 74, 72, 71, 76, 79, 77, 72, 74, 76, 71, 69]
    hz = [440 * 2 ** ((pitch - 69 + 0.4) / 12) for pitch in pitches]
    t = np.arange(int(0.8 * 16000)) / 16000
    notes = [sum(np.sin(2 * np.pi * k * f * t) / k for k in (1, 2, 3)) * np.exp(-2 * t) for f in hz]
    sound = np.concatenate([np.append(0.3 * note, np.zeros(16000 - len(note))) for note in notes])
    soundfile.write(tmp_path / "real" / "violin" / "anna_air.wav", sound, 16000)
    rows = "".join(f"{k},{k + 0.8},{pitch}\n" for k, pitch in enumerate(pitches))
    (tmp_path / "real" / "violin" / "anna_air.csv").write_text("onset_s,offset_s,midi_pitch\n" + rows)
    return str(tmp_path / "real")


def test_what_plays_along_with_a_recording_is_in_its_tuning_and_keeps_its_time(performances, monkeypatch):
    config = SynthConfig(duration_s=11.0)
    monkeypatch.setattr(synth, "_draw_library", lambda *_: "none")
    monkeypatch.setattr(synth, "render", lambda notes, *_, sample_rate, duration_s, **__: _clicks(notes, duration_s))
    passage = synth.passages(performances, 11.0)[0]
    for seed in range(4):
        recording, take = synth._performed(config, passage, 16000, random.Random(seed))
        clicks = synth.bend(synth._play(config, take, "piano", "none", 16000, random.Random(0)), take.cents, 16000)
        assert recording.shape == clicks.shape == (11 * 16000,)
        heard = np.abs(recording).reshape(-1, 160).max(axis=1) > 0.05
        begins = np.flatnonzero(heard[1:] & ~heard[:-1]) + 1  # 10 ms
        at = np.flatnonzero((np.abs(clicks) > 0.3) & (np.abs(np.roll(clicks, 1)) <= 0.3)) / 160
        for begin in begins[1:]:
            assert np.abs(at - begin).min() < 3


def _clicks(notes, duration_s):
    out = np.zeros(round(duration_s * 16000), np.float32)
    for note in notes:
        out[round(note.start_s * 16000) : round(note.start_s * 16000) + 40] = 1
    return out


@plays
def test_each_passage_of_a_performance_makes_groups_and_a_run_goes_on(tmp_path, performances):
    config = SynthConfig(
        **SMALL, composed_share=1.0, performances=performances, performance_takes=2, degraded_per_group=0
    )
    assert synthesise(config, tmp_path / "out", mel=MEL, workers=1, progress=False) == 6 + 4 * 7
    store = MelStore(tmp_path / "out")
    groups = {e.group for e in store.entries}
    assert groups == {"g00000", "p00000", "p00001", "p00002", "p00003"}
    real = [e for e in store.entries if e.library == "performance:anna"]
    assert [(e.group, e.label, e.source) for e in real] == [
        (f"p{k:05d}", "violin", "violin/anna_air") for k in range(4)
    ]
    assert len({e.split for e in store.entries if e.group != "g00000"}) == 1  # one recording, one side

    manifest = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    kept, lost = manifest[:-3], [json.loads(row)["id"] for row in manifest[-3:]]
    before = {name: (tmp_path / "out" / "mels" / f"{name}.npy").read_bytes() for name in lost}
    (tmp_path / "out" / "manifest.jsonl").write_text("\n".join(kept) + "\n")
    again = replace(config, performances=str(tmp_path / "moved"))
    (tmp_path / "real").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="performances real; now performances is moved"):
        synthesise(again, tmp_path / "out", mel=MEL, workers=1, progress=False)
    (tmp_path / "moved").rename(tmp_path / "real")
    assert synthesise(config, tmp_path / "out", mel=MEL, workers=1, progress=False) == 34
    assert {name: (tmp_path / "out" / "mels" / f"{name}.npy").read_bytes() for name in lost} == before


@plays
def test_a_folder_of_samples_is_a_library(tmp_path, monkeypatch):
    config = SynthConfig(**(SMALL | {"num_groups": 6}), composed_share=1.0, samples=(_harp(tmp_path),))
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


def test_relatives_come_from_the_same_library_and_are_left_out_with_it():
    both, deep = SynthConfig(libraries=("generaluser", "timgm6mb")), [Note(0.0, 1.0, 45, 80)]
    drawn = {synth._draw_library(both, "trumpet", deep, random.Random(seed)) for seed in range(20)}
    assert drawn == {"timgm6mb"}  # GeneralUser's trombone has samples of the held-out library
    assert "trumpet" not in synth._instruments(SynthConfig(libraries=("generaluser",)))


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
        ({"recorded_share": -0.1}, "recorded_share is -0.1"),
        ({"virtual_share": 2}, "virtual_share is 2"),
        ({"performance_takes": 0}, "performance_takes is 0"),
        ({"num_others": 50}, "num_others is 50"),
        ({"num_others": 34}, "at most 33"),  # without an invented instrument there is one more
        ({"performances": "none"}, "none holds no recording"),
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
