"""Every step of every sampler against diffusers', from the same start, noise and network."""

import itertools

import pytest
import torch

from timbrel.diffusion import (
    NoiseSchedule,
    cosine_schedule,
    ddim,
    ddpm,
    dpm_solver_pp_2m,
    guided,
    inference_timesteps,
    linear_schedule,
    seeded_generators,
    seeded_noise,
)
from timbrel.errors import InputError

diffusers = pytest.importorskip("diffusers")

KINDS = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample"}
BETAS = {"linear": (linear_schedule, "linear"), "cosine": (cosine_schedule, "squaredcos_cap_v2")}
CASES = [(k, b, z) for k, b, z in itertools.product(KINDS, BETAS, (False, True)) if not (z and k == "epsilon")]
every_case = pytest.mark.parametrize(("kind", "betas", "zero"), CASES)
SHAPE, SEEDS = (3, 5, 4), (11, 12)


def network(x, t):
    """Any function of sample and time will do; this one is smooth and mixes neighbours."""
    return (0.3 + 0.4 * torch.cos(t / 300)).view(-1, 1, 1, 1) * x.roll(1, -1) + 0.1 * torch.sin(3 * x)


@pytest.fixture(autouse=True)
def their_noise_in_float64(monkeypatch):
    """Theirs draws in the type of the sample: another stream. Everything is compared in float64."""
    for name in ("ddim", "ddpm"):
        monkeypatch.setattr(
            f"diffusers.schedulers.scheduling_{name}.randn_tensor",
            lambda shape, generator, **_: seeded_noise(shape[1:], generator).double(),
        )


def start_and_generators():
    generators = seeded_generators(SEEDS)
    return seeded_noise(SHAPE, generators).double(), generators


def our_path(sampler, schedule, steps, **options):
    x, generators = start_and_generators()
    if sampler is not dpm_solver_pp_2m:
        options["noise"] = generators
    path = []
    timesteps = inference_timesteps(schedule, steps)
    result = sampler(network, x, schedule, timesteps, callback=lambda *state: path.append(state), **options)
    assert [step for step, _ in path] == list(range(1, steps + 1))
    assert torch.equal(path[-1][1], result)
    return [x for _, x in path]


def their_path(scheduler, steps, **options):
    x, generators = start_and_generators()
    scheduler.set_timesteps(steps)
    path = []
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(len(x))), t, x, generator=generators, **options).prev_sample
        path.append(x)
    return path


def assert_same_steps(ours, theirs, tolerance):
    assert len(ours) == len(theirs)
    for mine, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, their, rtol=tolerance, atol=tolerance)


def pair(cls, kind, betas, zero, **options):
    """Our schedule, and their scheduler on our table: theirs is float32, too coarse to compare tightly."""
    make, name = BETAS[betas]
    schedule = make(prediction_type=kind, zero_terminal_snr=zero)
    scheduler = cls(prediction_type=KINDS[kind], timestep_spacing="trailing", beta_schedule=name, **options)
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    return schedule, scheduler


@every_case
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("steps", [1, 10])
def test_ddim(kind, betas, zero, eta, steps):
    schedule, scheduler = pair(diffusers.DDIMScheduler, kind, betas, zero, clip_sample=False)
    assert_same_steps(our_path(ddim, schedule, steps, eta=eta), their_path(scheduler, steps, eta=eta), 1e-7)


@every_case
@pytest.mark.parametrize("steps", [7, 200])
def test_ddpm(kind, betas, zero, steps):
    schedule, scheduler = pair(diffusers.DDPMScheduler, kind, betas, zero, clip_sample=False)
    assert_same_steps(our_path(ddpm, schedule, steps), their_path(scheduler, steps), 1e-6)


@pytest.mark.parametrize(("kind", "betas"), list(itertools.product(KINDS, BETAS)))
@pytest.mark.parametrize("steps", [1, 2, 10, 20])  # theirs has a rule of its own below 15 steps
def test_dpm_solver_pp_2m(kind, betas, steps):
    schedule, scheduler = pair(diffusers.DPMSolverMultistepScheduler, kind, betas, False)
    ours, theirs = our_path(dpm_solver_pp_2m, schedule, steps), their_path(scheduler, steps)
    assert_same_steps(ours, theirs, 1e-4)  # theirs keeps its coefficients in float32


@pytest.mark.parametrize("kind", ["v", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 10, 20])
def test_dpm_solver_from_zero_signal(kind, steps):
    """Theirs cannot start at abar = 0: against it just above, where ours is the limit of the same formula."""
    schedule, scheduler = pair(diffusers.DPMSolverMultistepScheduler, kind, "linear", True)
    near = schedule.alphas_cumprod.clone()
    near[-1] = 1e-9
    scheduler.alphas_cumprod = near
    theirs = their_path(scheduler, steps)
    assert_same_steps(our_path(dpm_solver_pp_2m, NoiseSchedule(near, kind), steps), theirs, 1e-4)
    assert_same_steps(our_path(dpm_solver_pp_2m, schedule, steps), theirs, 0.02)


