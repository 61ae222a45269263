"""What a recording says beside its sound."""

import struct

import numpy as np
import pytest
import soundfile

from timbrel.audio.io import AudioWriter, open_audio
from timbrel.audio.metadata import append_chunks

TONE = np.full((1, 1000), 0.25, np.float32)
BEXT = bytes(338) + struct.pack("<Q", 96000) + bytes(256)
SMPL = struct.pack("<9I", 0, 0, 22675, 60, 0, 0, 0, 1, 0) + struct.pack("<6I", 0, 0, 100, 800, 0, 0)
CUE = struct.pack("<I", 1) + struct.pack("<II4sIII", 1, 400, b"data", 0, 0, 400)
LABELS = b"adtl" + struct.pack("<4sII", b"labl", 8, 1) + b"two\0"
ACID = struct.pack("<IHHfIHHf", 0, 60, 0x8000, 0.0, 4, 4, 4, 120.0)
CHUNKS = {b"bext": BEXT, b"smpl": SMPL, b"cue ": CUE, b"LIST": LABELS, b"acid": ACID}


def chunked(path, chunks):
    soundfile.write(path, TONE.T, 48000)
    with path.open("ab") as file:
        for name, content in chunks.items():
            file.write(struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2))
    return path


def copied(source, target, rate=48000, subtype=None):
    with open_audio(source) as reader:
        metadata = reader.metadata()
    with AudioWriter(target, rate, 1, metadata=metadata, subtype=subtype) as writer:
        writer.write(TONE)
    with open_audio(target) as reader:
        assert np.concatenate(list(reader.blocks(512)), axis=1).shape == (1, 1000)
        return reader.metadata()


def test_what_a_daw_needs_stays(tmp_path):
    kept = copied(chunked(tmp_path / "a.wav", CHUNKS), tmp_path / "b.wav")
    assert dict(kept.chunks) == CHUNKS
    size = (tmp_path / "b.wav").stat().st_size
    assert struct.unpack_from("<I", (tmp_path / "b.wav").read_bytes(), 4)[0] == size - 8


def test_places_move_with_the_sample_rate(tmp_path):
    kept = copied(chunked(tmp_path / "a.wav", CHUNKS), tmp_path / "b.wav", 96000).chunks
    assert struct.unpack_from("<Q", kept[b"bext"], 338)[0] == 192000
    assert struct.unpack_from("<2I", kept[b"smpl"], 44) == (200, 1600)
    assert struct.unpack_from("<I", kept[b"cue "], 8)[0] == struct.unpack_from("<I", kept[b"cue "], 24)[0] == 800
    assert struct.unpack_from("<I", kept[b"smpl"], 8)[0] == 11338  # ns a sample
    assert kept[b"acid"] == ACID


def test_root_notes_move_with_the_music(tmp_path):
    with open_audio(chunked(tmp_path / "a.wav", CHUNKS | {b"acid": b"\2" + ACID[1:]})) as reader:
        metadata = reader.metadata()
    chunks = metadata.transposed(-12.25).chunks
    assert struct.unpack_from("<II", chunks[b"smpl"], 12) == (47, 3 << 30)
    assert struct.unpack_from("<H", chunks[b"acid"], 4)[0] == 48
    assert metadata.transposed(300).chunks[b"smpl"][12:16] == struct.pack("<I", 127)
    assert metadata.transposed(0) == metadata


def aiff(path, *chunks):
    soundfile.write(path, TONE.T, 48000)
    data = bytearray(path.read_bytes())
    for name, content in chunks:
        data += struct.pack(">4sI", name, len(content)) + content + bytes(len(content) % 2)
    struct.pack_into(">I", data, 4, len(data) - 8)
    path.write_bytes(data)
    return path


def test_the_markers_and_loop_of_an_aiff_stay(tmp_path):
    marks = struct.pack(">H", 2) + struct.pack(">HIB", 1, 100, 5) + b"start" + struct.pack(">HIB", 2, 801, 3) + b"end"
    instrument = struct.pack(">6BhHHHHHH", 60, 0, 0, 127, 1, 127, 0, 1, 1, 2, 0, 0, 0)
    source = aiff(tmp_path / "a.aiff", (b"MARK", marks), (b"INST", instrument))
    kept = copied(source, tmp_path / "b.wav").chunks
    loop = struct.pack("<9I", 0, 0, 20833, 60, 0, 0, 0, 1, 0) + struct.pack("<6I", 0, 0, 100, 800, 0, 0)
    assert kept[b"smpl"] == loop
    assert [struct.unpack_from("<I", kept[b"cue "], at)[0] for at in (0, 8, 32)] == [2, 100, 801]
    assert b"start\0" in kept[b"LIST"]
    lost = struct.pack(">6BhHHHHHH", 60, 0, 0, 127, 1, 127, 0, 1, 1, 9, 0, 0, 0)
    kept = copied(aiff(tmp_path / "e.aiff", (b"MARK", marks), (b"INST", lost)), tmp_path / "f.wav").chunks
    assert set(kept) == {b"cue ", b"LIST", b"smpl"}
    assert struct.unpack_from("<9I", kept[b"smpl"])[3:] == (60, 0, 0, 0, 0, 0), "a root note without a loop"
    assert dict(copied(aiff(tmp_path / "c.aiff", (b"MARK", marks[:12])), tmp_path / "d.wav").chunks) == {}


