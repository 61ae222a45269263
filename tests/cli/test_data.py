"""`timbrel data`: flags arrive at the functions that do the work."""

from pathlib import Path

import numpy as np

from timbrel.audio.io import write_audio
from timbrel.audio.mel import MelConfig
from timbrel.cli.main import main
from timbrel.data import synth
from timbrel.data.sounds import audioset, make
from timbrel.data.store import MelStore


def test_synth_takes_every_field_as_a_flag(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(synth, "synthesise", lambda *args, **kw: calls.append((args, kw)) or 42)
    flags = "--num-groups 3 --composers bach trecento --seed 5 --workers 2 --mel.n-mels 128"
    assert main(["data", "synth", "out", *flags.split()]) == 0
    config = synth.SynthConfig(num_groups=3, composers=("bach", "trecento"), seed=5)
    assert calls == [((config, Path("out")), {"mel": MelConfig(n_mels=128), "workers": 2, "cluster": None})]
    assert capsys.readouterr().out == "out: 42 recordings\n"


def test_synth_refuses_what_is_held_out(tmp_path, capsys):
    assert main(["data", "synth", str(tmp_path / "out"), "--composers", "haydn"]) == 2
    assert "haydn" in capsys.readouterr().err
    assert main(["data", "synth", str(tmp_path / "out"), "--libraries", "freepats"]) == 2
    assert "freepats" in capsys.readouterr().err


def test_prepare_makes_a_store_of_recordings(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for label in ("cello", "flute"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for name in ("a", "b"):
            waveform = (0.1 * rng.normal(size=(1, 5 * 22050))).astype("f4")
            write_audio(tmp_path / "in" / label / f"{name}.flac", waveform, 22050)
    (tmp_path / "in" / "cello" / "broken.wav").write_text("not sound")
    mel = "--mel.sample-rate 22050 --mel.n-fft 1024 --mel.hop-length 512 --mel.n-mels 32"
    out = tmp_path / "out"
    assert main(["data", "prepare", str(tmp_path / "in"), str(out), "--workers", "1", *mel.split()]) == 0
    store = MelStore(out)
    assert store.config == MelConfig(sample_rate=22050, n_fft=1024, hop_length=512, n_mels=32)
    assert {entry.label for entry in store.entries} == {"cello", "flute"}
    assert "broken.wav" in capsys.readouterr().out


def test_sounds_takes_every_field_as_a_flag(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(make, "make_sounds", lambda *args, **kw: calls.append((args, kw)) or "done")
    flags = "--num-sounds 3 --sources signals speech --samples a b --seed 5 --workers 2 --mel.n-mels 128"
    assert main(["data", "sounds", "out", *flags.split()]) == 0
    config = make.SoundsConfig(num_sounds=3, sources=("signals", "speech"), samples=("a", "b"), seed=5)
    assert calls == [((config, Path("out")), {"mel": MelConfig(n_mels=128), "workers": 2})]
    assert capsys.readouterr().out == "done\n"


def test_audioset_passes_its_files_on(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(audioset, "prepare_audioset", lambda *args, **kw: calls.append((args, kw)) or "done")
    flags = "--segments s.csv --labels l.csv --ontology o.json --per-class 7 --validation-share 0.2 --workers 1"
    assert main(["data", "audioset", "clips", "out", *flags.split()]) == 0
    ((args, given),) = calls
    assert args == (Path("clips"), Path("out"))
    files = {"segments": Path("s.csv"), "labels": Path("l.csv"), "ontology": Path("o.json")}
    others = {"per_class": 7, "validation_share": 0.2, "seed": 0, "workers": 1, "config": MelConfig()}
    assert given == files | others


def test_audioset_without_its_files_is_refused(tmp_path, capsys):
    flags = ["--segments", "s.csv", "--labels", "l.csv", "--ontology", str(tmp_path / "none.json")]
    assert main(["data", "audioset", str(tmp_path), str(tmp_path / "out"), *flags]) == 2
    assert "none.json is no ontology" in capsys.readouterr().err
