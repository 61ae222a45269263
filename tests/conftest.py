"""A transfer model of any small size, with random weights, as a folder: quick, and good for all but its sound."""

import pytest
import torch

from timbrel import checkpoint
from timbrel.audio.mel import MelConfig
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.denoiser import DenoiserConfig
from timbrel.models.style import StyleConfig

TINY_MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)


def tiny_transfer_model():
    torch.manual_seed(0)
    codec = MelAutoencoder(AutoencoderConfig(latent_channels=4, width=8, num_blocks=1))
    codec.scale.fill_(10.0)
    model = checkpoint.DefaultModel.build(
        TINY_MEL,
        codec,
        StyleConfig(latent_channels=4, latent_height=8, width=16, num_blocks=1),
        DenoiserConfig(
            latent_channels=4,
            latent_height=8,
            token_width=16,
            width=16,
            dilations=(1, 2),
            modulation_width=8,
            num_heads=2,
        ),
        checkpoint.ScheduleConfig(num_train_timesteps=100),
    )
    # Fresh, it would give the same whatever it hears.
    for layer in (model.denoiser.leave, model.denoiser.attentions[0].out, *(b.modulate for b in model.denoiser.blocks)):
        torch.nn.init.normal_(layer.weight, std=0.2)
    for part in (model.codec, model.style, model.denoiser):
        part.eval().requires_grad_(False)
    model.instruments = {"violin": torch.randn(5, 16), "piano": torch.randn(3, 16)}
    model.info = {"purpose": "tests", "training": "none", "figures": {"lsd_db": 9.5}}
    return model


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoint.save_transfer_model(folder, tiny_transfer_model())
    return folder
