"""`timbrel models` and `timbrel instruments`."""

import numpy as np
import pytest

import timbrel
from timbrel.audio.io import write_audio
from timbrel.cli.main import main


def test_models_are_listed_with_what_is_known(tmp_path, monkeypatch, capsys):
    info = timbrel.ModelInfo(
        name="mine",
        path=tmp_path / "mine",
        purpose="timbre transfer",
        size_bytes=12_340_000,
        instruments=["harp", "piano"],
        sample_rate=44100,
        figures={"LSD dB": 8.5, "note F1 ratio": 0.9},
        training="200 steps",
    )
    asked = []
    monkeypatch.setitem(timbrel.__dict__, "list_models", lambda folder: asked.append(folder) or [info])
    assert main(["models", str(tmp_path)]) == 0
    assert asked == [tmp_path]
    assert capsys.readouterr().out.splitlines() == [
        "mine: timbre transfer, 12.3 MB, 44100 Hz",
        "  instruments harp, piano",
        "  measured    LSD dB 8.5, note F1 ratio 0.9",
        "  training    200 steps",
        f"  folder      {tmp_path / 'mine'}",
    ]


def test_a_folder_without_models_and_no_folder(tmp_path, capsys):
    assert main(["models", str(tmp_path)]) == 0
    assert "holds no model" in capsys.readouterr().out
    assert main(["models", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err


@pytest.fixture
def added(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(timbrel.__dict__, "add_instrument", lambda *args, **kw: calls.append((args, kw)))
    monkeypatch.chdir(tmp_path)
    write_audio("a.wav", np.ones((1, 100), "f4"), 44100)
    write_audio("b.flac", np.ones((1, 100), "f4"), 44100)
    return calls


def test_an_instrument_is_made_of_clips(added, capsys):
    assert main(["instruments", "add", "my-cello", "a.wav", "b.flac", "--model", "m"]) == 0
    [((name, clips), options)] = added
    assert (name, [str(clip) for clip in clips], options) == ("my-cello", ["a.wav", "b.flac"], {"model": "m"})
    assert "--to my-cello" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["my-cello"], "at least one of my-cello"),
        (["my-cello", "a.wav", "none.wav"], "none.wav does not exist"),
        (["my.cello", "a.wav"], "'my.cello'; expected a word"),
        (["a/b", "a.wav"], "'a/b'; expected a word"),
        (["", "a.wav"], "''; expected a word"),
        (["..", "a.wav"], "'..'; expected a word"),
        (["my\ncello", "a.wav"], r"'my\ncello'; expected a word"),
        (["my\x9bcello", "a.wav"], r"'my\x9bcello'; expected a word"),
        (["my\udce9cello", "a.wav"], "expected a word"),
        (["x" * 300, "a.wav"], "at most 200 bytes"),
    ],
)
def test_wrong_names_and_clips_are_said(added, args, said, capsys):
    assert main(["instruments", "add", *args]) == 2
    assert said in capsys.readouterr().err
    assert not added


def test_a_hint_can_be_typed_as_it_is(added, capsys):
    assert main(["instruments", "add", "my $cello", "a.wav"]) == 0
    assert "--to 'my $cello'" in capsys.readouterr().out


def test_instruments_of_ones_own_are_listed_and_removed(tiny_model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    time = np.arange(16000) / 16000
    write_audio("a.wav", (0.3 * np.sin(2 * np.pi * 330 * time))[None].astype("f4"), 16000)
    model = ["--model", str(tiny_model_folder)]
    assert main(["instruments", "add", "my cello", "a.wav", *model]) == 0
    capsys.readouterr()
    assert main(["instruments", "list", *model]) == 0
    assert capsys.readouterr().out == "your own: my cello\nthe model's: piano, violin\n"
    assert main(["instruments", "remove", "my cello", *model]) == 0
    assert main(["instruments", "remove", "my cello", *model]) == 2
    assert "'my cello' is no instrument of your own" in capsys.readouterr().err
    assert main(["instruments", "remove", "violin", *model]) == 2
    assert main(["instruments", "list", *model]) == 0
    assert "your own: none" in capsys.readouterr().out
