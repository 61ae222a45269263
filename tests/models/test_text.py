"""The offline text encoder: which words it knows, what lies near what, and what it makes of wordings."""

import tomllib
from pathlib import Path

import pytest
import torch

from timbrel.data.sounds.captions import without_names
from timbrel.data.sounds.ontology import Ontology
from timbrel.errors import InputError
from timbrel.instruments import INSTRUMENTS
from timbrel.models.text import TABLE, WordEncoder, WordsConfig, forms_of, known_forms, words


def meaning(text):
    vectors = torch.stack([words()[word] for word in forms_of(text)])
    return torch.nn.functional.normalize(vectors.sum(dim=0), dim=0)


def nearest(text, names):
    return max(names, key=lambda name: float(meaning(text) @ meaning(name)))


def test_the_table_is_small_and_finite():
    table = words()
    assert 8000 <= len(table) <= 12000
    lengths = torch.stack(list(table.values())).norm(dim=1)
    assert lengths.isfinite().all()
    assert float(lengths.max()) < 1.5


def test_every_name_of_a_class_and_of_an_instrument_is_known():
    for name in (*Ontology.load().names(), *(name.replace("-", " ") for name in INSTRUMENTS)):
        assert forms_of(name), name


AUDIOSET_WORDS = """hiccup fart didgeridoo shofar ska dubstep grunge afrobeat beatboxing sidetone skidding splinter
reverberation distortion rimshot wheeze sniff shuffle pulleys ululation ratchet pawl chainsaw scissors fireworks
burping children mice canidae onomatopoeia"""


@pytest.mark.parametrize("word", AUDIOSET_WORDS.split())
def test_words_of_audioset_s_names_are_in_the_table(word):
    assert known_forms(word) == (word,)


def test_an_irregular_plural_lies_where_its_singular_does():
    children, child = (words()[word][32:] for word in ("children", "child"))
    assert float(torch.cosine_similarity(children, child, dim=0)) > 0.9


def test_the_plural_of_every_word_of_a_class_finds_the_word():
    names = {word for name in Ontology.load().names() for word in forms_of(name) if not word.endswith("s")}
    names |= {"bee", "plane", "sine", "line", "one", "box", "baby"}
    for word in sorted(names):
        plural = f"{word}{'es' if word.endswith(('x', 'z', 'ch', 'sh')) else 's'}"
        if word.endswith("y") and word[-2] not in "aeou":
            plural = f"{word[:-1]}ies"
        assert known_forms(plural) in ((plural,), (word,))


def test_the_licence_of_what_the_table_is_made_of_lies_beside_it():
    text = TABLE.with_suffix(".LICENSE.txt").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University." in text
    assert "MAKES NO REPRESENTATIONS OR WARRANTIES" in text
    assert "en_core_web_md" in text
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "src/timbrel/models/words.LICENSE.txt" in project["project"]["license-files"]
    assert "models/*.txt" in project["tool"]["setuptools"]["package-data"]["timbrel"]


@pytest.mark.parametrize(
    ("wording", "meant"),
    [("fiddle", "violin"), ("puppy", "dog"), ("church organ", "organ"), ("brass horn", "trumpet")],
)
def test_wordings_lie_near_what_they_mean(wording, meant):
    assert nearest(wording, ["violin", "dog", "organ", "trumpet", "rain", "piano", "flute"]) == meant


def test_a_bowed_string_is_a_violin_or_a_cello_sooner_than_a_flute_or_a_drum():
    near = {name: float(meaning("bowed string") @ meaning(name)) for name in ("violin", "cello", "flute", "drum")}
    assert min(near["violin"], near["cello"]) > max(near["flute"], near["drum"]) + 0.05


def test_violin_and_cello_are_alike_and_not_the_same():
    assert 0.5 < float(meaning("violin") @ meaning("cello")) < 0.9


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("trombones", ["trombone"]),
        ("humming", ["humming"]),
        ("saxaphone", ["saxophone"]),
        ("wristwatch", ["wrist", "watch"]),
        ("fireplace", ["fire", "place"]),
    ],
)
def test_inflections_slips_and_compounds_stand_for_words(word, forms):
    assert list(known_forms(word)) == forms


