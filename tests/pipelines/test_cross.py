"""Cross-diffusion with models of no sense: how far noise goes, where denoising starts, and what is refused."""

import numpy as np
import pytest
import torch

from timbrel import load_cross
from timbrel.diffusion.samplers import ddim
from timbrel.diffusion.schedules import cosine_schedule, inference_timesteps
from timbrel.errors import InputError, ModelError
from timbrel.systems.cross import CrossSystem, cross_timesteps
from timbrel.systems.folder import load_system
from timbrel.systems.single import SingleSystem

RATE = 16000  # the tiny models'
SCHEDULE = cosine_schedule(500, prediction_type="v", zero_terminal_snr=True)


def tune(seconds=1.5, seed=0):
    """Decaying notes, [1, samples]."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    notes = 220 * 2 ** (rng.integers(0, 24, 1 + int(seconds * 4)) / 12)
    hz = notes[(t * 4).astype(int)]
    return (0.2 * np.sin(2 * np.pi * np.cumsum(hz) / RATE) * np.exp(-6 * (t * 4 % 1)))[None].astype(np.float32)


@pytest.fixture(scope="module")
def single(tiny_singles):
    return load_system(tiny_singles / "single-violin", SingleSystem)


def latents():
    return torch.randn(2, 1, 4, 8, 12, generator=torch.Generator().manual_seed(0))


def sample(model, content, noise, **options):
    tokens = model.instruments["violin"]
    return model.sample(content, tokens, noise, **({"steps": 50, "guidance": 1.0, "strength": 1.0} | options))


@pytest.mark.parametrize(("start", "noised"), [(0, 500), (10, 400), (40, 100), (49, 10)])
def test_matched_noise_is_what_the_first_step_expects(start, noised):
    forward_steps, timesteps = cross_timesteps(SCHEDULE, 50, start, None)
    assert forward_steps == noised == 500 * (50 - start) // 50
    assert len(timesteps) == 50 - start
    assert int(timesteps[0]) == noised - 1  # counted from 0
    torch.testing.assert_close(timesteps, inference_timesteps(SCHEDULE, 50)[start:])


@pytest.mark.parametrize("forward_steps", [0, 100, 500])
def test_any_other_pair_is_a_noised_source_denoised(single, forward_steps):
    content, noise = latents()
    made = sample(CrossSystem(single, start=20, forward_steps=forward_steps, equalise=False), content, noise)
    noised = single.schedule.add_noise(content, noise, forward_steps - 1) if forward_steps else content
    expected = ddim(single.denoiser, noised, single.schedule, inference_timesteps(single.schedule, 50)[20:])
    torch.testing.assert_close(made, expected)


def test_the_earlier_the_start_the_less_is_left_of_the_source(single):
    content, noise = latents()
    distance = [
        float((sample(CrossSystem(single, start=k, equalise=False), content, noise) - content).square().mean())
        for k in (48, 30, 10)
    ]
    assert distance == sorted(distance)
    other = sample(CrossSystem(single, start=0), content.flip(-1), noise)
    torch.testing.assert_close(sample(CrossSystem(single, start=0), content, noise), other)  # nothing is left


def test_an_equaliser_on_the_source_does_not_matter(single):
    """A curve over the bands is taken off again where there is sound; rests are left alone."""
    model = CrossSystem(single)
    mel = torch.full((2, 1, 32, 48), -40.0)
    mel += 5 * torch.randn(mel.shape, generator=torch.Generator().manual_seed(0))
    mel[..., 24:] = model.mel.floor_db
    brighter = mel + torch.linspace(-8, 8, 32)[:, None] * (mel > model.mel.floor_db)
    content, other = (single.codec.encode(x) for x in (mel, brighter))
    made = model.equalised(content)
    left = (made - model.equalised(other))[..., :6]
    left -= left.mean(dim=2, keepdim=True)  # the curve made it louder or softer, too
    assert float((content - other)[..., :6].abs().mean()) > 5 * float(left.abs().mean())
    torch.testing.assert_close(made[..., 6:], content[..., 6:])


def test_the_equaliser_keeps_how_loud_it_is(single):
    """A soft passage, which may fill a window, stays soft."""
    mel = -40 + 5 * torch.randn((1, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    model = CrossSystem(single)
    loud, soft = (model.equalised(single.codec.encode(x)) for x in (mel, mel - 15))
    moved = single.codec.encode(mel) - single.codec.encode(mel - 15)
    torch.testing.assert_close(loud - soft, moved, atol=0.02, rtol=0)


def test_it_goes_through_the_transfer_pipeline(tiny_singles, monkeypatch):
    pipe = load_cross("violin", start=30, steps=40, models=tiny_singles)
    assert (pipe.instruments, pipe.sample_rate, pipe.default_steps) == (["violin"], RATE, 40)
    source = np.concatenate([tune(), 0.5 * tune(seed=1)])
    out = pipe(source, "violin", sample_rate=RATE).waveform
    assert out.shape == source.shape
    assert 10 * np.log10((out**2).mean() / (source**2).mean()) == pytest.approx(0, abs=1)
    np.testing.assert_array_equal(pipe(source, "violin", sample_rate=RATE).waveform, out)
    assert np.abs(pipe(source, "violin", sample_rate=RATE, seed=1).waveform - out).max() > 1e-3
    for forward_steps, start in ((None, 5), (0, 30)):
        changed = load_cross("violin", steps=40, models=tiny_singles, start=start, forward_steps=forward_steps)
        assert np.abs(changed(source, "violin", sample_rate=RATE).waveform - out).max() > 1e-3, start
    monkeypatch.setattr(CrossSystem, "window", 40)
    streamed = np.concatenate(list(pipe.stream(np.tile(source, 2), "violin", sample_rate=RATE)), axis=1)
    assert streamed.shape == (2, 2 * source.shape[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 50}, "start is 50; expected 0 to 49"),
        ({"start": -1}, "start is -1; expected 0 to 49"),
        ({"steps": 5}, "start is 15; expected 0 to 4"),
        ({"steps": 0}, "num_inference_steps is 0"),
        ({"steps": 501}, "num_inference_steps is 501"),
        ({"forward_steps": 501}, "forward_steps is 501; expected 0 .* to 500"),
        ({"forward_steps": -1}, "forward_steps is -1"),
    ],
)
def test_steps_out_of_range_are_refused_at_once(tiny_singles, options, said):
    with pytest.raises(InputError, match=said):
        load_cross("violin", models=tiny_singles, **options)


def test_what_one_instrument_cannot_do_is_said(tiny_singles):
    pipe = load_cross("violin", models=tiny_singles)
    with pytest.raises(InputError, match="knows violin alone"):
        pipe(tune(), tune(), sample_rate=RATE)
    for ask in (pipe, pipe.stream):  # at the call, not at the first block
        with pytest.raises(InputError, match="guidance is 2"):
            ask(tune(), "violin", sample_rate=RATE, guidance=2)
        with pytest.raises(InputError, match="start is 15; expected 0 to 4"):
            ask(tune(), "violin", sample_rate=RATE, steps=5)


def test_a_missing_model_names_those_that_exist(tiny_singles, tmp_path):
    with pytest.raises(ModelError, match=r"no model of 'lute', only of .*guitar.*violin.*timbrel train single"):
        load_cross("lute", models=tiny_singles)
    with pytest.raises(ModelError, match="is not a folder"):
        load_cross("violin", models=tmp_path / "none")