def test_an_rf64_keeps_them_too(tmp_path):
    with open_audio(chunked(tmp_path / "a.wav", CHUNKS)) as reader:
        metadata = reader.metadata()
    soundfile.write(tmp_path / "b.wav", TONE.T, 48000, format="RF64")
    append_chunks(tmp_path / "b.wav", metadata, 48000)
    data = (tmp_path / "b.wav").read_bytes()
    assert struct.unpack_from("<Q", data, 20)[0] == len(data) - 8
    with open_audio(tmp_path / "b.wav") as reader:
        assert dict(reader.metadata().chunks) == CHUNKS
        assert np.concatenate(list(reader.blocks(512)), axis=1).shape == (1, 1000)


@pytest.mark.parametrize("broken", [b"", b"\1", bytes(20)])
def test_a_broken_chunk_harms_nobody(tmp_path, broken):
    copied(chunked(tmp_path / "a.wav", dict.fromkeys(CHUNKS, broken)), tmp_path / "b.wav", 96000)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("source", ["mp3", "flac", "ogg"])
def test_tags_stay_in_any_format(tmp_path, source, suffix):
    path = tmp_path / f"a.{source}"
    with soundfile.SoundFile(path, "w", 48000, 1) as file:
        file.title, file.artist, file.date = "Étude", "Anna", "2024"
        file.write(TONE.T)
    kept = copied(path, tmp_path / f"b.{suffix}").tags
    assert (kept["title"], kept["artist"]) == ("Étude", "Anna")


def no_ffmpeg():
    raise RuntimeError("none here")


@pytest.mark.parametrize(("suffix", "name", "order"), [("wav", b"id3 ", "<"), ("aiff", b"ID3 ", ">")])
def test_id3_tags_in_a_chunk_stay(tmp_path, monkeypatch, suffix, name, order):
    frames = b"".join(frame + struct.pack(">IH", 5, 0) + b"\3Anna" for frame in (b"TPE1", b"TALB"))
    tag = b"ID3\3\0\0" + bytes([0, 0, 0, len(frames)]) + frames
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, TONE.T, 48000)
    data = bytearray(path.read_bytes()) + struct.pack(f"{order}4sI", name, len(tag)) + tag
    struct.pack_into(f"{order}I", data, 4, len(data) - 8)
    path.write_bytes(data)
    assert dict(copied(path, tmp_path / "b.wav").tags) == {"artist": "Anna", "album": "Anna"}
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", no_ffmpeg)
    assert not copied(path, tmp_path / "c.wav").tags, "the sound needs no ffmpeg"


def test_a_tracks_title_is_not_the_songs(tmp_path):
    import subprocess

    import imageio_ffmpeg

    soundfile.write(tmp_path / "a.wav", np.zeros((48000, 1)), 48000)
    tags = ["-metadata", "artist=Anna", "-metadata:s:a:0", "title=Commentary"]
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", "-i", tmp_path / "a.wav", *tags, tmp_path / "a.mka"], check=True)
    with open_audio(tmp_path / "a.mka") as reader:
        assert dict(reader.metadata().tags) == {"artist": "Anna"}


def test_tags_of_what_ffmpeg_reads(tmp_path):
    import subprocess

    import imageio_ffmpeg

    soundfile.write(tmp_path / "a.wav", np.zeros((48000, 1)), 48000)
    tags = ["-metadata", "title=Étude: one", "-metadata", "artist=Anna", "-metadata", "track=3"]
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", "-i", tmp_path / "a.wav", *tags, tmp_path / "a.m4a"], check=True)
    with open_audio(tmp_path / "a.m4a") as reader:
        assert dict(reader.metadata().tags) == {"title": "Étude: one", "artist": "Anna", "tracknumber": "3"}
