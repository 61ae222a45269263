import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig, band_centres_hz, mel_spectrogram
from timbrel.data.augment import augment, record, shape, soften, warp
from timbrel.data.augmentation import Augmentation, Recording
from timbrel.errors import InputError

MEL = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
NOTHING: dict[str, Any] = {f.name: 0.0 for f in dataclasses.fields(Augmentation) if f.name.endswith("probability")}
UNTOUCHED: dict[str, Any] = {f.name: 0.0 for f in dataclasses.fields(Recording) if f.name.endswith("probability")}


def line(batch=6, frames=40):
    """One partial at band 30 of 64, and such a MelConfig."""
    mel = torch.full((batch, 64, frames), -90.0)
    mel[:, 30] = -20
    return mel, dataclasses.replace(MEL, n_mels=64)


def test_augmenting_hangs_on_the_generator_and_stays_in_range():
    a, b, c = torch.rand(3, 6, 32, 20) * -90
    one, same, other = (augment(a, b, c, Augmentation(), MEL, np.random.default_rng(s)) for s in (0, 0, 1))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert float((one[1] - other[1]).abs().max()) > 1
    assert all(float(mel.min()) >= -100 and float(mel.max()) <= 0 for mel in one[1:])


def test_target_and_style_share_their_sound_and_the_source_does_not():
    mel = torch.rand(8, 32, 20) * -40 - 30
    how = Augmentation(**NOTHING | {"equaliser_probability": 1.0}, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, MEL, np.random.default_rng(0))
    torch.testing.assert_close(target, style)
    assert float((content - target).abs().mean()) > 1
    kept = augment(mel, mel, mel, Augmentation(**NOTHING, gain_db=0), MEL, np.random.default_rng(0))
    for result in kept:
        torch.testing.assert_close(result, mel)


def test_a_softened_attack_rises_later_and_falls_as_before():
    mel = torch.full((2, 32, 60), -100.0)
    mel[:, :, 20:40] = -20
    soft = soften(mel, torch.tensor([0.1, 0.0])[:, None, None].expand(2, 32, 1), MEL)
    torch.testing.assert_close(soft[1], mel[1])
    torch.testing.assert_close(soft[0, :, :20], mel[0, :, :20])
    torch.testing.assert_close(soft[0, :, 40:], mel[0, :, 40:])
    reached = 10 ** ((soft[0, 0, 20:40] + 20) / 20)  # 1 - exp(-t / 0.1 s), a frame being 20 ms
    frames = torch.arange(1, 21) / MEL.frame_rate
    torch.testing.assert_close(reached, 1 - torch.exp(-frames / 0.1), atol=1e-3, rtol=0)


def test_intonation_wanders_in_the_source_alone():
    mel, fine = line(4)
    how = Augmentation(**NOTHING | {"intonation_probability": 1.0}, intonation_cents=100, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, fine, np.random.default_rng(0))
    torch.testing.assert_close(target, mel)
    torch.testing.assert_close(style, mel)
    assert float((content - mel).abs().amax(dim=(1, 2)).min()) > 3
    assert float(content[0].std(dim=1).max()) > 1  # from frame to frame


def test_source_and_target_share_a_vibrato_and_the_style_has_none():
    mel, fine = line(frames=200)
    how = Augmentation(**NOTHING | {"vibrato_probability": 1.0}, vibrato_cents=200, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, fine, np.random.default_rng(0))
    torch.testing.assert_close(content, target)
    torch.testing.assert_close(style, mel)
    lean = target[0, 31] - target[0, 29]  # the partial between them moves up and down
    spectrum = torch.fft.rfft((lean - lean.mean()) * torch.hann_window(200)).abs()
    assert 4 < float(spectrum.argmax()) * fine.frame_rate / 200 < 7.5


def test_source_and_target_share_a_pitch_warp():
    mel, fine = line()
    how = Augmentation(**NOTHING | {"warp_probability": 1.0}, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, fine, np.random.default_rng(0))
    assert len(set(target.mean(dim=2).argmax(dim=1).tolist())) > 1
    torch.testing.assert_close(content, target)
    torch.testing.assert_close(style, target)


def test_the_style_has_a_tuning_of_its_own_which_the_answer_does_not_take():
    mel, fine = line()
    how = Augmentation(**NOTHING | {"style_tuning_probability": 1.0}, gain_db=0)
    content, target, style = augment(mel, mel, mel[..., :25], how, fine, np.random.default_rng(0))
    torch.testing.assert_close(content, mel)
    torch.testing.assert_close(target, mel)
    assert float((style - mel[..., :25]).abs().amax(dim=(1, 2)).min()) > 1
    torch.testing.assert_close(style, style[..., :1].expand_as(style))  # one tuning, from beginning to end
    assert len({round(float(level), 2) for level in style[:, 30, 0]}) == 6


def test_loud_and_soft_come_and_go_in_source_and_target_alike():
    mel = torch.rand(8, 32, 100) * -20 - 40
    how = Augmentation(**NOTHING | {"dynamics_probability": 1.0}, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, MEL, np.random.default_rng(0))
    torch.testing.assert_close(content, target)
    torch.testing.assert_close(style, mel)
    gain = (target - mel).mean(dim=1)
    torch.testing.assert_close((target - mel), gain[:, None].expand_as(mel), atol=1e-4, rtol=0)
    assert float((gain.amax(dim=1) - gain.amin(dim=1)).min()) > 3


