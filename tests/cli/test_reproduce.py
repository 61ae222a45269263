"""`timbrel reproduce`: words arrive where the reports are computed."""

from pathlib import Path

import pytest

from timbrel.cli.main import main


def test_001_is_asked_as_the_command_says(monkeypatch):
    from timbrel.experiments.report_001 import run

    made = []
    monkeypatch.setattr(run, "reproduce", lambda *args, **options: made.append((args, options)))
    assert main(["reproduce", "001", "--out", "o"]) == 0
    words = ["--budget", "cpu", "--data", "d", "--networks", "v.pth", "hf:a/b/c", "--workers", "1"]
    assert main(["reproduce", "001", "--out", "o", *words]) == 0
    assert made[0] == ((Path("o"),), {"quick": False, "budget": None, "data": None, "networks": (), "workers": None})
    asked = {"quick": False, "budget": "cpu", "data": Path("d"), "networks": ("v.pth", "hf:a/b/c"), "workers": 1}
    assert made[1] == ((Path("o"),), asked)


def test_001_says_what_is_wrong_and_leaves_nothing(tmp_path, capsys):
    words = ["reproduce", "001", "--quick", "--out", str(tmp_path / "new")]
    assert main([*words, "--networks", str(tmp_path / "none.pth")]) == 2
    assert "none.pth cannot be read" in capsys.readouterr().err
    assert main([*words, "--data", str(tmp_path)]) == 2
    assert "is not a mel store" in capsys.readouterr().err
    assert main([*words, "--budget", "cpu"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_002_is_asked_as_the_command_says(monkeypatch):
    from timbrel.experiments.report_002 import run

    made = []
    monkeypatch.setattr(run, "reproduce", lambda *args, **options: made.append((args, options)))
    assert main(["reproduce", "002", "--out", "o"]) == 0
    assert main(["reproduce", "002", "--out", "o", "--quick", "--data", "d", "--workers", "1"]) == 0
    assert made == [
        ((Path("o"),), {"quick": False, "budget": None, "data": None, "workers": None}),
        ((Path("o"),), {"quick": True, "budget": None, "data": Path("d"), "workers": 1}),
    ]


def test_003_is_asked_as_the_command_says(monkeypatch):
    from timbrel.experiments.report_003 import run

    made = []
    monkeypatch.setattr(run, "reproduce", lambda *args, **options: made.append((args, options)))
    assert main(["reproduce", "003", "--out", "o"]) == 0
    words = ["--quick", "--models", "runs", "--starts", "0", "20", "--forward-steps", "500", "--clips", "30"]
    words += ["--encoder", "vggish", "--weights", "v.pth", "--precision", "bf16"]
    assert main(["reproduce", "003", "--out", "o", *words]) == 0
    (plain, said), (_, more) = made
    assert plain == (Path("o"),)
    assert {name: value for name, value in said.items() if value} == {
        "encoder": "timbrel-features",
        "precision": "fp32",
    }
    assert (more["quick"], more["models"], more["clips"]) == (True, Path("runs"), 30)
    assert (more["starts"], more["forward_steps"]) == ((0, 20), (500,))
    assert (more["encoder"], more["weights"], more["precision"]) == ("vggish", "v.pth", "bf16")


def test_003_says_what_it_cannot_do_and_leaves_nothing(tmp_path, tiny_singles, capsys):
    words = ["reproduce", "003", "--out", str(tmp_path / "new"), "--models", str(tiny_singles)]
    assert main([*words, "--starts", "50"]) != 0
    assert "start is 50; expected 0 to 49" in capsys.readouterr().err
    assert main([*words, "--encoder", "vggish"]) != 0
    assert "the encoder vggish has no weights" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_that_the_user_stopped_says_how_it_goes_on(tmp_path, monkeypatch, capsys):
    from timbrel.errors import InterruptedRunError
    from timbrel.experiments.report_001 import run

    def stop(*args, **options):
        raise InterruptedRunError("stopped while codec was trained; the same command goes on")

    monkeypatch.setattr(run, "reproduce", stop)
    assert main(["reproduce", "001", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "timbrel: stopped while codec was trained; the same command goes on\n"


def test_two_runs_in_one_folder_are_noticed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("fcntl")
    from timbrel.experiments.report_003 import run

    words = ["reproduce", "003", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(run, "reproduce", lambda *_, **__: main(words))
    assert main(words) == 0
    assert "another run works in" in capsys.readouterr().err
