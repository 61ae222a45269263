import librosa
import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import spectral


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    t = np.arange(2 * spectral.SAMPLE_RATE) / spectral.SAMPLE_RATE
    harmonic = sum(np.sin(2 * np.pi * 330 * k * t) / k for k in range(1, 8)) * np.exp(-2 * (t % 0.5))
    noisy = np.sin(2 * np.pi * 500 * t) + 0.3 * rng.standard_normal(len(t)) * np.sin(6 * t)
    return [spectral.prepare(x, spectral.SAMPLE_RATE) for x in (harmonic, noisy)]


def test_mel_and_mfcc_are_librosas(clips):
    for clip in clips:
        power = librosa.feature.melspectrogram(y=clip, sr=22050, n_fft=2048, hop_length=512, n_mels=128)
        expected = librosa.power_to_db(power, ref=np.max, top_db=80)
        mel = spectral.mel_db(clip)
        np.testing.assert_allclose(mel, expected, atol=0.01)
        np.testing.assert_allclose(spectral.mfcc(mel), librosa.feature.mfcc(S=expected, n_mfcc=20)[1:], atol=0.05)


def test_measures_follow_their_definitions(clips):
    a, b = (spectral.mel_db(clip) for clip in clips)
    assert spectral.log_spectral_distance(a, a) == spectral.mfcc_distance(b, b) == 0
    assert spectral.detail(a, a) == pytest.approx(1)
    assert spectral.log_spectral_distance(a, np.maximum(a - 6, -86)) == pytest.approx(6, abs=1e-4)
    assert spectral.detail(a, a * 0.5) == pytest.approx(0.5, abs=1e-5)
    by_hand = np.mean([np.sqrt(np.mean((a[:, t] - b[:, t]) ** 2)) for t in range(a.shape[1])])
    assert spectral.log_spectral_distance(a, b) == pytest.approx(by_hand, rel=1e-5)
    c, d = (librosa.feature.mfcc(S=m, n_mfcc=20)[1:] for m in (a, b))
    parts = [np.mean(c, 1) - np.mean(d, 1), np.std(c, 1) - np.std(d, 1)]
    parts.append(np.std(np.diff(c, axis=1), axis=1) - np.std(np.diff(d, axis=1), axis=1))
    assert spectral.mfcc_distance(a, b) == pytest.approx(np.sqrt(np.sum(np.square(parts))), rel=1e-4)


def test_level_channels_and_rate_play_no_part(clips):
    reference = clips[0]
    high = librosa.resample(reference, orig_sr=22050, target_sr=44100)
    listened = spectral.prepare(0.1 * np.stack([high, high]), 44100)
    assert np.abs(listened).max() == pytest.approx(0.9, abs=1e-4)
    assert len(listened) == len(reference)
    assert spectral.evaluate(reference, listened)["lsd_db"] < 1.0


def test_silence_is_far_from_sound_and_near_itself(clips):
    silence = spectral.prepare(np.zeros(2 * spectral.SAMPLE_RATE), spectral.SAMPLE_RATE)
    assert np.all(silence == 0)
    assert spectral.evaluate(clips[0], silence)["lsd_db"] > 10
    assert spectral.evaluate(silence, silence)["lsd_db"] == 0


def test_bad_input_says_what_is_wrong(clips):
    with pytest.raises(InputError, match="cut them alike"):
        spectral.evaluate(clips[0], clips[1][:-5000])
    with pytest.raises(InputError, match="NaN"):
        spectral.prepare(np.array([0.0, np.nan]), 22050)
    with pytest.raises(InputError, match="not empty"):
        spectral.prepare(np.zeros(0), 22050)
