"""`timbrel transfer`, with a small pipeline in the model's place."""

import io
import os
import subprocess
import sys
from dataclasses import asdict

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import torch

from timbrel.audio.io import AudioWriter, open_audio, read_audio, write_audio
from timbrel.cli.main import main
from timbrel.errors import AudioError
from timbrel.pipelines import cross
from timbrel.pipelines.transfer import TransferPipeline


class Halves(TransferPipeline):
    """A pipeline that halves; it fails on a file named fail."""

    def __init__(self):
        self._instruments = dict.fromkeys(("violin", "piano"), torch.zeros(1, 16))
        self.calls, self.models = [], []

    def transfer_file(self, source, output, *, overwrite, progress, **options):  # type: ignore[override]
        self.calls.append((source, output, options))
        with (
            open_audio(source) as reader,
            AudioWriter(output, reader.sample_rate, reader.channels, overwrite=overwrite) as writer,
        ):
            for number, block in enumerate(reader.blocks(1000)):
                writer.write(np.divide(block, 2, dtype=np.float32))
                progress((number + 1) / 44.1, (reader.frames or 0) / reader.sample_rate)
                if source.stem == "fail":
                    raise AudioError(f"{source} fails")
                if source.stem == "stop":
                    raise KeyboardInterrupt


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    """The pipeline, and a current folder with recordings a.wav, b.wav, fail.wav and stop.wav."""
    made = Halves()
    monkeypatch.setattr(cross, "load", lambda model, device: made.models.append(model) or made)
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "fail.wav", "stop.wav"):
        write_audio(name, np.full((2, 4410), 0.5, "f4"), 44100)
    return made


def test_a_result_is_named_after_source_and_target(pipe, capsys):
    os.mkdir("songs")
    os.rename("a.wav", "songs/a.wav")
    assert main(["transfer", "songs/a.wav", "--to", "violin"]) == 0
    assert np.abs(read_audio("a-violin.wav")[0] - 0.25).max() < 1e-6
    said = capsys.readouterr()
    assert said.out.startswith("songs/a.wav -> a-violin.wav (")
    assert said.err == ""  # no progress bar where there is no terminal


def test_a_clip_is_a_target_and_options_arrive(pipe):
    flags = "--strength 0.5 --steps 3 --guidance 2 --seed 7 --transpose -5 --sample-rate 48000"
    flags += " --mix 0.25 --no-intonation --loop --limiter --float --like-source --track 1"
    files = "--picture p.png --model m -o out.wav"
    assert main(["transfer", "a.wav", "--to", "b.wav", *flags.split(), *files.split()]) == 0
    [(source, output, options)] = pipe.calls
    assert (source.name, output.name, pipe.models) == ("a.wav", "out.wav", ["m"])
    assert str(options.pop("picture")) == "p.png"
    settings = {"strength": 0.5, "steps": 3, "guidance": 2.0, "seed": 7, "transpose": -5}
    settings |= {"mix": 0.25, "intonation": False, "loop": True, "limiter": True}
    assert asdict(options.pop("settings")) == settings
    assert options == {"to": "b.wav", "output_rate": 48000, "subtype": "FLOAT", "like_source": True, "track": 1}
    assert main(["transfer", "a.wav", "--to", "b.wav"]) == 0
    assert os.path.exists("a-b.wav")


def test_several_sources_share_one_model_and_one_failure_stops_none(pipe, capsys):
    sources = ["missing.wav", "a.wav", "fail.wav", "b.wav"]
    assert main(["transfer", *sources, "--to", "piano", "--output-dir", "out/deep"]) == 2
    assert sorted(os.listdir("out/deep")) == ["a-piano.wav", "b-piano.wav"]
    assert pipe.models == [None]
    said = capsys.readouterr()
    assert "missing.wav does not exist" in said.err
    assert "fail.wav fails" in said.err
    assert [line.split(" ")[0] for line in said.out.splitlines()] == ["a.wav", "b.wav", "2"]
    assert said.out.endswith("2 of 4 done\n")


def test_an_interruption_leaves_nothing(pipe, capsys):
    before = sorted(os.listdir())
    assert main(["transfer", "stop.wav", "--to", "piano"]) == 130
    assert sorted(os.listdir()) == before
    assert capsys.readouterr().err == "timbrel: interrupted; nothing is left half-written\n"


def test_results_are_replaced_only_when_asked(pipe, capsys):
    assert main(["transfer", "a.wav", "--to", "violin"]) == 0
    assert main(["transfer", "a.wav", "--to", "violin"]) == 2
    assert "a-violin.wav exists" in capsys.readouterr().err
    assert main(["transfer", "a.wav", "--to", "violin", "--overwrite"]) == 0
    assert len(pipe.calls) == 2


