"""Models of any small size, with random weights, as folders: quick, and good for all but their sound."""

import json
import shutil

import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.audio.musicnn import CONFIG
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.denoiser import DenoiserConfig
from timbrel.models.embedder import EmbedderConfig
from timbrel.models.musicnn import Musicnn, MusicnnConfig
from timbrel.models.picture_autoencoder import PictureAutoencoder, PictureAutoencoderConfig
from timbrel.models.picture_unet import PictureUNetConfig
from timbrel.models.style import StyleConfig
from timbrel.models.text import WordsConfig
from timbrel.models.text_unet import TextUNetConfig
from timbrel.models.unet import UNetConfig
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.folder import save_system
from timbrel.systems.generate import GenerateSystem
from timbrel.systems.picture import PictureSystem
from timbrel.systems.single import SingleSystem
from timbrel.systems.transfer import TransferSystem

TINY_MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)


def tiny_codec():
    torch.manual_seed(0)
    codec = MelAutoencoder(AutoencoderConfig(latent_channels=4, width=8, num_blocks=1))
    codec.scale.fill_(10.0)
    return codec


def tiny_transfer_model():
    codec = tiny_codec()
    model = TransferSystem.build(
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
            picture_width=4,
            picture_dilations=(1,),
        ),
        ScheduleConfig(num_train_timesteps=100),
    )
    # Fresh, it would give the same whatever it hears.
    for layer in (model.denoiser.leave, model.denoiser.attentions[0].out, *(b.modulate for b in model.denoiser.blocks)):
        torch.nn.init.normal_(layer.get_parameter("weight"), std=0.2)
    for part in (model.codec, model.style, model.denoiser):
        part.eval().requires_grad_(False)
    model.instruments = {"violin": torch.randn(5, 16), "piano": torch.randn(3, 16)}
    model.info = {"purpose": "tests", "training": "none", "figures": {"lsd_db": 9.5}}
    return model


def tiny_single_model(instrument):
    codec = tiny_codec()
    torch.manual_seed(sum(instrument.encode()))
    schedule = ScheduleConfig(num_train_timesteps=500, prediction_type="v")
    config = UNetConfig(latent_channels=4, latent_height=8, widths=(16, 24), embedding_width=16, modulation_width=8)
    model = SingleSystem.build(instrument, TINY_MEL, codec, config, schedule)
    torch.nn.init.normal_(model.denoiser.leave.weight, std=0.2)
    for part in (model.codec, model.denoiser):
        part.eval().requires_grad_(False)
    model.info = {"purpose": "tests", "training": "none", "figures": {}}
    return model


@pytest.fixture(scope="session")
def tiny_singles(tmp_path_factory):
    """A folder with the models of a violin and a guitar."""
    folder = tmp_path_factory.mktemp("singles")
    for instrument in ("violin", "guitar"):
        save_system(folder / f"single-{instrument}", tiny_single_model(instrument))
    return folder


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory):
    """The folder of a model that makes sound from a text."""
    codec = tiny_codec()
    torch.manual_seed(0)
    config = TextUNetConfig(
        latent_channels=4,
        latent_height=8,
        token_width=16,
        widths=(16, 24),
        modulation_width=8,
        picture_width=4,
        band_attention=True,
    )
    schedule = ScheduleConfig(prediction_type="v")
    model = GenerateSystem.build(TINY_MEL, codec, WordsConfig(width=16), config, schedule)
    for parameter in model.denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    model.info = {
        "purpose": "tests",
        "training": "none",
        "figures": {},
        "sampling": {"steps": 4, "guidance": 2.0, "eta": 1.0},
    }
    folder = tmp_path_factory.mktemp("generator") / "tiny"
    save_system(folder, model)
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """A CLIP text model of random weights with a tokenizer of letters, saved as transformers saves them."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: k for k, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    transformers.CLIPTokenizer(*files, model_max_length=77).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=len(vocabulary) - 1,
    )
    transformers.CLIPTextModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_clap(tmp_path_factory):
    """A folder with a tiny CLAP, of the fused kind, where chance lurks most."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 1, 1],
        "enable_fusion": True,
        "fusion_type": "aff_2d",
    }
    config = transformers.ClapConfig(text_config=text | {"vocab_size": 50}, audio_config=audio, projection_dim=12)
    folder = tmp_path_factory.mktemp("clap")
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="fusion").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_clip_vision(tmp_path_factory):
    """The image half of CLIP with random weights."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip-vision")
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    config.projection_dim = 12
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_system(folder, tiny_transfer_model())
    return folder


@pytest.fixture(scope="session")
def tiny_stable_diffusion(tmp_path_factory, tiny_clip):
    """Stable Diffusion of random weights for pictures of 32 x 32, saved as diffusers saves it."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("stable-diffusion") / "tiny"
    torch.manual_seed(0)
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            norm_num_groups=4,
            sample_size=32,
        ),
        unet=diffusers.UNet2DConditionModel(
            sample_size=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        text_encoder=transformers.CLIPTextModel.from_pretrained(tiny_clip),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(tiny_clip),
        scheduler=diffusers.PNDMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, skip_prk_steps=True
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_painter(tmp_path_factory):
    """The folder of a model that paints pictures of 128 pixels from music."""
    torch.manual_seed(0)
    model = PictureSystem.build(
        CONFIG,
        PictureAutoencoder(PictureAutoencoderConfig(4, (8, 8, 8), (8, 8, 8), 4)),
        MusicnnConfig(),
        EmbedderConfig(Musicnn.hidden_width, 16),
        WordsConfig(width=16, num_heads=2),
        PictureUNetConfig(latent_channels=4, token_width=16, width=8, inner_width=16, modulation_width=8, num_heads=2),
        ScheduleConfig(prediction_type="v"),
    )
    for layer in (model.denoiser.leave, model.denoiser.look.text.out, model.denoiser.pooled):
        torch.nn.init.normal_(layer.weight, std=0.5)  # fresh, it would paint the same whatever it hears
    model.info = {"purpose": "tests", "training": "none", "sampling": {"steps": 3, "guidance": 2.0}}
    folder = tmp_path_factory.mktemp("painter") / "model"
    save_system(folder, model)
    return folder


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window, whose microphone hums."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'timbrel[dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: apt-get install --no-install-recommends chromium")
    options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    options += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()
