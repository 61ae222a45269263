import json
import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from timbrel.audio.mel import mel_spectrogram
from timbrel.cli.main import main
from timbrel.data.report_001 import prepare as module
from timbrel.data.report_001.pictures import (
    CHUNK,
    CONFIG,
    invert_picture,
    read_manifest,
    read_mel,
    read_picture,
    write_picture,
)
from timbrel.data.report_001.prepare import prepare_pictures
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError

RATE = CONFIG.sample_rate


def tone(seconds: float, hz: float = 440.0, level: float = 0.1) -> np.ndarray:
    """A plucked note every half second, over some noise, float32 [samples]."""
    t = np.arange(round(seconds * RATE)) / RATE
    notes = np.sin(2 * np.pi * hz * t) * np.exp(-(t % 0.5) * 4)
    return (level * (notes + 0.001 * np.random.default_rng(0).standard_normal(len(t)))).astype(np.float32)


def save(path: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def run(recordings: Path, out: Path, **options):
    return prepare_pictures(recordings, out, **{"workers": 1, "progress": False} | options)


def names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two violins and two pianos, 9 s an instrument."""
    root = tmp_path / "recordings"
    save(root / "violin" / "one.wav", tone(3))
    save(root / "violin" / "album" / "two.flac", np.stack([tone(6, 330), tone(6, 660)]))
    save(root / "piano" / "a.wav", tone(5, 220))
    save(root / "piano" / "b.wav", tone(3, 200, 0.5))
    return root


def test_pictures_are_those_of_the_report(tmp_path: Path):
    """Its listings 4 to 7, to the pixel."""
    quiet = 0.001 * np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    path = save(tmp_path / "in" / "harp" / "one.wav", np.concatenate([quiet, tone(8), quiet[:777]]))
    run(tmp_path / "in", tmp_path / "out", validation_share=0.0)
    rate = 22050
    audio, _ = librosa.load(path, sr=rate, mono=True)
    audio, _ = librosa.effects.trim(audio, top_db=20)
    assert len(audio) < 8.2 * RATE
    for number, start in enumerate(range(0, len(audio), 3 * rate)):
        chunk = audio[start : start + 3 * rate]
        chunk = np.pad(chunk, (0, 3 * rate - len(chunk)))
        db = librosa.power_to_db(librosa.feature.melspectrogram(y=chunk, sr=rate, n_mels=128), ref=np.max)
        expected = (np.clip((db + 80) * (255 / 80), 0, 255) + 0.5).astype(np.uint8)
        image = Image.open(tmp_path / "out" / "harp" / f"one_chunk{number}.png")
        assert (image.size, image.mode, image.format) == ((130, 128), "L", "PNG")
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1
        assert (np.asarray(image) == expected).mean() > 0.999
    assert number == 2
    assert len(names(tmp_path / "out")) == 3


@pytest.mark.parametrize("samples", [100, 512, 2047, 2048, 30000, 66149])
@pytest.mark.parametrize("seed", [0, 1])
def test_silence_is_trimmed_as_librosa_does(samples: int, seed: int, tmp_path: Path):
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.choice([0.003, 0.1], samples // 50 + 1), 50)[:samples]
    audio = (loudness * rng.standard_normal(samples)).astype(np.float32)
    save(tmp_path / "in" / "x" / "a.wav", audio)
    run(tmp_path / "in", tmp_path / "out")
    [record] = (tmp_path / "out" / ".finished" / "listening").iterdir()
    _, expected = librosa.effects.trim(audio, top_db=20)
    assert json.loads(record.read_text()) == expected.tolist()


def test_a_picture_sounds_like_its_chunk(tmp_path: Path):
    audio = tone(3, 330)
    write_picture(tmp_path / "a.png", mel_spectrogram(torch.from_numpy(audio)[None, None], CONFIG)[0, 0])
    sound = invert_picture(tmp_path / "a.png")
    assert (sound.shape, sound.dtype) == ((1, CHUNK), np.float32)
    assert 20 * np.log10(sound.std() / audio.std()) == pytest.approx(0, abs=0.5)
    back, mel = mel_spectrogram(torch.from_numpy(sound)[None], CONFIG)[0, 0], read_mel(tmp_path / "a.png")
    loud = mel > mel.max() - 50
    assert float((back - mel)[loud].abs().mean()) < 1.5


def test_silence_is_white_as_in_the_report_and_still_sounds_like_silence(tmp_path: Path):
    audio = np.concatenate([tone(3), np.zeros(6 * RATE, np.float32), tone(3)])
    save(tmp_path / "in" / "x" / "a.wav", audio)
    run(tmp_path / "in", tmp_path / "out", validation_share=0.0)
    path = tmp_path / "out" / "x" / "a_chunk2.png"
    assert float(read_picture(path)[..., :60].min()) == 1.0
    assert np.abs(invert_picture(path)[:, :RATE]).max() < 1e-4


def test_a_folder_becomes_a_dataset(recordings: Path, tmp_path: Path):
    (recordings / "piano" / "notes.txt").write_text("not a recording")
    report = run(recordings, tmp_path / "out")
    assert (report.recordings, report.reused, report.failures, report.warnings) == (4, 0, (), ())
    manifest = read_manifest(tmp_path / "out")
    assert [p.file for pictures in manifest.values() for p in pictures] == names(tmp_path / "out")
    assert names(tmp_path / "out") == [
        *("piano/a_chunk0.png", "piano/a_chunk1.png", "piano/b_chunk0.png"),
        *("violin/one_chunk0.png", "violin/two_chunk0.png", "violin/two_chunk1.png"),
    ]
    for label, pictures in manifest.items():
        assert {p.split for p in pictures} == {"train", "validation"}
        assert all(
            len({p.split for p in pictures if p.source == source}) == 1 for source in {p.source for p in pictures}
        )
        assert all(p.label == label and p.file.startswith(f"{label}/") for p in pictures)
        assert sum(report.hours[label].values()) == pytest.approx(3 * len(pictures) / 3600)
    assert manifest["violin"][2].source == "violin/album/two.flac"
    assert manifest["violin"][2].start_s - manifest["violin"][1].start_s == pytest.approx(3)
    assert sorted(os.listdir(tmp_path / "out")) == [".finished", "manifest.jsonl", "piano", "violin"]


def test_no_label_has_more_than_another(tmp_path: Path):
    root = tmp_path / "in"
    save(root / "harp" / "a.wav", tone(15))
    for name, seconds in {"a": 30, "b": 6, "c": 12}.items():
        save(root / "piano" / f"{name}.wav", tone(seconds))
    report = run(root, tmp_path / "out", validation_share=0.0)
    counts = [
        [f"{name}_chunk" in path for path in names(tmp_path / "out")].count(True) for name in ("harp/a", "piano/a")
    ]
    assert counts == [5, 2]
    assert len(names(tmp_path / "out")) == 10
    assert "harp has only 0.2 min" in report.warnings[0]
    run(root, tmp_path / "short", validation_share=0.0, max_minutes=0.1)
    assert names(tmp_path / "short") == [
        *("harp/a_chunk0.png", "harp/a_chunk1.png", "piano/b_chunk0.png", "piano/c_chunk0.png")
    ]


def test_the_only_recording_of_a_label_is_split_in_time(tmp_path: Path):
    save(tmp_path / "in" / "harp" / "only.wav", tone(60))
    report = run(tmp_path / "in", tmp_path / "out", validation_share=0.2)
    by_split: dict[str, list] = {split: [] for split in ("train", "validation")}
    for picture in read_manifest(tmp_path / "out")["harp"]:
        by_split[picture.split].append(int(picture.file.partition("chunk")[2][:-4]))
    assert (sorted(by_split["train"]), sorted(by_split["validation"])) == ([*range(14)], [*range(16, 20)])
    assert len(names(tmp_path / "out")) == 18
    assert "single usable recording" in report.warnings[0]


def test_what_cannot_be_used_is_named_and_skipped(recordings: Path, tmp_path: Path):
    (recordings / "violin" / "corrupt.mp3").write_bytes(b"no music " * 100)
    (recordings / "organ").mkdir()
    (recordings / "organ" / "empty.wav").touch()
    save(recordings / "violin" / "silent.wav", np.zeros(5 * RATE, np.float32))
    report = run(recordings, tmp_path / "out")
    assert report.recordings == 4
    reasons = dict(report.failures)
    assert sorted(reasons) == ["organ/empty.wav", "violin/corrupt.mp3", "violin/silent.wav"]
    assert "silent" in reasons["violin/silent.wav"]
    assert report.warnings == ("organ has no usable recording, and is left out",)
    assert sorted(read_manifest(tmp_path / "out")) == ["piano", "violin"]


def test_names_of_all_kinds_stay_apart(tmp_path: Path):
    root = tmp_path / "in"
    stems = ["Händel [1] 猫", "a_chunk0", "x" * 240]
    for stem in stems:
        save(root / "flöte" / f"{stem}.wav", tone(3))
    save(root / "flöte" / "disc" / "Händel [1] 猫.flac", tone(3))
    run(root, tmp_path / "out")
    made = [path.rpartition("/")[2] for path in names(tmp_path / "out")]
    assert len(made) == 4
    assert "a_chunk0_chunk0.png" in made
    assert sum(name.startswith("Händel [1] 猫-") for name in made) == 2
    assert max(len(name.encode()) for name in made) < 220
    (root / "flöte" / "disc" / "Händel [1] 猫.flac").unlink()
    run(root, tmp_path / "out")
    assert "flöte/Händel [1] 猫_chunk0.png" in names(tmp_path / "out")
    assert len(names(tmp_path / "out")) == 3


def test_any_number_of_workers_gives_the_same_bytes(recordings: Path, tmp_path: Path):
    run(recordings, tmp_path / "out")
    before = contents(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.png"):
        path.unlink()
    assert run(recordings, tmp_path / "out", workers=2).reused == 0
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("step", ["_listen", "_draw"])
def test_a_run_goes_on_where_it_was_stopped(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    run(recordings, tmp_path / "straight")
    out = tmp_path / "out"
    done: list[str] = []
    real = getattr(module, step)

    def stop_at_the_third(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.source)
        return real(job)

    monkeypatch.setattr(module, step, stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(recordings, out)
    monkeypatch.setattr(module, step, lambda job: (done.append(job.source), real(job))[1])
    run(recordings, out)
    assert sorted(done) == sorted({*done})
    assert len(done) == 4
    assert contents(out) == contents(tmp_path / "straight")
    assert run(recordings, out).reused == 4


def test_what_changed_is_done_again_and_what_left_leaves(recordings: Path, tmp_path: Path):
    out = tmp_path / "out"
    save(recordings / "organ" / "a.wav", tone(9))
    run(recordings, out)
    (out / "piano" / "cover_chunk.png").write_bytes(b"the user's own")
    save(recordings / "violin" / "one.wav", tone(3, 500))
    before = contents(out)
    (recordings / "organ" / "a.wav").unlink()
    (out / "piano" / "a_chunk1.png").unlink()
    report = run(recordings, out)
    assert (report.recordings, report.reused) == (4, 2)
    after = contents(out)
    assert {path for path in before if path.endswith(".png")} - after.keys() == {
        *(f"organ/a_chunk{number}.png" for number in (0, 2))
    }
    assert not (out / "organ").exists()
    assert [path for path in after if path.endswith(".png") and before[path] != after[path]] == [
        "violin/one_chunk0.png"
    ]


def test_other_folders_are_left_alone(recordings: Path, tmp_path: Path):
    writer = StoreWriter(tmp_path / "store", CONFIG)
    writer.add(Entry("a", "piano", "train", 4, "a score"), np.zeros((4, 128), np.uint8))
    with pytest.raises(InputError, match="something other than pictures"):
        run(recordings, tmp_path / "store")
    run(recordings, recordings)
    assert run(recordings, recordings).reused == 4


@pytest.mark.parametrize("options", [{"workers": 0}, {"max_minutes": 0.0}, {"validation_share": 1.0}])
def test_values_out_of_range_are_refused(recordings: Path, tmp_path: Path, options: dict):
    (name,) = options
    with pytest.raises(InputError, match=f"{name} is"):
        run(recordings, tmp_path / "out", **options)
    with pytest.raises(InputError, match="nowhere does not exist"):
        run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_dataset_is_named(recordings: Path, tmp_path: Path):
    with pytest.raises(InputError, match="timbrel data pictures"):
        read_manifest(recordings)
    run(recordings, tmp_path / "out")
    (tmp_path / "out" / "piano" / "a_chunk0.png").unlink()
    with pytest.raises(InputError, match=r"lacks piano/a_chunk0\.png"):
        read_manifest(tmp_path / "out")


def test_the_commands(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out"
    assert main(["data", "pictures", str(recordings), str(out), "--workers", "1"]) == 0
    assert "4 recordings" in capsys.readouterr().out
    picture = out / "piano" / "a_chunk0.png"
    assert main(["data", "sound", str(picture), "-o", str(tmp_path / "heard")]) == 0
    info = soundfile.info(tmp_path / "heard" / "a_chunk0.wav")
    assert (info.frames, info.samplerate, info.channels) == (CHUNK, RATE, 1)
    assert main(["data", "sound", str(picture), "-o", str(tmp_path / "heard")]) == 2
    assert "exists" in capsys.readouterr().err