@pytest.mark.parametrize("output", [["-o", "a.wav"], ["-o", "b.wav"], ["-o", "./link.wav"], ["--output-dir", "in"]])
def test_an_input_is_never_overwritten(pipe, output, capsys):
    os.symlink("a.wav", "link.wav")
    os.mkdir("in")
    os.symlink("../b.wav", "in/a-b.wav")  # what --output-dir in would write is the clip
    before = {name: read_audio(name)[0] for name in ("a.wav", "b.wav")}
    assert main(["transfer", "a.wav", "--to", "b.wav", "--overwrite", *output]) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert not pipe.models
    for name, waveform in before.items():
        np.testing.assert_array_equal(read_audio(name)[0], waveform)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--to violin", "there is no SOURCE"),
        ("a.wav --to violin --strength 1.1", "strength is 1.1; expected 0 to 1"),
        ("a.wav --to violin --strength nan", "strength is nan; expected 0 to 1"),
        ("a.wav --to violin --steps 0", "steps is 0; expected a whole number of at least 1"),
        ("a.wav --to violin --transpose=-37", "transpose is -37.0; expected -36 to 36, or 'auto'"),
        ("a.wav --to violin --guidance -1", "guidance is -1.0; expected 0"),
        ("a.wav --to violin --seed -1", "seed is -1; expected a whole number, 0"),
        ("a.wav --to violin --sample-rate 0", "sample rate of 0 Hz"),
        ("a.wav --to violin -o x.mp3 --sample-rate 96000", "mp3 has 8000"),
        ("a.wav --to violin -o x.txt", r"'.txt'; expected one of .wav"),
        ("a.wav --to violin -o none/x.wav", "no folder none"),
        ("a.wav --to violin -o x.wav --output-dir y", "expected one of them"),
        ("a.wav b.wav --to violin -o x.wav", "2 sources"),
        ("a.wav b.wav --to violin --picture x.png", "2 sources"),
        ("a.wav --to violin --picture x.jpg", "'.jpg'; expected one of .png"),
        ("a.wav --to violin --output-dir b.wav", "the folder b.wav cannot be made"),
        ("none --to violin", "none does not exist"),
        ("empty --to violin", "empty holds no recording"),
        ("a.wav --to violin --device warp", "--device"),
        ("a.wav --to missing.wav", "missing.wav does not exist"),
        ("a.wav --to ./", "is a folder"),
        ("text.wav --to violin", "no recording that can be read"),
        ("missing.wav --to violin", "missing.wav does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(pipe, args, said, capsys):
    with open("text.wav", "w") as file:
        file.write("not sound")
    os.mkdir("empty")
    assert main(["transfer", *args.split()]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("timbrel: ") or said == "--device"
    assert not pipe.models


def test_an_unknown_instrument_names_the_known(pipe, capsys):
    assert main(["transfer", "a.wav", "b.wav", "--to", "voilin"]) == 2
    err = capsys.readouterr().err
    assert "'voilin' is neither an instrument (piano, violin) nor a file; did you mean 'violin'?" in err
    assert "timbrel instruments add" in err
    assert err.count("voilin") == 1
    assert main(["transfer", "a.wav", "-o", "out.wav", "--to", "x" * 5000]) == 2
    assert "is neither an instrument" in capsys.readouterr().err
    assert main(["transfer", "a.wav", "--to", "x" * 5000]) == 2
    assert "the result would be called a-xxx" in capsys.readouterr().err
    assert not pipe.calls


def test_names_and_spellings_of_an_instrument_are_its_own(pipe):
    for name in ("VIOLIN", "Geige", "violino"):
        assert main(["transfer", "a.wav", "--to", name]) == 0
        assert pipe.named(name) == "violin"
    os.rename("b.wav", "Geige")  # a file comes before a name that is spelt otherwise
    assert pipe.named("Geige") is None


def test_a_folder_stands_for_what_is_in_it_and_its_tree_is_kept(pipe, capsys):
    os.makedirs("album/deep")
    for name in ("album/b.wav", "album/deep/a.wav", "album/deep/.hidden.wav", "album/deep/notes.txt"):
        os.link("a.wav", name)
    assert main(["transfer", "album", "a.wav", "--to", "violin"]) == 0
    assert os.path.exists("a-violin.wav")
    assert os.listdir("album-violin/deep") == ["a-violin.wav"]
    assert "3 of 3 done" in capsys.readouterr().out
    assert main(["transfer", "album", "--to", "violin", "--output-dir", "album/made"]) == 0
    assert main(["transfer", "album", "--to", "violin", "--output-dir", "album/made", "--overwrite"]) == 0
    assert sorted(os.listdir("album/made")) == ["b-violin.wav", "deep"]
    assert main(["transfer", "album/deep", "--to", "violin", "--output-dir", ".", "--overwrite"]) == 0
    assert os.path.exists("a-violin.wav")


def test_what_exists_is_left_if_that_is_asked_for(pipe, capsys):
    assert main(["transfer", "a.wav", "--to", "violin"]) == 0
    assert main(["transfer", "a.wav", "b.wav", "--to", "violin", "--skip-existing"]) == 0
    assert [source.name for source, _, _ in pipe.calls] == ["a.wav", "b.wav"]
    assert "2 of 2 done" in capsys.readouterr().out
    assert main(["transfer", "a.wav", "b.wav", "--to", "violin", "--skip-existing"]) == 0
    assert len(pipe.calls) == 2


def test_sources_of_one_name_have_numbers_and_the_same_source_is_one(pipe):
    os.mkdir("other")
    os.link("a.wav", "other/a.wav")
    assert main(["transfer", "a.wav", "./a.wav", "other/a.wav", "--to", "violin", "--output-dir", "out"]) == 0
    assert sorted(os.listdir("out")) == ["a-violin-2.wav", "a-violin.wav"]


@pytest.mark.parametrize("name", ["-dash.wav", "x" * 241 + ".wav", "\u00e9" * 120 + ".wav"])
def test_odd_names_are_names(pipe, name):
    os.rename("a.wav", name)
    assert main(["transfer", name, "--to", "violin", "--output-dir", "out"]) == 0
    [made] = os.listdir("out")
    assert made.startswith(name[:5])
    assert made.endswith("-violin.wav")


class Standard:
    def __init__(self, content=b""):
        self.buffer = io.BytesIO(content)

    def write(self, text):
        raise AssertionError(text)

    def flush(self):
        pass


def test_standard_input_and_output(pipe, monkeypatch, capsys):
    with open("a.wav", "rb") as file:
        monkeypatch.setattr(sys, "stdin", Standard(file.read()))
    monkeypatch.setattr(sys, "stdout", out := Standard())
    before = sorted(os.listdir())
    assert main(["transfer", "-", "--to", "violin", "-o", "-"]) == 0
    assert soundfile.read(io.BytesIO(out.buffer.getvalue()))[0].shape == (4410, 2)
    assert "standard input -> standard output (" in capsys.readouterr().err
    assert sorted(os.listdir()) == before
    monkeypatch.setattr(sys, "stdin", Standard(b"no music"))
    assert main(["transfer", "-", "--to", "violin", "-o", "-"]) == 2
    assert "timbrel: standard input (8 bytes) is no recording" in capsys.readouterr().err


def test_a_track_that_is_chosen_by_itself_is_said(pipe, tmp_path, capsys):
    inputs = ["-i", "a.wav", "-i", "b.wav", "-map", "0", "-map", "1"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, "two.mka"], check=True)
    assert main(["transfer", "two.mka", "--to", "violin"]) == 0
    assert "two.mka has 2 sound tracks; 1 is read, another one with --track" in capsys.readouterr().err
    assert main(["transfer", "two.mka", "--to", "violin", "--track", "2", "--overwrite"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["transfer", "two.mka", "--to", "violin", "--track", "3", "--overwrite"]) == 2
    assert main(["transfer", "a.wav", "--to", "two.mka"]) == 0
    assert "two.mka has 2 sound tracks; 1 is read, make a recording of another one" in capsys.readouterr().err


def test_floats_go_into_a_wav_alone(pipe, capsys):
    assert main(["transfer", "a.wav", "--to", "violin", "--float", "-o", "out.flac"]) == 2
    assert "out.flac would have FLOAT samples, which flac lacks: write a .wav" in capsys.readouterr().err
    assert pipe.models == []


def test_a_warning_is_said_once(pipe, capsys):
    with open("a.wav", "rb") as file:
        data = file.read()
    with open("two.wav", "wb") as file:
        file.write(2 * data)
    assert main(["transfer", "two.wav", "--to", "violin"]) == 0
    assert capsys.readouterr().err.count("timbrel: two.wav: 26504 bytes follow the recording") == 1


def test_a_terminal_shows_a_bar(pipe, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["transfer", "a.wav", "--to", "violin"]) == 0
    assert "a.wav" in capsys.readouterr().err
