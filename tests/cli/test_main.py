"""The command as a whole: help, exit codes, start-up."""

import resource
import subprocess
import sys
import time

import pytest

import timbrel
from timbrel.cli import main as module
from timbrel.cli.main import VERBS, main
from timbrel.errors import InputError, ModelError


def test_help_answers_at_once_and_needs_no_torch():
    code = "import sys; from timbrel.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    measured = []
    for _ in range(3):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        # On a busy machine the wall says little: what the process itself takes is what counts.
        measured.append(min(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
        assert done.returncode == 0, done.stderr
        assert "timbrel transfer song.mp3 --to violin" in done.stdout
    assert min(measured) < 0.8


@pytest.mark.parametrize("words", [words for words, verb in VERBS.items() if callable(verb)])
def test_every_verb_has_help_with_an_example(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main([*words.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"timbrel {words} " in said.partition("For example")[2].replace("\n", " ")


@pytest.mark.parametrize("words", ["", *(words for words, verb in VERBS.items() if isinstance(verb, str))])
def test_a_group_lists_its_verbs_by_a_line_each(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*words.split(), "--help"]) == 0
    said = capsys.readouterr().out
    for verb in VERBS:
        group, _, name = verb.rpartition(" ")
        if group == words:
            assert f"• {name}" in said
    if words:
        assert "For example" not in said


def test_no_words_at_all_show_the_help(capsys):
    assert main([]) == 0
    assert "transfer" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args", [["transfr"], ["transfer", "a.wav"], ["transfer", "a.wav", "--to", "x", "--strenght", "1"]]
)
def test_wrong_words_exit_with_2(args, capsys):
    assert main(args) == 2
    said = capsys.readouterr()
    assert "--help" in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("strength is 7"), 2, "timbrel: strength is 7\n"),
        (ModelError("no model"), 2, "timbrel: no model\n"),
        (
            PermissionError(13, "Permission denied", "x.wav"),
            2,
            "timbrel: [Errno 13] Permission denied: 'x.wav'\n",
        ),
        (KeyboardInterrupt(), 130, "timbrel: interrupted; nothing is left half-written\n"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(error, code, said, monkeypatch, capsys):
    def verb() -> None:
        """Fail."""
        raise error

    monkeypatch.setitem(module.VERBS, "fail", verb)
    assert main(["fail"]) == code
    assert capsys.readouterr() == ("", said)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"timbrel {timbrel.__version__}\n"


def test_the_module_runs_too():
    done = subprocess.run([sys.executable, "-m", "timbrel", "transfer"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--to" in done.stderr
    assert "Traceback" not in done.stderr
