"""Files of the page."""

import os
import time

import numpy as np
import pytest
from PIL import Image

from timbrel.audio.io import write_audio
from timbrel.errors import AudioError, InputError
from timbrel.web import sounds as module
from timbrel.web.sounds import COLUMNS, DAY_S, Folder, Sound, Take, gains, sweep, transcribe


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "web").mkdir()
    return Folder(tmp_path / "web", most_minutes=0.1)


def tone(path, seconds, amplitude=0.3):
    wave = amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 44100)) / 44100)
    write_audio(path, wave[None].astype(np.float32), 44100)
    return path


def test_an_upload_is_a_file_of_the_folder_and_no_longer_than_it_may_be(folder, tmp_path):
    inside, outside = tone(folder.new("song.wav"), 1), tone(tmp_path / "outside.wav", 1)
    assert folder.uploaded(inside) == inside
    (folder.place / "link.wav").symlink_to(outside)
    places = (folder.place / "link.wav", folder.place / ".." / "outside.wav", folder.place)
    for path in (outside, *places, "song.wav", "a\0b.wav", "\ud800.wav"):
        with pytest.raises(InputError, match="is no upload"):
            folder.uploaded(path)
    with pytest.raises(InputError, match=r"long.wav lasts at least 0.12 minutes; expected at most 0.1"):
        folder.uploaded(tone(folder.new("long.wav"), 7))


@pytest.mark.parametrize("header", [None, 44100], ids=["no length", "a wrong length"])
def test_sound_is_counted_where_the_header_does_not_tell(folder, monkeypatch, header):
    opened = module.open_audio

    def without_length(path):
        reader = opened(path)
        reader.frames = header
        return reader

    monkeypatch.setattr(module, "open_audio", without_length)
    short, long = tone(folder.new("short.wav"), 5), tone(folder.new("long.wav"), 7)
    assert folder.uploaded(short) == short
    with pytest.raises(InputError, match=r"long.wav lasts at least 0.12 minutes; expected at most 0.1"):
        folder.uploaded(long)


def test_errors_name_files_and_not_where_they_are(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder.place)
    folder = Folder(tmp_path / "link", most_minutes=0.1)
    broken = folder.new("my song.wav")
    broken.write_bytes(b"nothing")
    with pytest.raises(AudioError) as error:
        folder.uploaded(broken)
    assert str(folder.place) in str(error.value)
    assert folder.told(error.value).startswith("my song.wav ")


@pytest.mark.parametrize("seconds", [0.02, 1.0, 3.2])
def test_a_spectrogram_shows_the_tone_where_it_is_and_no_seams(folder, seconds):
    sound = folder.sound(tone(folder.new("tone.wav"), seconds), "Source")
    image = np.asarray(Image.open(sound.picture).convert("L"), float)
    assert image.shape[0] == 256
    assert image.shape[1] == max(1, round(seconds * 44100) // 1024)
    assert sound.duration_s == pytest.approx(seconds, abs=1e-3)
    rows = image.mean(1).argsort()[-4:]
    assert (rows > 200).all(), "440 Hz is low in the picture"
    if seconds > 1:
        middle = image[:, 4:-6]
        assert np.abs(np.diff(middle, axis=1)).max() < 40, "blocks join without a stripe"


def test_a_long_recording_has_a_picture_of_bounded_width(folder):
    sound = folder.sound(tone(folder.new("tone.wav"), 40), "Source")
    assert Image.open(sound.picture).width == COLUMNS


def test_all_are_as_loud_as_the_softest(folder):
    loud, soft, silent = (folder.sound(tone(folder.new("a.wav"), 1, a), "") for a in (0.4, 0.1, 0.0))
    assert gains([loud, soft, silent]) == pytest.approx([0.25, 1, 1], rel=1e-3)


def test_files_go_after_a_day(tmp_path):
    old, new = tmp_path / "server-1" / "a" / "old.wav", tmp_path / "server-2" / "new.wav"
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    running, ended = tmp_path / "server-3", tmp_path / "server-4"
    running.mkdir()
    ended.mkdir()
    day_ago = time.time() - DAY_S - 60
    for path in (old, old.parent, old.parent.parent, running, ended, tmp_path):
        os.utime(path, (day_ago, day_ago))
    sweep(running)
    assert new.exists()
    assert not old.exists()
    assert running.exists()
    assert running.stat().st_mtime > day_ago, "nor does another server remove it"
    assert not ended.exists()


def test_nobody_else_reads_a_result(folder):
    assert folder.new("song.wav").parent.stat().st_mode & 0o077 == 0


def test_midi_has_the_notes_that_are_heard(folder, monkeypatch):
    pretty_midi = pytest.importorskip("pretty_midi")
    heard = np.array([[0.5, 1.0, 60, 0.5], [0.25, 2.0, 64, 1.0], [1.0, 1.5, 60, 0.1]])
    monkeypatch.setattr("timbrel.metrics.notes.available", lambda: True)
    monkeypatch.setattr("timbrel.metrics.notes.transcribe", lambda waveform: heard)
    path = folder.new("a.mid")
    assert transcribe(folder.sound(tone(folder.new("a.wav"), 1), ""), path)
    notes = sorted(pretty_midi.PrettyMIDI(str(path)).instruments[0].notes, key=lambda note: note.start)
    assert [(round(n.start, 3), round(n.end, 3), n.pitch, n.velocity) for n in notes] == [
        (0.25, 2.0, 64, 127),
        (0.5, 1.0, 60, 64),
        (1.0, 1.5, 60, 14),
    ]


def test_a_zip_has_the_settings_too(folder):
    import zipfile

    sound = folder.sound(tone(folder.new("song-violin.wav"), 1), "Result")
    take = Take("violin", (sound,), {"seed": 4})
    with zipfile.ZipFile(folder.zip(take)) as file:
        assert {"song-violin.wav", "song-violin.png", "settings.json"} <= set(file.namelist())
        assert b'"seed": 4' in file.read("settings.json")
    assert isinstance(sound, Sound)


def test_a_zip_keeps_files_of_one_name(folder):
    import zipfile

    paths = [tone(folder.new(name), 1, 0.1 * k) for k, name in enumerate(["song-violin.wav", "Song-Violin.wav"], 1)]
    take = Take("violin", tuple(folder.sound(path, "") for path in paths))
    for packed in (folder.zip_files("violin.zip", paths), folder.zip(take)):
        with zipfile.ZipFile(packed) as file:
            assert file.read("song-violin.wav") == paths[0].read_bytes()
            assert file.read("Song-Violin-2.wav") == paths[1].read_bytes()


def test_a_fault_of_the_program_goes_to_the_log_and_not_to_the_visitor(folder, caplog):
    assert "the log of the server says more" in folder.told(KeyError("secret"))
    assert "secret" in caplog.text