@pytest.mark.parametrize("sampler", [ddim, ddpm, dpm_solver_pp_2m])
@pytest.mark.parametrize(("kind", "zero"), [("epsilon", False), ("v", True), ("sample", True)])
def test_a_perfect_network_gives_the_signal_back(sampler, kind, zero):
    """From pure noise at zero terminal SNR: a network that knows the answer leads exactly to it."""
    schedule = linear_schedule(50, prediction_type=kind, zero_terminal_snr=zero)
    answer = torch.randn(2, 6, dtype=torch.float64)

    def perfect(x, t):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return schedule.target(answer, (x - alpha * answer) / sigma, t)

    options = {"noise": seeded_generators(SEEDS)} if sampler is ddpm else {}
    for start in (1.0, 0.3):
        timesteps = inference_timesteps(schedule, 5, start=start)
        x = schedule.add_noise(answer, torch.randn_like(answer), timesteps[0])
        torch.testing.assert_close(sampler(perfect, x, schedule, timesteps, **options), answer)


def test_the_second_order_pays():
    """On a linear ODE, whose 1000-step solution is the reference, 2M in 10 steps beats DDIM in 10."""
    schedule = cosine_schedule(prediction_type="sample", zero_terminal_snr=True)

    def gaussian(x, t):  # the best guess of x_0 ~ N(2, 0.5^2)
        alpha, sigma = (c.view(-1, 1) for c in (schedule.alpha(t), schedule.sigma(t)))
        return 2 + 0.25 * alpha / (0.25 * alpha**2 + sigma**2) * (x - 2 * alpha)

    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    reference = ddim(gaussian, x, schedule, inference_timesteps(schedule, 1000))
    few = inference_timesteps(schedule, 10)
    errors = [(s(gaussian, x, schedule, few) - reference).abs().max() for s in (dpm_solver_pp_2m, ddim)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("sampler", [ddim, ddpm, dpm_solver_pp_2m])
def test_batch_size_changes_nothing(sampler):
    schedule = linear_schedule(100, prediction_type="v", zero_terminal_snr=True)
    timesteps = inference_timesteps(schedule, 6)

    def sample(seeds):
        generators = seeded_generators(seeds)
        options = {"noise": generators} if sampler is ddpm else {}
        return sampler(network, seeded_noise(SHAPE, generators), schedule, timesteps, **options)

    together = sample([3, 4, 5])
    for i, seed in enumerate([3, 4, 5]):
        assert torch.equal(sample([seed])[0], together[i])
    assert not torch.equal(together[0], together[1])


def test_no_timesteps_give_the_start_back():
    schedule = linear_schedule()
    x = torch.randn(1, 3)
    assert torch.equal(ddim(network, x, schedule, inference_timesteps(schedule, 5, start=0)), x)


def test_noise_depends_on_its_seed_alone():
    noise = seeded_noise([2, 50], [1, 2, 1])
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(seeded_noise([2, 50], seeded_generators([2]))[0], noise[1])
    generators = seeded_generators([1])
    assert not torch.equal(seeded_noise([50], generators), seeded_noise([50], generators))


def test_a_temperature_scales_the_noise_that_is_drawn():
    schedule, x = cosine_schedule(100, prediction_type="v"), torch.randn(2, 3)
    cold, warm, hot = (
        ddim(lambda x, t: x / 2, x, schedule, torch.tensor([60, 20]), eta=1, temperature=temperature, noise=generators)
        for temperature, generators in zip((0, 0.5, 1), (seeded_generators([0, 1]) for _ in range(3)), strict=True)
    )
    assert not torch.allclose(cold, hot)
    torch.testing.assert_close(warm, (cold + hot) / 2)


def test_guidance():
    x, t, calls = torch.randn(2, 3), torch.tensor([1, 2]), []

    def null(x, t):
        calls.append(t)
        return x

    def conditioned(x, t):
        return 3 * x

    torch.testing.assert_close(guided(conditioned, null, 2.5)(x, t), 6 * x)
    torch.testing.assert_close(guided(conditioned, null, 0)(x, t), x)
    torch.testing.assert_close(guided(conditioned, null, 1)(x, t), 3 * x)
    assert len(calls) == 2
    some = guided(conditioned, null, 2.5, interval=(200, 500))
    for timestep, expected in ((199, 3), (200, 6), (499, 6), (500, 3)):
        torch.testing.assert_close(some(x, torch.full((len(x),), timestep)), expected * x)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": [3, 7]}, "expected descending values within 0 to 99"),
        ({"timesteps": [100, 7]}, "expected descending values within 0 to 99"),
        ({"eta": 1.5}, "eta is 1.5"),
        ({"eta": 0.5}, "0 generators for 2 samples"),
        ({"eta": 0.5, "noise": seeded_generators([0])}, "1 generators for 2 samples"),
    ],
)
def test_wrong_values_are_refused_with_a_remedy(options, message):
    timesteps = torch.tensor(options.pop("timesteps", [50, 10]))
    with pytest.raises(InputError, match=message):
        ddim(network, torch.randn(2, 3, 5, 4), linear_schedule(100), timesteps, **options)
