"""Accompaniment with models of no sense: lengths, levels, files and errors."""

import os

import numpy as np
import pytest

import timbrel
from timbrel.audio.io import read_audio, write_audio
from timbrel.audio.level import loudness
from timbrel.errors import AudioError, InputError, ModelError
from timbrel.instruments import Instrument
from timbrel.pipelines import accompany as module
from timbrel.pipelines import listen, transfer
from timbrel.pipelines.accompany import AccompanyPipeline
from timbrel.pipelines.settings import Method

RATE = 16000
STEMS = ["guitar.wav", "mix.wav", "violin.wav"]


def song(seconds=2.0, rate=RATE, channels=1):
    t = np.arange(round(seconds * rate)) / rate
    voice = 0.1 * np.sin(2 * np.pi * 330 * t) * (np.sin(2 * np.pi * t) > -0.5)
    return np.stack([voice / (k + 1) for k in range(channels)]).astype(np.float32)


@pytest.fixture
def voice(tmp_path):
    write_audio(tmp_path / "voice.wav", song(), RATE)
    return tmp_path / "voice.wav"


def band(instruments=("violin", "guitar"), steps=3, **method):
    return AccompanyPipeline.load(instruments, Method(**({"method": "cross"} | method)), steps=steps)


def make(voice, tiny_singles, start=1, forward_steps=None, steps=3, models=None, **options):
    players = band(start=start, forward_steps=forward_steps, steps=steps, models=models or tiny_singles)
    return players.accompany_file(voice, voice.parent / "out", steps=steps, **options)


def db(rms):
    return 20 * np.log10(rms)


@pytest.mark.parametrize(("rate", "channels", "level_db"), [(RATE, 1, -6.0), (44100, 2, -12.0), (22050, 1, -3.0)])
def test_stems_lie_under_the_voice_and_the_mix_is_the_sum(tmp_path, tiny_singles, rate, channels, level_db):
    heard = song(rate=rate, channels=channels)[:, :-5]
    write_audio(tmp_path / "voice.wav", heard, rate)
    paths = make(tmp_path / "voice.wav", tiny_singles, level_db=level_db)
    assert sorted(os.listdir(tmp_path / "out")) == STEMS
    sounds = {name: read_audio(path) for name, path in paths.items()}
    samples = round(heard.shape[1] * RATE / rate)
    assert {(at, sound.shape) for sound, at in sounds.values()} == {(RATE, (channels, samples))}
    mix, *stems = (sounds[name][0] for name in ("mix", "violin", "guitar"))
    original = read_audio(tmp_path / "voice.wav", sample_rate=RATE)[0]
    np.testing.assert_allclose(mix - sum(stems), original, atol=1e-5)
    for stem in stems:
        assert db(loudness([stem])) - db(loudness([original])) == pytest.approx(level_db, abs=0.5)


def test_a_mix_that_would_clip_is_softer_and_stays_the_sum(tmp_path, tiny_singles):
    voice = song() * 9.9
    write_audio(tmp_path / "voice.wav", voice, RATE)
    with pytest.warns(UserWarning, match=r"the mix is [\d.]+ dB softer"):
        paths = make(tmp_path / "voice.wav", tiny_singles, level_db=0)
    mix, violin, guitar = (read_audio(paths[name])[0] for name in ("mix", "violin", "guitar"))
    assert 0.95 < max(np.abs(x).max() for x in (mix, violin, guitar)) < 1
    parts = np.stack([voice[0], (violin + guitar)[0]])
    gains = np.linalg.lstsq(parts.T, mix[0], rcond=None)[0]
    assert 0.02 < gains[0] < 0.9
    np.testing.assert_allclose(mix[0], gains @ parts, atol=1e-5)


def test_stems_keep_their_level_beside_a_voice_whose_mix_would_clip(tmp_path, tiny_singles):
    voice = song() * 9.9
    write_audio(tmp_path / "voice.wav", voice, RATE)
    with pytest.warns(UserWarning, match="softer") as said:
        paths = make(tmp_path / "voice.wav", tiny_singles, level_db=-20)
    assert len(said) == 1
    for name in ("violin", "guitar"):
        stem = read_audio(paths[name])[0]
        assert 20 * np.log10(loudness([stem]) / loudness([voice])) == pytest.approx(-20, abs=0.5)


def test_the_blocks_do_not_matter(voice, tiny_singles, monkeypatch):
    first = {name: read_audio(path)[0] for name, path in make(voice, tiny_singles).items()}
    monkeypatch.setattr(listen, "BLOCK", 2048)
    again = make(voice, tiny_singles, overwrite=True)
    for name, waveform in first.items():
        np.testing.assert_allclose(read_audio(again[name])[0], waveform, atol=1e-6)


