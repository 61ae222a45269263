import numpy as np
import pytest

from timbrel.audio.io import write_audio
from timbrel.cli.main import main


@pytest.fixture
def song(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_audio("song.wav", np.sin(np.arange(40000) / 20, dtype=np.float32)[None], 16000)
    return tmp_path / "song.wav"


def test_one_picture_has_the_name_given_and_several_their_seeds(song, tiny_painter, capsys):
    args = ["paint", str(song), "--model", str(tiny_painter), "--size", "128"]
    assert main([*args, "-o", "out.png"]) == 0
    assert main([*args, "-n", "2", "--seed", "7", "--prompt", "a ship"]) == 0
    assert sorted(path.name for path in song.parent.glob("*.png")) == ["out.png", "song-7.png", "song-8.png"]
    assert "song-7.png" in capsys.readouterr().out
    assert main([*args, "-o", "out.png"]) == 2
    assert "exists" in capsys.readouterr().err


def test_what_is_wrong_is_said_before_the_work(song, tiny_painter, capsys):
    for words, message in (
        (["-o", "out.jpg"], "expected one of .png"),
        (["-n", "0"], "num_pictures is 0"),
        (["--movie", "a.mp4", "-n", "2", "--start", "3"], "-n 2, --start 3.0 is of pictures, and --movie paints"),
        (["--model", "nowhere"], "'nowhere' is neither"),
    ):
        assert main(["paint", str(song), *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["paint", "nothing.wav", "--model", str(tiny_painter)]) == 2
