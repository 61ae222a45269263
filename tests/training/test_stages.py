"""The stages of the default model on a small store: a few steps, measured, saved, and gone on from."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.datasets import Windows
from timbrel.data.store import Entry, MelStore, StoreWriter
from timbrel.errors import InputError, ModelError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.systems.folder import load_codec, load_system, save_system
from timbrel.systems.transfer import TransferSystem
from timbrel.systems.weights import fingerprint
from timbrel.training.autoencoder import AutoencoderStage
from timbrel.training.recipes import AUTOENCODER_RECIPES, STYLE_RECIPES, TRANSFER_RECIPES, find_recipe
from timbrel.training.shared import named_instruments
from timbrel.training.style import StyleStage
from timbrel.training.transfer import TransferStage

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
# Any, as the tables of recipes have those of the report too.
CODEC_RECIPE: Any = find_recipe(AUTOENCODER_RECIPES, "tiny", precision="fp32")
RECIPE: Any = find_recipe(TRANSFER_RECIPES, "tiny", precision="fp32")


def make_store(folder, *, aligned=True, composer=None, library="opl3"):
    """Blobs on a slope: an instrument is a slope, a group is where the blobs are."""
    writer, rng = StoreWriter(folder, MEL), np.random.default_rng(0)
    for group in range(6):
        notes = np.kron(rng.random((18, 11)) < 0.3, np.ones((7, 3)))[:120, :32]
        for k, label in enumerate(("piano", "violin")):
            slope = np.linspace(0, 100, 32) if k else np.linspace(100, 0, 32)
            levels = (20 + notes * (100 + slope) + rng.integers(0, 8, (120, 32))).astype(np.uint8)
            entry = Entry(
                id=f"g{group}-{k}",
                label=label,
                split="validation" if group > 3 else "train",
                frames=120,
                source=f"{group}-{k}",
                group=f"g{group}" if aligned else None,
                library=library if aligned else None,
                composer=composer,
            )
            writer.add(entry, levels)
    return folder


def train(stage, steps, learning_rate=1e-2):
    """The losses of so many steps, and of the first batch before and after."""
    parameters = [p for module in stage.modules.values() for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    before = stage.loss(stage.batch(0), 0)["loss"].item()
    for step in range(steps):
        optimizer.zero_grad()
        stage.loss(stage.batch(step), step)["loss"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in parameters)
        optimizer.step()
    return before, stage.loss(stage.batch(0), 0)["loss"].item()


def rest(stage):
    """As the loop leaves the modules before it validates and saves."""
    for module in stage.modules.values():
        module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("stages") / "store")


@pytest.fixture(scope="module")
def codec(store, tmp_path_factory):
    stage = AutoencoderStage.prepare(CODEC_RECIPE, store)
    folder = tmp_path_factory.mktemp("codec")
    rest(stage)
    stage.save(folder)
    return folder


@pytest.fixture(scope="module")
def model(store, codec, tmp_path_factory):
    stage = TransferStage.prepare(RECIPE, store, codec=codec)
    train(stage, 4)
    rest(stage)
    folder = tmp_path_factory.mktemp("model")
    stage.save(folder)
    return folder


def test_the_autoencoder_learns_and_measures_itself(store):
    stage = AutoencoderStage.prepare(CODEC_RECIPE, store)
    rest(stage)
    figures = stage.validate()
    for module in stage.modules.values():
        module.train().requires_grad_(True)
    before, after = train(stage, 15, 3e-3)
    rest(stage)
    better = stage.validate()
    assert after < before
    assert better["mae_db"] < figures["mae_db"]
    assert 0 < better["mae_db"] < better["rms_db"] < 20
    [picture] = stage.samples().values()
    assert picture.shape == (32, 64)
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def test_the_autoencoders_latents_have_unit_variance(store):
    stage = AutoencoderStage.prepare(CODEC_RECIPE, store)
    latents = stage.codec.encode(stage.train.single(np.random.default_rng(1), 128))
    assert float(latents.var(dim=(0, 2, 3)).mean()) == pytest.approx(1, abs=0.2)
    basis = stage.codec.basis
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-5, rtol=0)


def test_a_codec_goes_on_from_its_folder(store, codec):
    stage = AutoencoderStage.prepare(CODEC_RECIPE, store, init_from=codec)
    _, loaded = load_codec(codec, MelAutoencoder)
    torch.testing.assert_close(stage.codec.state_dict(), loaded.state_dict(), rtol=0, atol=0)
    before, after = train(stage, 15, 3e-3)
    assert after < before
    with pytest.raises(InputError, match=rf"width {CODEC_RECIPE.width} \(the recipe: 24\)"):
        AutoencoderStage.prepare(dataclasses.replace(CODEC_RECIPE, width=24), store, init_from=codec)


def test_a_codec_of_other_mels_is_refused(store, codec, tmp_path):
    """As wide a picture of another rate: it would fit, and mean something else."""
    for path in codec.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((codec / "config.json").read_text())
    config["mel"]["sample_rate"] = 22050
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"works on .*sample_rate=22050.*holds .*sample_rate=16000.*prepare the data"):
        AutoencoderStage.prepare(CODEC_RECIPE, store, init_from=tmp_path)


def test_batches_hang_on_seed_and_step_alone(store, codec):
    one, other = (TransferStage.prepare(RECIPE, store, codec=codec) for _ in range(2))
    one.batch(3)
    torch.testing.assert_close(one.batch(7), other.batch(7), rtol=0, atol=0)
    for changed in (
        one.batch(8),
        TransferStage.prepare(dataclasses.replace(RECIPE, seed=1), store, codec=codec).batch(7),
    ):
        assert float((changed["target"] - other.batch(7)["target"]).abs().max()) > 1
    batch = one.batch(0)
    assert {len(tensor) for tensor in batch.values()} == {RECIPE.batch_size}
    assert bool(batch["mask"].any(dim=1).all())  # never a style of no token


def test_the_transfer_learns_and_measures_itself(store, codec):
    stage = TransferStage.prepare(RECIPE, store, codec=codec)
    frozen = {name: t.clone() for name, t in stage.model.codec.state_dict().items()}
    before, after = train(stage, 15)
    assert after < before
    torch.testing.assert_close(stage.model.codec.state_dict(), frozen, rtol=0, atol=0)
    rest(stage)
    figures = stage.validate()
    assert {"rms_db_1", "rms_db_4", "rms_db_1_wrong_style", "detail_1"} <= set(figures)
    assert all(np.isfinite(value) and value > 0 for value in figures.values())
    [picture] = stage.samples().values()
    assert picture.shape == (32, 96)


def test_a_saved_model_transfers_as_the_stages(store, model):
    loaded = load_system(model, TransferSystem)
    assert sorted(loaded.instruments) == ["piano", "violin"]
    assert loaded.info["recipe"]["width"] == RECIPE.width
    stage = TransferStage.prepare(RECIPE, store, init_from=model)
    for part in ("style", "denoiser"):
        one, other = (dict(getattr(m, part).named_parameters()) for m in (stage.model, loaded))
        torch.testing.assert_close(one, other, rtol=0, atol=0, check_dtype=True)
    before, after = train(stage, 10)  # and it goes on
    assert after < before
    with pytest.raises(InputError, match=r"width 16 \(the recipe: 24\)"):
        TransferStage.prepare(dataclasses.replace(RECIPE, width=24), store, init_from=model)


def test_a_named_instrument_is_a_typical_recording_not_a_soundfont(tmp_path, model):
    """Of a real library 5 recordings, 4 alike and the first of them odd; of a soundfont 9."""
    writer, rng = StoreWriter(tmp_path, MEL), np.random.default_rng(0)
    for k in range(14):
        library, level = ("tonejs", 200 if k == 0 else 100 + k) if k < 5 else ("opl3", 50)
        levels = (level + rng.integers(0, 5, (120, 32))).astype(np.uint8)
        entry = Entry(id=f"r{k:02d}", label="lute", split="train", frames=120, source="x", library=library)
        writer.add(entry, levels)
    loaded = load_system(model, TransferSystem)
    windows = Windows(MelStore(tmp_path), "train", 32, 32)
    tokens = named_instruments(loaded, windows, clips=1)["lute"]
    expected = [loaded.style_tokens(windows.store.mel(e, 44, 32)[None, None]) for e in windows.entries]
    assert [k for k, other in enumerate(expected) if torch.allclose(tokens, other, atol=1e-5)] == [4]


def test_unaligned_recordings_train_too(tmp_path, codec):
    stage = TransferStage.prepare(RECIPE, make_store(tmp_path / "own", aligned=False), codec=codec)
    batch = stage.train.transfer(np.random.default_rng(0), 8, None)
    torch.testing.assert_close(batch["content"], batch["target"])
    assert float((batch["style"] - batch["target"]).abs().mean()) > 1  # another moment
    before, after = train(stage, 15)
    assert after < before
    rest(stage)
    assert stage.validate()["rms_db_1"] > 0


def test_a_run_from_a_model_lets_it_play_unaligned_recordings_on_other_instruments(tmp_path, store, codec, model):
    own = make_store(tmp_path / "own", aligned=False)
    assert "initial" not in TransferStage.prepare(RECIPE, own, codec=codec).frozen
    assert "initial" not in TransferStage.prepare(RECIPE, store, init_from=model).frozen
    loaded = load_system(model, TransferSystem)
    loaded.instruments = {"harp": torch.randn(5, 16), "lute": torch.randn(3, 16), "piano": torch.randn(4, 16)}
    save_system(tmp_path / "named", loaded)
    stage = TransferStage.prepare(RECIPE, own, init_from=tmp_path / "named")
    rest(stage)
    assert [len(tokens) for tokens in stage.others] == [5, 3]  # a piano is among the recordings
    batch = stage.batch(0)
    assert batch["own"].all()
    figures = float(stage.loss(batch, 0)["loss"]), stage.validate()["rms_db_1"]
    mean = stage.frozen["initial"].get_buffer("mean")
    mean += 1.0  # its answers shift, and with them what the run learns from and is tried on
    assert float(stage.loss(batch, 0)["loss"]) != figures[0]
    assert stage.validate()["rms_db_1"] != figures[1]
    mean -= 1.0
    content = stage.model.codec.encode(batch["content"][:3])
    for parameter in stage.model.denoiser.parameters():
        parameter.data.zero_()
    played = stage._played_by_others(content, torch.tensor([True, False, True]), torch.tensor([1, 0, 0]))
    torch.testing.assert_close(played[1], content[1])
    for row, name in ((0, "lute"), (2, "harp")):
        tokens = loaded.instruments[name].half().float()
        expected = loaded.sample(
            content[row, None], tokens, torch.zeros_like(content[:1]), steps=1, guidance=1.0, strength=1.0
        )
        torch.testing.assert_close(played[row, None], expected, atol=1e-3, rtol=1e-3)
    assert stage.identity["initial"] == fingerprint(loaded.denoiser)
    stage.save(tmp_path / "after")
    assert sorted(load_system(tmp_path / "after", TransferSystem).instruments) == ["harp", "lute", "piano", "violin"]


def test_only_recordings_without_a_partner_need_another_source(tmp_path, store, model):
    loaded = load_system(model, TransferSystem)
    loaded.instruments["harp"] = torch.randn(5, 16)
    save_system(tmp_path / "named", loaded)
    assert "initial" not in TransferStage.prepare(RECIPE, store, init_from=tmp_path / "named").frozen
    mixed = MelStore(make_store(tmp_path / "mixed"))
    writer = StoreWriter(tmp_path / "mixed", MEL)
    for split in ("train", "validation"):
        entry = Entry(id=f"own-{split}", label="cello", split=split, frames=120, source="x")
        writer.add(entry, mixed.levels(mixed.entries[0]))
    stage = TransferStage.prepare(RECIPE, tmp_path / "mixed", init_from=tmp_path / "named")
    assert len(stage.others) == 3  # a piano, a violin and a harp: none of them is alone
    own = torch.cat([stage.batch(step)["own"] for step in range(20)])
    assert 0 < int(own.sum()) < len(own) / 2


def test_a_model_that_knows_nothing_else_has_no_sources_for_unaligned_recordings(tmp_path, model):
    own = make_store(tmp_path / "own", aligned=False)
    with pytest.raises(InputError, match="no instruments by name but piano, violin; expected others"):
        TransferStage.prepare(RECIPE, own, init_from=model)


@pytest.mark.parametrize("held_out", [{"library": "freepats"}, {"composer": "Joseph Haydn"}])
def test_what_the_benchmark_owns_is_refused(tmp_path, codec, held_out):
    data = make_store(tmp_path / "store", **held_out)
    with pytest.raises(InputError, match="the benchmark is measured on"):
        AutoencoderStage.prepare(CODEC_RECIPE, data)
    with pytest.raises(InputError, match="the benchmark is measured on"):
        TransferStage.prepare(RECIPE, data, codec=codec)


def test_what_does_not_fit_is_refused(store, codec, tmp_path):
    with pytest.raises(InputError, match="there is no codec"):
        TransferStage.prepare(RECIPE, store)
    with pytest.raises(ModelError, match="holds a system 'codec'; expected 'transfer'"):
        TransferStage.prepare(RECIPE, store, init_from=codec)
    with pytest.raises(InputError, match="of at least 1008 frames"):
        AutoencoderStage.prepare(dataclasses.replace(CODEC_RECIPE, frames=1000), store)
    with pytest.raises(InputError, match="is not a mel store"):
        AutoencoderStage.prepare(CODEC_RECIPE, tmp_path)
    other = StoreWriter(tmp_path / "other", MelConfig(sample_rate=8000, n_fft=1024, hop_length=256, n_mels=32))
    for split in ("train", "validation"):
        entry = Entry(id=split, label="piano", split=split, frames=90, source="x")
        other.add(entry, np.zeros((90, 32), np.uint8))
    with pytest.raises(InputError, match="the codec works on"):
        TransferStage.prepare(RECIPE, tmp_path / "other", codec=codec)


def test_a_style_encoder_learns_to_hear_through_the_recording(store, model, tmp_path):
    recipe = find_recipe(STYLE_RECIPES, "tiny", precision="fp32")
    stage = StyleStage.prepare(recipe, store, init_from=model)
    rest(stage)
    first = stage.validate()
    assert first["loss"] == first["first_loss"] > first["clean_loss"] == 0, "it begins as the model's own"
    for module in stage.modules.values():
        module.train().requires_grad_(True)
    before, after = train(stage, 40, 3e-3)
    assert after < before
    rest(stage)
    assert stage.validate()["loss"] < first["loss"]
    stage.save(tmp_path)
    saved, was = (load_system(folder, TransferSystem) for folder in (tmp_path, model))
    assert fingerprint(saved.denoiser) == fingerprint(was.denoiser)
    assert fingerprint(saved.style) != fingerprint(was.style)
    torch.testing.assert_close(saved.instruments, was.instruments, rtol=0, atol=0)
    assert saved.info["before"]["recipe"] == was.info["recipe"]
    assert saved.info["earlier_styles"] == [fingerprint(was.style)]
