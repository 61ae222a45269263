import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest

from timbrel.errors import InputError, MissingDependencyError
from timbrel.metrics import notes

needs_basic_pitch = pytest.mark.skipif(
    not notes.available(), reason="basic-pitch is not installed: pip install --no-deps basic-pitch"
)
SCORE = np.array([[0.5, 1.0, 60], [1.0, 1.6, 64], [1.6, 2.4, 67], [1.6, 2.4, 72]])


def later(start, end=0.0, pitch=0):
    return SCORE + np.array([start, end, pitch])


def plucked(score, seconds=3.0):
    t = np.arange(int(seconds * notes.SAMPLE_RATE)) / notes.SAMPLE_RATE
    sound = np.zeros_like(t)
    for start, end, pitch in score:
        on = (t >= start) & (t < end)
        hz, age = 440 * 2 ** ((pitch - 69) / 12), t[on] - start
        sound[on] += sum(np.sin(2 * np.pi * hz * k * age) * np.exp(-3 * k * age) / k for k in range(1, 6))
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)


@needs_basic_pitch
def test_a_simple_tune_is_heard():
    waveform = plucked(SCORE)
    assert notes.evaluate(SCORE, waveform)["note_f1"] >= 0.85
    wrong = later(0, pitch=1)
    assert notes.evaluate(wrong, waveform)["note_f1"] <= 0.2


@needs_basic_pitch
def test_windows_join_without_a_gap():
    long = np.concatenate([SCORE[:1] + np.array([s, s, 0]) for s in np.arange(0, 8, 0.75)])
    assert notes.evaluate(long, plucked(long, 9.5))["note_f1"] >= 0.85


@needs_basic_pitch
def test_decoding_is_basic_pitchs(monkeypatch):
    """Against its own note_creation.py, whose other imports are not needed for this and are stubbed."""
    folder = notes._model_path().parents[2]
    frames, onsets = notes.activations(plucked(SCORE, 5.0))
    for name in ("resampy", "basic_pitch"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name in ("constants", "note_creation"):
        spec: Any = importlib.util.spec_from_file_location(f"basic_pitch.{name}", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    rng = np.random.default_rng(0)
    noise = rng.random((500, 88)) ** 4
    smooth = sum(np.roll(noise, k, 0) for k in range(20)) / 8
    for note, onset in ((frames, onsets), (smooth.clip(0, 1), noise)):
        output = {"note": note.copy(), "onset": onset.copy(), "contour": np.zeros((len(note), 264))}
        _, expected = module.model_output_to_notes(output, 0.5, 0.3, include_pitch_bends=False)
        expected = np.array(sorted(event[:4] for event in expected))
        assert len(expected) > 3
        np.testing.assert_allclose(notes.decode(note, onset), expected, atol=1e-6)


def test_f1_asks_for_pitch_and_onset_not_for_the_end():
    assert notes.note_f1(SCORE, later(0.04, 0.3)) == 1
    assert notes.note_f1(SCORE, later(0.06, 0.3)) == 0
    assert notes.note_f1(SCORE, SCORE[:2]) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert notes.note_f1(SCORE, SCORE[:0]) == 0
    with pytest.raises(InputError, match="end_s > start_s"):
        notes.note_f1(SCORE, SCORE[:, [1, 0, 2]])


def test_silence_and_a_blink_have_no_notes():
    assert notes.decode(np.zeros((100, 88)), np.zeros((100, 88))).shape == (0, 4)
    assert notes.decode(np.zeros((2, 88)), np.zeros((2, 88))).shape == (0, 4)


def test_without_basic_pitch_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(notes, "_model_path", lambda: None)
    notes._network.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install --no-deps basic-pitch"):
        notes.transcribe(np.zeros(22050, np.float32))
