"""Stable Diffusion as a system of sound: what it makes is what diffusers makes, and a folder goes there and back."""

import json
import shutil

import pytest
import torch

from timbrel.audio.mel import MelConfig
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError, ModelError
from timbrel.systems.stable_diffusion import (
    PictureCodec,
    from_picture,
    load_stable_diffusion,
    save_stable_diffusion,
    to_picture,
)

diffusers = pytest.importorskip("diffusers")

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)


def changed(folder, tmp_path, part, **values):
    """A copy with other values in a part's configuration."""
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    [path] = (copy / part).glob("*config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return copy


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_it_samples_as_diffusers_does(tiny_stable_diffusion, scale):
    system = load_stable_diffusion(tiny_stable_diffusion, MEL)
    noise = seeded_noise(system.latent_shape(32), [0])
    timesteps = inference_timesteps(system.schedule, 5)
    with torch.no_grad():
        ours = ddim(system.model("a harp", guidance_scale=scale), noise, system.schedule, timesteps)
    scheduler = {"timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": True}
    system.pipeline.scheduler = diffusers.DDIMScheduler.from_config(system.pipeline.scheduler.config, **scheduler)
    theirs = system.pipeline(
        "a harp", latents=noise, num_inference_steps=5, guidance_scale=scale, output_type="latent"
    ).images
    assert float((ours - noise).abs().mean()) > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_codec_is_that_of_the_pictures(tiny_stable_diffusion):
    mel = MelConfig(n_mels=16)
    system = load_stable_diffusion(tiny_stable_diffusion, mel)
    vae, levels = system.pipeline.vae, torch.rand(2, 1, 16, 12) * -100
    assert (system.codec.upscale, system.codec.factor) == (2, 1)
    picture = torch.nn.Upsample(scale_factor=2)(1 + levels / 50).expand(-1, 3, -1, -1)
    latents = system.codec.encode(levels)
    torch.testing.assert_close(latents, vae.encode(picture).latent_dist.mean * vae.config.scaling_factor)
    decoded = system.codec.decode(latents)
    assert decoded.shape == levels.shape
    mean = vae.decode(latents / vae.config.scaling_factor).sample.mean(dim=1, keepdim=True)
    blocks = mean.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(decoded, (50 * (blocks - 1)).clamp_min(-100))


def test_pictures_are_mels_and_back():
    mel = torch.tensor([-100.0, -50.0, 0.0])
    torch.testing.assert_close(to_picture(mel, -100.0), torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(from_picture(to_picture(mel, -100.0), -100.0), mel)
    assert float(from_picture(torch.tensor(-1.5), -100.0)) == -100


def test_a_saved_folder_is_that_of_diffusers_and_keeps_the_mels(tiny_stable_diffusion, tmp_path):
    system = load_stable_diffusion(tiny_stable_diffusion, MEL)
    system.info = {"purpose": "tests"}
    with torch.no_grad():
        system.denoiser.unet.conv_out.bias.fill_(0.5)
    save_stable_diffusion(tmp_path, system)
    again = load_stable_diffusion(tmp_path)
    assert (again.mel, again.info) == (MEL, {"purpose": "tests"})
    torch.testing.assert_close(again.denoiser.state_dict(), system.denoiser.state_dict(), rtol=0, atol=0)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    torch.testing.assert_close(theirs.unet.state_dict(), system.pipeline.unet.state_dict(), rtol=0, atol=0)


def test_what_is_no_stable_diffusion_or_another_is_refused(tiny_stable_diffusion, tmp_path):
    with pytest.raises(ModelError, match=r"has no timbrel\.json: it has not learnt any sounds"):
        load_stable_diffusion(tiny_stable_diffusion)
    with pytest.raises(ModelError, match="cannot be read as Stable Diffusion"):
        load_stable_diffusion("nobody/nothing", MEL)
    with pytest.raises(InputError, match="n_mels is 24; expected 32 or 16, which fill pictures of 32 pixels"):
        load_stable_diffusion(tiny_stable_diffusion, MelConfig(n_mels=24))


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("scheduler", {"prediction_type": "v_prediction"}, "prediction_type 'v_prediction' .expected 'epsilon'"),
        ("scheduler", {"beta_schedule": "linear"}, "beta_schedule 'linear' .expected 'scaled_linear'"),
        ("unet", {"in_channels": 9}, "cannot be read as Stable Diffusion"),
    ],
)
def test_another_schedule_or_network_is_named(tiny_stable_diffusion, tmp_path, part, values, said):
    with pytest.raises(ModelError, match=said):
        load_stable_diffusion(changed(tiny_stable_diffusion, tmp_path, part, **values), MEL)


def test_a_part_that_is_missing_is_named(tiny_stable_diffusion, tmp_path):
    copy = changed(tiny_stable_diffusion, tmp_path, "unet")
    shutil.rmtree(copy / "unet")
    with pytest.raises(ModelError, match="has no unet; expected a folder"):
        load_stable_diffusion(copy, MEL)


def test_another_pipeline_is_named(tiny_stable_diffusion, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_stable_diffusion, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(ModelError, match="_class_name 'StableDiffusionXLPipeline' in model_index"):
        load_stable_diffusion(folder, MEL)


def test_a_broken_settings_file_is_named(tiny_stable_diffusion, tmp_path):
    copy = changed(tiny_stable_diffusion, tmp_path, "unet")
    for text in ("{", '{"mel": {}}', '{"mel": {"n_mels": "many"}, "info": {}}'):
        (copy / "timbrel.json").write_text(text)
        with pytest.raises(ModelError, match=r"timbrel\.json"):
            load_stable_diffusion(copy)


def test_a_vae_of_one_channel_is_a_codec_too():
    vae = diffusers.AutoencoderKL(in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=4).eval()
    codec = PictureCodec(vae, -100.0)
    assert codec.decode(codec.encode(torch.zeros(1, 1, 8, 4))).shape == (1, 1, 8, 4)
