"""The transfer stage's terms beside the error: a feature network's and a discriminator's."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.denoiser import Condition
from timbrel.models.features import FeatureConfig, FeatureNetwork
from timbrel.systems.alone import CodecSystem, FeaturesSystem
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.transfer import TransferSystem
from timbrel.training.loop import fit
from timbrel.training.recipes import TRANSFER_RECIPES, find_recipe
from timbrel.training.transfer import TransferStage

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
RECIPE: Any = find_recipe(TRANSFER_RECIPES, "tiny", precision="fp32", pure_noise_share=1.0, null_style_share=0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    writer, rng = StoreWriter(tmp_path_factory.mktemp("adversarial") / "store", MEL), np.random.default_rng(0)
    for group in range(4):
        for label in ("piano", "violin"):
            levels = rng.integers(0, 256, (120, 32), dtype=np.uint8)
            split = "validation" if group == 3 else "train"
            name = f"g{group}-{label}"
            writer.add(Entry(name, label, split, 120, name, group=f"g{group}", library="opl3"), levels)
    return writer.folder


@pytest.fixture(scope="module")
def codec(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adversarial-codec")
    save_system(folder, CodecSystem(mel=MEL, codec=MelAutoencoder(AutoencoderConfig(width=8, num_blocks=1))))
    return folder


@pytest.fixture
def stage(store, codec):
    return TransferStage.prepare(RECIPE, store, codec=codec)


def test_all_terms_are_logged_and_reach_the_denoiser(stage):
    torch.nn.init.normal_(stage.model.denoiser.leave.weight, std=0.1)  # at first its answer is the mean
    values = stage.loss(stage.batch(50), 50)
    terms = ("reconstruction", "level", "adversarial", "matching")
    assert values.keys() == {"loss", "pure_noise_mae_db", *terms}
    weights = dataclasses.asdict(RECIPE)
    torch.testing.assert_close(values["loss"], sum(weights[f"{name}_weight"] * values[name] for name in terms))
    for name in ("level", "adversarial", "matching"):
        (gradient,) = torch.autograd.grad(values[name], stage.model.denoiser.leave.weight, retain_graph=True)
        assert gradient.abs().max() > 0


def test_the_discriminator_learns_on_what_was_made(stage):
    discriminator = stage.adversaries["discriminator"]
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=2e-3)
    for step in range(25):
        stage.loss(stage.batch(step), step)
        judged = stage.discriminator_loss(stage.batch(step), step)
        optimizer.zero_grad()
        judged["loss"].backward()
        optimizer.step()
    assert judged["score_of_true"] > judged["score_of_made"] + 0.3
    assert all(p.grad is None for p in stage.model.denoiser.parameters())


def test_the_discriminator_enters_slowly(stage):
    terms = [stage.loss(stage.batch(0), step) for step in (0, 1, 2, 50)]
    assert terms[0]["matching"] == terms[0]["adversarial"] == 0
    torch.testing.assert_close(2 * terms[1]["matching"], terms[2]["matching"])
    torch.testing.assert_close(terms[2]["matching"], terms[3]["matching"])


def test_without_pure_noise_there_is_nothing_to_judge(store, codec):
    recipe = dataclasses.replace(RECIPE, pure_noise_share=0.0)
    stage = TransferStage.prepare(recipe, store, codec=codec)
    values = stage.loss(stage.batch(0), 50)
    assert values["level"] == values["adversarial"] == values["matching"] == 0
    torch.testing.assert_close(values["loss"], RECIPE.reconstruction_weight * values["reconstruction"])
    judged = stage.discriminator_loss(stage.batch(0), 50)
    assert judged["loss"] == 0
    judged["loss"].backward()


def test_the_feature_network_is_a_term(store, codec, tmp_path):
    torch.manual_seed(0)
    network = FeatureNetwork(FeatureConfig(labels=("piano", "violin"), width=4, embedding=8))
    save_system(tmp_path / "features", FeaturesSystem(mel=MEL, features=network))
    alone = {"level_weight": 0.0, "adversarial_weight": 0.0, "matching_weight": 0.0}
    recipe = dataclasses.replace(RECIPE, feature_weight=1.0, feature_network=str(tmp_path / "features"), **alone)
    stage = TransferStage.prepare(recipe, store, codec=codec)
    assert not stage.adversaries
    values = stage.loss(stage.batch(0), 0)
    assert values["feature"] > 0
    target = stage.batch(0)["target"]
    latents = stage.model.codec.encode(target)
    same = stage._sample_terms([latents] * 4, 0)
    assert same.keys() == {"feature"}
    assert same["feature"] == 0


def test_levels_of_the_truth_itself_cost_nothing(stage):
    latents = stage.model.codec.encode(stage.batch(0)["target"])
    assert stage._sample_terms([latents] * 4, 0)["level"] == 0


def test_a_feature_network_of_other_mels_is_refused(store, codec):
    recipe = dataclasses.replace(RECIPE, feature_weight=1.0)
    with pytest.raises(InputError, match="feature network"):
        TransferStage.prepare(recipe, store, codec=codec)


def test_matching_without_a_discriminator_is_refused():
    with pytest.raises(InputError, match="matching_weight is 1 and adversarial_weight 0"):
        dataclasses.replace(RECIPE, adversarial_weight=0.0)


def test_negative_weights_are_refused():
    with pytest.raises(InputError, match="adversarial_weight is -1"):
        dataclasses.replace(RECIPE, adversarial_weight=-1)


def test_a_run_saves_no_discriminator_and_the_answer_depends_on_the_noise(store, codec, tmp_path):
    stage = TransferStage.prepare(dataclasses.replace(RECIPE, learning_rate=1e-2), store, codec=codec)
    assert fit(stage, tmp_path / "run")
    model = load_system(tmp_path / "run" / "model", TransferSystem)
    assert not [p.name for p in (tmp_path / "run" / "model").iterdir() if "discriminator" in p.name]
    content = torch.randn(1, 8, 8, 8)
    condition = Condition(content, torch.randn(1, 4, RECIPE.style_width), torch.ones(1, 4, dtype=torch.bool))
    last = torch.tensor([model.schedule.num_train_timesteps - 1])
    with torch.no_grad():
        one, other = (model.denoiser(torch.randn(1, 8, 8, 8), last, condition) for _ in range(2))
    assert not torch.equal(one, other)


def test_a_model_without_noise_as_an_input_is_widened_and_answers_as_before(store, codec, tmp_path):
    deaf = TransferStage.prepare(dataclasses.replace(RECIPE, noise_input=False), store, codec=codec)
    torch.nn.init.normal_(deaf.model.denoiser.leave.weight, std=0.1)
    save_system(tmp_path / "model", deaf.model)
    before = load_system(tmp_path / "model", TransferSystem)
    stage = TransferStage.prepare(RECIPE, store, init_from=tmp_path / "model")
    assert stage.model.denoiser.config.noise_input
    stage.model.denoiser.unknown.copy_(before.denoiser.unknown)
    noisy, content = torch.randn(2, 8, 8, 8), torch.randn(2, 8, 8, 8)
    condition = Condition(content, torch.randn(2, 4, RECIPE.style_width), torch.ones(2, 4, dtype=torch.bool))
    timesteps = torch.tensor([999, 300])
    with torch.no_grad():
        answers = [m.denoiser(noisy, timesteps, condition) for m in (before, stage.model)]
    torch.testing.assert_close(*answers)
