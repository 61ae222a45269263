"""`timbrel duet`, with small models."""

import os

from timbrel.cli.main import main
from timbrel.pipelines.duet import DuetPipeline

FAST = ["--steps", "3", "--split", "1", "--seconds", "0.5"]


def test_stems_and_mix_are_written_under_their_names(tiny_singles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["duet", "violin", "guitar", "--models", str(tiny_singles), *FAST]
    assert main(command) == 0
    assert sorted(os.listdir("violin-guitar")) == ["guitar.wav", "mix.wav", "violin.wav"]
    said = capsys.readouterr()
    assert said.out.startswith("violin-guitar/violin.wav, violin-guitar/guitar.wav, violin-guitar/mix.wav (")
    assert said.err == ""
    assert main(command) == 2
    assert "violin-guitar/violin.wav exists" in capsys.readouterr().err
    command[1:3] = ["Violon", "GUITAR"]
    assert main([*command, "--overwrite", "--seed", "3"]) == 0
    assert os.listdir() == ["violin-guitar"]


def test_what_is_wrong_is_said_before_anything_is_made(tiny_singles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        ("duet violin", "1 instruments are named; expected at least 2"),
        ("duet violin lute", "no model of 'lute', only of guitar"),
        ("duet voilin guitar", "did you mean 'violin'?"),
        ("duet violin guitar --split 50", "split is 50; expected a whole number, 0 to 49"),
        ("duet violin guitar --seconds 0", "seconds is 0.0"),
    ):
        assert main([*words.split(), "--models", str(tiny_singles)]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mix.wav").write_text("mine")
    monkeypatch.setattr(DuetPipeline, "load", None)  # it is said without
    assert main(["duet", "violin", "guitar", "--models", str(tiny_singles), *FAST, "-o", "d"]) == 2
    assert "d/mix.wav exists" in capsys.readouterr().err
    assert main(["duet", "violin", "guitar", "--models", str(tiny_singles), *FAST, "-o", "d/mix.wav/e"]) == 2
    assert "mix.wav is in the way" in capsys.readouterr().err
    assert os.listdir() == ["d"]
    assert os.listdir("d") == ["mix.wav"]
