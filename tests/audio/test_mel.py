import math

import librosa
import numpy as np
import pytest
import torch

from timbrel.audio.mel import (
    MelConfig,
    band_centres_hz,
    hz_to_mel,
    mel_filters,
    mel_spectrogram,
    mel_to_hz,
    stft,
)
from timbrel.errors import InputError

SMALL = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512)
CONFIGS = [
    MelConfig(),
    SMALL,
    MelConfig(16000, 1024, 160, n_mels=80, min_hz=50, max_hz=7600, norm="slaney"),
]


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("config", CONFIGS)
def test_filters_are_librosas(config: MelConfig) -> None:
    expected = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.min_hz,
        fmax=config.max_hz,
        norm=config.norm,  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(mel_filters(config), expected, atol=1e-5 * expected.max())
    assert int((mel_filters(config) > 0).sum(0).max()) == 2


@pytest.mark.parametrize("config", CONFIGS)
def test_mel_is_librosas_relative_to_a_full_scale_sine(config: MelConfig) -> None:
    waveform = noise(2, 1, 20000)
    spectrum = librosa.stft(waveform[:, 0].numpy(), n_fft=config.n_fft, hop_length=config.hop_length)
    power = np.abs(spectrum * 2 / np.hanning(config.n_fft + 1)[:-1].sum()) ** 2
    expected = librosa.power_to_db(mel_filters(config).numpy() @ power, amin=1e-10, top_db=None)
    got = mel_spectrogram(waveform, config)
    assert got.shape == (2, 1, config.n_mels, config.num_frames(20000))
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-3)


def test_a_full_scale_sine_is_0_db_and_halving_it_takes_6_db() -> None:
    bin_hz = 40 * SMALL.sample_rate / SMALL.n_fft
    sine = torch.sin(2 * math.pi * bin_hz / SMALL.sample_rate * torch.arange(22050))[None, None]
    assert float(stft(sine, SMALL).abs()[0, 0, 40, 20]) == pytest.approx(1, abs=1e-3)
    loud, soft = mel_spectrogram(sine, SMALL), mel_spectrogram(0.5 * sine, SMALL)
    strong = loud[0, 0, :, 20] > -40
    torch.testing.assert_close((loud - soft)[0, 0, strong, 20], torch.full((int(strong.sum()),), 6.0206))


def test_silence_is_at_the_floor() -> None:
    assert torch.all(mel_spectrogram(torch.zeros(1, 1, 5000), SMALL) == SMALL.floor_db)


@pytest.mark.parametrize("samples", [1, 511, 512, 20000])
def test_the_stft_holds_the_whole_waveform(samples: int) -> None:
    waveform = noise(2, 1, samples)
    spectrum = stft(waveform, SMALL)
    assert spectrum.shape == (2, 1, 1025, SMALL.num_frames(samples))
    window = torch.hann_window(SMALL.n_fft)
    back = torch.istft(
        spectrum[:, 0] * (window.sum() / 2), SMALL.n_fft, SMALL.hop_length, window=window, center=True, length=samples
    )
    torch.testing.assert_close(back[:, None], waveform, atol=1e-6, rtol=1e-5)


def test_the_mel_scale_is_librosas_and_inverts() -> None:
    hz = torch.tensor([0.0, 60, 440, 999, 1000, 5000, 22050], dtype=torch.float64)
    np.testing.assert_allclose(hz_to_mel(hz), librosa.hz_to_mel(hz.numpy()), rtol=1e-9)
    torch.testing.assert_close(mel_to_hz(hz_to_mel(hz)), hz)
    centres = librosa.mel_frequencies(258, fmin=0, fmax=22050)[1:-1]
    np.testing.assert_allclose(band_centres_hz(MelConfig()), centres, rtol=1e-6)


def test_frame_rate() -> None:
    assert MelConfig().frame_rate == pytest.approx(43.066, abs=1e-3)
    assert SMALL.num_frames(512) == 2


@pytest.mark.parametrize(
    "options",
    [{"norm": "htk"}, {"hop_length": 0}, {"hop_length": 4096}, {"min_hz": -1}, {"max_hz": 30000}, {"min_hz": 22050}],
)
def test_an_impossible_configuration_is_refused(options: dict) -> None:
    with pytest.raises(InputError, match="expected"):
        MelConfig(**options)


@pytest.mark.parametrize("shape", [(100,), (1, 100), (1, 2, 100)])
def test_a_waveform_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected \\[batch, 1, samples\\]"):
        mel_spectrogram(torch.zeros(shape), SMALL)
