"""The pipeline around a model: lengths, levels, channels, windows, errors. How it sounds is for the benchmark."""

import collections
import os
from functools import partial
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from timbrel import load
from timbrel.audio.io import open_audio, read_audio, write_audio
from timbrel.audio.level import HOP
from timbrel.audio.mel import mel_spectrogram
from timbrel.audio.stereo import StereoImage
from timbrel.errors import AudioError, InputError, ModelError
from timbrel.instruments import Instrument
from timbrel.pipelines import listen, transfer

RATE = 16000  # the tiny model's


def tune(seconds=1.5, rate=RATE, seed=0):
    """Decaying notes, [1, samples], RMS about -23 dB."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    notes = 220 * 2 ** (rng.integers(0, 24, 1 + int(seconds * 4)) / 12)
    hz = notes[(t * 4).astype(int)]
    return (0.2 * np.sin(2 * np.pi * np.cumsum(hz) / rate) * np.exp(-6 * (t * 4 % 1)))[None].astype(np.float32)


def rms_db(waveform):
    return 10 * np.log10(np.mean(waveform.astype(np.float64) ** 2))


@pytest.fixture(scope="module")
def pipe(tiny_model_folder):
    return load(tiny_model_folder)


def test_instruments_are_named_and_sorted(pipe):
    assert pipe.instruments == ["piano", "violin"]
    assert pipe.sample_rate == RATE


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000])
def test_duration_is_exact_at_any_rate_and_loudness_stays(pipe, rate):
    source = tune(0.7, rate)[:, :-13]
    out = pipe(source, "violin", sample_rate=rate)
    assert out.sample_rate == RATE
    assert out.waveform.shape == (1, round(source.shape[1] * RATE / rate))
    assert out.waveform.dtype == np.float32
    assert abs(rms_db(out.waveform) - rms_db(source)) < 1


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_file_keeps_its_own_duration_channels_and_loudness(pipe, tmp_path, suffix):
    source = np.concatenate([tune(1.2, 44100), 0.5 * tune(1.2, 44100, seed=1)])[:, :-7]
    write_audio(tmp_path / "in.wav", source, 44100)
    pipe.transfer_file(tmp_path / "in.wav", tmp_path / f"out{suffix}", to="violin", output_rate=44100)
    made, rate = read_audio(tmp_path / f"out{suffix}")
    assert (made.shape, rate) == (source.shape, 44100)
    assert abs(rms_db(made) - rms_db(source)) < 1
    assert sorted(os.listdir(tmp_path)) == sorted(["in.wav", f"out{suffix}"])


def test_file_and_call_agree(pipe, tmp_path):
    source = tune(0.8)
    write_audio(tmp_path / "in.wav", source, RATE)
    pipe.transfer_file(tmp_path / "in.wav", tmp_path / "out.wav", to="violin")
    out = pipe(tmp_path / "in.wav", "violin")
    np.testing.assert_allclose(read_audio(tmp_path / "out.wav")[0], out.waveform, atol=1e-6)
    out.save(tmp_path / "saved.wav")
    np.testing.assert_array_equal(read_audio(tmp_path / "saved.wav")[0], read_audio(tmp_path / "out.wav")[0])


def test_strength_zero_gives_the_source_back_and_the_rest_lies_between(pipe):
    source = tune(1.0) * 4.9  # its peak would have to be turned down by a limiter
    results = [pipe(source, "violin", sample_rate=RATE, strength=s).waveform for s in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_array_equal(results[0], source)
    mels = [mel_spectrogram(torch.from_numpy(r)[None], pipe.model.mel) for r in results]
    distance = [float((mel - mels[0]).abs().mean()) for mel in mels]
    assert distance == sorted(distance)
    assert distance[-1] > 2 * distance[1] > 0


@pytest.mark.parametrize("semitones", [12, -7])
def test_transposing_moves_the_pitch_and_keeps_time_and_loudness(pipe, semitones):
    t = np.arange(RATE) / RATE
    source = (0.3 * np.sin(2 * np.pi * 440 * t) * (t > 0.3)).astype(np.float32)
    out = pipe(source, to="violin", sample_rate=RATE, strength=0, transpose=semitones)
    assert out.waveform.shape == (1, RATE)
    assert abs(rms_db(out.waveform) - rms_db(source)) < 0.1
    late = out.waveform[0, RATE // 2 :]
    hz = np.argmax(np.abs(np.fft.rfft(late * np.hanning(len(late)), 16 * RATE))) / 16
    assert abs(1200 * np.log2(hz / (440 * 2 ** (semitones / 12)))) < 15
    assert np.abs(out.waveform[0, : RATE // 5]).max() < 0.03


def test_octaves_that_suit_an_instrument_are_found(pipe, monkeypatch):
    monkeypatch.setattr(transfer, "INSTRUMENTS", {"violin": Instrument("violin", 40, 28, 45, "bowed")})
    t = np.arange(2 * RATE) / RATE
    source = sum(np.sin(2 * np.pi * 440 * h * t) / h for h in range(1, 6)).astype(np.float32) / 4
    assert pipe.find_transposition(source, "violin", sample_rate=RATE) == -24
    assert pipe.find_transposition(source, source, sample_rate=RATE) == 0
    assert pipe.find_transposition(np.zeros(RATE, np.float32), "violin", sample_rate=RATE) == 0
    upside_down = np.stack([source, -source])
    assert pipe.find_transposition(upside_down, "violin", sample_rate=RATE) == -24
    with pytest.raises(InputError, match="sample_rate is missing"):
        pipe.find_transposition(source, "violin")
    with pytest.raises(InputError, match="range of 'piano' is not known"):
        pipe.find_transposition(source, "piano", sample_rate=RATE)
    moved, auto = (pipe(source, "violin", sample_rate=RATE, transpose=t).waveform for t in (-24, "auto"))
    np.testing.assert_array_equal(auto, moved)


def test_streams_leave_torch_as_it_was(pipe):
    one, other = (pipe.stream(tune(0.5), "violin", sample_rate=RATE) for _ in range(2))
    next(one), next(other)
    assert not torch.is_inference_mode_enabled()
    list(one), list(other)
    assert not torch.is_inference_mode_enabled()


def test_the_seed_decides_and_nothing_else_does(pipe):
    source = tune(0.5)
    one, same, other = (pipe(source, "violin", sample_rate=RATE, seed=s).waveform for s in (1, np.int64(1), 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_styles_steps_and_guidance_are_heard(pipe):
    source, clip = tune(0.5), tune(1.0, seed=3) ** 3
    plain = pipe(source, "violin", sample_rate=RATE).waveform
    for changed in ({"to": "piano"}, {"to": clip}, {"steps": 3}, {"guidance": 2.0}):
        made = pipe(source, **({"to": "violin"} | changed), sample_rate=RATE).waveform
        assert np.abs(made - plain).max() > 1e-3, changed


@pytest.mark.parametrize("samples", [1, 320, 1023, 1024, 1025])
def test_short_sources_work(pipe, samples):
    source = tune(1.0)[:, 100 : 100 + samples]
    out = pipe(source, "violin", sample_rate=RATE).waveform
    assert out.shape == source.shape
    assert np.isfinite(out).all()


def test_a_source_of_less_than_a_sample_is_refused(pipe):
    with pytest.raises(AudioError, match="1 samples at 96000 Hz"):
        pipe(np.ones((1, 1), np.float32), "violin", sample_rate=96000)


def test_a_short_style_works(pipe):
    assert pipe.style_tokens(tune(0.02), sample_rate=RATE).shape == (2, 16)


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_silence_comes_back(pipe, rate):
    out = pipe(np.zeros((2, rate), np.float32), "violin", sample_rate=rate).waveform
    assert out.shape == (2, RATE)
    assert not out.any()


def test_levels_of_source_and_style_do_not_matter(pipe):
    source, clip = tune(0.6), tune(1.0, seed=3)
    loud = pipe(source, clip, sample_rate=RATE).waveform
    soft = pipe(0.125 * source, 0.5 * clip, sample_rate=RATE).waveform
    np.testing.assert_allclose(8 * soft, loud, atol=1e-3)


@pytest.mark.parametrize("rate", [RATE // 2, RATE, 3 * RATE])
def test_soft_passages_stay_as_soft_as_they_were(pipe, rate):
    source = tune(24.0, rate)
    third = source.shape[1] // 3
    source[:, third : 2 * third] *= 0.1
    source[:, 2 * third :] *= 0.03
    out = pipe(source, "violin", sample_rate=rate).waveform
    for k in range(3):  # but for a second where the level goes over from one to the other
        heard, played = (w[:, (8 * k + 1) * r : (8 * k + 7) * r] for w, r in ((source, rate), (out, RATE)))
        assert abs(rms_db(played) - rms_db(heard)) < 2


def test_an_offset_is_no_sound(pipe):
    source, clip = (x - x.mean() for x in (tune(1.0), tune(1.5, seed=3)))
    plain = pipe(source, "violin", sample_rate=RATE).waveform
    moved = pipe(source + 0.1, "violin", sample_rate=RATE).waveform
    assert abs(rms_db(moved) - rms_db(plain)) < 0.1
    tokens = (pipe.style_tokens(x, sample_rate=RATE) for x in (clip, clip - 0.2))
    torch.testing.assert_close(*tokens, atol=0.05, rtol=0.05)


def test_a_style_upside_down_in_one_channel_is_the_style(pipe):
    clip = tune(1.0, seed=3)
    plain = pipe.style_tokens(clip, sample_rate=RATE)
    both = pipe.style_tokens(np.concatenate([clip, -clip]), sample_rate=RATE)
    torch.testing.assert_close(both, plain, atol=1e-3, rtol=1e-3)


def test_eight_channels_keep_their_levels(pipe):
    source = tune(1.0) * np.array([1, 0.5, 0, 0.25, 1, 0, 0.1, 1], np.float32)[:, None]
    out = pipe(source, "violin", sample_rate=RATE).waveform
    level = np.sqrt((out**2).mean(axis=1) / (source[0] ** 2).mean())
    np.testing.assert_allclose(level, [1, 0.5, 0, 0.25, 1, 0, 0.1, 1], atol=0.02)


def test_one_channel_of_eight_keeps_all_of_its_sound(pipe):
    source = np.zeros((8, RATE), np.float32)
    source[5] = tune(1.0)
    out = pipe(source, "violin", sample_rate=RATE).waveform
    assert abs(rms_db(out[5]) - rms_db(source[5])) < 0.1
    assert not np.delete(out, 5, axis=0).any()


def test_the_stereo_image_follows_the_source(pipe):
    left, right = tune(1.0), 0.7 * tune(1.0, seed=1)
    silent = np.zeros_like(left)
    source = np.block([[left, silent], [silent, right]])  # first left, then right
    out = pipe(source, "violin", sample_rate=RATE).waveform
    first, second = out[:, : RATE - 2000], out[:, RATE + 8000 :]
    assert rms_db(first[0]) > rms_db(first[1]) + 10
    assert rms_db(second[1]) > rms_db(second[0]) + 10
    assert abs(rms_db(out) - rms_db(source)) < 1


@pytest.mark.parametrize("silent_first", [False, True])
def test_a_channel_upside_down_does_not_cancel_the_other(pipe, silent_first):
    mono = tune(1.5)
    plain = pipe(mono, "violin", sample_rate=RATE).waveform
    source = np.concatenate([mono, -mono])
    if silent_first:  # at first the sound is in phase: the sign must hold for all of it
        source[:, : RATE // 4] = mono[:, : RATE // 4]
    out = pipe(source, "violin", sample_rate=RATE).waveform
    np.testing.assert_allclose(out[0], -out[1], atol=1e-6)
    assert abs(rms_db(out) - rms_db(source)) < 1
    if not silent_first:
        np.testing.assert_allclose(out[0], plain[0], atol=1e-4)


def test_equal_channels_stay_equal(pipe):
    out = pipe(np.repeat(tune(0.5), 2, axis=0), "violin", sample_rate=RATE).waveform
    np.testing.assert_array_equal(out[0], out[1])


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_the_blocks_in_which_a_source_comes_do_not_matter(pipe, rate, monkeypatch):
    source = np.concatenate([tune(1.5, rate), tune(1.5, rate, seed=1)])
    whole = pipe(source, "violin", sample_rate=rate).waveform
    monkeypatch.setattr(listen, "BLOCK", HOP)
    np.testing.assert_allclose(pipe(source, "violin", sample_rate=rate).waveform, whole, atol=2e-5)


def test_no_seam_shows_where_windows_join(pipe, monkeypatch):
    """The mels of short windows against those of one long window."""
    mono = tune(6.0)[0]

    def mels():
        sample = partial(pipe.model.sample, tokens=pipe.style_tokens("violin"), steps=1, guidance=1.0, strength=1.0)
        player = transfer._Player(pipe.model, sample, 1.0, 0, 0)
        with torch.inference_mode():
            windows = [*player._windows.push(mono), *player._windows.finish()]
            parts = [*player.mels(windows), player._fade.finish()]
        np.testing.assert_array_equal(np.concatenate([window.samples for window in windows]), mono)
        return torch.cat(parts, dim=-1), len(windows)

    long, count = mels()
    assert count == 1
    monkeypatch.setattr(type(pipe.model), "window", 40)
    short, count = mels()
    assert count > 2
    assert short.shape == long.shape
    change = (short - long).abs()
    assert float(change.mean()) < 0.1  # dB
    assert float(change.max()) < 2


def test_a_stream_is_the_call_in_parts(pipe, monkeypatch):
    monkeypatch.setattr(type(pipe.model), "window", 40)
    source = np.concatenate([tune(12.0), 0.3 * tune(12.0, seed=1)])
    whole = pipe(source, "violin", sample_rate=RATE).waveform
    parts = list(pipe.stream(source, "violin", sample_rate=RATE))
    streamed = np.concatenate(parts, axis=1)
    assert len(parts) > 3
    assert streamed.shape == whole.shape
    assert streamed.dtype == np.float32
    assert abs(rms_db(streamed) - rms_db(source)) < 1
    gain = (streamed / np.where(np.abs(whole) > 1e-3, whole, np.nan))[0]
    gain = gain[np.isfinite(gain)]
    assert np.abs(np.diff(gain)).max() < 0.01  # ramps, no jumps


def test_a_stream_begins_as_quietly_as_the_source(pipe, monkeypatch):
    monkeypatch.setattr(type(pipe.model), "window", 24)
    source = tune(6.0)
    source[:, : 4 * RATE] *= 0.05
    first = np.concatenate(list(pipe.stream(source, "violin", sample_rate=RATE)), axis=1)[:, :RATE]
    assert abs(rms_db(first) - rms_db(source[:, :RATE])) < 6


def test_a_stream_does_not_clip(pipe):
    source = tune(6.0) * 4.9
    peak = max(np.abs(block).max() for block in pipe.stream(source, "violin", sample_rate=RATE))
    assert peak < 1
    assert np.abs(pipe(source, "violin", sample_rate=RATE).waveform).max() < 1


def test_a_stream_at_strength_zero_is_the_source(pipe):
    source = tune(2.0)
    streamed = list(pipe.stream(source, "violin", sample_rate=RATE, strength=0))
    np.testing.assert_array_equal(np.concatenate(streamed, axis=1), source)


def test_progress_counts_to_the_end(pipe):
    told = []
    pipe(tune(2.0), "violin", sample_rate=RATE, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (2.0, 2.0)


NAN = np.array([[0.1, np.nan, 0.1]], np.float32)


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        (NAN, {}, "NaN or infinite"),
        (np.array([1e300, 0.0]), {}, "NaN or infinite"),
        (np.zeros((1, 0), np.float32), {}, "at least one sample"),
        (np.zeros((2, 2, 8), np.float32), {}, r"expected floats \[channels, samples\]"),
        (np.zeros(8, np.int16), {}, "int16"),
        (np.zeros((1000, 2), np.float32), {}, "transpose"),
        (None, {"sample_rate": None}, "sample_rate is missing"),
        (None, {"sample_rate": 0}, "sample_rate is 0"),
        (None, {"strength": 1.5}, "strength is 1.5"),
        (None, {"strength": float("nan")}, "strength is nan"),
        (None, {"steps": 0}, "is 0"),
        (None, {"guidance": -1}, "guidance is -1"),
        (None, {"seed": -1}, "seed is -1"),
        (None, {"seed": 0.5}, "seed is 0.5; expected a whole number"),
        (None, {"transpose": 37}, "transpose is 37"),
        (None, {"to": "lute"}, "'lute' is neither an instrument .piano, violin. nor a file"),
        (None, {"to": "x" * 5000}, "'x{200}' is neither an instrument"),
        (None, {"to": NAN}, "NaN or infinite"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(pipe, source, changes, said):
    source = tune(0.1) if source is None else source
    arguments = {"to": "violin", "sample_rate": RATE} | changes
    with pytest.raises(InputError, match=said):
        pipe(source, **arguments)
    with pytest.raises(InputError, match=said):
        pipe.stream(source, **arguments)  # at the call, not at the first block


def test_a_silent_style_is_refused(pipe):
    with pytest.raises(AudioError, match="is silent"):
        pipe(tune(0.1), np.zeros((1, RATE), np.float32), sample_rate=RATE)


def test_the_loudest_part_of_a_long_clip_is_the_style(pipe, monkeypatch):
    heard = []
    monkeypatch.setattr(pipe.model, "style_tokens", lambda mel: heard.append(mel) or torch.zeros(1, 16))
    quiet = np.random.default_rng(0).normal(0, 0.002, (1, 11 * RATE)).astype(np.float32)
    loud = tune(10.5)
    for clip in (np.concatenate([quiet, loud, quiet], axis=1), loud, quiet):
        pipe.style_tokens(clip, sample_rate=RATE)
    assert heard[0].shape == heard[1].shape
    long, alone, other = (mel.mean(dim=-1) - mel.mean() for mel in heard)
    assert float((long - alone).abs().mean()) < 0.3 * float((other - alone).abs().mean())


def test_files_are_checked_and_nothing_is_left_of_a_failure(pipe, tmp_path, monkeypatch):
    source, output = tmp_path / "in.wav", tmp_path / "out.wav"
    write_audio(source, tune(0.5), RATE)
    with pytest.raises(InputError, match="never overwritten"):
        pipe.transfer_file(source, source, to="violin", overwrite=True)
    (tmp_path / "there.png").write_text("mine")
    with pytest.raises(InputError, match=r"there\.png exists"):
        pipe.transfer_file(source, output, to="violin", picture=tmp_path / "there.png")
    monkeypatch.setattr(StereoImage, "apply", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        pipe.transfer_file(source, output, to="violin")
    assert sorted(os.listdir(tmp_path)) == ["in.wav", "there.png"]


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_mix_is_in_time_with_the_source(pipe):
    source = np.concatenate([tune(), tune(seed=1)])
    dry, thin, half, wet = (pipe(source, "violin", sample_rate=RATE, mix=m).waveform for m in (0, 0.01, 0.5, 1))
    np.testing.assert_array_equal(dry, source)
    np.testing.assert_allclose(half, (source + wet) / 2, atol=1e-6)
    assert np.corrcoef(thin[0], source[0])[0, 1] > 0.999
    parts = pipe.stream(source, "violin", sample_rate=RATE, mix=0)
    np.testing.assert_array_equal(np.concatenate(list(parts), axis=1), source)


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_mixed_file_is_in_time_at_its_own_rate(pipe, tmp_path, rate):
    source = tune(1.0, 44100)
    write_audio(tmp_path / "in.wav", source, 44100)
    pipe.transfer_file(tmp_path / "in.wav", tmp_path / "out.wav", to="violin", output_rate=rate, mix=0.0)
    made = read_audio(tmp_path / "out.wav", sample_rate=44100)[0]
    assert np.corrcoef(made[0], source[0])[0, 1] > 0.995


@pytest.mark.parametrize("rate", [RATE, 22050])
def test_a_loop_stays_one(pipe, tmp_path, rate):
    seconds = np.arange(rate) / rate
    source = (0.03 * np.sin(2 * np.pi * 220 * seconds) * (1.5 + np.sin(2 * np.pi * seconds)))[None].astype(np.float32)
    write_audio(tmp_path / "in.wav", source, rate)
    steps = {}
    for loop in (False, True):
        out = tmp_path / f"{loop}.wav"
        pipe.transfer_file(tmp_path / "in.wav", out, to="violin", output_rate=rate, loop=loop)
        made = read_audio(out)[0]
        assert made.shape == source.shape
        assert abs(rms_db(made) - rms_db(source)) < 1
        step = np.abs(np.diff(np.concatenate([made, made], axis=1)[0]))
        steps[loop] = step[rate - 1] / np.percentile(step, 99)
    assert steps[True] < 1.2 < steps[False]
    streamed = np.concatenate(list(pipe.stream(source, "violin", sample_rate=rate, loop=True)), axis=1)
    assert streamed.shape == (1, RATE)


def test_how_loud_a_result_may_be_is_said_and_a_limiter_helps(pipe, tmp_path):
    source = np.clip(8 * tune(3.0), -0.99, 0.99)
    with pytest.warns(UserWarning, match=r"dB softer than the source.*--limiter.*--float"):
        soft = pipe(source, "violin", sample_rate=RATE).waveform
    limited = pipe(source, "violin", sample_rate=RATE, limiter=True).waveform
    assert np.abs(limited).max() < 0.9
    assert rms_db(soft) + 1 < rms_db(limited) < rms_db(source) + 0.5
    assert limited.shape == source.shape
    write_audio(tmp_path / "in.wav", source, RATE)
    pipe.transfer_file(tmp_path / "in.wav", tmp_path / "out.wav", to="violin", subtype="FLOAT")
    floating = read_audio(tmp_path / "out.wav")[0]
    assert abs(rms_db(floating) - rms_db(source)) < 0.01
    assert np.abs(floating).max() > 1
    pipe.transfer_file(tmp_path / "in.wav", tmp_path / "b.wav", to="violin", subtype="FLOAT", limiter=True)
    assert np.abs(read_audio(tmp_path / "b.wav")[0]).max() < 0.9
    with pytest.raises(InputError, match="limiter is set, which needs the whole result"):
        pipe.stream(source, "violin", sample_rate=RATE, limiter=True)


def test_a_result_is_like_its_source_if_that_is_asked_for(pipe, tmp_path):
    soundfile.write(tmp_path / "in.wav", tune(0.5, 48000).T, 48000, subtype="PCM_16")
    with soundfile.SoundFile(tmp_path / "in.flac", "w", 22050, 1, "PCM_24") as file:
        file.title = "Song"
        file.write(tune(0.5, 22050).T)
    for name in ("in.wav", "in.flac"):
        pipe.transfer_file(tmp_path / name, tmp_path / f"out-{name}", to="violin", like_source=True)
        source, made = (soundfile.info(tmp_path / path) for path in (name, f"out-{name}"))
        assert (made.samplerate, made.subtype, made.frames) == (source.samplerate, source.subtype, source.frames)
    with open_audio(tmp_path / "out-in.flac") as reader:
        assert reader.metadata().tags["title"] == "Song"


def test_an_offset_of_a_short_source_is_no_sound(pipe):
    source = tune(0.8)
    out = pipe(source + 0.2, "violin", sample_rate=RATE).waveform
    assert abs(rms_db(out) - rms_db(source)) < 0.5


def test_fractions_of_semitones_move_the_tuning(pipe):
    whole, more = (pipe(tune(), "violin", sample_rate=RATE, transpose=t).waveform for t in (0, 0.5))
    assert whole.shape == more.shape
    assert np.abs(whole - more).max() > 0.01


def test_a_picture_is_drawn(pipe, tmp_path):
    from PIL import Image

    write_audio(tmp_path / "in.wav", tune(1.0), RATE)
    for to, name, panels in (("violin", "a $ and a $_.png", 2), (str(tmp_path / "in.wav"), "clip.png", 3)):
        pipe.transfer_file(tmp_path / "in.wav", tmp_path / f"{name}.wav", to=to, picture=tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            width, height = picture.size
            assert width > 800
            assert len(picture.convert("RGB").getcolors(maxcolors=2**24) or ()) > 100
        assert 250 * panels < height < 320 * panels


def test_an_instrument_of_ones_own_plays(tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    clips = [tmp_path / f"{k}.wav" for k in range(2)]
    for k, clip in enumerate(clips):
        write_audio(clip, tune(1.0, seed=k), RATE)
    transfer.add_instrument("lute", clips, model=tiny_model_folder)
    pipe = load(tiny_model_folder)
    assert pipe.instruments == ["lute", "piano", "violin"]
    tokens = torch.cat([pipe.style_tokens(clip) for clip in clips])
    torch.testing.assert_close(pipe.style_tokens("lute"), tokens, atol=1e-2, rtol=1e-2)
    no_list: Any
    for no_list in ([], str(clips[0]), clips[0]):
        with pytest.raises(InputError, match="at least one of lute"):
            transfer.add_instrument("lute", no_list, model=tiny_model_folder)
    name: Any
    for name in ("", "..", "a/b", "a.b", "a\nb", 3):
        with pytest.raises(InputError, match="expected a word without slash and dot"):
            transfer.add_instrument(name, clips, model=tiny_model_folder)
    with pytest.raises(InputError, match="is an instrument of the model"):
        transfer.add_instrument("violin", clips, model=tiny_model_folder)


def test_a_wrong_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="neither a model folder"):
        load(tmp_path)


def test_memory_does_not_grow_with_length(pipe, tmp_path, monkeypatch):
    """What is held at once: not the source, not the result."""
    import tracemalloc

    monkeypatch.setattr(type(pipe.model), "window", 40)

    def peak(seconds):
        path = tmp_path / f"{seconds}.wav"
        write_audio(path, np.tile(tune(1.0), seconds), RATE)
        with open_audio(path) as reader:
            assert reader.frames == seconds * RATE
        tracemalloc.start()
        collections.deque(pipe.stream(path, "violin", steps=1), maxlen=0)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(16) < 1.15 * peak(8)
