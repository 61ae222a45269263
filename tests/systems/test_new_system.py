"""A system of one's own, added as CONTRIBUTING says: one file, and one line that registers it."""

import shutil

import pytest
import torch

from timbrel import list_models
from timbrel.cli.main import main
from timbrel.errors import ModelError
from timbrel.systems import SYSTEMS
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.folder import load_codec, load_system, save_system

SOURCE = '''
"""A toy: a gain, learnt for each latent channel, over the mel autoencoder that other systems have too."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import nn

from timbrel.audio.mel import MelConfig
from timbrel.bounds import Bounds, Width
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.systems.base import DiffusionSystem, ScheduleConfig


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
