"""`timbrel generate`, `inpaint` and `extend`, with a small model."""

import os

import numpy as np
import pytest
from PIL import Image

from timbrel.audio.io import read_audio, write_audio
from timbrel.cli.main import main
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.generate import GenerateSystem

FAST = ["--steps", "2", "--guidance", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write_audio("song.wav", (0.1 * rng.standard_normal((2, 2 * 22050))).astype(np.float32), 22050)
    return tmp_path


def test_takes_are_written_under_their_words_and_seeds(here, tiny_generator, capsys):
    command = ["generate", "A slow harp", "--model", str(tiny_generator), "--seconds", "0.5", "-n", "2", "--seed", "7"]
    assert main([*command, *FAST, "-o", "takes", "--picture", "takes.png"]) == 0
    assert sorted(os.listdir("takes")) == ["slow-harp-7.wav", "slow-harp-8.wav"]
    said = capsys.readouterr()
    assert said.out.startswith("takes/slow-harp-7.wav, takes/slow-harp-8.wav (")
    assert said.err == ""
    assert (here / "takes.png").stat().st_size > 1000
    assert main([*command, *FAST, "-o", "takes"]) == 2
    assert "slow-harp-7.wav exists" in capsys.readouterr().err
    again = ["generate", "A slow harp", "--model", str(tiny_generator), "--seconds", "0.5", "--seed", "8", *FAST]
    assert main([*again, "-o", "again"]) == 0
    np.testing.assert_array_equal(read_audio("takes/slow-harp-8.wav")[0], read_audio("again/slow-harp-8.wav")[0])


def test_a_class_a_loop_and_a_start_are_taken(here, tiny_generator):
    model = ["--model", str(tiny_generator), *FAST]
    assert main(["generate", "--class", "Fiddle", "--loop", "--seconds", "1", *model]) == 0
    assert read_audio("violin-0.wav")[0].shape == (1, 16000)
    assert (
        main(
            [
                "generate",
                "rain",
                "--init",
                "song.wav",
                "--strength",
                "0.5",
                "--negative",
                "dog",
                *model,
                "--guidance",
                "2",
            ]
        )
        == 0
    )
    assert read_audio("rain-0.wav")[0].shape == (1, 2 * 16000)


def test_a_recording_is_painted_into_and_goes_on(here, tiny_generator, capsys):
    before, model = read_audio("song.wav")[0], ["--model", str(tiny_generator), *FAST]
    assert (
        main(["inpaint", "song.wav", "--from", "0.5", "--from", "1.5", "--to", "0.8", "--to", "1.7", "rain", *model])
        == 0
    )
    assert capsys.readouterr().out.startswith("song.wav -> song-inpainted.wav (")
    after, rate = read_audio("song-inpainted.wav")
    assert rate == 22050
    same = (after == before).all(axis=0)  # both have 24 bits
    for start, end in ((0, 0.46), (0.84, 1.46), (1.74, 2)):
        assert same[round(start * rate) : round(end * rate)].all()
    assert not same[round(0.6 * rate) : round(0.7 * rate)].all()
    assert main(["extend", "song.wav", "a harp", "--seconds", "0.5", "--before", "-o", "longer.flac", *model]) == 0
    assert read_audio("longer.flac")[0].shape == (2, round(2.5 * 22050))


def test_a_change_is_drawn(here, tiny_generator, capsys):
    model = ["--model", str(tiny_generator), *FAST]
    assert main(["inpaint", "song.wav", "--from", "0.5", "--to", "0.8", "--picture", "hole.png", *model]) == 0
    assert main(["extend", "song.wav", "--seconds", "0.5", "--picture", "longer.png", *model]) == 0
    assert all(Image.open(name).size[1] > 400 for name in ("hole.png", "longer.png"))
    assert main(["extend", "song.wav", "--seconds", "0.5", "-o", "other.wav", "--picture", "longer.png", *model]) == 2
    assert "longer.png exists" in capsys.readouterr().err
    assert not os.path.exists("other.wav")


def test_classes_are_those_of_the_model(here, tiny_generator, tmp_path, capsys):
    system = load_system(tiny_generator, GenerateSystem)
    system.info = system.info | {"classes": {"didgeridoo drone": ["horn drone"], "wind instrument": []}}
    save_system(tmp_path / "other", system)
    command = ["generate", "--seconds", "0.2", "--model", str(tmp_path / "other"), *FAST, "--class"]
    assert main([*command, "Horn drone"]) == 0
    assert os.path.exists("didgeridoo-drone-0.wav")
    assert main([*command, "fiddle"]) == 2
    assert "class 'fiddle' is unknown" in capsys.readouterr().err


def test_words_that_are_unknown_are_one_line(here, tiny_generator, capsys):
    command = ["generate", "a qqqqqqq harp", "--seconds", "0.2", "--model", str(tiny_generator), *FAST]
    assert main(command) == 0
    assert capsys.readouterr().err == "timbrel: the model does not know qqqqqqq; left out\n"


def test_takes_are_kept_as_they_are_made(here, tiny_generator, monkeypatch):
    from timbrel.audio.waveform import Audio

    save = Audio.save

    def stop_at_the_second(self, path, **options):
        if path.name == "harp-1.wav":
            assert os.path.exists("out/harp-0.wav")
            raise KeyboardInterrupt
        save(self, path, **options)

    monkeypatch.setattr(Audio, "save", stop_at_the_second)
    command = ["generate", "harp", "-n", "3", "--seconds", "0.2", "-o", "out", "--model", str(tiny_generator), *FAST]
    assert main(command) == 130
    assert os.listdir("out") == ["harp-0.wav"]


def test_the_model_that_ships_makes_sound_at_once(here):
    assert main(["generate", "--class", "violin", "--seconds", "0.5", "-o", "violin.wav", "--steps", "2"]) == 0
    waveform, rate = read_audio("violin.wav")
    assert (waveform.shape[-1], rate) == (22050, 44100)
    assert sorted(os.listdir()) == ["song.wav", "violin.wav"]


def test_what_is_wrong_is_said(here, tiny_generator, tiny_model_folder, capsys):
    made = ["--model", str(tiny_generator)]
    for words, said in (
        (["generate", *made], "expected a TEXT or --class NAME"),
        (["generate", "harp", "--class", "harp", *made], "expected a TEXT or --class NAME"),
        (["generate", "--class", "violon", *made], "did you mean violin"),
        (["generate", "", *made], "expected at least one English word"),
        (["generate", "harp", "-n", "2", "-o", "harp.wav", *made], "harp.wav is one file and num_takes is 2"),
        (["generate", "harp", "--model", str(tiny_model_folder)], "holds a system 'transfer'; expected 'generate'"),
        (["generate", "harp", "--seconds", "0", *made, "-o", "out"], "duration_s is 0"),
        (["generate", "harp", "-n", "100000000", *made], "num_takes is 100000000"),
        (["generate", "harp", "--init", "none.wav", *made], "none.wav"),
        (["inpaint", "song.wav", "--from", "1", "--to", "3", *made], "the span is 1 to 3 s"),
        (["inpaint", "song.wav", "--from", "1", "--from", "2", "--to", "3", *made], "there are 2 --from and 1 --to"),
        (["inpaint", "song.wav", *made], "there are 0 --from and 0 --to; expected at least one"),
        (["inpaint", "song.wav", "--from", "0", "--to", "2", *made], "the spans cover all"),
        (["inpaint", "none.wav", "--from", "0", "--to", "2", *made], "none.wav"),
        (["extend", "song.wav", "--seconds", "700", *made], "seconds is 700"),
        (["extend", "song.wav", "--seconds", "1", "-o", "song.wav", *made], "song.wav"),
    ):
        assert main(words) == 2, words
        assert said in capsys.readouterr().err, words
    assert os.listdir() == ["song.wav"]
