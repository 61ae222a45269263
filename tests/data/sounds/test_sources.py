"""The sources of sounds: which classes they have, and that their sounds are what the class says."""

import functools
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from timbrel.data.render import LIBRARIES, presets, render
from timbrel.data.scores import Note
from timbrel.data.sounds import kits, midi, speech
from timbrel.data.sounds.maker import LONGEST_S, played, rhythm
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.sounds.signals import SIGNALS, signal_makers
from timbrel.errors import InputError, MissingDependencyError
from timbrel.instruments import UNSEEN_INSTRUMENTS

RATE = 22050
ONTOLOGY = Ontology.load()
plays = pytest.mark.skipif(
    shutil.which("timidity") is None or LIBRARIES["timgm6mb"].path is None,
    reason="TiMidity++ or its library is not installed: apt-get install timidity timgm6mb-soundfont",
)
speaks = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no speech: apt-get install espeak-ng")


def centroid_hz(waveform: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((power * np.fft.rfftfreq(len(waveform), 1 / RATE)).sum() / power.sum())


@pytest.mark.parametrize("label", SIGNALS)
def test_signals_are_finite_vary_and_repeat_by_their_seed(label):
    one, same, other = (SIGNALS[label](np.random.default_rng(seed), 2 * RATE, RATE) for seed in (0, 0, 1))
    assert label in ONTOLOGY.leaves()
    assert one.shape == other.shape == (2 * RATE,)
    assert np.isfinite(one).all()
    assert np.abs(one).max() > 0.01
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_makers_of_signals_choose_a_length():
    makers = {m.label: m for m in signal_makers()}
    assert set(makers) == set(SIGNALS)
    made = [makers[label].make(np.random.default_rng(0), RATE) for label in ("bell", "sine wave")]
    assert all(m.dtype == np.float32 and 3.9 * RATE < len(m) < (LONGEST_S + 1) * RATE for m in made)


def test_signals_are_what_they_are_called():
    def made(label, seed=0):
        return SIGNALS[label](np.random.default_rng(seed), 4 * RATE, RATE)

    peaks = [np.sort(np.abs(np.fft.rfft(made("sine wave", s))) ** 2)[::-1] for s in range(4)]
    assert min(p[:400].sum() / p.sum() for p in peaks) > 0.95
    assert centroid_hz(made("brown noise")) < centroid_hz(made("pink noise")) < centroid_hz(made("white noise"))
    assert centroid_hz(made("thunder")) < 500
    assert centroid_hz(made("cricket")) > 1500
    sweep = made("sine sweep")
    assert max(abs(centroid_hz(part) - centroid_hz(sweep[:RATE])) for part in np.split(sweep, 4)) > 500


def test_a_rhythm_stays_within_the_longest_sound():
    for seed in range(50):
        hits = rhythm(np.random.default_rng(seed))
        assert hits
        assert all(0 <= t < LONGEST_S and 0 < s <= 1 for t, s in hits)


def test_hits_choose_a_layer_by_their_strength():
    soft, loud = np.full(10, 0.5, np.float32), np.ones(10, np.float32)
    out = played([(0.0, 0.1), (0.01, 0.9)], [soft, loud], np.random.default_rng(0), 1000)
    assert len(out) == 20
    assert out[:10].max() < 0.5 * 0.1**0.5 + 1e-6
    assert out[10:].min() > 0.8 * 0.9**0.5


def test_kits_are_read_with_their_layers(tmp_path):
    kit = tmp_path / "Audiophob"
    kit.mkdir()
    for k, level in enumerate((0.9, 0.1)):
        soundfile.write(kit / f"s{k}.wav", np.full(2000, level), RATE)
    layer = "<layer><filename>s{0}.wav</filename><min>{1}</min></layer>"
    pieces = {"Snare (wood)": layer.format(0, 0.5) + layer.format(1, 0.0), "Hi-Hat Open": layer.format(0, 0), "??": ""}
    rows = "".join(f"<instrument><name>{n}</name>{layers}</instrument>" for n, layers in pieces.items())
    (kit / "drumkit.xml").write_text(f'<drumkit_info xmlns="http://x">{rows}</drumkit_info>')
    makers = list(kits.kit_makers(str(tmp_path)))
    assert [(m.label, m.library, m.licence) for m in makers] == [
        ("snare drum", "hydrogen Audiophob", "CC0"),
        ("hi-hat", "hydrogen Audiophob", "CC0"),
    ]
    layers = cast("functools.partial[Any]", makers[0].make).args[0]
    assert [path.name for path in layers] == ["s1.wav", "s0.wav"]  # from soft to loud
    assert np.abs(makers[0].make(np.random.default_rng(0), RATE)).max() > 0.05
    (tmp_path / "My kit").mkdir()
    (tmp_path / "My kit" / "drumkit.xml").write_text((kit / "drumkit.xml").read_text())
    soundfile.write(tmp_path / "My kit" / "s0.wav", np.ones(99), RATE)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "drumkit.xml").write_text("<drumkit_info><instrument>")
    with pytest.warns(UserWarning, match=r"torn/drumkit\.xml is left out: it is no XML"):
        licences = {m.library: m.licence for m in kits.kit_makers(str(tmp_path))}
    assert licences == {"hydrogen Audiophob": "CC0", "hydrogen My kit": "unknown: see its source"}
    with pytest.raises(MissingDependencyError, match="apt-get install hydrogen-data"):
        list(kits.kit_makers(str(kit)))


