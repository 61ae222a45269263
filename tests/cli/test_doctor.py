"""`timbrel doctor`."""

import sys

import torch

from timbrel.cli import doctor
from timbrel.cli.main import main


def test_it_says_what_there_is_and_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(doctor.PARTS, "no-such-package", ("pip install no-such-package", "nothing"))
    monkeypatch.setitem(doctor.PROGRAMS, "no-such-program", "nothing")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert f"torch {torch.__version__}" in said
    assert "MISSING" not in said
    assert "no no-such-package (nothing): pip install no-such-package" in said
    assert "no no-such-program (nothing)" in said


def test_a_broken_core_is_said(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CORE", ("torch", "imageio-ffmpeg", "no-such-package"))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # importing it fails
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 2
    said = capsys.readouterr().out
    assert "torch BROKEN (ModuleNotFoundError: " in said
    assert "no-such-package MISSING" in said
