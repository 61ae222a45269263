"""`timbrel evaluate`: words arrive at the benchmark."""

from pathlib import Path

import pytest

from timbrel.cli.main import main
from timbrel.experiments import benchmark


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(benchmark, "build", lambda *args, **kw: made.append((args, kw)) or [1, 2, 3])
    monkeypatch.setattr(benchmark, "evaluate", lambda *args, **kw: made.append((args, kw)))
    return made


def test_build(calls, capsys):
    assert main(["evaluate", "build", "b", "--limit", "3", "--workers", "2"]) == 0
    assert calls == [((Path("b"),), {"limit": 3, "workers": 2})]
    assert capsys.readouterr().out == "b: 3 triplets\n"


def test_a_model_is_the_default_one_or_named(calls):
    assert main(["evaluate", "model", "b"]) == 0
    assert main(["evaluate", "model", "b", "runs/m", "--out", "o", "--rows", "mel", "model-clip", "--limit", "2"]) == 0
    assert calls == [
        ((Path("b"), Path("evaluation")), {"model": None, "rows": None, "limit": None, "workers": None}),
        (
            (Path("b"), Path("o")),
            {"model": "runs/m", "rows": ("mel", "model-clip"), "limit": 2, "workers": None},
        ),
    ]


def test_outputs_of_another_program(calls):
    assert main(["evaluate", "outputs", "b", "theirs", "--out", "o"]) == 0
    options = {"outputs": Path("theirs"), "rows": None, "limit": None, "workers": None}
    assert calls == [((Path("b"), Path("o")), options)]


def test_a_folder_that_is_no_benchmark_is_said(tmp_path, capsys):
    assert main(["evaluate", "model", str(tmp_path)]) == 2
    assert f"timbrel evaluate build {tmp_path}" in capsys.readouterr().err
