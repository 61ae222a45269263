"""Stretches of melody that two scores share."""

from timbrel.data.scores import Note
from tools import overlap


def scores(monkeypatch, **melodies):
    notes = {name: [Note(k * 0.5, k * 0.5 + 0.4, pitch) for k, pitch in enumerate(ps)] for name, ps in melodies.items()}
    monkeypatch.setattr(overlap, "load_score", notes.__getitem__)


def test_a_tune_is_known_in_any_key_and_a_scale_is_none(monkeypatch):
    tune = [60, 62, 60, 67, 65, 60, 72, 71, 67, 62, 69, 70, 60, 64]
    scores(monkeypatch, tune=tune, higher=[p + 5 for p in tune], scale=[60 + 2 * k for k in range(14)])
    assert len(overlap.runs("tune")) == 2
    assert overlap.runs("tune") == overlap.runs("higher")
    assert not overlap.runs("scale")


def test_of_a_chord_the_highest_note_is_the_melody(monkeypatch):
    tune = [60, 62, 60, 67, 65, 60, 72, 71, 67, 62, 69, 70, 60]
    scores(monkeypatch, tune=tune)
    alone = overlap.runs("tune")
    chords = [Note(k * 0.5, k * 0.5 + 0.4, p - low) for k, p in enumerate(tune) for low in (12, 0)]
    monkeypatch.setattr(overlap, "load_score", lambda name: chords)
    assert overlap.runs("tune") == alone != set()
