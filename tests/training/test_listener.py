"""The listener's stage on a small set, and what the system says of sounds and texts."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, StoreWriter, dequantise
from timbrel.errors import InputError, ModelError
from timbrel.models.listener import Listener, ListenerConfig
from timbrel.models.text import text_vector
from timbrel.systems.alone import ListenerSystem
from timbrel.systems.folder import load_system, save_system
from timbrel.training.listener import ListenerStage
from timbrel.training.loop import fit
from timbrel.training.recipes import LISTENER_RECIPES, find_recipe

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
RECIPE: Any = find_recipe(
    LISTENER_RECIPES, "tiny", steps=60, batch_size=16, learning_rate=3e-3, num_workers=0, validate_every=30
)


def slope(label):
    """Flutes are high, cellos low."""
    return np.linspace(0, 200, 32)[:: 1 if label == "flute" else -1]


def make_store(folder, entries):
    writer, rng = StoreWriter(folder, MEL), np.random.default_rng(0)
    for number, (label, split) in enumerate(entries):
        levels = (20 + slope(label) + rng.integers(0, 20, (120, 32))).astype(np.uint8)
        writer.add(Entry(id=f"e{number}", label=label, split=split, frames=120, source=f"{number}"), levels)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    both = [(label, split) for label in ("flute", "cello") for split in ("train", "validation")]
    return make_store(tmp_path_factory.mktemp("listener") / "store", both)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("listener-run")
    assert fit(ListenerStage.prepare(RECIPE, store), out)
    return load_system(out / "model", ListenerSystem)


def sound(label, frames=32):
    levels = np.tile(30 + slope(label), (1, 1, frames, 1)).astype(np.uint8)
    return dequantise(levels[0], MEL.floor_db)[:, None]


def test_it_tells_what_a_sound_is_called_and_what_is_near(trained):
    assert trained.info["figures"]["accuracy"] == 1
    assert trained.info["purpose"] == "how well a sound fits a text; 2 classes"
    assert trained.listener.config.names == ("cello", "flute")
    both = torch.cat([sound("flute"), sound("cello")])
    for text, right in (("flute", 0), ("piccolo", 0), ("violoncello", 1)):
        fits = trained.agreement(both, text)
        assert fits.shape == (2,)
        assert int(fits.argmax()) == right, text
        assert float(fits.max()) <= 0


def test_what_is_asked_for_by_two_names_is_met_by_either(trained):
    both = torch.cat([sound("flute"), sound("cello")])
    logits = trained.listener(both).log_softmax(dim=1)
    assert trained.agreement(both, "flute cello").min() > -0.7  # nearer to one name than to the other
    assert trained.agreement(both, "flute")[1] < -0.7
    torch.testing.assert_close(trained.agreement(both, "flute"), logits[:, 1], atol=0.2, rtol=0)


def test_a_long_sound_is_heard_in_windows_the_last_at_its_end(trained):
    flute, cello = (float(trained.agreement(sound(name), "flute")) for name in ("flute", "cello"))
    assert flute > cello + 0.5
    long = torch.cat([sound("flute", 32), sound("cello", 32)], dim=-1)
    assert float(trained.agreement(long, "flute")) == pytest.approx((flute + cello) / 2, abs=1e-4)
    longer = torch.cat([sound("flute", 33), sound("cello", 32)], dim=-1)
    one, between, last = trained._windows(longer)
    torch.testing.assert_close(one, longer[..., :32])
    torch.testing.assert_close(between, longer[..., 32:64])
    torch.testing.assert_close(last, longer[..., -32:])
    (padded,) = trained._windows(sound("flute", 5))
    torch.testing.assert_close(padded[..., :5], sound("flute", 5))
    assert bool((padded[..., 5:] == MEL.floor_db).all())
    assert len(trained._windows(sound("flute", 32))) == 1


def test_of_words_that_nobody_knows_it_says_nothing(trained):
    with pytest.raises(InputError, match="the text is 'xqzzk'"):
        text_vector("xqzzk")
    assert trained.agreement(sound("flute"), "xqzzk").tolist() == [0]


def test_a_step_is_drawn_from_the_seed_and_its_number(store):
    one, same = (ListenerStage.prepare(RECIPE, store) for _ in range(2))
    for name, value in one.batch(3).items():
        torch.testing.assert_close(value, same.batch(3)[name])
    for stage in (one, same):
        stage.model.listener.eval()
    torch.testing.assert_close(one.loss(one.batch(3), 3), same.loss(same.batch(3), 3))
    assert not torch.equal(one.batch(3)["mel"], one.batch(4)["mel"])


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("flute", "train"), ("flute", "validation")], "has sounds of flute alone"),
        ([("flute", "train"), ("cello", "train"), ("harp", "validation")], "has held-out sounds of harp, and no"),
    ],
)
def test_sets_that_do_not_do_are_refused(tmp_path, entries, said):
    with pytest.raises(InputError, match=said):
        ListenerStage.prepare(RECIPE, make_store(tmp_path / "store", entries))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_smoothing": 1}, "label_smoothing is 1; expected a share"),
        ({"noise_db": -1}, "noise_db is -1; expected 0 or more"),
        ({"widths": (8, 20)}, r"widths are \(8, 20\); expected multiples of 8"),
    ],
)
def test_recipes_that_do_not_do_are_refused(store, changes, said):
    with pytest.raises(InputError, match=said):
        ListenerStage.prepare(dataclasses.replace(RECIPE, **changes), store)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_mels": 16}, "mel.n_mels and listener.n_mels are 32 and 16"),
        ({"floor_db": -50.0}, "mel.floor_db and listener.floor_db are -100 and -50"),
        ({"names": ("flute", "xqzzk")}, "listener.names has 'xqzzk'; expected each to have a word"),
        ({"names": ()}, "names is empty; expected the name of each class"),
    ],
)
def test_folders_that_do_not_fit_are_refused(tmp_path, changes, said):
    config = ListenerConfig(("flute", "cello"), 32, widths=(8,), hidden=8)
    save_system(tmp_path, ListenerSystem(mel=MEL, listener=Listener(config)))
    written = json.loads((tmp_path / "config.json").read_text())
    written["listener"] |= changes
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(ModelError, match=said):
        load_system(tmp_path, ListenerSystem)
