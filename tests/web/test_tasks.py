"""The work of the page."""

from types import SimpleNamespace

import numpy as np
import pytest

from timbrel import Audio, GenerateSettings
from timbrel.web.jobs import Job
from timbrel.web.sounds import Folder
from timbrel.web.tasks import Studio


@pytest.fixture
def studio(tmp_path):
    return Studio(Folder(tmp_path, 1))


def test_an_example_that_was_swept_away_is_made_again(studio, monkeypatch):
    def make(instrument):
        path = studio.folder.new(f"{instrument}.ogg")
        path.touch()
        return path

    monkeypatch.setattr(studio, "_example", make)
    first = studio.example("violin")
    assert studio.example("violin") == first
    first.unlink()
    assert studio.example("violin").exists()


def test_each_take_has_the_seed_that_makes_it_again(studio, monkeypatch):
    noise = Audio(np.random.default_rng(0).uniform(-0.1, 0.1, (1, 16000)).astype(np.float32), 16000)
    monkeypatch.setattr(studio, "_generator", lambda: SimpleNamespace(takes=lambda *_, **__: [noise, noise]))
    takes = studio.generate(Job("visitor"), "rain", 1, 2, False, GenerateSettings(seed=3))
    assert [take.settings["settings"]["seed"] for take in takes] == [3, 4]
