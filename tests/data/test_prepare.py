import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data import prepare as module
from timbrel.data.datasets import Windows
from timbrel.data.prepare import prepare, stream_mel
from timbrel.data.store import Entry, MelStore, StoreWriter, dequantise
from timbrel.errors import InputError, TimbrelError

CONFIG = MelConfig(sample_rate=8000, n_fft=1024, hop_length=256, n_mels=32)
RATE = 8000


def tone(seconds: float, hz: float = 440.0, level: float = 0.1, rate: int = RATE) -> np.ndarray:
    """A plucked note every half second, float32 [samples]."""
    t = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hz * t) * np.exp(-(t % 0.5) * 4)).astype(np.float32)


def save(path: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def run(recordings: Path, out: Path, **options):
    defaults: dict[str, Any] = {"config": CONFIG, "workers": 1, "progress": False}
    return prepare(recordings, out, **defaults | options)


def mel_db(waveform: np.ndarray, config: MelConfig = CONFIG) -> torch.Tensor:
    return mel_spectrogram(torch.from_numpy(waveform)[None, None], config)[0, 0]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three violins, two of them odd, and two pianos."""
    root = tmp_path / "recordings"
    save(root / "violin" / "one.wav", tone(4))
    save(root / "violin" / "album" / "two.flac", np.stack([tone(5, 330), tone(5, 660)]))
    save(root / "violin" / "three.ogg", tone(6, 500, rate=22050), 22050)
    save(root / "piano" / "a.wav", tone(4, 220))
    save(root / "piano" / "b.wav", tone(4, 200, 0.5))
    return root


@pytest.mark.parametrize("config", [CONFIG, MelConfig(sample_rate=8000, n_fft=1000, hop_length=300, n_mels=20)])
@pytest.mark.parametrize("samples", [1, 255, 256, 8000, 20480])
def test_a_mel_in_blocks_is_the_mel_of_the_whole(config: MelConfig, samples: int):
    waveform = 0.1 * np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    for size in (97, 5000, 100_000):
        blocks = [waveform[i : i + size] for i in range(0, samples, size)]
        mel, power = (np.concatenate(parts) for parts in zip(*stream_mel(blocks, config), strict=True))
        assert len(mel) == len(power) == config.num_frames(samples)
        np.testing.assert_allclose(mel.T, mel_db(waveform, config), atol=1e-3)
    if samples == 20480:
        np.testing.assert_allclose(10 * np.log10(power[2:-2]), -20, atol=1.5)


def test_a_folder_becomes_a_store(recordings: Path, tmp_path: Path):
    (recordings / "piano" / "notes.txt").write_text("not a recording")
    (recordings / "piano" / "._a.wav").write_text("what macOS leaves")
    report = run(recordings, tmp_path / "out")
    store = MelStore(tmp_path / "out")
    assert store.config == CONFIG
    assert (report.recordings, report.reused, report.failures, report.warnings) == (5, 0, (), ())
    assert [(e.label, e.source) for e in store.entries] == [
        ("piano", "piano/a.wav"),
        ("piano", "piano/b.wav"),
        ("violin", "violin/album/two.flac"),
        ("violin", "violin/one.wav"),
        ("violin", "violin/three.ogg"),
    ]
    for label in ("piano", "violin"):
        assert {e.split for e in store.entries if e.label == label} == {"train", "validation"}
        hours = sum(e.frames for e in store.entries if e.label == label) / CONFIG.frame_rate / 3600
        assert sum(report.hours[label].values()) == pytest.approx(hours)
    three = next(e for e in store.entries if e.source == "violin/three.ogg")
    assert three.frames / CONFIG.frame_rate == pytest.approx(6, abs=0.2)
    assert "5 recordings" in str(report)
    assert "violin: " in str(report)


def test_mels_are_those_of_the_recording_at_minus_20_db(recordings: Path, tmp_path: Path):
    run(recordings, tmp_path / "out")
    store = MelStore(tmp_path / "out")
    waveform = tone(4, 220)
    gain = 0.1 / np.sqrt((waveform.astype(np.float64) ** 2).mean())
    entry = store.entries[0]
    assert entry.gain_db == pytest.approx(20 * np.log10(gain), abs=0.1)
    expected = mel_db(waveform * np.float32(10 ** (entry.gain_db / 20)))
    error = (store.mel(entry) - expected[:, : entry.frames]).abs()
    assert float(error.max()) < 0.5  # a step is 0.4 dB


def test_silence_is_trimmed_and_long_rests_are_cut(tmp_path: Path):
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    rest = np.zeros(RATE // 2, np.float32)
    parts = [quiet, tone(3), rest, tone(3), quiet, tone(3), quiet]
    save(tmp_path / "recordings" / "flute" / "one.wav", 0.1 * np.concatenate(parts))
    save(tmp_path / "recordings" / "flute" / "two.wav", tone(3))
    run(tmp_path / "recordings", tmp_path / "out")
    one, two = MelStore(tmp_path / "out").entries
    assert one.frames / CONFIG.frame_rate == pytest.approx(9 + 0.5 + module.REST_S + 2 * module.EDGE_S, abs=0.15)
    assert two.frames / CONFIG.frame_rate == pytest.approx(3, abs=0.1)
    assert one.gain_db - two.gain_db == pytest.approx(20, abs=0.3)


def test_what_cannot_be_used_is_named_and_skipped(recordings: Path, tmp_path: Path):
    (recordings / "violin" / "corrupt.mp3").write_bytes(b"no music " * 100)
    (recordings / "violin" / "empty.wav").touch()
    save(recordings / "violin" / "silent.wav", np.zeros(5 * RATE, np.float32))
    save(recordings / "violin" / "short.wav", tone(1))
    save(recordings / "stray.wav", tone(4))
    save(recordings / "violin" / ".hidden" / "tone.wav", tone(4))
    bad = tone(4)
    bad[100] = np.nan
    save(recordings / "violin" / "nan.wav", bad)
    report = run(recordings, tmp_path / "out")
    assert report.recordings == 5
    reasons = dict(report.failures)
    assert sorted(reasons) == [
        "stray.wav",
        *(f"violin/{name}" for name in ("corrupt.mp3", "empty.wav", "nan.wav", "short.wav", "silent.wav")),
    ]
    assert "instrument's folder" in reasons["stray.wav"]
    assert "expected wav, flac" in reasons["violin/corrupt.mp3"]
    assert "min_seconds" in reasons["violin/short.wav"]
    assert "silent" in reasons["violin/silent.wav"]
    assert "skipped violin/corrupt.mp3" in str(report)
    assert len(MelStore(tmp_path / "out").entries) == 5
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_copies_of_a_recording_never_validate_what_they_train(recordings: Path, tmp_path: Path):
    (recordings / "violin" / "copy.wav").write_bytes((recordings / "violin" / "one.wav").read_bytes())
    save(recordings / "violin" / "encoded.ogg", 0.5 * tone(4))
    save(recordings / "viola" / "a.wav", np.concatenate([tone(20), tone(5, 600)]))
    save(recordings / "viola" / "same-beginning.wav", np.concatenate([tone(20), tone(5, 900)]))
    save(recordings / "organ" / "one.wav", tone(4))  # of another label, too
    report = run(recordings, tmp_path / "out")
    reasons = dict(report.failures)
    assert sorted(reasons) == ["violin/copy.wav", "violin/encoded.ogg", "violin/one.wav"]
    assert "it is a copy of organ/one.wav" in reasons["violin/one.wav"]
    assert report.recordings == 7


def test_copies_alone_are_one_recording(tmp_path: Path):
    for name in ("a", "b", "c"):
        save(tmp_path / "recordings" / "oboe" / f"{name}.wav", tone(20))
    report = run(tmp_path / "recordings", tmp_path / "out")
    assert report.recordings == 1
    assert "oboe has a single usable recording" in report.warnings[0]


def test_channels_out_of_phase_are_no_silence(tmp_path: Path):
    save(tmp_path / "recordings" / "oboe" / "a.wav", np.stack([tone(5), -tone(5)]))
    save(tmp_path / "recordings" / "oboe" / "b.wav", tone(6, 300))
    report = run(tmp_path / "recordings", tmp_path / "out")
    assert report.recordings == 2
    store = MelStore(tmp_path / "out")
    [entry] = [entry for entry in store.entries if entry.source == "oboe/a.wav"]
    assert float(store.mel(entry).max()) == pytest.approx(
        float(mel_db(tone(5) * 10 ** (entry.gain_db / 20)).max()), abs=1
    )


def test_single_notes_are_said_and_train_as_phrases(tmp_path: Path):
    for number in range(12):
        save(tmp_path / "recordings" / "oboe" / f"{number:02d}.wav", tone(1.2, 300 + 40 * number))
    with pytest.raises(InputError, match=r"min_seconds\): lower that for single notes"):
        run(tmp_path / "recordings", tmp_path / "out")
    report = run(tmp_path / "recordings", tmp_path / "out", min_seconds=0.5)
    assert any("of oboe's recordings have under 3.2 s; training joins them" in warning for warning in report.warnings)
    store = MelStore(tmp_path / "out")
    for split in ("train", "validation"):
        windows = Windows(store, split, 64, 64)
        assert len(windows.entries) == len(windows.phrases) >= 1
        assert all(entry.frames >= 72 for entry in windows.entries)
        mels = windows.transfer(np.random.default_rng(0), 2, None)
        assert mels["target"].shape == (2, 1, 32, 64)
        assert not torch.equal(mels["target"], mels["style"])


def test_messages_say_what_is_wrong(recordings: Path, tmp_path: Path):
    with pytest.raises(InputError, match="nowhere does not exist; expected a folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file; expected a folder that has"):
        run(tmp_path / "file", tmp_path / "out")
    with pytest.raises(InputError, match="file is a file; expected a folder for a mel store"):
        run(recordings, tmp_path / "file")
    (recordings / "horn").mkdir()
    report = run(recordings, tmp_path / "out")
    assert dict(report.failures)["horn"] == "it holds no recording"
    assert "0.00 h" not in str(report)
    assert " s train" in str(report)


def test_a_full_disk_is_no_fault_of_the_recordings(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_levels", full)
    with pytest.raises(TimbrelError, match=r"No space left on device.*free some space"):
        run(recordings, tmp_path / "out")


def test_a_truncated_recording_gives_what_there_is(recordings: Path, tmp_path: Path):
    path = save(recordings / "violin" / "long.flac", tone(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run(recordings, tmp_path / "out")
    (long,) = (e for e in MelStore(tmp_path / "out").entries if e.source == "violin/long.flac")
    assert 5 < long.frames / CONFIG.frame_rate < 15


def test_the_only_recording_of_a_label_is_split_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PIECE_S", 20.0)
    sweep = np.sin(2 * np.pi * np.cumsum(np.geomspace(100, 3000, 60 * RATE)) / RATE).astype(np.float32)
    save(tmp_path / "recordings" / "harp" / "only.wav", sweep)
    report = run(tmp_path / "recordings", tmp_path / "out", validation_share=0.2)
    store = MelStore(tmp_path / "out")
    assert [e.split for e in store.entries] == ["train", "train", "train", "validation"]
    assert "harp has a single usable recording" in report.warnings[0]
    *train, validation = (store.mel(e) for e in store.entries)
    whole = mel_db(sweep * np.float32(10 ** (store.entries[0].gain_db / 20)))
    head = torch.cat(train, dim=1)
    gap = whole.shape[1] - head.shape[1] - validation.shape[1]
    assert gap / CONFIG.frame_rate == pytest.approx(6, abs=0.3)  # a tenth; ten seconds of a longer one
    assert validation.shape[1] / CONFIG.frame_rate == pytest.approx(12, abs=0.3)
    assert float((head - whole[:, : head.shape[1]]).abs().max()) < 0.6
    assert float((validation - whole[:, -validation.shape[1] :]).abs().max()) < 0.6


def test_a_label_that_failures_leave_with_one_is_split_in_time(recordings: Path, tmp_path: Path):
    (recordings / "piano" / "a.wav").write_bytes(b"RIFF")
    save(recordings / "piano" / "b.wav", tone(30, 200))
    save(recordings / "harp" / "short.wav", tone(5, 700))
    report = run(recordings, tmp_path / "out")
    splits = [e.split for e in MelStore(tmp_path / "out").entries if e.label == "piano"]
    assert splits == ["train", "validation"]
    harp, piano = report.warnings
    assert "too short" in harp
    assert "piano/b.wav" in piano
    assert len(list((tmp_path / "out" / "finished").iterdir())) == 5


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_any_number_of_workers_gives_the_same_bytes(recordings: Path, tmp_path: Path):
    run(recordings, tmp_path / "one")
    report = run(recordings, tmp_path / "two", workers=2)
    assert report.recordings == 5
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_run_goes_on_where_it_was_stopped(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(recordings, tmp_path / "straight")
    out = tmp_path / "out"
    done: list[str] = []
    real = module._prepare

    def stop_at_the_third(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.source)
        return real(job)

    monkeypatch.setattr(module, "_prepare", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(recordings, out)
    monkeypatch.setattr(module, "_prepare", lambda job: (done.append(job.source), real(job))[1])
    report = run(recordings, out)
    assert report.reused == 2
    assert sorted(done) == sorted(e.source for e in MelStore(out).entries)
    assert contents(out) == contents(tmp_path / "straight")
    assert run(recordings, out).reused == 5


def test_what_changed_is_done_again_and_what_left_leaves(recordings: Path, tmp_path: Path):
    out = tmp_path / "out"
    run(recordings, out)
    save(recordings / "violin" / "one.wav", tone(8))
    os.utime(recordings / "piano" / "a.wav", (1, 1))
    (recordings / "violin" / "three.ogg").unlink()
    report = run(recordings, out)
    assert (report.recordings, report.reused) == (4, 2)
    entries = MelStore(out).entries
    assert [round(e.frames / CONFIG.frame_rate) for e in entries if e.source == "violin/one.wav"] == [8]
    assert {p.stem for p in (out / "mels").iterdir()} == {e.id for e in entries}


def test_a_store_around_the_recordings_leaves_them_alone(recordings: Path):
    save(recordings / "stray.wav", tone(4))
    before = contents(recordings)
    for out in (recordings.parent, recordings, recordings.parent, recordings):
        assert run(recordings, out).recordings == 5
        assert len(MelStore(out).entries) == 5
    after = contents(recordings)
    assert {path: after[path] for path in before} == before


def test_training_data_is_within_the_store_format(recordings: Path, tmp_path: Path):
    run(recordings, tmp_path / "out")
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    for entry in (Entry(**json.loads(line)) for line in lines):
        levels = np.load(tmp_path / "out" / "mels" / f"{entry.id}.npy")
        assert (levels.dtype, levels.shape) == (np.uint8, (entry.frames, CONFIG.n_mels))
        assert float(dequantise(levels, CONFIG.floor_db).max()) > -40
        assert entry.group is None


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: save(p / "song.wav", tone(4))])
def test_nothing_usable_shows_the_layout(tmp_path: Path, make):
    make(tmp_path / "recordings")
    with pytest.raises(InputError, match=r"no usable recording; expected .*folder") as caught:
        run(tmp_path / "recordings", tmp_path / "out")
    assert "recordings/violin/one.mp3" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_nothing_but_failures_says_why(tmp_path: Path):
    (tmp_path / "recordings" / "piano").mkdir(parents=True)
    (tmp_path / "recordings" / "piano" / "a.wav").touch()
    with pytest.raises(InputError, match=r"skipped piano/a.wav: .* is empty"):
        run(tmp_path / "recordings", tmp_path / "out")


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"silence_db": 3.0}, {"min_seconds": 0.0}, {"validation_share": 1.5}]
)
def test_values_out_of_range_are_refused(recordings: Path, tmp_path: Path, options: dict):
    (name,) = options
    with pytest.raises(InputError, match=f"{name} is"):
        run(recordings, tmp_path / "out", **options)


def test_a_store_of_another_kind_is_left_alone(recordings: Path, tmp_path: Path):
    writer = StoreWriter(tmp_path / "out", CONFIG)
    writer.add(Entry("a", "piano", "train", 4, "a score"), np.zeros((4, 32), np.uint8))
    with pytest.raises(InputError, match="not prepared from recordings"):
        run(recordings, tmp_path / "out")
    assert len(MelStore(tmp_path / "out").entries) == 1
