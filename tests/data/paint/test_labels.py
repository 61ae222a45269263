from timbrel.data.paint.labels import LABELS, NAMES, STYLES, find_label
from timbrel.data.paint.music import HABITS, SCORES
from timbrel.data.paint.procedural import FAMILIES
from timbrel.models.text import WordEncoder, WordsConfig


def test_the_18_labels_have_music_pictures_and_words():
    assert len(set(NAMES)) == len(LABELS) == 18
    assert {*SCORES, *HABITS} == set(NAMES)
    assert not SCORES.keys() & HABITS.keys()
    encoder = WordEncoder(WordsConfig())
    for label in LABELS:
        assert (label.pictures in STYLES) != (label.pictures in FAMILIES)
        assert encoder.knows(label.name)
        assert not any(encoder.unknown_words(words) for words in label.words)
    assert {label.pictures for label in LABELS} == {*STYLES, *FAMILIES}


def test_a_style_that_two_labels_share_is_parted_by_the_view():
    assert find_label("Romanticism figure").view == "figure"
    assert find_label("Romanticism open view").view == "open"
    assert sum(label.real for label in LABELS) == 7
