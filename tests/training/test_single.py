"""One instrument's stage on a small store: a few steps, measured, saved, and gone on from."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError, ModelError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.systems.alone import CodecSystem
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.single import SingleSystem
from timbrel.training.loop import fit
from timbrel.training.recipes import SINGLE_RECIPES, find_recipe
from timbrel.training.single import SingleStage

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
RECIPE = find_recipe(SINGLE_RECIPES, "tiny", precision="fp32")


def make_single_store(folder, label):
    writer, rng = StoreWriter(folder, MEL), np.random.default_rng(1)
    for number, split in enumerate(("train", "validation")):
        levels = rng.integers(0, 255, (120, 32)).astype(np.uint8)
        writer.add(Entry(id=f"e{number}", label=label, split=split, frames=120, source=f"{number}"), levels)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A reed and a string in each split, a string without validation, and a spoilt reed; blobs on slopes."""
    folder, rng = tmp_path_factory.mktemp("single") / "store", np.random.default_rng(0)
    writer = StoreWriter(folder, MEL)
    for number, (label, split) in enumerate(
        [("reed", "train"), ("reed", "train"), ("reed", "validation"), ("string", "train"), ("reed", "train")]
    ):
        notes = np.kron(rng.random((18, 11)) < 0.3, np.ones((7, 3)))[:120, :32]
        slope = np.linspace(100, 0, 32) if label == "reed" else np.linspace(0, 100, 32)
        levels = (20 + notes * (100 + slope) + rng.integers(0, 8, (120, 32))).astype(np.uint8)
        degraded = number == 4
        entry = Entry(id=f"e{number}", label=label, split=split, frames=120, source=f"{number}", degraded=degraded)
        writer.add(entry, np.full_like(levels, 255) if degraded else levels)
    return folder


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    torch.manual_seed(0)
    made, folder = MelAutoencoder(AutoencoderConfig(width=8, num_blocks=1)), tmp_path_factory.mktemp("codec")
    save_system(folder, CodecSystem(mel=MEL, codec=made))
    return folder


def train(stage, steps, learning_rate=1e-2):
    """The losses of so many steps, and of the first batch before and after."""
    optimizer = torch.optim.AdamW(stage.model.denoiser.parameters(), lr=learning_rate)
    before = stage.loss(stage.batch(0), 0)["loss"].item()
    for step in range(steps):
        optimizer.zero_grad()
        stage.loss(stage.batch(step), step)["loss"].backward()
        optimizer.step()
    return before, stage.loss(stage.batch(0), 0)["loss"].item()


@pytest.mark.parametrize("prediction_type", ["v", "epsilon"])
def test_it_learns_and_measures_itself(store, codec, prediction_type):
    recipe = dataclasses.replace(RECIPE, prediction_type=prediction_type)
    stage = SingleStage.prepare(recipe, store, instrument="reed", codec=codec)
    assert (float(stage.model.schedule.alphas_cumprod[-1]) == 0) == (prediction_type == "v")
    before, after = train(stage, 15)
    assert after < before
    stage.model.denoiser.eval()
    figures = stage.validate()
    assert {"loss", "half_way_rms_db"} == set(figures)
    assert all(np.isfinite(value) and value > 0 for value in figures.values())
    assert stage.validate() == figures
    [picture] = stage.samples().values()
    assert picture.shape == (32, 3 * RECIPE.frames)


def test_only_its_instrument_is_heard_and_nothing_spoilt(store, codec):
    stage = SingleStage.prepare(RECIPE, store, instrument="reed", codec=codec)
    assert {e.id for e in stage.train.entries} == {"e0", "e1"}
    assert {e.id for e in stage.validation.entries} == {"e2"}
    codec_before = {name: t.clone() for name, t in stage.model.codec.state_dict().items()}
    train(stage, 1)
    torch.testing.assert_close(stage.model.codec.state_dict(), codec_before, rtol=0, atol=0)