def test_warping_is_transposing():
    t = torch.arange(16000) / 16000
    low, high = (
        mel_spectrogram(0.5 * torch.sin(6.2832 * hz * t)[None, None], MEL)[0, :, :, 20:30] for hz in (1000, 1500)
    )
    warped = warp(low, torch.tensor([[1.5]], dtype=torch.float64), MEL)
    assert int(warped[0, :, 0].argmax()) == int(high[0, :, 0].argmax())
    assert abs(float(band_centres_hz(MEL)[warped[0, :, 0].argmax()]) - 1500) < 250
    assert warp(low, torch.ones(1, 1), MEL) is low


def test_a_room_rings_on_and_silence_stays_silent():
    mel = torch.full((2, 32, 30), -100.0)
    mel[:, :, 5] = -20
    keep, wet = torch.tensor([0.8, 0.8]), torch.tensor([0.1, 0.0])
    rung = shape(mel, torch.full((2, 32), 3.0), keep, wet, -100.0)
    torch.testing.assert_close(rung[1, 0, :7], torch.tensor([-100.0] * 5 + [-17.0, -100.0]))
    assert float(rung[0, :, :5].max()) < -96  # the floor rings too
    steps = rung[0, 0, 6:20].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 10 * np.log10(0.8)), atol=0.01, rtol=0)
    assert float(rung[0, 0, 6]) == pytest.approx(-27, abs=0.1)  # a tenth of the direct sound's power


def test_a_recording_hangs_on_the_generator_and_may_be_none():
    mel = torch.rand(6, 32, 40) * -90
    one, same, other = (record(mel, Recording(), MEL, np.random.default_rng(s)) for s in (0, 0, 1))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert float((one[1:] - other[1:]).abs().max()) > 1
    assert -100 <= float(one.min()) <= float(one.max()) <= 0
    for how in (Recording(**UNTOUCHED), Recording(clean_probability=1.0)):
        torch.testing.assert_close(record(mel, how, MEL, np.random.default_rng(0)), mel, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"noise_probability": 2.0}, "noise_probability is 2; expected 0 to 1"),
        ({"noise_db": (-40.0, -90.0)}, "noise_db is -40 -90; expected the lower one first"),
        ({"room_decay_s": (0.0, 1.0)}, "room_decay_s is 0 1; expected the lower one above 0 first"),
        ({"high_cut_hz": (0.0, 9.0)}, "high_cut_hz is 0 9; expected the lower one above 0 first"),
    ],
)
def test_settings_of_a_recording_that_cannot_be_are_named(settings, said):
    with pytest.raises(InputError, match=said):
        Recording(**settings)


def test_what_a_recording_adds():
    def recorded(mel, **chance):
        return record(mel, Recording(**UNTOUCHED | chance), MEL, np.random.default_rng(0))

    mel = torch.full((8, 32, 60), -100.0)
    mel[:, 10, 20:30] = -20
    noisy = recorded(mel, noise_probability=1.0, noise_db=(-60.0, -60.0))
    assert -75 < float(noisy[:, :, 45:].median()) < -50, "noise where there was silence"
    torch.testing.assert_close(noisy[:, 10, 20:30], mel[:, 10, 20:30], atol=1.0, rtol=0)  # a tone far above it stays
    room = recorded(mel, room_probability=1.0, room_db=(0.0, 0.0), comb_db=0.0)
    assert bool((room[:, 10, 30:33] > -60).all()), "the tone rings on"
    assert bool((room[:, 10].diff()[:, 30:] <= 0).all()), "and fades"
    assert bool((room[:, :10] < -96).all()), "silence stays"
    music = torch.full((8, 32, 60), -30.0)
    dull = recorded(music, high_cut_probability=1.0, high_cut_hz=(2000.0, 4000.0))
    assert bool((dull[:, -1] < -35).all())
    torch.testing.assert_close(dull[:, :8], music[:, :8])
    thin = recorded(music, low_cut_probability=1.0, low_cut_hz=(250.0, 280.0))
    assert bool((thin[:, 0] < -33).all())
    torch.testing.assert_close(thin[:, 8:], music[:, 8:])
    hum = recorded(mel, hum_probability=1.0, hum_db=(-60.0, -60.0))
    assert bool((hum[:, 1:10].amax(dim=(1, 2)) > -70).all())
    assert bool((hum[:, 20:] < -96).all())
    lost = recorded(mel - 60, codec_probability=1.0, codec_db=(-70.0, -70.0))
    assert bool((lost == -100).all())
    music[:4, :16], music[4:, 16:] = -90, -90
    both = recorded(music, neighbour_probability=1.0, neighbour_db=(-20.0, -20.0))
    assert set(both.round().unique().tolist()) <= {-30, -50, -90}
    assert bool((both == -50).any() | ((both + 50).abs() < 0.1).any()), "another of the batch, 20 dB below"


def test_the_style_alone_is_recorded():
    mel = torch.rand(8, 32, 20) * -40 - 30
    how = Augmentation(**NOTHING | {"style_recording_probability": 1.0}, gain_db=0)
    content, target, style = augment(mel, mel, mel, how, MEL, np.random.default_rng(0))
    torch.testing.assert_close(content, mel)
    torch.testing.assert_close(target, mel)
    assert float((style - mel).abs().mean()) > 1
