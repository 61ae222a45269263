"""A system of one's own, added as CONTRIBUTING says: saved, listed, loaded, run and trained."""

import shutil

import pytest
import torch

from timbrel import list_models
from timbrel.cli.main import VERBS, main
from timbrel.errors import ModelError
from timbrel.systems import SYSTEMS
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.folder import load_codec, load_system, save_system

SOURCE = '''
"""A toy: a gain, learnt for each latent channel, over the mel autoencoder that other systems have too."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import nn

from timbrel.audio.mel import MelConfig
from timbrel.bounds import Bounds, Width
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.cli import train as cli
from timbrel.systems.base import DiffusionSystem, ScheduleConfig
from timbrel.systems.folder import load_codec, save_system
from timbrel.training.recipes import Recipe
from timbrel.training.stage import Stage


@dataclass(frozen=True)
class ToyConfig:
    latent_channels: Width = 8
    gain: Annotated[float, Bounds(-10, 10)] = 1.0


class ToyDenoiser(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.gain = nn.Parameter(torch.full((config.latent_channels, 1, 1), config.gain))

    def forward(self, noisy_latents, timesteps):
        return self.gain * noisy_latents


@dataclass(kw_only=True)
class ToySystem(DiffusionSystem):
    parts: ClassVar = {"codec": {"mel-autoencoder": MelAutoencoder}, "denoiser": {"toy": ToyDenoiser}}

    @classmethod
    def build(cls, mel: MelConfig, codec: MelAutoencoder, denoiser: ToyConfig, schedule: ScheduleConfig):
        return cls(mel=mel, codec=codec, denoiser=ToyDenoiser(denoiser), schedule_config=schedule)

    def generate(self, noise):
        return self.decode(self.denoiser(noise, torch.zeros(len(noise))))


@dataclass(frozen=True)
class ToyRecipe(Recipe):
    """Learns to double."""

    stage: ClassVar[str] = "timbrel_toy:ToyStage"


class ToyStage(Stage):
    name = "toy"

    def __init__(self, recipe, system):
        super().__init__(recipe, {"denoiser": system.denoiser})
        self.system = system

    @classmethod
    def prepare(cls, recipe, data, *, codec):
        mel, loaded = load_codec(codec, MelAutoencoder)
        return cls(recipe, ToySystem.build(mel, loaded, ToyConfig(latent_channels=4), ScheduleConfig()))

    def batch(self, step):
        return {"x": torch.from_numpy(self.rng(step).standard_normal((self.recipe.batch_size, 4, 8, 6), np.float32))}

    def loss(self, batch, step):
        return {"loss": (self.system.denoiser(batch["x"], None) - 2 * batch["x"]).square().mean()}

    def validate(self):
        return {"gain_error": float((self.system.denoiser.gain - 2).abs().max())}

    def save(self, folder):
        self.system.info = self.info("a toy", self.validate())
        save_system(folder, self.system)


RECIPES = {"default": ToyRecipe(steps=60, learning_rate=0.1, warmup_steps=0, precision="fp32", num_workers=0)}


def train(recipe: Annotated[Recipe, cli.choice(RECIPES)], run: cli.Flags, *, codec: cli.Model = None) -> int:
    """Train a toy."""
    return cli.train(recipe, run, codec=codec)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The module of the new system, which in the package would be `timbrel.systems.toy`."""
    (tmp_path / "timbrel_toy.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SYSTEMS, "toy", "timbrel_toy:ToySystem")
    import timbrel_toy

    return timbrel_toy


def test_a_new_system_is_saved_listed_loaded_and_run(toy, tiny_model_folder, tmp_path, capsys):
    from timbrel.models.autoencoder import MelAutoencoder

    mel, codec = load_codec(tiny_model_folder, MelAutoencoder)  # a second system over the same codec
    system = toy.ToySystem.build(mel, codec, toy.ToyConfig(latent_channels=4, gain=0.5), ScheduleConfig())
    system.info = {"purpose": "a toy"}
    save_system(tmp_path / "toys" / "first", system)

    [listed] = [model for model in list_models(tmp_path / "toys") if model.name == "first"]
    assert (listed.purpose, listed.sample_rate, listed.error) == ("a toy", 16000, "")
    assert main(["models", str(tmp_path / "toys")]) == 0
    assert "first: a toy" in capsys.readouterr().out

    again = load_system(tmp_path / "toys" / "first", toy.ToySystem)
    noise = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    made = again.generate(noise)
    assert made.shape == (1, 1, 32, 24)
    torch.testing.assert_close(made, system.generate(noise))
    torch.testing.assert_close(made, codec.decode(0.5 * noise))

    shutil.copy(tiny_model_folder / "denoiser.safetensors", tmp_path / "toys" / "first")
    with pytest.raises(ModelError, match="does not hold this model's weights"):
        load_system(tmp_path / "toys" / "first")


def test_it_is_trained_by_a_recipe_that_names_its_stage(toy, tiny_model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(VERBS, "train toy", toy.train)
    words = ["train", "toy", "default", "--data", str(tmp_path), "--codec", str(tiny_model_folder)]
    assert main([*words, "--out", str(tmp_path / "toy")]) == 0
    assert f"the model is in {tmp_path / 'toy' / 'model'}" in capsys.readouterr().out
    [listed] = [model for model in list_models(tmp_path) if model.name == "model"]
    assert listed.figures["gain_error"] < 0.2
    gain = load_system(tmp_path / "toy" / "model", toy.ToySystem).denoiser.gain
    torch.testing.assert_close(gain, torch.full((4, 1, 1), 2.0), atol=0.2, rtol=0)