def test_files_are_known_by_their_names(tmp_path):
    names = {"bd_808": "bass drum", "loop_amen": "drum beat", "tabla_na": "tabla", "ambi_drone": "drone", "xyz": None}
    for name in names:
        soundfile.write(tmp_path / f"{name}.flac", np.sin(np.arange(3000) / 9), RATE)
    makers = {Path(str(m.recording)).name: m for m in kits.file_makers(str(tmp_path))}
    assert {name: m.label for name, m in makers.items()} == {n: label for n, label in names.items() if label}
    assert {m.licence for m in makers.values()} == {"unknown: see its source"}
    loop = makers["loop_amen"].make(np.random.default_rng(0), RATE)
    assert len(loop) >= 4 * RATE


def test_every_class_of_a_source_is_a_leaf():
    leaves = set(ONTOLOGY.leaves())
    tables = (midi.MORE_INSTRUMENTS, midi.EFFECTS, midi.DRUMS, speech.VOICES, SIGNALS)
    assert {label for table in tables for label in table} <= leaves
    assert {row[1] for row in (*kits.PIECES, *kits.FILES)} <= leaves
    assert {midi._label(name) for name in midi.INSTRUMENTS} <= leaves
    assert not leaves & set(UNSEEN_INSTRUMENTS)  # those stay unheard


@plays
def test_a_soundfont_plays_its_classes():
    makers = {m.label: m for m in midi.soundfont_makers("timgm6mb")}
    assert len(makers) > 80
    assert "rain" not in makers  # this soundfont has no banks of variations
    for label in ("violin", "music box", "snare drum", "drum beat", "helicopter"):
        made = makers[label].make(np.random.default_rng(0), RATE)
        assert np.abs(made).max() > 0.004, label
    with pytest.raises(InputError, match="held out"):
        list(midi.soundfont_makers("freepats"))


@plays
def test_drums_are_played_by_their_kit():
    assert {(0, 0), (128, 0), (128, 25)} <= presets("timgm6mb")
    notes = [Note(0.05, 0.4, 36, 110)], [Note(0.05, 0.4, 42, 110)]
    kick, hat = (render(n, 0, "timgm6mb", sample_rate=RATE, drums=True) for n in notes)
    assert centroid_hz(kick) < 500
    assert centroid_hz(hat) > 3000


def test_recorded_notes_play_where_they_are_of_a_class(tmp_path):
    for name in ("violin", "theremin", "horn"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "A4.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE), RATE)
    (maker,) = midi.sample_makers([str(tmp_path)])
    assert (maker.label, maker.library) == ("violin", tmp_path.name)
    assert np.abs(maker.make(np.random.default_rng(0), RATE)).max() > 0.05


def test_recorded_notes_come_without_the_rumble_of_their_room(tmp_path):
    (tmp_path / "violin").mkdir()
    time = np.arange(2 * RATE) / RATE
    note, rumble = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 50 * time)
    soundfile.write(tmp_path / "violin" / "A4.wav", 0.4 * note + 0.4 * rumble, RATE)
    (maker,) = midi.sample_makers([str(tmp_path)])
    made = maker.make(np.random.default_rng(0), RATE)
    power, hz = np.abs(np.fft.rfft(made)) ** 2, np.fft.rfftfreq(len(made), 1 / RATE)
    assert power[hz < 100].sum() < 1e-3 * power.sum()
    assert power[(hz > 180) & (hz < 1000)].sum() > 0.9 * power.sum()


def test_sentences_are_many():
    for language in speech.SENTENCES:
        assert len({speech.sentence(language, np.random.default_rng(s)) for s in range(60)}) > 40


@speaks
def test_voices_differ():
    makers = {m.label: m for m in speech.speech_makers()}
    assert set(makers) == {*speech.VOICES, "crowd chatter"}
    centroids = {}
    for label, maker in makers.items():
        made = maker.make(np.random.default_rng(2), RATE)
        assert len(made) > 0.3 * RATE
        assert np.abs(made).max() > 0.01
        centroids[label] = centroid_hz(made)
    assert centroids["male speech"] < centroids["child speech"]
    assert centroids["male speech"] < centroids["whispering"]
