from pathlib import Path

import numpy as np
import pytest
import soundfile

from timbrel.audio.loop import crossfade
from timbrel.data.sampler import in_reach, note_name, render_samples, sampled_instruments
from timbrel.data.scores import Note
from timbrel.errors import InputError

RATE = 16000


@pytest.fixture
def samples(tmp_path):
    """A sine for a flute: A4 after 0.2 s of nothing, and two layers of A5 that differ in level of a partial."""
    folder = tmp_path / "mine" / "flute"
    folder.mkdir(parents=True)
    t = np.arange(2 * RATE) / RATE

    def tone(hz, second=0.0):
        return 0.5 * (np.sin(2 * np.pi * hz * t) + second * np.sin(4 * np.pi * hz * t)) / (1 + second)

    soundfile.write(folder / "A4.wav", np.concatenate([np.zeros(RATE // 5), tone(440)]), RATE)
    soundfile.write(folder / "A5v1.wav", tone(880), RATE)
    soundfile.write(folder / "A5v2.wav", tone(880, 0.8), RATE)
    soundfile.write(folder / "click.wav", tone(100), RATE)
    return str(tmp_path / "mine")


def _hz(x):
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 17))
    return np.argmax(spectrum) * RATE / (1 << 17)


@pytest.mark.parametrize(
    ("stem", "meant"),
    [
        ("A4", (69, 0)),
        ("C-1", (0, 0)),
        ("F#3v5", (54, 5)),
        ("Fs3 v2", (54, 2)),
        ("Bb2", (46, 0)),
        ("H4", None),
        ("click", None),
        ("A", None),
    ],
)
def test_a_files_name_says_the_note(stem, meant):
    assert note_name(stem) == meant


def test_notes_sound_at_their_pitch_and_time(samples):
    notes = [Note(0.5, 1.0, 71, 127), Note(1.5, 2.0, 62, 127)]
    heard = render_samples(notes, "flute", samples, sample_rate=RATE, duration_s=3)
    assert heard.shape == (3 * RATE,)
    assert heard.dtype == np.float32
    assert not heard[: RATE // 2 - RATE // 100].any()
    assert np.abs(heard[RATE // 2 : RATE // 2 + RATE // 50]).max() > 0.5
    for start, pitch in ((0.55, 71), (1.55, 62)):
        wanted = 440 * 2 ** ((pitch - 69) / 12)
        cents = 1200 * np.log2(_hz(heard[int(start * RATE) : int((start + 0.4) * RATE)]) / wanted)
        assert abs(cents) < 30


def test_a_louder_note_takes_the_louder_layer_and_a_player_is_a_seed(samples):
    def partials(velocity, seed=0):
        heard = render_samples([Note(0, 1, 81, velocity)], "flute", samples, sample_rate=RATE, duration_s=1, seed=seed)
        spectrum = np.abs(np.fft.rfft(heard[: RATE // 2], RATE))
        return heard, spectrum[1740:1780].max() / spectrum[860:900].max()

    soft, loud = partials(40), partials(120)
    assert soft[1] < 0.05
    assert loud[1] > 0.5
    assert np.abs(soft[0]).max() < np.abs(loud[0]).max()
    np.testing.assert_array_equal(loud[0], partials(120)[0])
    assert not np.array_equal(loud[0], partials(120, seed=1)[0])


def test_music_far_from_the_recordings_is_out_of_reach(samples):
    near, far = [Note(0, 1, 70)] * 19, [Note(0, 1, 40)]
    assert in_reach(near + far, "flute", samples)
    assert not in_reach(near + far + far, "flute", samples)


def test_a_folder_without_samples_or_without_the_instrument_is_refused(samples, tmp_path):
    assert sampled_instruments(samples) == ("flute",)
    with pytest.raises(InputError, match="no 'tuba'; it has flute"):
        render_samples([Note(0, 1, 60)], "tuba", samples, duration_s=1)
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(InputError, match="holds no samples"):
            sampled_instruments(str(tmp_path / folder))


def test_a_note_longer_than_its_recording_goes_on_without_a_click(samples):
    heard = render_samples([Note(0, 6, 69, 127)], "flute", samples, sample_rate=RATE, duration_s=7)
    frames = np.abs(heard[: 7 * RATE]).reshape(-1, RATE // 20).max(axis=1)
    loud = frames[3]
    assert frames[1:119].min() > 0.85 * loud  # 6 s, of a recording of 2
    assert frames[1:119].max() < 1.15 * loud  # where stretches meet, too
    assert frames[-4:].max() < 0.05 * loud
    jumps = np.abs(np.diff(heard))
    assert jumps[RATE // 4 :].max() < 1.2 * jumps[RATE // 4 : RATE].max()
    assert abs(1200 * np.log2(_hz(heard[4 * RATE : 5 * RATE]) / _hz(heard[RATE // 4 : RATE]))) < 5


@pytest.mark.parametrize("alike", [True, False])
def test_a_join_is_as_loud_as_what_it_joins(alike):
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 8000)).astype(np.float32)
    joined = crossfade(one, one if alike else other)
    assert joined[[0, -1]] == pytest.approx([one[0], (one if alike else other)[-1]], abs=1e-4)
    assert (joined.reshape(8, 1000) ** 2).mean(axis=1) == pytest.approx(1, abs=0.15)


def test_what_is_struck_or_plucked_ends_with_its_recording(samples):
    Path(samples, "flute").rename(Path(samples, "guitar"))
    heard = render_samples([Note(0, 6, 69, 127)], "guitar", samples, sample_rate=RATE, duration_s=7)
    assert np.abs(heard[int(1.9 * RATE) : int(1.95 * RATE)]).max() > 0.2
    assert not heard[int(2.1 * RATE) :].any()
