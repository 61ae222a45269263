import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from timbrel.audio.io import read_audio, write_audio
from timbrel.errors import InputError
from timbrel.experiments import real
from timbrel.metrics import heard, notes

RATE = 22050
T = np.arange(int(2.5 * RATE)) / RATE
needs_both = pytest.mark.skipif(
    not (heard.available() and notes.available()),
    reason="basic-pitch or musicnn is not installed: pip install --no-deps basic-pitch musicnn",
)


def tune(cents=0.0):
    """Two sung notes of 1.2 s."""
    hz = np.where(T < 1.25, 440, 523.25) * 2 ** (cents / 1200)
    phase, level = 2 * np.pi * np.cumsum(hz) / RATE, np.minimum(T % 1.25, 1.25 - T % 1.25).clip(0, 0.05) / 0.05
    return (0.3 * level * sum(np.sin(k * phase) / k**2 for k in range(1, 6)))[None].astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "real").mkdir()
    write_audio(tmp_path / "real" / "violin-1.wav", tune(), RATE)
    (tmp_path / "real" / "broken-1.wav").write_bytes(b"no sound")
    write_audio(tmp_path / "real" / "silent-1.wav", np.zeros((1, 2 * RATE), np.float32), RATE)
    return tmp_path / "real"


@pytest.fixture
def pipe(monkeypatch):
    """A model that plays everything 20 cents sharp; it remembers what it was asked for."""
    made = []

    def play(source, *, to, sample_rate, **options):
        made.append((to, options))
        return SimpleNamespace(waveform=tune(20.0), sample_rate=sample_rate)

    monkeypatch.setattr(real, "pipeline", lambda model: play)
    real.read_source.cache_clear()
    return made


@pytest.mark.parametrize(
    ("name", "instrument"),
    [("violin-1.ogg", "violin"), ("jazz-guitar-12.wav", "jazz-guitar"), ("my-song.mp3", "my-song")],
)
def test_a_recording_is_of_the_instrument_in_its_name(name, instrument):
    assert real.instrument_of(Path(name)) == instrument


def test_a_recording_goes_to_every_other_instrument_by_name_and_by_the_clips_there_are():
    jobs = real.transfers([Path("piano-2.ogg"), Path("oboe.ogg")], {"harp": Path("harp.wav")})
    assert [job.id for job in jobs if job.source.stem == "piano-2"] == [
        "piano-2-to-guitar-by-name",
        "piano-2-to-harp-by-name",
        "piano-2-to-harp-by-clip",
        "piano-2-to-violin-by-name",
    ]
    assert len([job for job in jobs if job.source.stem == "oboe"]) == 5


def test_voices_are_counted_where_notes_sound():
    alone, pitch = np.array([[0.0, 1.0, 60], [3.0, 4.0, 62]]), np.array([0, 0, 1])
    assert real.voices(alone) == pytest.approx(1)
    assert real.voices(np.concatenate([alone, alone + 4 * pitch])) == pytest.approx(2)
    assert real.voices(np.concatenate([alone, alone + 28 * pitch])) == pytest.approx(1)  # the fifth partial
    assert real.voices(np.zeros((0, 4))) == 0


@needs_both
def test_a_run_measures_keeps_its_results_and_goes_on(folder, pipe, tmp_path, capsys):
    out = tmp_path / "out"
    results = real.evaluate(folder, out, steps=20, seed=3, workers=1, progress=False)
    assert pipe == [(name, {"steps": 20, "seed": 3}) for name in ("piano", "guitar", "harp")]
    clip = results["clips"]["violin-1-to-piano-by-name"]
    assert clip["tuning_error"] == pytest.approx(20, abs=2)
    assert clip["note_f1"] > 0.8
    assert 0.8 < clip["chroma"] <= 1
    assert "modulation_4_9" not in clip  # a piano's notes fade, a violin's do not
    assert clip["both"] == clip["heard_as"]
    assert results["rows"]["by name"]["transfers"] == 3
    assert results["rows"]["by name, to harp"]["note_f1"]["mean"] > 0.8
    assert {name: why.split(";")[0] for name, why in results["skipped"].items()}.keys() == {
        "broken-1.wav",
        "silent-1.wav",
    }
    assert read_audio(out / "results" / "by-name" / "harp" / "violin-1.flac")[0].shape == T[None].shape
    assert json.loads((out / "results.json").read_text()) == results
    printed = capsys.readouterr().out
    assert "by name, to piano (1)" in printed
    assert "Skipped broken-1.wav" in printed

    assert real.evaluate(folder, out, steps=20, seed=3, workers=1, progress=False)["clips"] == results["clips"]
    assert len(pipe) == 3
    with pytest.raises(InputError, match="steps"):
        real.evaluate(folder, out, steps=1, seed=3, workers=1, progress=False)


def test_a_folder_of_clips_names_instruments(tmp_path):
    for name in ("harp.wav", "violin.flac", "notes.txt"):
        (tmp_path / name).touch()
    assert real.find_clips(tmp_path) == {"harp": tmp_path / "harp.wav", "violin": tmp_path / "violin.flac"}
    (tmp_path / "harp.wav").rename(tmp_path / "kazoo.wav")
    (tmp_path / "violin.flac").unlink()
    with pytest.raises(InputError, match="called piano, guitar, harp, violin"):
        real.find_clips(tmp_path)


@needs_both
def test_distances_say_why_they_are_missing(tmp_path):
    real.results_folder(tmp_path, "name", "harp").mkdir(parents=True)
    distances = real._distances(tmp_path / "none", tmp_path, progress=False)
    assert "is not a folder" in distances["by name, to harp"]["left_out"]


def test_two_recordings_of_one_name_are_refused(folder, tmp_path):
    (folder / "more").mkdir()
    (folder / "violin-1.wav").rename(folder / "more" / "silent-1.ogg")
    with pytest.raises(InputError, match="two recordings are called 'silent-1'"):
        real.evaluate(folder, tmp_path / "out", progress=False)
