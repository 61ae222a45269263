"""The command line from recordings to a transfer, with nothing replaced: small settings, an untrained ear."""

import json

import numpy as np

from timbrel.audio.io import read_audio, write_audio
from timbrel.cli.main import main

MEL = "--mel.sample-rate 16000 --mel.n-fft 512 --mel.hop-length 256 --mel.n-mels 32"
FAST = "--steps 2 --precision fp32 --num-workers 0"


def record(path, harmonics, seed):
    rng = np.random.default_rng(seed)
    notes = [220 * 2 ** (rng.integers(0, 24) / 12) for _ in range(8)]
    time = np.arange(8000) / 16000
    tones = [sum(np.sin(2 * np.pi * hz * k * time) / k for k in harmonics) * np.exp(-3 * time) for hz in notes]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, (0.2 * np.concatenate(tones)[None]).astype("f4"), 16000)


def test_own_recordings_become_a_model_that_transfers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    for label, harmonics in (("reed", (1, 3, 5)), ("string", (1, 2, 3, 4))):
        for seed in range(2):
            record(tmp_path / "recordings" / label / f"{seed}.flac", harmonics, seed)
    for command in (
        f"data prepare recordings data --workers 1 {MEL}",
        f"train autoencoder tiny --data data --out codec {FAST}",
        f"train transfer tiny --data data --codec codec/model --out run {FAST}",
        "instruments add my-reed recordings/reed/0.flac recordings/reed/1.flac --model run/model",
        "transfer recordings/string/0.flac --to my-reed --model run/model --steps 1",
        "transfer recordings/string/0.flac --to recordings/reed/0.flac --model run/model --steps 1 -o x.ogg",
        "transfer recordings/string/0.flac --to my-reed --model run/model --strength 0 -o same.wav",
        "models run",
    ):
        assert main(command.split()) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "model: timbre transfer" in said.replace(str(tmp_path), "")
    assert json.loads((tmp_path / "run/model/config.json").read_text())["info"]["recipe"]["steps"] == 2
    source = read_audio("recordings/string/0.flac")[0]
    for name in ("0-my-reed.wav", "x.ogg", "same.wav"):
        result, rate = read_audio(name)
        assert (rate, result.shape) == (16000, source.shape)
    np.testing.assert_allclose(read_audio("same.wav")[0], source, atol=1e-5)
    for wrong, said in (("--to my-oboe --model run/model", "my-reed"), ("--to my-reed --model none", "'none'")):
        command = f"transfer recordings/string/0.flac -o wrong.wav {wrong}"
        assert main(command.split()) == 2
        assert said in capsys.readouterr().err
