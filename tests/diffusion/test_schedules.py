import math

import pytest
import torch

from timbrel.diffusion import (
    NoiseSchedule,
    cosine_schedule,
    inference_timesteps,
    linear_schedule,
    scaled_linear_schedule,
)
from timbrel.errors import InputError

diffusers = pytest.importorskip("diffusers")


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("ours", "name"), [(linear_schedule, "linear"), (cosine_schedule, "squaredcos_cap_v2")])
def test_signal_levels_are_those_of_diffusers(ours, name, zero):
    abar = ours(prediction_type="v", zero_terminal_snr=zero).alphas_cumprod
    expected = diffusers.DDIMScheduler(beta_schedule=name, rescale_betas_zero_snr=zero).alphas_cumprod.double()
    torch.testing.assert_close(abar, expected, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("zero", [False, True])
def test_scaled_linear_levels_are_those_of_stable_diffusion(zero):
    abar = scaled_linear_schedule(prediction_type="v", zero_terminal_snr=zero).alphas_cumprod
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    expected = diffusers.DDIMScheduler(**betas, rescale_betas_zero_snr=zero).alphas_cumprod.double()
    torch.testing.assert_close(abar, expected, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
def test_zero_terminal_snr_ends_in_nothing_but_noise(make):
    plain, zero = make(200), make(200, prediction_type="v", zero_terminal_snr=True)
    assert zero.alphas_cumprod[-1] == 0
    assert zero.alphas_cumprod[0] == pytest.approx(plain.alphas_cumprod[0].item())
    x0, noise = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(zero.add_noise(x0, noise, 199), noise)
    assert zero.sigma(torch.arange(200)).shape == (200,)


def test_few_steps_of_the_long_betas_are_not_noise_without_it():
    """Defect 4 of the reference implementation: -8 dB, so the rescaling is needed, not decoration."""
    abar = linear_schedule(200).alphas_cumprod[-1]
    assert 10 * math.log10(abar / (1 - abar)) == pytest.approx(-8, abs=0.5)


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample"])
def test_signal_and_noise_come_back_from_the_target(kind):
    schedule = linear_schedule(100, prediction_type=kind)
    x0, noise = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    for t in (37, torch.tensor(37), torch.tensor([0, 37, 98, 99])):
        x_t, target = schedule.add_noise(x0, noise, t), schedule.target(x0, noise, t)
        torch.testing.assert_close(schedule.to_x0(target, x_t, t), x0)
        torch.testing.assert_close(schedule.to_epsilon(target, x_t, t), noise)
        torch.testing.assert_close(schedule.to_prediction(x0, x_t, t), target)


@pytest.mark.parametrize("kind", ["v", "sample"])
def test_no_division_by_zero_where_there_is_no_signal(kind):
    schedule = cosine_schedule(50, prediction_type=kind, zero_terminal_snr=True)
    x0, noise = torch.randn(2, 4, 3, dtype=torch.float64)
    t = torch.tensor([0, 1, 48, 49])
    x_t, target = schedule.add_noise(x0, noise, t), schedule.target(x0, noise, t)
    torch.testing.assert_close(schedule.to_x0(target, x_t, t), x0)
    torch.testing.assert_close(schedule.to_epsilon(target, x_t, t), noise)
    torch.testing.assert_close(schedule.to_prediction(x0, x_t, t), target)


@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_noising_and_velocity_are_those_of_diffusers(kind):
    schedule = linear_schedule(prediction_type=kind)
    their = diffusers.DDPMScheduler()
    x0, noise, t = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.tensor([0, 500, 999])
    torch.testing.assert_close(schedule.add_noise(x0, noise, t), their.add_noise(x0, noise, t), rtol=1e-4, atol=1e-4)
    expected = noise if kind == "epsilon" else their.get_velocity(x0, noise, t)
    torch.testing.assert_close(schedule.target(x0, noise, t), expected, rtol=1e-4, atol=1e-4)


def test_half_precision_stays_half_precision():
    x0 = torch.randn(2, 4).bfloat16()
    schedule = linear_schedule(10)
    assert schedule.add_noise(x0, x0, torch.tensor([1, 2])).dtype == torch.bfloat16
    assert schedule.to_x0(x0, x0, 3).dtype == torch.bfloat16


@pytest.mark.parametrize("n", [1, 4, 7, 10, 25, 50, 333, 1000])
def test_timesteps_are_the_trailing_ones_of_diffusers(n):
    their = diffusers.DDIMScheduler(timestep_spacing="trailing")
    their.set_timesteps(n)
    assert inference_timesteps(linear_schedule(), n).tolist() == their.timesteps.tolist()


def test_partial_start():
    schedule = linear_schedule(100)
    assert inference_timesteps(schedule, 4).tolist() == [99, 74, 49, 24]
    assert inference_timesteps(schedule, 4, start=0.4).tolist() == [39, 29, 19, 9]
    assert inference_timesteps(schedule, 50, start=0.03).tolist() == [2, 1, 0]
    assert inference_timesteps(schedule, 4, start=0).tolist() == []


def test_a_shift_goes_slowly_where_it_is_noisy_from_the_same_start():
    schedule = linear_schedule(100)
    assert inference_timesteps(schedule, 4, shift=3).tolist() == [99, 89, 74, 49]
    assert inference_timesteps(schedule, 3, start=0.4, shift=3).tolist() == [39, 28, 15]
    assert inference_timesteps(schedule, 4, start=0, shift=3).tolist() == []
    every = inference_timesteps(schedule, 100, shift=3).tolist()
    assert every == sorted(set(every), reverse=True)
    assert (every[0], every[-1]) == (99, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_schedule(zero_terminal_snr=True), "choose 'v' or 'sample'"),
        (lambda: cosine_schedule(prediction_type="noise"), "'noise'; choose one of epsilon, v, sample"),
        (lambda: linear_schedule(1), "num_train_timesteps is 1"),
        (lambda: linear_schedule(beta_start=0.03), "beta_start 0.03"),
        (lambda: NoiseSchedule(torch.tensor([0.5, 0.9], dtype=torch.float64)), "must fall"),
        (lambda: NoiseSchedule(torch.tensor([0.9, 0.5])), "float64"),
        (lambda: inference_timesteps(linear_schedule(10), 11), "allows 1 to 10"),
        (lambda: inference_timesteps(linear_schedule(10), 5, start=1.1), "start is 1.1"),
        (lambda: inference_timesteps(linear_schedule(10), 5, start=math.nan), "start is nan"),
        (lambda: inference_timesteps(linear_schedule(10), 5, shift=0), "shift is 0"),
        (lambda: inference_timesteps(linear_schedule(10), 5, shift=math.nan), "shift is nan"),
    ],
)
def test_wrong_values_are_refused_with_a_remedy(call, message):
    with pytest.raises(InputError, match=message):
        call()
