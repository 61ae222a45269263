from dataclasses import replace

import pytest

from timbrel.data import scores
from timbrel.data.render import write_midi
from timbrel.data.scores import Note
from timbrel.data.splits import is_held_out
from timbrel.errors import InputError

TUNE = [Note(0.5, 1.0, 60, 90), Note(1.0, 1.5, 64, 70), Note(1.0, 2.0, 67, 80)]


@pytest.mark.parametrize("name", ["tune.mid", "tune in C#.mid", "tune #1.mid"])
def test_a_midi_file_comes_back_as_its_notes(tmp_path, name):
    write_midi(tmp_path / name, TUNE, 0)
    notes = scores.load_score(tmp_path / name)
    assert [(n.pitch, n.velocity) for n in notes] == [(n.pitch, n.velocity) for n in TUNE]
    for one, other in zip(notes, TUNE, strict=True):
        assert one.start_s == pytest.approx(other.start_s, abs=2e-3)
        assert one.end_s == pytest.approx(other.end_s, abs=2e-3)


def test_what_is_no_score_is_refused(tmp_path):
    (tmp_path / "text.mid").write_text("not a score")
    with pytest.raises(InputError, match="cannot be read as a score"):
        scores.load_score(tmp_path / "text.mid")
    write_midi(tmp_path / "empty.mid", [], 0)
    with pytest.raises(InputError, match="has no notes"):
        scores.load_score(tmp_path / "empty.mid")


def test_the_corpus_has_the_composers_that_may_be_trained_on():
    pytest.importorskip("music21", reason="music21 is not installed: pip install 'timbrel[data]'")
    names = scores.corpus_scores(["trecento"])
    assert len(names) > 20
    assert names == sorted(names)
    assert all(name.startswith("trecento/") for name in names)
    assert not any(is_held_out(composer=composer) for composer in scores.CORPUS_LICENCES)
    with pytest.raises(InputError, match=r"'abba' is not in music21's corpus; known: .*bach"):
        scores.corpus_scores(["abba"])


def test_a_corpus_score_is_read_in_seconds():
    pytest.importorskip("music21", reason="music21 is not installed: pip install 'timbrel[data]'")
    notes = scores.load_score("bach/bwv66.6.mxl")
    assert len(notes) > 100
    assert [n.start_s for n in notes] == sorted(n.start_s for n in notes)
    assert all(0 <= n.start_s < n.end_s < 120 and 30 < n.pitch < 90 for n in notes)


def test_an_excerpt_begins_at_zero_and_cuts_what_rings_past_it():
    assert scores.excerpt(TUNE, 0.75, 0.5) == [Note(0.25, 0.5, 64, 70), Note(0.25, 0.5, 67, 80)]


def test_folding_keeps_pitch_classes_and_merges_doubled_notes():
    wide = [Note(0, 1, 30), Note(0, 2, 42), Note(1, 2, 100)]
    folded = scores.fold(wide, 55, 66)
    assert folded == [Note(0, 2, 66), replace(wide[2], pitch=64)]
    with pytest.raises(InputError, match="narrower than an octave"):
        scores.fold(wide, 60, 70)


def test_composing_hangs_on_the_seed():
    pieces = [scores.compose(seed, 20) for seed in range(20)]
    assert pieces[3] == scores.compose(3, 20)
    assert len({tuple(piece) for piece in pieces}) == 20
    for piece in pieces:
        assert len(piece) > 10
        assert all(0 <= n.start_s < n.end_s and 0 <= n.pitch <= 108 and 1 <= n.velocity <= 127 for n in piece)