def test_batches_hang_on_seed_and_step_alone(store, codec):
    one, other = (SingleStage.prepare(RECIPE, store, instrument="reed", codec=codec) for _ in range(2))
    one.batch(3)
    torch.testing.assert_close(one.batch(7), other.batch(7), rtol=0, atol=0)
    plain = SingleStage.prepare(dataclasses.replace(RECIPE, augment=False), store, instrument="reed", codec=codec)
    for changed in (one.batch(8), plain.batch(7)):
        assert float((changed["mel"] - other.batch(7)["mel"]).abs().max()) > 0.1
    batch = one.batch(0)
    assert {len(tensor) for tensor in batch.values()} == {RECIPE.batch_size}
    assert -100 <= float(batch["mel"].min()) <= float(batch["mel"].max()) <= 0


def test_a_saved_model_goes_on(store, codec, tmp_path):
    stage = SingleStage.prepare(RECIPE, store, instrument="reed", codec=codec)
    train(stage, 2)
    stage.save(tmp_path)
    loaded = load_system(tmp_path, SingleSystem)
    assert loaded.instrument == "reed"
    assert loaded.info["recipe"]["widths"] == list(RECIPE.widths)
    assert json.loads((tmp_path / "config.json").read_text())["instrument"] == "reed"
    again = SingleStage.prepare(RECIPE, store, instrument="reed", init_from=tmp_path)
    torch.testing.assert_close(again.model.denoiser.state_dict(), loaded.denoiser.state_dict(), rtol=0, atol=0)
    before, after = train(again, 10)
    assert after < before


def test_the_reports_architecture_needs_no_codec_and_goes_on_as_itself(store, codec, tmp_path):
    recipe = dataclasses.replace(RECIPE, architecture="report")
    stage = SingleStage.prepare(recipe, store, instrument="reed", codec="nowhere")
    mel = stage.batch(0)["mel"]
    torch.testing.assert_close(stage.model.codec.decode(stage.model.codec.encode(mel)), mel)
    before, after = train(stage, 15)
    assert after < before
    stage.model.denoiser.eval()
    assert all(np.isfinite(value) for value in stage.validate().values())
    stage.save(tmp_path)
    again = SingleStage.prepare(recipe, store, instrument="reed", init_from=tmp_path)
    torch.testing.assert_close(
        again.model.denoiser.state_dict(), load_system(tmp_path, SingleSystem).denoiser.state_dict(), rtol=0, atol=0
    )
    with pytest.raises(InputError, match=r"architecture report \(the recipe: default\)"):
        SingleStage.prepare(RECIPE, store, instrument="reed", init_from=tmp_path)


def test_a_run_goes_on_with_its_own_instrument_and_sizes_alone(store, codec, tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=2, num_workers=0)
    fit(SingleStage.prepare(recipe, store, instrument="reed", codec=codec), tmp_path)
    other = make_single_store(tmp_path / "other", "string")
    with pytest.raises(InputError, match="was 'reed', now 'string'"):
        fit(SingleStage.prepare(recipe, other, instrument="string", codec=codec), tmp_path)
    wide = dataclasses.replace(RECIPE, widths=(8, 8), prediction_type="epsilon")
    with pytest.raises(InputError, match=r"widths .* \(the recipe: \(8, 8\)\)"):
        SingleStage.prepare(wide, store, instrument="reed", init_from=tmp_path / "model")
    changed = SingleStage.prepare(RECIPE, other, instrument="string", init_from=tmp_path / "model").model.denoiser.mean
    assert float((changed - load_system(tmp_path / "model", SingleSystem).denoiser.mean).abs().max()) > 0.1


def test_what_does_not_fit_is_refused(store, codec, tmp_path):
    with pytest.raises(InputError, match="no recording of 'lute'; expected one of reed, string"):
        SingleStage.prepare(RECIPE, store, instrument="lute", codec=codec)
    with pytest.raises(InputError, match="no validation recording"):
        SingleStage.prepare(RECIPE, store, instrument="string", codec=codec)
    with pytest.raises(InputError, match="frames is 30; expected a multiple of 4"):
        SingleStage.prepare(dataclasses.replace(RECIPE, frames=30), store, instrument="reed", codec=codec)
    with pytest.raises(InputError, match="the codec works on"):
        SingleStage.prepare(RECIPE, store, instrument="reed")  # the shipped codec's mels are others
    with pytest.raises(ModelError, match="holds a system 'codec'; expected 'single'"):
        SingleStage.prepare(RECIPE, store, instrument="reed", init_from=codec)
    with pytest.raises(InputError, match="is not a mel store"):
        SingleStage.prepare(RECIPE, tmp_path, instrument="reed", codec=codec)
