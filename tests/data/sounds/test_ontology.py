import json

import pytest

from timbrel.data.sounds.ontology import SHIPPED, Ontology
from timbrel.errors import InputError

AUDIOSET = [  # rows as AudioSet's file has them
    {"id": "/m/04rlf", "name": "Music", "description": "", "citation_uri": "", "positive_examples": [],
     "child_ids": ["/m/04szw", "/m/0l14md"], "restrictions": []},
    {"id": "/m/04szw", "name": "Musical instrument", "child_ids": ["/m/07y_7"], "restrictions": ["abstract"]},
    {"id": "/m/0l14md", "name": "Bowed string instrument", "child_ids": ["/m/07y_7"], "restrictions": []},
    {"id": "/m/07y_7", "name": "Violin, fiddle", "child_ids": [], "restrictions": []},
]  # fmt: skip


@pytest.fixture
def audioset(tmp_path):
    path = tmp_path / "ontology.json"
    path.write_text(json.dumps(AUDIOSET))
    return Ontology.load(path)


def test_the_shipped_ontology_is_large_and_deep():
    ontology = Ontology.load()
    leaves = ontology.leaves()
    assert len(leaves) >= 80
    assert all(ontology.ancestors(leaf) for leaf in leaves)
    assert sum(len(ontology.ancestors(leaf)) >= 2 for leaf in leaves) > 60
    assert set(json.loads(SHIPPED.read_text())[0]) >= {
        "id", "name", "description", "citation_uri", "positive_examples", "child_ids", "restrictions"
    }  # fmt: skip


def test_every_wording_of_the_shipped_ontology_leads_to_one_class():
    ontology = Ontology.load()
    for name in ontology.names():
        sound = ontology.find(name)
        for wording in (*sound.wordings, *sound.aliases_held_out, sound.id):
            assert ontology.find(wording.upper()).name == name
        assert not set(sound.wordings) & set(sound.aliases_held_out)


def test_a_class_may_have_several_parents(audioset):
    name = "Violin, fiddle"
    assert audioset.parents(name) == ("Musical instrument", "Bowed string instrument")
    assert audioset.ancestors(name) == ("Musical instrument", "Bowed string instrument", "Music")
    assert audioset.leaves("Music") == audioset.leaves() == audioset.leaves(name) == (name,)
    assert audioset.children("Music") == ("Musical instrument", "Bowed string instrument")


def test_audioset_s_synonyms_and_ids_are_found(audioset):
    assert {audioset.find(t).id for t in ("FIDDLE", "violin", "/m/07y_7", " violin,  fiddle ")} == {"/m/07y_7"}


def test_an_unknown_class_is_told_the_nearest():
    with pytest.raises(InputError, match=r"class 'violine' is unknown; did you mean violin or"):
        Ontology.load().find("violine")
    with pytest.raises(InputError, match=r"class '%%%' is unknown; expected a class, such as"):
        Ontology.load().find("%%%")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "0 classes"),
        ([AUDIOSET[3]] * 2, "each of its own id"),
        (AUDIOSET[:2], "no class of the id"),
        ([{**AUDIOSET[3], "child_ids": ["/m/07y_7"]}], "its own ancestor"),
        ([{"name": "x"}], "is no ontology"),
        ({"id": 1}, "is no ontology"),
    ],
)
def test_what_is_no_ontology_is_refused(tmp_path, rows, message):
    path = tmp_path / "ontology.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=message):
        Ontology.load(path)
