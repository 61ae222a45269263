"""`timbrel accompany`, with small models, and `timbrel transfer --method cross`."""

import os

import numpy as np
import pytest

from timbrel.audio.io import read_audio, write_audio
from timbrel.cli.main import main
from timbrel.pipelines.accompany import AccompanyPipeline

RATE = 16000


@pytest.fixture(autouse=True)
def voice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    t = np.arange(RATE) / RATE
    write_audio("voice.wav", (0.1 * np.sin(2 * np.pi * 330 * t))[None].astype("f4"), RATE)


def test_the_files_are_named_after_voice_and_instruments(tiny_singles, capsys):
    command = ["accompany", "voice.wav", "--with", "violin", "guitar", "--steps", "3", "--start", "1"]
    command += ["--models", str(tiny_singles)]
    assert main(command) == 0
    folder = "voice-with-violin-guitar"
    assert sorted(os.listdir(folder)) == ["guitar.wav", "mix.wav", "violin.wav"]
    said = capsys.readouterr()
    assert said.out.startswith(f"{folder}/violin.wav, {folder}/guitar.wav, {folder}/mix.wav (")
    assert said.err == ""
    first = read_audio(f"{folder}/violin.wav")[0]
    assert main(command) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*command, "--level-db", "-12", "-o", "quiet"]) == 0
    np.testing.assert_allclose(2 * read_audio("quiet/violin.wav")[0], first, atol=1e-3)


def test_instruments_move_by_semitones_or_into_their_range(tiny_singles, monkeypatch):
    asked = []
    monkeypatch.setattr(
        AccompanyPipeline, "accompany_file", lambda *_, settings, **__: asked.append(settings.transpose) or {}
    )
    for flags in ([], ["--transpose", "auto"], ["--transpose", "-12"]):
        assert main(["accompany", "voice.wav", "--with", "violin", "--models", str(tiny_singles), *flags]) == 0
    assert asked == [0, "auto", -12]


def test_by_the_main_model(tiny_model_folder):
    command = ["accompany", "voice.wav", "--with", "piano", "--method", "default", "--model", str(tiny_model_folder)]
    assert main(command) == 0
    assert sorted(os.listdir("voice-with-piano")) == ["mix.wav", "piano.wav"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("accompany voice.wav", "--with"),
        ("accompany voice.wav --with lute", "no model of 'lute', only of guitar"),
        ("accompany none.wav --with violin", "none.wav does not exist"),
        ("accompany voice.wav --with violin -o voice.wav/band", "voice.wav is in the way"),
        ("accompany voice.wav --with violin --level-db 40", "level_db is 40.0; expected -60"),
        ("accompany voice.wav --with violin --transpose up", "no type matching FLOAT|{auto} could be instantiated"),
        ("accompany voice.wav --with violin --start 50", "start is 50; expected 0 to 49"),
        ("accompany voice.wav --with violin --model default", "model is given, which the method 'cross'"),
        ("transfer voice.wav --method cross --to lute", "no model of 'lute', only of guitar"),
        ("transfer voice.wav --method cross --to voice.wav", "no model of 'voice.wav', only of guitar"),
        ("transfer voice.wav --method cross --to violin --start 50", "start is 50; expected 0 to 49"),
        ("transfer voice.wav --method cross --to violin --forward-steps 501", "forward_steps is 501; expected 0"),
        (
            "transfer voice.wav --method cross --to violin --guidance 2",
            "guidance is 2.0; a model of one instrument",
        ),
        ("transfer voice.wav --to violin --start 3", "start, models is given, which the method 'default'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(tiny_singles, words, said, capsys):
    assert main([*words.split(), "--models", str(tiny_singles)]) == 2
    assert said in capsys.readouterr().err
    assert os.listdir() == ["voice.wav"]


def test_transfer_by_cross_diffusion(tiny_singles):
    command = ["transfer", "voice.wav", "--to", "violin", "--method", "cross", "--models", str(tiny_singles)]
    assert main([*command, "--steps", "5", "--start", "3"]) == 0
    assert read_audio("voice-violin.wav")[0].shape == (1, RATE)
    assert main([*command, "--steps", "5", "--start", "3", "--forward-steps", "500", "-o", "noisy.wav"]) == 0
    assert np.abs(read_audio("noisy.wav")[0] - read_audio("voice-violin.wav")[0]).max() > 1e-3
