import numpy as np

from timbrel.data.sounds.captions import (
    WORDINGS,
    WORDINGS_HELD_OUT,
    caption,
    held_out_captions,
    overlap_caption,
    without_names,
)
from timbrel.data.sounds.ontology import Ontology

ONTOLOGY = Ontology.load()


def captions(name: str, count: int = 2000) -> list[str]:
    rng = np.random.default_rng(0)
    return [caption(name, ONTOLOGY, rng) for _ in range(count)]


def test_captions_have_the_report_s_form_and_many_others():
    drawn = captions("violin")
    assert 0.2 < drawn.count("a spectrogram of the sound of a violin") / len(drawn) < 0.4
    assert {"violin playing", "the sound of a fiddle", "a bowed string instrument", "violin"} <= set(drawn)
    assert len(set(drawn)) > 40


def test_only_what_can_be_counted_has_an_article():
    assert "an accordion" in captions("accordion")
    assert "the sound of white noise" in captions("white noise")
    assert not [c for name in ("white noise", "bagpipes", "male speech") for c in captions(name) if " a bag" in c]
    assert not [c for c in captions("white noise") if "a white" in c]


def test_only_instruments_are_played():
    assert "piano playing" in captions("piano")
    assert not [c for name in ("dog", "rain") for c in captions(name) if "play" in c or "solo" in c]


def test_what_is_held_out_is_never_drawn():
    assert not set(WORDINGS) & set(WORDINGS_HELD_OUT)
    for name in ONTOLOGY.leaves():
        held_out = set(held_out_captions(name, ONTOLOGY))
        aliases = ONTOLOGY.find(name).aliases_held_out
        assert aliases
        assert all(any(alias in text for text in held_out) for alias in aliases)
        drawn = set(captions(name, 300))
        assert not drawn & held_out
        assert not [text for text in drawn for alias in aliases if alias in text]


def test_an_overlap_has_the_report_s_caption():
    assert overlap_caption(["bark", "howl"], "dog sound") == (
        "a mel spectrogram of the sound of multiple overlapping dog sounds, including bark and howl"
    )
    assert "overlapping Human sounds, " in overlap_caption(["a", "b"], "Human sounds")


def test_captions_are_names_and_what_stands_around_them():
    around = set(" ".join(without_names()).split())
    for name in ("violin", "dog", "white noise"):
        named = (one for n in (name, *ONTOLOGY.ancestors(name)) for one in ONTOLOGY.find(n).wordings)
        known = around | set(" ".join(named).split()) | {"a", "an"}
        assert {word for text in captions(name) for word in text.split()} <= known


def test_a_seed_repeats_a_caption():
    assert captions("flute", 20) == captions("flute", 20)
