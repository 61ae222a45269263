"""The stage of generated sound on a small store: a few steps, measured, saved, and gone on from."""

import copy
import dataclasses
import json
from typing import cast

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError, ModelError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.text import WordEncoder, WordsConfig
from timbrel.pipelines.generate import GeneratePipeline
from timbrel.systems.alone import CodecSystem
from timbrel.systems.base import Sampling
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.generate import GenerateSystem
from timbrel.training.generate import GenerateStage, HolesStage, StableDiffusionStage, random_masks
from timbrel.training.loop import fit
from timbrel.training.recipes import GENERATE_RECIPES, GenerateRecipe, HolesRecipe, find_recipe

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
RECIPE = cast(GenerateRecipe, find_recipe(GENERATE_RECIPES, "tiny", precision="fp32"))
TINY = {"steps": 2, "batch_size": 4, "frames": 32, "precision": "fp32", "num_workers": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Flutes are high, cellos low."""
    folder, rng = tmp_path_factory.mktemp("generate") / "store", np.random.default_rng(0)
    writer = StoreWriter(folder, MEL)
    for number, (label, split) in enumerate((a, b) for a in ("flute", "cello") for b in ("train", "validation")):
        slope = np.linspace(0, 200, 32)[:: 1 if label == "flute" else -1]
        levels = (20 + slope + rng.integers(0, 20, (120, 32))).astype(np.uint8)
        writer.add(Entry(id=f"e{number}", label=label, split=split, frames=120, source=f"{number}"), levels)
    return folder


@pytest.fixture(scope="module")
def long_store(tmp_path_factory):
    """Strokes that keep time, 16 frames apart, each store entry at its own phase."""
    folder, at = tmp_path_factory.mktemp("holes") / "store", np.arange(480)
    writer = StoreWriter(folder, MEL)
    for number in range(8):
        since = (at + 3 * number) % 16
        levels = np.broadcast_to(60 + 150 * np.exp(-since / 3)[:, None], (480, 32)).astype(np.uint8)
        split = "validation" if number > 5 else "train"
        writer.add(Entry(id=f"e{number}", label="flute", split=split, frames=480, source=f"{number}"), levels)
    return folder


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    torch.manual_seed(0)
    made, folder = MelAutoencoder(AutoencoderConfig(width=8, num_blocks=1)), tmp_path_factory.mktemp("codec")
    save_system(folder, CodecSystem(mel=MEL, codec=made))
    return folder


def train(stage, steps, learning_rate=3e-3):
    """The losses of the first batch before and after so many steps."""
    modules = torch.nn.ModuleDict(stage.modules)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=learning_rate)
    before = stage.loss(stage.batch(0), 0)["loss"].item()
    for step in range(steps):
        optimizer.zero_grad()
        stage.loss(stage.batch(step), step)["loss"].backward()
        optimizer.step()
    return before, stage.loss(stage.batch(0), 0)["loss"].item()


def test_it_learns_measures_itself_and_hears_the_text(store, codec):
    stage = GenerateStage.prepare(dataclasses.replace(RECIPE, batch_size=8, overlap_share=0.0), store, codec=codec)
    stage.model.denoiser.mean.zero_()  # so that the text alone says where a sound lies
    before, after = train(stage, 100, learning_rate=1e-2)
    assert after < before
    for module in stage.modules.values():
        module.eval()
    figures = stage.validate()
    assert figures["loss"] < figures["other_text_loss"]
    assert stage.validate() == figures
    [picture] = stage.samples().values()
    assert picture.shape == (32, 2 * RECIPE.frames)


def test_masks_leave_something_open_in_a_share_of_the_samples_and_all_in_the_others():
    masked = np.arange(300) < 200
    masks = random_masks(np.random.default_rng(0), masked, 8, 16)
    assert masks.shape == (300, 1, 8, 16)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert masks[200:].all()
    assert masks[:200].flatten(1).any(dim=1).all()
    assert masks[:200].flatten(1).all(dim=1).float().mean() < 0.1  # two spans may cover it
    banded = (masks[:200].amax(dim=3) == 0).any(dim=2).float().mean()
    assert 0.15 < float(banded) < 0.35
    for end in (0, 15):  # to go on from an end is learnt, too
        assert 0.1 < float(masks[:200, 0, :, end].any(dim=1).float().mean()) < 0.7


def test_what_is_drawn_is_noisy_as_the_recipe_says(store, codec):
    even, shifted = (
        GenerateStage.prepare(dataclasses.replace(RECIPE, batch_size=400, timestep_shift=shift), store, codec=codec)
        for shift in (1.0, 4.0)
    )
    total = even.model.schedule.num_train_timesteps
    noisy = [float((stage.batch(0)["timesteps"] >= 0.8 * total).float().mean()) for stage in (even, shifted)]
    assert noisy == [pytest.approx(0.2, abs=0.06), pytest.approx(0.5, abs=0.08)]
    assert [stage.sampling.timestep_shift for stage in (even, shifted)] == [1, 4]


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan"), 200.0])
def test_a_shift_that_no_sampler_takes_is_refused(shift):
    with pytest.raises(InputError, match=f"timestep_shift is {shift}; expected 0.01 to 100"):
        dataclasses.replace(RECIPE, timestep_shift=shift)


def test_only_what_is_made_counts_and_what_is_around_is_told(store, codec):
    stage = GenerateStage.prepare(RECIPE, store, codec=codec)
    batch = stage.batch(0)
    assert set(batch["made"].flatten(1).all(dim=1).tolist()) == {True, False}
    heard, channels = [], stage.model.denoiser.config.latent_channels
    network = stage.model.denoiser.forward

    def listening(noisy, *rest):
        heard.append(noisy)
        return network(noisy, *rest)

    stage.model.denoiser.forward = listening
    loss = stage.loss(batch, 0)["loss"]
    assert torch.equal(heard[0][:, channels : channels + 1], batch["made"])
    assert not (heard[0][:, channels + 1 :] * batch["made"]).any()
    elsewhere = batch | {"noise": torch.where(batch["made"] > 0, batch["noise"], 5.0)}
    torch.testing.assert_close(stage.loss(elsewhere, 0)["loss"], loss)
    stage.model.denoiser.forward = lambda noisy, *rest: network(noisy, *rest) + 9 * (1 - noisy[:, channels][:, None])
    torch.testing.assert_close(stage.loss(batch, 0)["loss"], loss)
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(0, 2), slice(2, None))]
    sizes = [len(half["made"]) / len(batch["made"]) for half in halves]
    parts = [size * stage.loss(half, 0)["loss"] for size, half in zip(sizes, halves, strict=True)]
    torch.testing.assert_close(sum(parts), loss)


def test_a_model_without_masks_goes_on_with_them_or_without(store, codec, tmp_path):
    plain = dataclasses.replace(RECIPE, mask_share=0.0)
    stage = GenerateStage.prepare(plain, store, codec=codec)
    assert "made" not in stage.batch(0)
    stage.save(tmp_path)
    for recipe, masked in ((plain, False), (RECIPE, True)):
        again = GenerateStage.prepare(recipe, store, init_from=tmp_path)
        assert again.model.denoiser.config.masked is masked
        assert torch.isfinite(again.loss(again.batch(0), 0)["loss"])
        assert ("masked_loss" in again.validate()) is masked
    again.save(tmp_path)
    assert load_system(tmp_path, GenerateSystem).denoiser.config.masked
    with pytest.raises(InputError, match=r"mask_share is 0, and .* learnt from masks"):
        GenerateStage.prepare(plain, store, init_from=tmp_path)
    with pytest.raises(InputError, match="mask_share is 1; expected less"):
        dataclasses.replace(RECIPE, mask_share=1.0)


HOLES = HolesRecipe(steps=2, batch_size=4, frames=240, precision="fp32", num_workers=0, null_text_share=1.0)


def test_what_is_expected_in_holes_is_learnt_and_nothing_else(long_store, codec, tmp_path):
    """Beats that keep time, of which an untrained denoiser knows nothing."""
    first = GenerateStage.prepare(dataclasses.replace(RECIPE, frames=240), long_store, codec=codec)
    first.model.info["classes"] = {"flute": []}
    first.save(tmp_path / "first")
    stage = HolesStage.prepare(HOLES, long_store, init_from=tmp_path / "first")
    assert stage.model.sampling == load_system(tmp_path / "first", GenerateSystem).sampling
    before = stage.validate()["loss"]
    train(stage, 30, learning_rate=1e-2)
    assert stage.validate()["loss"] < 0.78 * before  # 0.86 where nothing is expected
    stage.save(tmp_path / "second")
    old, new = (load_system(tmp_path / name, GenerateSystem) for name in ("first", "second"))
    assert new.denoiser.config.expecting
    for part in ("text", "denoiser"):
        after = getattr(new, part).state_dict()
        for name, tensor in getattr(old, part).state_dict().items():
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
    assert new.info["classes"] == old.info["classes"]
    with pytest.warns(UserWarning, match="learnt of what is expected in holes is left out"):
        again = GenerateStage.prepare(RECIPE, long_store, init_from=tmp_path / "second")
    assert not again.model.denoiser.config.expecting


def test_training_of_holes_goes_on_over_its_own_model_alone(store, codec, tmp_path):
    for seed in (0, 1):
        GenerateStage.prepare(dataclasses.replace(RECIPE, seed=seed), store, codec=codec).save(tmp_path / str(seed))
    recipe = dataclasses.replace(HOLES, frames=32)
    assert fit(HolesStage.prepare(recipe, store, init_from=tmp_path / "0"), tmp_path / "run")
    more = dataclasses.replace(recipe, steps=3)
    with pytest.raises(InputError, match="initial"):
        fit(HolesStage.prepare(more, store, init_from=tmp_path / "1"), tmp_path / "run")
    assert fit(HolesStage.prepare(more, store, init_from=tmp_path / "0"), tmp_path / "run")
    old, new = (load_system(tmp_path / name, GenerateSystem).denoiser.state_dict() for name in ("0", "run/model"))
    torch.testing.assert_close({name: new[name] for name in old}, old, rtol=0, atol=0)


def test_holes_go_on_from_a_model_that_learnt_from_masks(store, codec, tiny_stable_diffusion, tmp_path):
    GenerateStage.prepare(dataclasses.replace(RECIPE, mask_share=0.0), store, codec=codec).save(tmp_path)
    with pytest.raises(InputError, match="has not learnt to be told what is around a hole"):
        HolesStage.prepare(HOLES, store, init_from=tmp_path)
    with pytest.raises(InputError, match="is Stable Diffusion; expected a model of the recipe 'default'"):
        HolesStage.prepare(HOLES, store, init_from=tiny_stable_diffusion)
    with pytest.raises(InputError, match="this recipe has the codec of the model"):
        HolesStage.prepare(HOLES, store, codec=codec, init_from=tmp_path)


def test_a_model_that_looks_along_no_band_goes_on_with_it_or_without(store, codec, tmp_path):
    plain = dataclasses.replace(RECIPE, band_attention=False)
    GenerateStage.prepare(plain, store, codec=codec).save(tmp_path)
    for recipe in (plain, RECIPE):
        again = GenerateStage.prepare(recipe, store, init_from=tmp_path)
        assert again.model.denoiser.config.band_attention is recipe.band_attention
    twice = [GenerateStage.prepare(RECIPE, store, init_from=tmp_path).model.denoiser.state_dict() for _ in range(2)]
    torch.testing.assert_close(*twice, rtol=0, atol=0)
    again.save(tmp_path)
    with pytest.raises(InputError, match=r"has band_attention True \(the recipe: False\)"):
        GenerateStage.prepare(plain, store, init_from=tmp_path)


def test_batches_hang_on_seed_and_step_alone_and_drop_some_texts(store, codec):
    one, other = (GenerateStage.prepare(RECIPE, store, codec=codec) for _ in range(2))
    one.batch(3)
    torch.testing.assert_close(one.batch(7), other.batch(7), rtol=0, atol=0)
    assert {len(tensor) for tensor in one.batch(0).values()} == {RECIPE.batch_size}
    batches = [one.batch(step) for step in range(100)]
    whole = torch.cat([batch["made"].flatten(1).all(dim=1) for batch in batches])
    dropped = torch.cat([batch["drop"] for batch in batches]).float()
    assert 0.03 < float(dropped[whole].mean()) < 0.19
    assert 0.3 < float(dropped[~whole].mean()) < 0.5
    never = dataclasses.replace(RECIPE, null_text_share=0.0, null_masked_share=0.0)
    assert not GenerateStage.prepare(never, store, codec=codec).batch(0)["drop"].any()


def test_a_share_of_the_captions_is_read_without_the_classes_own_vectors(store, codec):
    stage = GenerateStage.prepare(dataclasses.replace(RECIPE, overlap_share=0.0), store, codec=codec)
    named = torch.cat([stage.batch(step)["named"].any(dim=1) for step in range(100)]).float().mean()
    assert 0.7 < named.item() < 0.9
    always = GenerateStage.prepare(
        dataclasses.replace(RECIPE, overlap_share=0.0, unnamed_share=0.0), store, codec=codec
    )
    assert torch.cat([always.batch(step)["named"].any(dim=1) for step in range(20)]).all()


def test_classes_get_vectors_of_their_own_that_they_keep(store, codec, tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=10, num_workers=0)
    assert fit(GenerateStage.prepare(recipe, store, codec=codec), tmp_path)
    text = load_system(tmp_path / "model", GenerateSystem).text
    assert isinstance(text, WordEncoder)
    assert text.own is not None
    learnt = {names[0]: vector.any().item() for names, vector in zip(text.config.names, text.own, strict=True)}
    assert learnt["cello"]
    assert learnt["flute"]
    again = GenerateStage.prepare(RECIPE, store, init_from=tmp_path / "model").model.text
    torch.testing.assert_close(again.own, text.own)


def test_the_codec_stays_as_it_is_and_the_text_encoder_is_trained(store, codec):
    stage = GenerateStage.prepare(RECIPE, store, codec=codec)
    before = copy.deepcopy(stage.model)
    train(stage, 3)
    torch.testing.assert_close(stage.model.codec.state_dict(), before.codec.state_dict(), rtol=0, atol=0)
    trained, fresh = (torch.cat([p.flatten() for p in m.text.parameters()]) for m in (stage.model, before))
    assert not torch.equal(trained, fresh)


def test_a_saved_model_goes_on_with_its_own_sizes_alone(store, codec, tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=2, num_workers=0)
    assert fit(GenerateStage.prepare(recipe, store, codec=codec), tmp_path)
    loaded = load_system(tmp_path / "model", GenerateSystem)
    assert loaded.sampling == GenerateStage.prepare(recipe, store, codec=codec).sampling
    assert loaded.sampling.word_noise == pytest.approx(2.5 * recipe.word_noise)
    assert "musical instrument" in loaded.info["classes"]
    again = GenerateStage.prepare(RECIPE, store, init_from=tmp_path / "model")
    torch.testing.assert_close(again.model.denoiser.state_dict(), loaded.denoiser.state_dict(), rtol=0, atol=0)
    narrow, wide = (dataclasses.replace(RECIPE, widths=widths) for widths in ((8, 8), (24, 24)))
    with pytest.raises(InputError, match=r"widths are \(8, 8\); expected .* none of them narrower"):
        GenerateStage.prepare(narrow, store, init_from=tmp_path / "model")
    with pytest.warns(UserWarning, match=r"grows from the widths \(16, 24\) to \(24, 24\)"):
        wider = GenerateStage.prepare(wide, store, init_from=tmp_path / "model")
    assert wider.model.denoiser.config.widths == (24, 24)


def test_clip_takes_the_place_of_the_words_and_stays_as_it_is(store, codec, tiny_clip, tmp_path):
    recipe = dataclasses.replace(RECIPE, clip=str(tiny_clip), steps=2, num_workers=0)
    stage = GenerateStage.prepare(recipe, store, codec=codec)
    assert stage.batch(0)["words"].shape == (RECIPE.batch_size, 77)
    assert stage.sampling.word_noise == 0
    before, after = train(stage, 10)
    assert after < before
    stage.save(tmp_path)
    assert not list((load_system(tmp_path, GenerateSystem).text).parameters())
    GenerateStage.prepare(recipe, store, init_from=tmp_path)
    with pytest.raises(InputError, match=r"clip .* \(the recipe: None\)"):
        GenerateStage.prepare(RECIPE, store, init_from=tmp_path)


def test_stable_diffusion_learns_sounds_and_makes_them(store, tiny_stable_diffusion, tmp_path):
    recipe = find_recipe(GENERATE_RECIPES, "report", **TINY)
    stage = StableDiffusionStage.prepare(recipe, store, init_from=tiny_stable_diffusion)
    assert (stage.model.codec.upscale, stage.model.schedule.prediction_type) == (1, "epsilon")
    before = copy.deepcopy({"codec": stage.model.codec.state_dict(), "text": stage.model.text.nothing()})
    first, last = train(stage, 20)
    assert last < first
    after = {"codec": stage.model.codec.state_dict(), "text": stage.model.text.nothing()}
    torch.testing.assert_close(after, before, rtol=0, atol=0)

    assert fit(StableDiffusionStage.prepare(recipe, store, init_from=tiny_stable_diffusion), tmp_path)
    model = tmp_path / "model"
    pipe = GeneratePipeline.load(model)
    assert pipe.model.sampling == Sampling(steps=25, guidance=7.5)
    for options in ({}, {"loop": True}, {"negative_prompt": "a flute"}):
        [take] = pipe("a cello", duration_s=1.0, num_inference_steps=2, **options)
        assert take.waveform.shape == (1, 16000)
        assert np.isfinite(take.waveform).all()
    noise = np.random.default_rng(0).standard_normal((1, 16000)).astype(np.float32) * 0.1
    assert pipe.inpaint(noise, [(0.4, 0.6)], sample_rate=16000, num_inference_steps=2).waveform.shape == (1, 16000)
    again = StableDiffusionStage.prepare(recipe, store, init_from=model)
    torch.testing.assert_close(again.model.denoiser.state_dict(), pipe.model.denoiser.state_dict(), rtol=0, atol=0)


def test_texts_that_are_dropped_are_the_empty_text(store, tiny_stable_diffusion):
    recipe = find_recipe(GENERATE_RECIPES, "report", **TINY, null_text_share=1.0)
    stage = StableDiffusionStage.prepare(recipe, store, init_from=tiny_stable_diffusion)
    batch = stage.batch(0)
    assert batch["drop"].all()
    with torch.no_grad():
        loss = stage.loss(batch, 0)["loss"]
        other = stage.loss(batch | {"words": batch["words"].roll(1, dims=1)}, 0)["loss"]
        kept = stage.loss(batch | {"drop": ~batch["drop"]}, 0)["loss"]
    assert loss == other != kept


def test_the_reports_recipe_needs_stable_diffusion_alone(store, codec, tiny_stable_diffusion):
    with pytest.raises(InputError, match="is Stable Diffusion; expected the recipe 'report'"):
        GenerateStage.prepare(RECIPE, store, init_from=tiny_stable_diffusion)
    recipe = find_recipe(GENERATE_RECIPES, "report", **TINY)
    with pytest.raises(InputError, match="init_from is missing"):
        StableDiffusionStage.prepare(recipe, store)
    with pytest.raises(InputError, match="this recipe has the codec of somewhere; leave it out"):
        StableDiffusionStage.prepare(recipe, store, codec=codec, init_from="somewhere")


def test_a_class_whose_name_holds_no_known_word_is_named_before_training(store, codec, tmp_path):
    rows = [("flute", []), ("cello", []), ("Qxzzv, bee", ["flute", "cello"])]
    path = tmp_path / "ontology.json"
    path.write_text(json.dumps([{"id": name, "name": name, "child_ids": below} for name, below in rows]))
    with pytest.raises(InputError, match="knows no word of 'qxzzv'; expected one in every name"):
        GenerateStage.prepare(RECIPE, store, codec=codec, ontology=path)
    path.write_text(path.read_text().replace("Qxzzv, bee", "Bee, wasp, etc."))
    GenerateStage.prepare(RECIPE, store, codec=codec, ontology=path)


def test_a_relative_folder_of_clip_is_kept_whole(tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    monkeypatch.chdir(tmp_path)
    assert dataclasses.replace(RECIPE, clip="clip").clip == str((tmp_path / "clip").resolve())
    assert dataclasses.replace(RECIPE, clip="openai/clip").clip == "openai/clip"


def test_what_does_not_fit_is_refused(store, codec, tmp_path):
    with pytest.raises(InputError, match="frames is 30; expected a multiple of 4: 28 or 32"):
        GenerateStage.prepare(dataclasses.replace(RECIPE, frames=30), store, codec=codec)
    with pytest.raises(InputError, match="the codec works on"):
        GenerateStage.prepare(RECIPE, store)  # the shipped codec's mels are others
    with pytest.raises(ModelError, match="holds a system 'codec'; expected 'generate'"):
        GenerateStage.prepare(RECIPE, store, init_from=codec)
    with pytest.raises(InputError, match="null_text_share is"):
        dataclasses.replace(RECIPE, null_text_share=1.25)
    with pytest.raises(InputError, match="unnamed_share is -1; expected a share"):
        dataclasses.replace(RECIPE, unnamed_share=-1)


def test_the_text_encoder_keeps_the_names_that_captions_had(store, codec, tmp_path):
    stage = GenerateStage.prepare(RECIPE, store, codec=codec)
    names = stage.model.text.config.names
    assert [one[0] for one in names if one[0] in ("cello", "flute")] == ["cello", "flute"]
    assert stage.model.text.simplified("there is a transverse flute somewhere, solo") == "flute, solo"
    old = copy.deepcopy(stage.model)  # as before names were kept
    old.text = WordEncoder(WordsConfig(width=RECIPE.token_width))
    old.info = {"classes": {"dog": ["puppy"]}}
    save_system(tmp_path, old)
    gone_on = GenerateStage.prepare(RECIPE, store, init_from=tmp_path).model.text
    assert gone_on.config.names == (("dog", "puppy"), *names)
    assert gone_on.simplified("a puppy and a flute") == "dog, flute"