def test_the_main_model_does_it_too(voice, tiny_model_folder):
    told = []
    stems = timbrel.accompany(
        voice, ["violin", "piano"], method="default", model=tiny_model_folder,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert list(stems.stems) == ["violin", "piano"]
    assert told == sorted(told)
    assert told[-1] == (4.0, 4.0)


def test_a_call_gives_what_a_file_does(voice, tiny_singles):
    paths = make(voice, tiny_singles)
    stems = band(start=1, models=tiny_singles)(voice, steps=3)
    assert stems.mix.sample_rate == RATE
    saved = stems.save(voice.parent / "saved")
    assert list(saved) == ["violin", "guitar", "mix"]
    for name, path in saved.items():
        assert path.read_bytes() == paths[name].read_bytes()


def test_seeds_are_takes(voice, tiny_singles):
    mixes = [read_audio(make(voice, tiny_singles, seed=seed, overwrite=True)["mix"])[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(mixes[0], mixes[1])
    assert np.abs(mixes[0] - mixes[2]).max() > 1e-3


def test_each_instrument_plays_where_it_is_asked_to(voice, tiny_singles, monkeypatch):
    violin, guitar = Instrument("violin", 40, 70, 90, "bowed"), Instrument("guitar", 24, 40, 58, "plucked")
    monkeypatch.setattr(transfer, "INSTRUMENTS", {"violin": violin, "guitar": guitar})  # the voice sings at MIDI 64
    asked, transfer_file = [], transfer.TransferPipeline.transfer_file

    def note(pipe, *args, **options):
        asked.append((options["to"], options["settings"].transpose))
        transfer_file(pipe, *args, **options)

    monkeypatch.setattr(transfer.TransferPipeline, "transfer_file", note)
    mixes = []
    for transpose, moves in (("auto", (12, -12)), (12, (12, 12)), (0, (0, 0))):
        mixes.append(read_audio(make(voice, tiny_singles, transpose=transpose, overwrite=True)["violin"])[0])
        assert asked[-2:] == list(zip(("violin", "guitar"), moves, strict=True))
    np.testing.assert_array_equal(mixes[0], mixes[1])
    assert np.abs(mixes[0] - mixes[2]).max() > 1e-3
    monkeypatch.setattr(transfer, "INSTRUMENTS", {"violin": violin})
    with pytest.raises(InputError, match="range of 'guitar' is not known; give transpose as a number"):
        make(voice, tiny_singles, transpose="auto", overwrite=True)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"level_db": 21}, InputError, "level_db is 21"),
        ({"level_db": float("nan")}, InputError, "level_db is nan"),
        ({"transpose": 37}, InputError, "transpose is 37; expected -36 to 36, or 'auto'"),
        ({"start": 3}, InputError, "start is 3; expected 0 to 2"),
        ({"forward_steps": 501}, InputError, "forward_steps is 501"),
        ({"steps": 0}, InputError, "steps is 0"),
        ({"models": "nowhere"}, ModelError, "nowhere is not a folder"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(voice, tiny_singles, changes, error, said):
    with pytest.raises(error, match=said):
        make(voice, tiny_singles, **changes)
    assert os.listdir(voice.parent) == ["voice.wav"]


def test_other_wrong_input(voice, tiny_singles, tiny_model_folder):
    with pytest.raises(ModelError, match="no model of 'lute', only of"):
        band(["lute"], models=tiny_singles)
    with pytest.raises(InputError, match="'lute' is no instrument of the model; expected one of piano, violin"):
        band(["lute"], method="default", model=tiny_model_folder)
    with pytest.raises(InputError, match="0 instruments are named; expected at least 1"):
        band([])
    with pytest.raises(AudioError, match="does not exist"):
        make(voice.parent / "none.wav", tiny_singles)
    assert os.listdir(voice.parent) == ["voice.wav"]
    write_audio(voice.parent / "mix.wav", song(), RATE)
    with pytest.raises(InputError, match="never overwritten"):
        band(["violin"], models=tiny_singles, start=1).accompany_file(
            voice.parent / "mix.wav", voice.parent, overwrite=True
        )
    write_audio(voice.parent / "silence.wav", np.zeros((1, RATE), np.float32), RATE)
    with pytest.raises(AudioError, match="is silent"):
        make(voice.parent / "silence.wav", tiny_singles)
    assert not (voice.parent / "out").exists()
    with pytest.raises(InputError, match=r"cannot be made or written to: .*voice.wav is in the way"):
        band(["violin"], models=tiny_singles, start=1).accompany_file(voice, voice / "out")


def test_a_call_by_names_takes_all_of_a_methods_options(voice, tiny_singles):
    options = {"models": tiny_singles, "start": 1, "steps": 3}
    plain, other = (module.accompany(voice, ["violin"], equalise=e, **options).mix.waveform for e in (True, False))
    assert np.abs(plain - other).max() > 1e-4


def test_nothing_is_left_of_a_failure(voice, tiny_singles, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "headroom", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(voice, tiny_singles)
    assert os.listdir(voice.parent / "out") == []


def test_memory_does_not_grow_with_length(tmp_path, tiny_singles, monkeypatch):
    """What is held at once: neither the voice nor the stems."""
    import tracemalloc

    from timbrel.systems.cross import CrossSystem

    monkeypatch.setattr(CrossSystem, "window", 40)

    players = band(["violin"], models=tiny_singles, start=0, steps=1)

    def peak(seconds):
        path = tmp_path / f"{seconds}.wav"
        write_audio(path, np.tile(song(1.0), seconds), RATE)
        tracemalloc.start()
        players.accompany_file(path, tmp_path / f"out{seconds}", steps=1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)  # what is kept between calls
    assert peak(60) < 1.6 * peak(20)
