"""The feature network on a small store whose instruments are slopes."""

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import load_system
from timbrel.training.features import FeaturesStage
from timbrel.training.loop import fit
from timbrel.training.recipes import FEATURES_RECIPES, find_recipe

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
RECIPE = find_recipe(FEATURES_RECIPES, "tiny", precision="fp32", num_workers=0, learning_rate=1e-2)


def make_store(folder, labels=("harp", "piano", "virtual-7"), splits=("train", "train", "validation")):
    writer, rng = StoreWriter(folder, MEL), np.random.default_rng(0)
    for k, label in enumerate(labels):
        slope = np.linspace(0, 150, 32)[:: -1 if k % 2 else 1]
        for number, split in enumerate(splits * (1 + 3 * (k == 0))):  # four times as many harps
            levels = (40 + slope + rng.integers(0, 20, (90, 32))).astype(np.uint8)
            library = "virtual" if label.startswith("virtual") else "opl3"
            entry = Entry(id=f"{label}-{number}", label=label, split=split, frames=90, source="x", library=library)
            writer.add(entry, levels)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("features") / "store")


def test_it_learns_to_tell_instruments_apart_and_is_saved(store, tmp_path):
    stage = FeaturesStage.prepare(RECIPE, store)
    assert stage.network.config.labels == ("harp", "piano")
    assert fit(stage, tmp_path)
    trained = load_system(tmp_path / "model", FeaturesSystem)
    network = trained.features
    assert trained.mel == MEL
    assert network.config.labels == ("harp", "piano")
    batch = stage.validation.draw(np.random.default_rng(5), 64)
    assert bool((network(batch["mel"]).argmax(dim=1) == batch["label"]).float().mean() > 0.95)


def test_every_instrument_is_drawn_as_often_and_batches_hang_on_the_step_alone(store):
    one, other = FeaturesStage.prepare(RECIPE, store), FeaturesStage.prepare(RECIPE, store)
    one.batch(3)
    torch.testing.assert_close(one.batch(7), other.batch(7), rtol=0, atol=0)
    assert not torch.equal(one.batch(8)["mel"], one.batch(7)["mel"])
    drawn = one.train.draw(np.random.default_rng(0), 400)
    assert drawn["mel"].shape == (400, 1, 32, RECIPE.frames)
    assert float(drawn["label"].float().mean()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("labels", "splits", "said"),
    [
        (("harp",), ("train", "validation"), "recordings of harp; expected at least two"),
        (("virtual-1", "virtual-2"), ("train", "validation"), "no instrument"),
    ],
)
def test_nothing_to_tell_apart_is_refused_at_once(tmp_path, labels, splits, said):
    with pytest.raises(InputError, match=said):
        FeaturesStage.prepare(RECIPE, make_store(tmp_path, labels, splits))


def test_validation_of_other_instruments_alone_is_refused_at_once(tmp_path):
    make_store(tmp_path, ("harp", "piano"), ("train",))
    writer = StoreWriter(tmp_path, MEL)
    entry = Entry(id="v", label="lute", split="validation", frames=90, source="x")
    writer.add(entry, np.zeros((90, 32), np.uint8))
    with pytest.raises(InputError, match="validation recordings of none of harp, piano"):
        FeaturesStage.prepare(RECIPE, tmp_path)
