"""One instrument's denoiser: shapes, what it starts from, what it hears."""

import pytest
import torch

from timbrel.diffusion.schedules import cosine_schedule
from timbrel.errors import InputError
from timbrel.models.unet import BandsUNet, BandsUNetConfig, UNet, UNetConfig, with_pictures

SCHEDULE = cosine_schedule(100, prediction_type="v", zero_terminal_snr=True)
SMALL = UNetConfig(
    latent_channels=2,
    latent_height=4,
    widths=(16, 24, 32),
    embedding_width=16,
    modulation_width=8,
    picture_width=4,
    picture_dilations=(1, 2),
)


def unet(config=SMALL, *, fresh=False, **options):
    torch.manual_seed(0)
    model = UNet(config, SCHEDULE.alphas_cumprod, **options).eval().requires_grad_(False)
    for parameter in () if fresh else model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("widths", [(16,), (16, 24), (16, 24, 32)])
def test_the_prediction_has_the_latents_shape_and_any_length(widths):
    model = unet(UNetConfig(latent_channels=2, latent_height=4, widths=widths))
    for frames in (1, 12, 37):
        noisy = torch.randn(2, 2, 4, frames)
        predicted = model(noisy, torch.tensor([0, 99]))
        assert predicted.shape == noisy.shape
        assert predicted.isfinite().all()


@pytest.mark.parametrize(("std", "mean"), [(1.0, 0.0), (0.1, 0.5), (3.0, -2.0)])
def test_fresh_it_is_the_best_linear_estimate(std, mean):
    model = unet(fresh=True)
    model.std.fill_(std)
    model.mean.fill_(mean)
    model.leave.bias.zero_()
    noise, clean = torch.randn(2, 4000, 2, 4, 4)
    clean = mean + std * clean
    for t in (0, 30, 60, 99):
        timesteps = torch.full((4000,), t)
        noisy = SCHEDULE.add_noise(clean, noise, timesteps)
        error = SCHEDULE.target(clean, noise, timesteps) - model(noisy, timesteps)
        assert float(error.mean()) == pytest.approx(0, abs=0.02 * std + 1e-3)
        correlation = (error * (noisy - noisy.mean())).mean() / (error.std() * noisy.std() + 1e-9)
        assert abs(float(correlation)) < 0.02  # nothing linear is left to find
        abar = float(SCHEDULE.alphas_cumprod[t])
        assert float(error.std()) == pytest.approx(std / (abar * std**2 + 1 - abar) ** 0.5, rel=0.02)


def test_noise_and_v_say_the_same():
    noisy, t = torch.randn(2, 2, 4, 12), torch.tensor([10, 80])
    of_v, of_noise = unet()(noisy, t), unet(prediction_type="epsilon")(noisy, t)
    torch.testing.assert_close(SCHEDULE.to_epsilon(of_v, noisy, t), of_noise, atol=1e-5, rtol=1e-4)


def test_time_is_heard_and_so_are_neighbours():
    model, noisy, t = unet(), torch.randn(1, 2, 4, 16), torch.tensor([50])
    plain = model(noisy, t)
    assert float((model(noisy, t + 10) - plain).abs().max()) > 1e-3
    changed = noisy.clone()
    changed[..., 15] += 1
    difference = (model(changed, t) - plain).abs().amax(dim=(0, 1, 2))
    assert float(difference[8]) > 1e-6  # over the coarser levels


def test_a_sample_comes_out_of_a_batch_as_it_would_alone():
    model, noisy, t = unet(), torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    torch.testing.assert_close(model(noisy, t)[1:], model(noisy[1:], t[1:]), atol=1e-5, rtol=1e-4)


def test_the_default_is_small():
    parameters = sum(p.numel() for p in UNet(UNetConfig(), SCHEDULE.alphas_cumprod).parameters())
    assert 2.5e6 < parameters < 3.5e6


def test_other_settings_are_refused():
    with pytest.raises(InputError, match="'sample'; expected 'epsilon' or 'v'"):
        unet(prediction_type="sample")
    with pytest.raises(InputError, match="widths is empty"):
        unet(UNetConfig(widths=()))


def test_pictures_are_added_to_a_denoiser_that_knows_none():
    along_time = unet(UNetConfig(latent_channels=2, latent_height=4, widths=(16, 24)))
    both = with_pictures(along_time, 4, (1, 2))
    noisy, t = torch.randn(1, 2, 4, 12), torch.tensor([50])
    torch.testing.assert_close(both(noisy, t), along_time(noisy, t))
    torch.nn.init.normal_(both.picture.leave.weight)
    assert not torch.allclose(both(noisy, t), along_time(noisy, t))
    assert with_pictures(both, 8, (1,)) is both
    assert with_pictures(along_time, 4, ()) is along_time


@pytest.mark.parametrize("widths", [(8,), (6, 8, 16)])
def test_over_pictures_any_size_is_kept_and_a_place_hears_its_surroundings(widths):
    torch.manual_seed(0)
    config = BandsUNetConfig(latent_height=10, report_widths=widths, blocks_per_level=1, embedding_width=8)
    model = BandsUNet(config, SCHEDULE.alphas_cumprod).eval().requires_grad_(False)
    torch.nn.init.normal_(model.leave.weight, std=0.1)
    for frames in (1, 12, 37):
        noisy = torch.randn(2, 1, 10, frames)
        predicted = model(noisy, torch.tensor([0, 99]))
        assert predicted.shape == noisy.shape
        assert predicted.isfinite().all()
    other = noisy.clone()
    other[..., 5, 18] += 1
    changed = (model(other, torch.tensor([50, 50])) - model(noisy, torch.tensor([50, 50]))).abs().amax(dim=(0, 1))
    assert float(changed[3:8, 16:21].min()) > 0  # over bands as over time