def test_unknown_words_are_left_out_and_a_text_of_nothing_else_is_refused():
    assert forms_of("Violin, qqqqq; SOUND of the") == ("violin",)
    assert WordEncoder(WordsConfig()).unknown_words("Violin, qqqqq; SOUND of the") == ["qqqqq"]
    for text in ("", "  ", "the sound of a", "qqqqq"):
        with pytest.raises(InputError, match="expected at least one English word"):
            WordEncoder(WordsConfig(width=16)).read([text])


@pytest.fixture
def learnt():
    encoder = WordEncoder(WordsConfig(width=16))
    encoder.learn([("violin", "fiddle"), ("bass drum", "kick"), ("dog", "dog barking")], ["the sound of", "we hear"])
    return encoder


def test_words_unlike_all_that_were_learnt_are_left_out(learnt):
    assert learnt.config.around == ("hear",)
    assert learnt.simplified("we hear a slow violin") == "violin"
    assert learnt.unknown_words("we hear a slow violin") == ["slow"]
    assert learnt.simplified("puppies and a roof") == "puppy"
    learnt.learn([("melody",)], ["slow"])
    assert learnt.simplified("a slow violin melody, xqzzk") == "slow violin melody"
    assert learnt.unknown_words("a slow violin melody, xqzzk") == ["xqzzk"]


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("listen to a FIDDLE!", "violin"),
        ("a kick and a dog barking, then a bass drum", "bass drum, dog, bass drum"),
        ("alarm and kick", "alarm, bass drum"),
        ("Alarm or Kick", "siren"),  # a name
        ("violin, fiddle", "violin, violin"),
        ("we hear a kick", "bass drum"),
        ("a dog barking at a fiddle", "dog, violin"),
        ("kick a barking dog", "kick barking dog"),  # no name alone
        ("dog-barking", "dog"),
        ("e-violin", "drum"),
        ("an e-violin", "drum"),
    ],
)
def test_where_a_phrase_is_a_name_the_class_s_main_name_stands(learnt, text, simple):
    learnt.learn([("drum", "e-violin"), ("siren", "alarm or kick", "alarm kick")], [])
    assert learnt.simplified(text) == simple
    assert forms_of(learnt.simplified(text))


def test_a_main_name_stands_for_no_other_class(learnt):
    learnt.learn([("kick",)], [])
    assert learnt.simplified("a kick") == "kick"


def test_every_name_of_the_shipped_classes_stands_for_its_own():
    encoder, ontology = WordEncoder(WordsConfig()), Ontology.load()
    classes = [ontology.find(name).wordings for name in ontology.names()]
    encoder.learn(classes, without_names())
    mains = {forms_of(main): number for number, (main, *_) in enumerate(classes, 1)}
    for number, (main, *others) in enumerate(classes, 1):
        for name in (main, *others):
            for text in (name, f"the sound of a {name} playing"):
                assert encoder.simplified(text) == " ".join(forms_of(main)), text
            named = set(encoder.read([f"we hear a {name}"])[2][0].tolist())
            assert named - {0} == {mains[forms_of(main)]} == {number}, name


@pytest.mark.parametrize("text", ["having", "spectrograms", "a sound of sounds and having", "theirs"])
def test_what_is_known_can_be_read(text):
    encoder = WordEncoder(WordsConfig(width=16))
    if encoder.knows(text):
        assert encoder.read([encoder.simplified(text)])[0].numel()
    else:
        with pytest.raises(InputError, match=f"the text is '{text}'"):
            encoder.read([text])


def test_a_text_of_words_unlike_all_that_were_learnt_is_taken_as_it_is(learnt):
    assert learnt.simplified("a roof in xqzzk") == "roof"
    assert learnt.unknown_words("a roof in xqzzk") == ["xqzzk"]
    assert learnt.simplified("xqzzk") == ""


def test_without_names_that_were_learnt_every_word_counts():
    assert WordEncoder(WordsConfig(width=16)).simplified("A slow fiddle, xqzzk") == "slow fiddle"


