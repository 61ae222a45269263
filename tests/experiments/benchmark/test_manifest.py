from collections import Counter
from dataclasses import replace

import pytest

from timbrel.data.scores import Note
from timbrel.data.splits import HELD_OUT_COMPOSERS
from timbrel.errors import InputError
from timbrel.experiments.benchmark import manifest


def test_it_is_what_the_design_says():
    triplets = manifest.triplets()
    directions = Counter((t.source, t.target) for t in triplets)
    assert len(triplets) == 240
    assert len(directions) == 12
    assert set(directions.values()) == {20}
    assert len({(t.source, t.target) for t in triplets[:12]}) == 12
    excerpts = [e for t in triplets for e in (t.content, t.style)]
    assert len({e.score for e in excerpts}) >= 60
    assert {e.score.split("/")[0] for e in excerpts} <= set(HELD_OUT_COMPOSERS)
    assert {e.duration_s for e in excerpts} == {8.0}
    assert len({e.digest for e in excerpts}) == 480
    assert all(t.content.score != t.style.score for t in triplets)
    assert [t.content.duration_s for t in manifest.long_triplets()] == [30.0] * 12
    assert len({t.id for t in triplets + manifest.long_triplets()}) == 252


def test_notes_are_those_it_was_drawn_with():
    excerpts = [t.content for t in manifest.triplets()]
    excerpt = next(e for e in excerpts if e.score.startswith("oneills1850/0487"))
    notes = excerpt.notes()
    assert manifest.digest(notes) == excerpt.digest
    assert all(55 <= n.pitch <= 88 and 0 <= n.start_s < n.end_s <= 8.0 for n in notes)
    with pytest.raises(InputError, match="music21=="):
        replace(excerpt, transposition=excerpt.transposition + 1).notes()


def test_a_key_is_let_go_before_it_is_struck_again():
    overlapping = [Note(0, 2, 60), Note(0.5, 0.51, 64), Note(1, 3, 60), Note(1.01, 3, 60)]
    assert manifest._playable(overlapping) == [Note(0, 1, 60), Note(0.5, 0.55, 64), Note(1, 3, 60)]
