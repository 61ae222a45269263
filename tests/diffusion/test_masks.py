"""Sampling in parts, on denoisers whose answers are known in closed form."""

import pytest
import torch

from timbrel.diffusion.masks import anchored, circular, inpaint, slow_part, told, windowed
from timbrel.diffusion.samplers import ddim, seeded_generators, seeded_noise
from timbrel.diffusion.schedules import cosine_schedule, inference_timesteps
from timbrel.errors import InputError

SCHEDULE = cosine_schedule(1000, prediction_type="v", zero_terminal_snr=True)


def gaussian(mean, covariance):
    """The exact denoiser of x_0 ~ N(mean, covariance) over the last axis."""

    def model(x, t):
        a, b = (f(int(t[0])).to(x) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
        gain = a * covariance @ torch.linalg.inv(a**2 * covariance + b**2 * torch.eye(len(mean)).to(x))
        x0 = mean + (x - a * mean) @ gain.T
        return (a * x - x0) / b  # v of this x_0

    return model


def neighbours(n, correlation):
    place = torch.arange(n).double()
    return correlation ** (place[:, None] - place).abs()


def test_what_is_known_stays_to_the_last_bit_in_several_regions():
    known = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(40, dtype=torch.bool)
    mask[5:9] = mask[20:30] = True
    model = gaussian(torch.zeros(40), neighbours(40, 0.9).float())
    steps = inference_timesteps(SCHEDULE, 10)
    for repeats in (1, 3):
        made = inpaint(model, known, mask, SCHEDULE, steps, noise=seeded_generators([1, 2, 3]), repeats=repeats)
        assert torch.equal(made[..., ~mask], known[..., ~mask])
        assert float((made[..., mask] - known[..., mask]).abs().min()) > 0
        alone = inpaint(model, known[1:2], mask, SCHEDULE, steps, noise=seeded_generators([2]), repeats=repeats)
        torch.testing.assert_close(made[1:2], alone)


def test_a_mask_of_everything_is_ddim():
    model, steps = gaussian(torch.ones(8), neighbours(8, 0.5).float()), inference_timesteps(SCHEDULE, 7)
    everything = torch.ones(1, dtype=torch.bool)
    made = inpaint(model, torch.zeros(1, 8), everything, SCHEDULE, steps, noise=seeded_generators([4]))
    torch.testing.assert_close(made, ddim(model, seeded_noise((8,), [4]), SCHEDULE, steps))


def test_repeats_bring_it_to_what_is_right_given_the_known():
    """The conditional mean of a Gaussian between two known neighbours, in closed form."""
    n, mean, covariance = 5, torch.zeros(5).double(), neighbours(5, 0.95)
    mask = torch.tensor([False, False, True, False, False])
    known = torch.full((400, n), 2.0).double()
    given = covariance[mask][:, ~mask] @ torch.linalg.inv(covariance[~mask][:, ~mask])
    right = float((given @ known[0, ~mask]).item())
    errors, spreads = [], []
    for repeats in (1, 8):
        generators = seeded_generators(range(400))
        steps = inference_timesteps(SCHEDULE, 30)
        made = inpaint(gaussian(mean, covariance), known, mask, SCHEDULE, steps, noise=generators, repeats=repeats)
        errors.append(abs(float(made[:, 2].mean()) - right))
        spreads.append(float(made[:, 2].std()))
    spread = float((covariance[mask][:, mask] - given @ covariance[~mask][:, mask]).sqrt().item())
    assert errors[1] < min(0.1, errors[0])
    assert abs(spreads[1] - spread) < 0.1 * spread


def test_a_told_model_gets_the_mask_and_nothing_of_what_it_hides():
    known = torch.randn(2, 3, 4, 40, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 4, 40, dtype=torch.bool)
    mask[:, 1:, 10:20] = True
    seen = []

    def model(x, t):
        seen.append(x)
        return x[:, :3] * x[:, 3:4] + x[:, 4:]

    x, t = torch.randn(2, 3, 4, 40, generator=torch.Generator().manual_seed(1)), torch.zeros(2, dtype=torch.long)
    made = told(model, known, mask)(x, t)
    assert seen[0].shape == (2, 7, 4, 40)
    torch.testing.assert_close(made, torch.where(mask, x, known))
    hidden = torch.where(mask, 99.0, known)
    torch.testing.assert_close(told(model, hidden, mask)(x, t), made, rtol=0, atol=0)
    torch.testing.assert_close(told(windowed(model, 16, 8), known, mask)(x, t), made)


def test_a_circle_has_no_seam_and_turns_with_its_content():
    """A local denoiser, a moving mean: in a circle its answer to a turned sample is the turned answer."""
    kernel = torch.tensor([0.25, 0.5, 0.25])[None, None]

    def local(x, t):
        return torch.nn.functional.conv1d(x, kernel, padding=1)

    x = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    t = torch.zeros(1, dtype=torch.long)
    around = circular(local, 4)
    torch.testing.assert_close(around(x.roll(5, -1), t), around(x, t).roll(5, -1))
    assert float((local(x.roll(5, -1), t) - local(x, t).roll(5, -1)).abs().max()) > 0.05
    short = x[..., :3]  # shorter than what is beside it
    torch.testing.assert_close(circular(local, 7)(short, t), circular(local, 1)(short, t))


def test_windows_are_one_take_and_exact_where_a_model_sees_little():
    kernel = torch.full((1, 1, 5), 0.2)

    def local(x, t):
        return torch.nn.functional.conv1d(torch.nn.functional.pad(x, (2, 2)), kernel) + t[0]

    x, t = torch.randn(1, 1, 100, generator=torch.Generator().manual_seed(0)), torch.tensor([3])
    whole, parts = local(x, t), windowed(local, 32, 16)(x, t)
    assert float((parts - whole).abs().max()) < 0.2  # a window's edge sees zeros, with a small weight
    assert torch.equal(windowed(local, 128, 16)(x, t), whole)
    torch.testing.assert_close(windowed(lambda x, t: 2 * x, 32, 16)(x, t), 2 * x)
    for n in (33, 48, 49, 77):
        torch.testing.assert_close(windowed(lambda x, t: x, 32, 16)(x[..., :n], t), x[..., :n])


def test_wrong_arguments_are_named():
    steps, known = inference_timesteps(SCHEDULE, 2), torch.zeros(1, 4)
    with pytest.raises(InputError, match="repeats is 0"):
        inpaint(lambda x, t: x, known, known == 0, SCHEDULE, steps, noise=seeded_generators([0]), repeats=0)
    with pytest.raises(InputError, match="2 generators are for 1 samples"):
        inpaint(lambda x, t: x, known, known == 0, SCHEDULE, steps, noise=seeded_generators([0, 1]))
    with pytest.raises(InputError, match="overlap is 8; expected more than 0"):
        windowed(lambda x, t: x, 8, 8)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v", "sample"])
def test_anchored_the_slow_part_is_the_references_and_the_fast_part_the_models(prediction_type):
    schedule = cosine_schedule(1000, prediction_type=prediction_type)
    place, t = torch.arange(60.0), torch.tensor([400, 700])
    mask = (place >= 10) & (place < 50)
    fast = 0.5 * (torch.pi * place).cos()  # from one to the next; means over some have nothing of it
    x = torch.randn(2, 1, 3, 60, generator=torch.Generator().manual_seed(0))
    reference, plain = torch.where(mask, 2.0, 90.0).expand(1, 3, 60), torch.where(mask, fast - 1, -50.0).expand_as(x)

    def model(x, t):
        return schedule.to_prediction(plain, x, t)

    def answers(weight, part="slow"):
        led = anchored(model, reference, torch.tensor(weight), mask, schedule, width=3.0, part=part)
        return schedule.to_x0(led(x, t), x, t)

    for weight, slow in ((0.0, -1.0), (0.5, 0.5), (1.0, 2.0)):
        answer = answers(weight)
        torch.testing.assert_close(answer[..., mask], (fast + slow).expand_as(x)[..., mask], atol=0.06, rtol=0)
        torch.testing.assert_close(answer[..., ~mask], plain[..., ~mask], atol=1e-3, rtol=0)
    torch.testing.assert_close(answers(0.0), plain, atol=1e-3, rtol=0)

    for weight in (0.0, 0.5, 1.0):
        answer = answers(weight, "fast")
        torch.testing.assert_close(
            answer[..., mask], ((1 - weight) * fast - 1).expand_as(x)[..., mask], atol=0.06, rtol=0
        )
        torch.testing.assert_close(answer[..., ~mask], plain[..., ~mask], atol=1e-3, rtol=0)


def test_the_slow_part_is_a_mean_of_what_counts():
    place = torch.arange(60.0)
    line = (2 * place + (torch.pi * place).cos()).expand(1, 2, 60)
    slow = slow_part(line, torch.ones(60), 2.0)
    torch.testing.assert_close(slow[..., 10:50], 2 * place[10:50].expand(1, 2, 40), atol=1e-2, rtol=0)
    counts = (place < 30).float()
    torch.testing.assert_close(
        slow_part(torch.where(place < 30, 5.0, 1e6), counts, 2.0)[None][0, :36], torch.full((36,), 5.0)
    )
    assert not slow_part(line, counts, 2.0)[..., 45:].any()
