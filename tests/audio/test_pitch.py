import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.audio.pitch import octaves_into, pitch_range, transposed_mel

RATE = 22050
MEL = MelConfig(sample_rate=RATE, n_fft=2048, hop_length=512, n_mels=128)


def _tones(pitches, length_s=0.4, partials=6):
    t = np.arange(int(length_s * RATE)) / RATE
    fade = np.minimum(1, np.minimum(t, t[::-1]) / 0.01)
    chords = [np.atleast_1d(p) for p in pitches]
    hz = [440 * 2 ** ((chord - 69) / 12) for chord in chords]
    return np.concatenate(
        [sum(np.sin(2 * np.pi * f * h * t) / h for f in chord for h in range(1, partials + 1)) * fade for chord in hz]
    ).astype(np.float32)


@pytest.mark.parametrize("middle", [36, 50, 64, 78])
def test_the_range_of_a_melody_is_found(middle):
    low, median, high = pitch_range(0.1 * _tones(range(middle - 6, middle + 7)), RATE)  # type: ignore[misc]
    assert abs(median - middle) <= 1
    assert abs(low - (middle - 6)) <= 1.5
    assert abs(high - (middle + 6)) <= 1.5


def test_a_missing_fundamental_and_chords_are_heard_where_they_are():
    thin = np.concatenate([_tones([p]) - _tones([p], partials=1) for p in (50, 52, 53)])
    assert abs(pitch_range(thin, RATE)[1] - 52) <= 1
    low, _, high = pitch_range(_tones([(60, 64, 67)] * 4), RATE)  # type: ignore[misc]
    assert 59 <= low <= high <= 68


@pytest.mark.parametrize("waveform", [np.zeros(RATE, np.float32), np.zeros(1, np.float32)])
def test_silence_has_no_range(waveform):
    assert pitch_range(waveform, RATE) is None


def test_noise_and_clicks_have_no_range_and_music_in_noise_has():
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    clicks = np.zeros(3 * RATE, np.float32)
    clicks[::2205] = 1
    assert pitch_range(noise, RATE) is None
    assert pitch_range(clicks, RATE) is None
    assert abs(pitch_range(_tones([60] * 7) + 0.1 * noise[: 7 * int(0.4 * RATE)], RATE)[1] - 60) <= 1


@pytest.mark.parametrize("semitones", [-24, -12, -5, 1, 7, 12, 24])
def test_a_transposed_mel_is_that_of_the_transposed_music(semitones):
    melody = [60, 64, 57, 67]
    moved = transposed_mel(torch.from_numpy(0.1 * _tones(melody))[None, None], MEL, semitones)
    true = mel_spectrogram(torch.from_numpy(0.1 * _tones([p + semitones for p in melody]))[None, None], MEL)
    assert moved.shape[-1] >= true.shape[-1]
    for note in range(4):
        middle = int((0.4 * note + 0.2) * RATE / MEL.hop_length)
        band, wanted = (int(mel[0, 0, :, middle].argmax()) for mel in (moved, true))
        assert abs(band - wanted) <= 1
        assert float(moved[0, 0, band, middle]) == pytest.approx(float(true[0, 0, wanted, middle]), abs=1.5)


def test_an_attack_stays_where_it_is_when_the_music_moves_up():
    silence = np.zeros(RATE, np.float32)
    late = np.concatenate([silence, 0.1 * _tones([48], 1.0)])
    moved = transposed_mel(torch.from_numpy(late)[None, None], MEL, 24)[0, 0].amax(dim=0)
    at = RATE / MEL.hop_length
    assert float(moved[: int(at) - 4].max()) < float(moved.max()) - 40
    assert float(moved[int(at) + 3 :].max()) == float(moved.max())


def test_no_transposition_is_the_plain_mel():
    waveform = torch.from_numpy(_tones([60]))[None, None]
    torch.testing.assert_close(transposed_mel(waveform, MEL, 0), mel_spectrogram(waveform, MEL), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("source", "target", "semitones"),
    [
        ((60, 72), (55, 100), 0),
        ((33, 45), (55, 100), 24),
        ((50, 62), (55, 100), 12),
        ((53, 72), (55, 100), 0),  # a little outside is left alone
        ((84, 100), (28, 60), -36),
        ((30, 90), (55, 100), 12),
    ],
)
def test_the_least_octaves_that_fit(source, target, semitones):
    assert octaves_into(source, target) == semitones
