"""Double-diffusion with models of no sense: what is shared, how long and loud it is, and what is refused."""

import os

import numpy as np
import pytest
import torch

import timbrel
from timbrel.audio.io import read_audio
from timbrel.audio.level import loudness
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError, ModelError
from timbrel.pipelines import duet as module
from timbrel.pipelines.settings import DuetSettings
from timbrel.pipelines.stems import check_instruments
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.listing import load_single_models
from timbrel.systems.single import SingleSystem

RATE = 16000


def make(tiny_singles, instruments=("violin", "guitar"), **options):
    return timbrel.duet(instruments, **({"seconds": 1.0, "steps": 5, "split": 2, "models": tiny_singles} | options))


def test_the_instruments_share_the_first_steps_and_no_others(tiny_singles):
    """Equations 4.2 and 4.3."""
    violin, guitar = models = load_single_models(["violin", "guitar"], tiny_singles)
    shape, timesteps, states = (4, 8, 6), inference_timesteps(violin.schedule, 5), []
    noise = seeded_noise(shape, [3])
    first = ddim(violin.denoiser, noise, violin.schedule, timesteps, callback=lambda step, x: states.append(x))
    for split, shared in ((0, noise), (2, states[1]), (4, states[3])):
        settings = DuetSettings(split=split, steps=5, seed=3, equalise=False)
        one, other = module._sample(models, shape, timesteps, settings)
        torch.testing.assert_close(one, first)
        torch.testing.assert_close(other, ddim(guitar.denoiser, shared, guitar.schedule, timesteps[split:]))


def test_the_more_is_shared_the_more_alike(tiny_singles):
    models = load_single_models(["violin", "guitar"], tiny_singles)
    timesteps = inference_timesteps(models[0].schedule, 20)
    apart = []
    for split in (0, 10, 19):
        settings = DuetSettings(split=split, steps=20, equalise=False)
        one, other = module._sample(models, (4, 8, 12), timesteps, settings)
        apart.append(float((one - other).square().mean()))
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 2 * apart[2] > 0


def test_the_others_put_their_own_average_spectrum_in_place_of_the_firsts(tiny_singles):
    violin, guitar = models = load_single_models(["violin", "guitar"], tiny_singles)
    violin.denoiser.mean.fill_(-1.0)
    guitar.denoiser.mean.fill_(2.0)
    timesteps, states = inference_timesteps(violin.schedule, 5), []
    noise = seeded_noise((4, 8, 6), [0])
    ddim(violin.denoiser, noise, violin.schedule, timesteps, callback=lambda step, x: states.append(x))
    moved = states[1] + 3 * violin.schedule.alphas_cumprod[timesteps[2]].sqrt()
    _, other = module._sample(models, (4, 8, 6), timesteps, DuetSettings(split=2, steps=5))
    torch.testing.assert_close(other, ddim(guitar.denoiser, moved, guitar.schedule, timesteps[2:]))
    _, other = module._sample(models, (4, 8, 6), timesteps, DuetSettings(split=0, steps=5))
    torch.testing.assert_close(other, ddim(guitar.denoiser, noise, guitar.schedule, timesteps))


def test_stems_are_equally_loud_and_the_mix_is_their_sum(tiny_singles):
    made = make(tiny_singles, seconds=1.23)
    assert list(made.stems) == ["violin", "guitar"]
    assert {audio.sample_rate for audio in (made.mix, *made.stems.values())} == {RATE}
    mix, stems = made.mix.waveform, [audio.waveform for audio in made.stems.values()]
    assert {w.shape for w in (mix, *stems)} == {(1, round(1.23 * RATE))}
    np.testing.assert_allclose(mix, sum(stems), atol=1e-6)
    assert np.abs(mix).max() < 1
    one, other = (loudness([stem]) for stem in stems)
    assert one == pytest.approx(other, rel=1e-3)
    for stem in stems:  # cleaned
        power = np.abs(np.fft.rfft(stem[0])) ** 2
        assert power[: round(20 * 1.23)].sum() < 1e-3 * power.sum()


def test_the_seed_decides_and_nothing_else_does(tiny_singles):
    one, same, other = (make(tiny_singles, seed=seed).mix.waveform for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    turned = make(tiny_singles, ("guitar", "violin"), seed=1).mix.waveform
    assert np.abs(one - turned).max() > 1e-3  # the first takes the shared steps
    assert not torch.is_inference_mode_enabled()


def test_more_than_two_play_and_progress_counts_to_the_end(tiny_singles, tmp_path):
    for name in ("violin", "guitar"):
        os.symlink(tiny_singles / f"single-{name}", tmp_path / name)
    harp = load_system(tmp_path / "violin", SingleSystem)
    harp.instrument = "harp"
    save_system(tmp_path / "harp" / "model", harp)
    told = []
    made = make(
        tmp_path, ("violin", "guitar", "harp"), seconds=0.5, progress=lambda done, all_: told.append((done, all_))
    )
    assert list(made.stems) == ["violin", "guitar", "harp"]
    assert told == [(0.5, 1.5), (1.0, 1.5), (1.5, 1.5)]


def test_files_are_written_all_or_none(tiny_singles, tmp_path):
    made = make(tiny_singles)
    paths = made.save(tmp_path / "deep" / "duet")
    assert sorted(path.name for path in paths.values()) == ["guitar.wav", "mix.wav", "violin.wav"]
    assert sorted(os.listdir(tmp_path / "deep" / "duet")) == ["guitar.wav", "mix.wav", "violin.wav"]
    np.testing.assert_allclose(read_audio(paths["mix"])[0], made.mix.waveform, atol=1e-6)
    os.remove(paths["violin"])
    with pytest.raises(InputError, match=r"guitar\.wav exists"):
        made.save(tmp_path / "deep" / "duet")
    assert not paths["violin"].exists()
    made.save(tmp_path / "deep" / "duet", overwrite=True)
    assert paths["violin"].exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instruments": ["violin"]}, "1 instruments are named; expected at least 2"),
        ({"instruments": ["violin", "violin"]}, "'violin' is named twice"),
        ({"instruments": ["violin", "mix"]}, "'mix' cannot be an instrument"),
        ({"instruments": ["violin", "../x"]}, "cannot be an instrument"),
        ({"split": 5}, "split is 5; expected a whole number, 0 to 4"),
        ({"split": -1}, "split is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 501}, "num_inference_steps is 501"),
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": 601}, "seconds is 601; expected more than 0, at most 600"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_wrong_arguments_are_named(tiny_singles, changes, said):
    with pytest.raises(InputError, match=said):
        make(tiny_singles, **changes)


def test_models_that_cannot_share_are_refused(tiny_singles, tmp_path):
    os.symlink(tiny_singles / "single-violin", tmp_path / "violin")
    guitar = load_system(tiny_singles / "single-guitar", SingleSystem)
    guitar.codec.scale.mul_(1.1)
    save_system(tmp_path / "guitar", guitar)
    with pytest.raises(ModelError, match="'violin' and 'guitar' do not share a codec"):
        make(tmp_path)
    with pytest.raises(ModelError, match="no model of 'harp' or 'lute', only of"):
        make(tmp_path, ("harp", "lute"))


def test_one_name_is_no_list_of_instruments():
    with pytest.raises(InputError, match=r"instruments is 'violin'; expected a list of names, as \['violin'\]"):
        check_instruments("violin", 2)