def test_a_wording_is_encoded_alone_as_beside_a_longer_one():
    torch.manual_seed(0)
    encoder = WordEncoder(WordsConfig(width=16, num_heads=2)).eval().requires_grad_(False)
    for parameter in encoder.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    alone, mask = encoder(*encoder.read(["a violin"]))
    both, masks = encoder(*encoder.read(["a violin", "a slow melody of a harp in the rain"]))
    assert mask.tolist() == [[True]]
    assert masks.sum(dim=1).tolist() == [1, 4]
    torch.testing.assert_close(both[:1, :1], alone, atol=1e-5, rtol=1e-4)
    turned, _ = encoder(*encoder.read(["harp rain melody slow"]))
    assert float((turned[0].mean(0) - both[1, :4].mean(0)).abs().max()) > 1e-4  # order counts


def test_what_names_a_class_has_the_class_s_own_vector(learnt):
    violin, drum, dog = 1, 2, 3
    vectors, mask, named = learnt.read(["we hear a kick", "a slow fiddle and a dog barking", "melody with a bass drum"])
    assert named.tolist() == [[drum, drum, 0, 0], [0, 0, dog, dog], [0, drum, drum, 0]]
    assert learnt.read(["a fiddle"])[2].tolist() == learnt.read([learnt.simplified("fiddle")])[2].tolist() == [[violin]]
    plain = learnt(vectors, mask)[0]
    torch.testing.assert_close(learnt(vectors, mask, named)[0], plain)  # they start at nothing
    torch.nn.init.normal_(learnt.own)
    moved = learnt(vectors, mask, named)[0] - plain
    torch.testing.assert_close(moved[0, 0], moved[2, 1])
    assert not moved[1, :2].any()
    assert (moved[1, 2] - moved[0, 0]).abs().max().item() > 1


def test_own_vectors_stay_when_more_is_learnt_and_are_saved_with_the_rest(learnt):
    torch.nn.init.normal_(learnt.own)
    before = learnt.own.detach().clone()
    learnt.learn([("violin", "fiddle"), ("bell",)], [])
    assert learnt.own.shape == (4, learnt.width)
    torch.testing.assert_close(learnt.own[:3], before)
    assert not learnt.own[3].any()
    again = WordEncoder(learnt.config)
    again.load_state_dict(learnt.state_dict())
    torch.testing.assert_close(again.own, learnt.own)


def test_a_class_that_gets_another_name_keeps_its_vector(learnt):
    torch.nn.init.normal_(learnt.own)
    before = learnt.own.detach().clone()
    learnt.learn([("violin", "e-violin"), ("dog",)], [])
    assert learnt.config.names == (("violin", "fiddle", "e-violin"), ("bass drum", "kick"), ("dog", "dog barking"))
    torch.testing.assert_close(learnt.own, before)
    with pytest.raises(InputError, match="names has a main name twice"):
        WordEncoder(WordsConfig(width=16, names=(("dog",), ("dog", "puppy")), own=True))


def test_a_name_that_holds_a_word_between_phrases_is_one_phrase(learnt):
    learnt.learn([("trumpet",), ("muted trumpet", "trumpet with a mute"), ("noise", "one over f noise")], [])
    assert learnt.simplified("we hear a trumpet with a mute and a trumpet") == "muted trumpet, trumpet"
    assert learnt.simplified("one over f noise") == "noise"
    assert learnt.simplified("a trumpet with a fiddle") == "trumpet, violin"


def test_an_encoder_of_before_reads_as_it_did():
    encoder = WordEncoder(WordsConfig(width=16, names=(("violin", "fiddle"),)))
    assert encoder.own is None
    assert len(encoder.read(["a fiddle"])) == 2


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="width is 18; expected an even multiple of 4 heads"):
        WordEncoder(WordsConfig(width=18))
    with pytest.raises(InputError, match="no word of 'xqzzk' is in the table"):
        WordEncoder(WordsConfig(names=(("violin", "xqzzk"),)))
    with pytest.raises(InputError, match="names has a class without a name"):
        WordEncoder(WordsConfig(names=(("violin",), ())))
