import json

import numpy as np
import pytest
import soundfile

from timbrel.audio.mel import MelConfig
from timbrel.data.sounds.audioset import Segment, find_clips, label_of, prepare_audioset, read_labels, read_segments
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.store import MelStore
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
CLASSES = [
    ("/m/0jbk", "Animal", ["/m/0bt9lr"]),
    ("/m/0bt9lr", "Dog", ["/m/05tny_", "/m/07qf0zm"]),
    ("/m/05tny_", "Bark", []),
    ("/m/07qf0zm", "Howl", []),
    ("/m/0838f", "Water", []),
]
SEGMENTS = """\
# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=5, num_segs=5, num_unique_labels=5, num_positive_labels=8
# YTID, start_seconds, end_seconds, positive_labels
--aE2O5G5WE, 0.000, 2.000, "/m/05tny_,/m/0bt9lr"
-0xzrMun0Rs, 30.000, 32.000, "/m/05tny_,/m/07qf0zm,/m/0jbk"
00M9FhCet6s, 4.500, 6.500, "/m/0838f,/m/05tny_"
zzzzzzzzzzz, 0.000, 2.000, "/m/0838f"
bbbbbbbbbbb, 1.000, 3.000, "/m/0838f"
"""


@pytest.fixture
def audioset(tmp_path):
    """AudioSet in its own files, with two-second segments; the last two have no clip, or a silent one."""
    rows = [{"id": mid, "name": name, "child_ids": below, "restrictions": []} for mid, name, below in CLASSES]
    (tmp_path / "ontology.json").write_text(json.dumps(rows))
    table = [f'{k},{mid},"{name}"' for k, (mid, name, _) in enumerate(CLASSES)]
    (tmp_path / "labels.csv").write_text("\n".join(["index,mid,display_name", *table]) + "\n")
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    folder = tmp_path / "clips" / "below"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 2)
    soundfile.write(folder / "--aE2O5G5WE.wav", noise, 16000)
    soundfile.write(folder / "Y-0xzrMun0Rs_30.000.flac", noise, 16000)
    soundfile.write(folder.parent / "00M9FhCet6s_4500_6500.ogg", noise, 16000)
    soundfile.write(folder / "bbbbbbbbbbb.wav", 0 * noise, 16000)
    return tmp_path


def prepare(folder, **options):
    files = {"segments": folder / "segments.csv", "labels": folder / "labels.csv", "ontology": folder / "ontology.json"}
    return prepare_audioset(folder / "clips", folder / "out", **files, config=MEL, workers=1, progress=False, **options)


def test_clips_become_a_store_and_what_is_missing_is_listed(audioset):
    report = prepare(audioset)
    entries = {e.source: e for e in MelStore(audioset / "out").entries}
    assert {source: e.label for source, e in entries.items()} == {
        "--aE2O5G5WE": "Bark",  # the most specific
        "-0xzrMun0Rs": "Dog",  # two of one parent back up to it
        "00M9FhCet6s": entries["00M9FhCet6s"].label,
    }
    assert entries["00M9FhCet6s"].label in ("Water", "Bark")
    assert {e.frames for e in entries.values()} == {MEL.num_frames(32000)}
    assert report.missing == ("zzzzzzzzzzz_0",)
    assert (audioset / "out" / "missing.txt").read_text() == "zzzzzzzzzzz_0\n"
    ((name, reason),) = report.failures
    assert name == "bbbbbbbbbbb_1"
    assert "is silent" in reason
    assert sum(report.counts.values()) == 3
    assert "1 segments have no clip (zzzzzzzzzzz_0" in str(report)


def test_a_second_run_makes_nothing_again(audioset):
    prepare(audioset)
    times = {p: p.stat().st_mtime_ns for p in (audioset / "out" / "mels").iterdir()}
    manifest = (audioset / "out" / "manifest.jsonl").read_text()
    prepare(audioset)
    assert times == {p: p.stat().st_mtime_ns for p in (audioset / "out" / "mels").iterdir()}
    assert manifest == (audioset / "out" / "manifest.jsonl").read_text()


def test_of_a_longer_file_its_segment_is_taken(audioset):
    path = audioset / "clips" / "below" / "bbbbbbbbbbb.wav"
    sound = np.concatenate([np.zeros(16000), np.full(32000, 0.1) * np.sin(np.arange(32000)), np.zeros(16000)])
    soundfile.write(path, sound, 16000)
    prepare(audioset)
    (entry,) = [e for e in MelStore(audioset / "out").entries if e.source == "bbbbbbbbbbb"]
    mel = MelStore(audioset / "out").mel(entry)
    assert mel.shape == (32, MEL.num_frames(32000))
    assert (mel[:, 2:-2].amax(dim=0) > -40).all()


def test_a_clip_a_little_too_long_is_not_cut_at_the_video_s_second(audioset):
    path = audioset / "clips" / "below" / "Y-0xzrMun0Rs_30.000.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 4), 16000)
    assert not [name for name, _ in prepare(audioset).failures if name.startswith("-0xz")]


def test_a_class_may_be_limited(audioset):
    assert prepare(audioset, per_class=1).counts.get("Bark") == 1


def test_labels_back_up_the_hierarchy(audioset):
    ontology = Ontology.load(audioset / "ontology.json")
    rows = read_segments(audioset / "segments.csv", read_labels(audioset / "labels.csv"), ontology)
    assert [label_of(row, ontology) for row in rows[:2]] == ["Bark", "Dog"]
    assert rows[0].mids == ("/m/05tny_", "/m/0bt9lr")
    assert (rows[1].start_s, rows[1].end_s) == (30.0, 32.0)
    clips = find_clips(audioset / "clips", rows)
    assert set(clips) == {"--aE2O5G5WE_0", "-0xzrMun0Rs_30", "00M9FhCet6s_4.5", "bbbbbbbbbbb_1"}


def test_of_unrelated_labels_each_is_drawn(audioset):
    ontology = Ontology.load(audioset / "ontology.json")
    segments = [Segment(f"{k:011}", 30.0, 40.0, ("/m/0838f", "/m/05tny_")) for k in range(200)]
    drawn = [label_of(segment, ontology) for segment in segments]
    assert 60 < drawn.count("Water") < 140
    assert set(drawn) == {"Water", "Bark"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("abc, 0.000, 10.000", r"line 4: .* is no segment"),
        ('abc, zero, 10.000, "/m/0838f"', r"line 4: .* is no segment"),
        ('abc, 10.000, 10.000, "/m/0838f"', r"line 4: the segment goes from"),
        ('abc, 0.000, 10.000, "/m/0838f,/m/none"', r"line 4: the label '/m/none' is not in"),
        ("", "has no segments"),
    ],
)
def test_a_bad_row_is_named(audioset, line, message):
    (audioset / "segments.csv").write_text("\n".join([*SEGMENTS.splitlines()[:3], line]))
    with pytest.raises(InputError, match=message):
        prepare(audioset)


def test_other_files_are_refused(audioset):
    (audioset / "labels.csv").write_text("mid,name\n")
    with pytest.raises(InputError, match="expected index,mid,display_name"):
        prepare(audioset)
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(audioset / "nothing.csv")


def test_no_clip_at_all_is_refused(audioset):
    for path in (audioset / "clips").rglob("*.*"):
        path.unlink()
    with pytest.raises(InputError, match=r"holds no clip of the 5 segments; expected files such as --aE2O5G5WE_0\.wav"):
        prepare(audioset)
