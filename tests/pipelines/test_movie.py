"""A movie with a model of no sense: its length and sound, that its pulses are the music's, and what is refused."""

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from timbrel.audio.io import read_audio, write_audio
from timbrel.errors import AudioError, InputError
from timbrel.pipelines.listen import Recording
from timbrel.pipelines.movie import FPS, Course, frames, listen, movie
from timbrel.pipelines.picture import PaintPipeline
from timbrel.pipelines.settings import PaintSettings

RATE = 22050
FAST = PaintSettings(size=64, num_inference_steps=1)
HITS_S = (1.0, 2.2, 3.0, 4.4)


@pytest.fixture(scope="module")
def pipe(tiny_painter):
    return PaintPipeline.load(tiny_painter)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """5.2 s of a soft tone with struck notes."""
    time = np.arange(round(5.2 * RATE)) / RATE
    waveform = 0.01 * np.sin(2 * np.pi * 110 * time)
    for hit in HITS_S:
        after = np.clip(time - hit, 0, None)
        waveform += 0.5 * (time >= hit) * np.exp(-12 * after) * np.sin(2 * np.pi * 660 * after)
    path = tmp_path_factory.mktemp("song") / "song.wav"
    write_audio(path, waveform[None].astype(np.float32), RATE)
    return path


def test_each_hit_is_an_onset_and_a_pulse(pipe, song):
    course = listen(pipe, Recording.of(song, None))
    assert len(course.onset) == round(5.2 * FPS)
    assert course.features.shape == (2, 392)
    peaks = [k for k in range(1, len(course.onset)) if course.onset[k] > 0.5]
    assert len(peaks) >= len(HITS_S)
    assert all(min(abs(k / FPS - hit) for hit in HITS_S) <= 0.08 for k in peaks)
    assert all(course.pulse[round(hit * FPS) + 1 : round(hit * FPS) + 4].max() > 0.4 for hit in HITS_S)


def test_scenes_begin_at_strong_onsets():
    onset = np.zeros(30 * FPS)
    onset[[200, 390, 630]] = 1.0
    assert Course(onset, onset, onset, torch.zeros(10, 392)).scenes == [0, 200, 390, 630, 30 * FPS]


def test_a_movie_has_the_songs_length_and_sound(pipe, song, tmp_path):
    path, told = tmp_path / "out.mp4", []
    movie(pipe, song, path, settings=FAST, progress=lambda done, total: told.append((done, total)))
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    assert (about["size"], about["fps"]) == ((64, 64), FPS)
    assert sum(1 for _ in reader) == pytest.approx(5.2 * FPS, abs=1)
    assert told[-1] == (5.2, 5.2)
    sound, rate = read_audio(path, mono=True)
    source, _ = read_audio(song, sample_rate=rate, mono=True)
    length = min(sound.shape[1], source.shape[1])
    assert np.corrcoef(sound[0, :length], source[0, :length])[0, 1] > 0.9
    with pytest.raises(InputError, match="exists"):
        movie(pipe, song, path, settings=FAST)


def test_frames_follow_the_seed_and_move_with_the_pulse(pipe, song):
    course = listen(pipe, Recording.of(song, None))
    first, again, other = (
        np.stack(list(frames(pipe, course, PaintSettings(size=64, num_inference_steps=1, seed=seed))))
        for seed in (0, 0, 1)
    )
    assert first.shape == (len(course.onset), 64, 64, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    motion = np.abs(np.diff(first.astype(float), axis=0)).mean((1, 2, 3))
    near = np.zeros(len(motion), bool)
    for hit in HITS_S:
        near[round(hit * FPS) - 1 : round(hit * FPS) + 2] = True
    assert motion[near].reshape(len(HITS_S), -1).max(1).mean() > 3 * np.median(motion[~near])


def test_what_cannot_be_made_is_refused(pipe, song, tmp_path):
    with pytest.raises(InputError, match=r"expected one of \.mp4"):
        movie(pipe, song, tmp_path / "out.avi")
    for options, message in (({"prompt": "xqzzk"}, "prompt is 'xqzzk'"), ({"style_of": song}, "as a picture")):
        with pytest.raises(InputError, match=message):
            movie(pipe, song, tmp_path / "out.mp4", **options)
    with pytest.raises(InputError, match="size is 65"):
        movie(pipe, song, tmp_path / "out.mp4", size=65)
    silent = tmp_path / "silent.wav"
    write_audio(silent, np.zeros((1, RATE), np.float32), RATE)
    with pytest.raises(AudioError, match="silent"):
        movie(pipe, silent, tmp_path / "out.mp4", settings=FAST)
    write_audio(silent, np.full((1, RATE // 3), 0.5, np.float32), RATE, overwrite=True)
    with pytest.raises(AudioError, match="shorter than a second"):
        movie(pipe, silent, tmp_path / "out.mp4", settings=FAST)
    assert not list(tmp_path.glob("*.mp4"))


def test_channels_out_of_phase_and_odd_names_make_a_movie(pipe, song, tmp_path):
    waveform, rate = read_audio(song)
    write_audio(tmp_path / "take:1.wav", np.concatenate([waveform, -waveform]), rate)
    movie(pipe, tmp_path / "take:1.wav", tmp_path / "out:1.mp4", settings=FAST)
    sound, _ = read_audio(tmp_path / "out:1.mp4")
    assert len(sound) == 2
    assert np.abs(sound).max() > 0.1
