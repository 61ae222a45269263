"""Sound from a text with a model of no sense: lengths, seeds, loops, what is kept of a recording, and levels."""

import itertools
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from timbrel.audio.io import write_audio
from timbrel.audio.level import loudness
from timbrel.audio.mel import mel_spectrogram
from timbrel.diffusion.masks import circular
from timbrel.errors import InputError, ModelError
from timbrel.pipelines.fill import check_spans
from timbrel.pipelines.generate import GeneratePipeline, candidate_seeds
from timbrel.pipelines.settings import GenerateSettings
from timbrel.systems.folder import load_system
from timbrel.systems.generate import GenerateSystem

RATE = 16000
FAST: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def pipe(tiny_generator):
    return GeneratePipeline.load(tiny_generator)


def song(seconds=3.0, channels=2, rate=22050):
    """Notes over a soft noise, the right channel softer and the other way up."""
    time, rng = np.arange(round(seconds * rate)) / rate, np.random.default_rng(0)
    mono = 0.05 * np.sin(2 * np.pi * 220 * time) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))
    mono += 0.005 * rng.standard_normal(len(time))
    return np.stack([mono, -0.5 * mono])[:channels].astype(np.float32)


def rms_db(x):
    return 10 * np.log10(np.square(x, dtype=np.float64).mean() + 1e-12)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("seconds", [0.01, 1.234, 3.0])
def test_any_length_comes_out_and_at_one_level(pipe, seconds, loop):
    [made] = pipe("a violin", duration_s=seconds, loop=loop, **FAST)
    assert made.waveform.shape == (1, round(seconds * RATE))
    assert made.sample_rate == RATE
    assert np.isfinite(made.waveform).all()
    if seconds > 1:
        clips = np.abs(made.waveform).max() > 0.998  # turned down for that
        assert clips or 20 * np.log10(loudness([made.waveform])) == pytest.approx(-20, abs=0.5)


def test_each_take_hears_the_text_in_a_way_of_its_own_and_a_fill_as_it_stands(tiny_generator, monkeypatch):
    pipe = GeneratePipeline.load(tiny_generator)
    plain = pipe("a harp", duration_s=1, seed=3, **FAST)[0].waveform
    pipe.model.info["sampling"] |= {"word_noise": 0.5}
    heard = []
    encode = pipe.model.encode_text
    monkeypatch.setattr(pipe.model, "encode_text", lambda *args: heard.append(args) or encode(*args))
    takes = pipe("a harp", duration_s=1, seed=3, num_takes=2, **FAST)
    assert {args for args in heard if args[0]} == {("a harp", seed) for seed in (None, 3, 4)}
    [alone] = pipe("a harp", duration_s=1, seed=4, **FAST)
    np.testing.assert_array_equal(takes[1].waveform, alone.waveform)
    assert np.abs(takes[0].waveform - plain).max() > 1e-3
    heard.clear()
    pipe.inpaint(plain, [(0.2, 0.4)], "a harp", sample_rate=pipe.sample_rate, **FAST)
    assert {args for args in heard if args[0]} == {("a harp", None)}


def test_takes_are_the_same_alone_and_together_and_differ(pipe):
    told = []
    takes = pipe(
        "a harp", duration_s=1, num_takes=3, seed=5, progress=lambda done, total: told.append((done, total)), **FAST
    )
    assert told == [(k / 4, 3.0) for k in range(1, 13)]  # three steps and the inversion, each take
    assert len(list(itertools.islice(pipe.takes("a harp", duration_s=0.1, num_takes=100, **FAST), 1))) == 1
    for k, take in enumerate(takes):
        [single] = pipe("a harp", duration_s=1, seed=5 + k, **FAST)
        np.testing.assert_array_equal(take.waveform, single.waveform)
    assert np.abs(takes[0].waveform - takes[1].waveform).max() > 1e-3
    assert not torch.is_inference_mode_enabled()


class Quietest:
    """A listener to whom the softest sound fits best, and all are unlikely but, where there is one, the `fitting`th."""

    def __init__(self, fitting=0):
        self.texts, self.means, self.fitting = [], [], fitting

    def agreement(self, mels, text):
        self.texts.append(text)
        self.means.append(mels.mean().item())
        fits = -0.69 if len(self.means) == self.fitting else -0.8 - 0.001 * self.means[-1]
        return torch.tensor([fits], dtype=torch.float64)

    def chosen(self, seed, count):
        """The seed of the softest of the latest candidates."""
        return candidate_seeds(seed, count)[int(np.argmin(self.means[-count:]))]


@pytest.mark.parametrize("options", [{}, {"loop": True}, {"init": song(1), "sample_rate": 22050, "strength": 0.5}])
def test_each_take_has_candidates_of_its_own(pipe, options):
    listener: Any = Quietest()
    choosing = GeneratePipeline(pipe.model, listener)
    takes = choosing("a harp", duration_s=1, num_takes=2, num_candidates=3, seed=5, **FAST, **options)
    assert listener.texts == ["harp"] * 6
    assert len(set(listener.means)) == 6
    [second] = choosing("a harp", duration_s=1, num_candidates=3, seed=6, **FAST, **options)
    np.testing.assert_array_equal(takes[1].waveform, second.waveform)


def test_where_no_candidate_fits_the_one_is_made_whose_beginning_fits_best(pipe):
    listener: Any = Quietest()
    choosing = GeneratePipeline(pipe.model, listener)
    frames = pipe.model.mel.num_frames(RATE)
    chosen = set()
    for seed in range(4):
        settings = GenerateSettings(seed=seed, **FAST)
        mel = choosing.mel("a harp", frames, num_candidates=3, settings=settings)
        assert mel.shape == (1, 1, 32, frames)
        chosen.add(best := candidate_seeds(seed, 3).index(listener.chosen(seed, 3)))
        alone = pipe.mel("a harp", frames, settings=replace(settings, seed=candidate_seeds(seed, 3)[best]))
        torch.testing.assert_close(mel, alone, atol=0, rtol=0)
        choosing("a harp", duration_s=1, num_candidates=3, settings=settings)
        assert listener.means[-3:] == listener.means[-6:-3]
    assert len(chosen) > 1
    assert candidate_seeds(5, 1) == [5]
    for wrong in (0, -3, 1.5):
        with pytest.raises(InputError, match="frames is"):
            pipe.mel("a harp", wrong)
    with pytest.raises(InputError, match="the text is ''"):
        pipe.mel("  ", frames)


@pytest.mark.parametrize(
    ("options", "begun", "made"),
    [
        ({"num_inference_steps": 40}, 7, 40),
        ({"num_inference_steps": 10}, 3, 10),
        ({"num_inference_steps": 2}, 2, 2),
        ({"num_inference_steps": 1}, 1, 1),
        ({"num_inference_steps": 10, "init": song(1), "sample_rate": 22050, "strength": 0.5}, 1, 10),
    ],
)
def test_candidates_are_chosen_in_the_first_sixth_of_the_steps(pipe, monkeypatch, options, begun, made):
    told: list[tuple[int, int]] = []
    sample = type(pipe.model).sample

    def counted(model, denoiser, start, timesteps, noise, callback=None):
        told.append((len(start), len(timesteps)))
        return sample(model, denoiser, start, timesteps, noise, callback)

    monkeypatch.setattr(type(pipe.model), "sample", counted)
    choosing = GeneratePipeline(pipe.model, cast("Any", Quietest()))
    choosing("a harp", duration_s=0.5, num_candidates=3, guidance_scale=1.0, **options)
    assert told == [(1, begun)] * 3 + [(1, made)]


def test_the_first_candidate_that_fits_is_made_and_no_more_are_begun(pipe):
    listener: Any = Quietest(fitting=2)
    choosing = GeneratePipeline(pipe.model, listener)
    told: list[float] = []
    takes = choosing(
        "a harp",
        num_candidates=3,
        num_takes=2,
        duration_s=1,
        progress=lambda done, total: told.append(done / total),
        **FAST,
    )
    assert len(listener.means) == 2 + 3
    made = [*range(7, 11), *range(11, 21)]  # three times two steps, then three and the inversion, each take
    assert told == pytest.approx([k / 20 for k in (1, 2, 3, 4, *made)])
    for take, seed in zip(takes, (candidate_seeds(0, 3)[1], listener.chosen(1, 3)), strict=True):
        [alone] = pipe("a harp", duration_s=1, seed=seed, **FAST)
        np.testing.assert_array_equal(take.waveform, alone.waveform)


def test_of_a_recording_that_stays_as_it_is_there_is_one_candidate(pipe):
    listener: Any = Quietest()
    same = GeneratePipeline(pipe.model, listener)
    options = {"init": song(1), "sample_rate": 22050, "strength": 0.0}
    [made] = same("a harp", num_candidates=3, **options)
    np.testing.assert_array_equal(made.waveform, pipe("a harp", **options)[0].waveform)
    assert not listener.means


def test_short_sounds_have_eight_candidates_and_long_ones_one(pipe):
    listener: Any = Quietest()
    choosing = GeneratePipeline(pipe.model, listener)
    window_s = pipe.model.window * pipe.model.codec.factor * pipe.model.mel.hop_length / RATE
    options = {"num_inference_steps": 1, "guidance_scale": 1.0}
    begun: list[int] = []
    for seconds in (window_s / 20, window_s / 3.2, window_s / 1.6):
        choosing("a harp", duration_s=seconds, **options)
        begun.append(len(listener.means) - sum(begun))
    choosing("a harp", duration_s=window_s / 20, num_candidates=1, **options)
    assert [*begun, len(listener.means) - sum(begun)] == [8, 3, 0, 0]


def test_candidates_need_a_listener_to_the_models_mels(pipe, tiny_generator):
    assert pipe.listener is None
    with pytest.raises(InputError, match="num_candidates is 2, and the model has no listener"):
        pipe("a harp", duration_s=1, num_candidates=2, **FAST)
    for wrong in (0, 65, 1.5):
        with pytest.raises(InputError, match="num_candidates is"):
            pipe("a harp", duration_s=1, num_candidates=wrong, **FAST)
    with pytest.raises(ModelError, match=r"the listener listener hears mels made with MelConfig\(sample_rate=44100"):
        GeneratePipeline.load(tiny_generator, listener="listener")
    with pytest.raises(ModelError, match="holds a system 'generate'; expected 'listener'"):
        GeneratePipeline.load(tiny_generator, listener=tiny_generator)


def test_text_guidance_and_what_is_not_wanted_count(pipe):
    plain, *others = (
        pipe(text, duration_s=1, **(FAST | options))[0].waveform
        for text, options in (
            ("a harp", {}),
            ("a trumpet", {}),
            ("a harp", {"guidance_scale": 5.0}),
            ("a harp", {"negative_prompt": "rain"}),
            ("a harp", {"num_inference_steps": 4}),
        )
    )
    assert all(np.abs(other - plain).max() > 1e-4 for other in others)
    np.testing.assert_array_equal(pipe("The SOUND of a harp!", duration_s=1, **FAST)[0].waveform, plain)


def test_a_loop_is_a_circle_to_the_denoiser(pipe):
    frames = pipe._loop_frames(3 * RATE)
    width, step = frames // pipe.model.codec.factor, 2 ** (len(pipe.model.denoiser.config.widths) - 1)
    straight = pipe.model.model("a harp")
    model = circular(straight, pipe.model.denoiser.reach)
    x = torch.randn(1, 4, 8, width, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([500])

    def turned(model):
        return float((model(x.roll(step, -1), t) - model(x, t).roll(step, -1)).square().mean())

    assert turned(model) < 0.1 * turned(straight)  # its attention hears what is beside the seam twice
    for look in pipe.model.denoiser.picture.looks:
        torch.nn.init.zeros_(look.out.weight)
        torch.nn.init.zeros_(look.out.bias)
    torch.testing.assert_close(model(x.roll(step, -1), t), model(x, t).roll(step, -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_loop_has_no_seam(pipe, seed):
    [made] = pipe("a harp", duration_s=2.1, loop=True, seed=seed, **FAST)
    wave = made.waveform[0]
    steps, near = np.abs(np.diff(wave)), RATE // 200  # what is loudest of all may lie at the seam
    assert abs(wave[0] - wave[-1]) <= max(np.quantile(steps, 0.999), steps[:near].max(), steps[-near:].max())
    bends = np.abs(np.diff(wave, 2))
    bend = np.abs(np.diff(np.concatenate([wave[-3:], wave[:3]]), 2)).max()  # nor a corner
    assert bend <= max(np.quantile(bends, 0.9995), bends[:near].max(), bends[-near:].max())


def test_a_recording_is_where_it_starts(pipe, tmp_path):
    write_audio(tmp_path / "song.wav", song(), 22050)
    mels = {}
    for strength in (0.0, 0.3, 1.0):
        [made] = pipe("a harp", init=tmp_path / "song.wav", strength=strength, **FAST)
        assert made.waveform.shape == (1, 3 * RATE)
        mels[strength] = mel_spectrogram(torch.from_numpy(made.waveform)[None], pipe.model.mel)
    near, far = (float((mels[strength] - mels[0.0]).abs().mean()) for strength in (0.3, 1.0))
    assert 0 < near < far
    [free] = pipe("a harp", duration_s=3, **FAST)
    whole = mel_spectrogram(torch.from_numpy(free.waveform)[None], pipe.model.mel)
    torch.testing.assert_close(mels[1.0], whole)
    [longer] = pipe("a harp", init=song()[0], sample_rate=22050, duration_s=4.0, **FAST)
    assert longer.waveform.shape == (1, 4 * RATE)


@pytest.mark.parametrize("rate", [22050, 16000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_inpainting_leaves_the_rest_to_the_sample_and_is_as_loud(pipe, rate, channels):
    before = song(channels=channels, rate=rate)
    spans = [(0.8, 1.3), (2.0, 2.4)]
    made = pipe.inpaint(before, spans, "a harp", sample_rate=rate, **FAST)
    assert made.waveform.shape == before.shape
    assert made.sample_rate == rate
    time = np.arange(before.shape[1]) / rate
    far = np.ones(len(time), dtype=bool)
    for start, end in spans:
        far &= (time < start - 0.031) | (time > end + 0.031)
        hole = (time >= start) & (time < end)
        assert np.abs(made.waveform - before)[:, hole].max() > 1e-3
        around = far & (time > start - 2) & (time < end + 2)
        for channel in range(channels):
            level = rms_db(made.waveform[channel, hole]) - rms_db(before[channel, around])
            assert abs(level) < 1.5
    np.testing.assert_array_equal(made.waveform[:, far], before[:, far])
    if channels == 2:
        hole = (time >= 0.8) & (time < 1.3)
        assert np.corrcoef(made.waveform[:, hole])[0, 1] == pytest.approx(-1, abs=1e-3)


def test_only_a_band_is_made_anew(pipe):
    before = song(channels=1, rate=RATE)
    made = pipe.inpaint(before, [(1.0, 2.0)], low_hz=1000, high_hz=3000, sample_rate=RATE, **FAST).waveform
    change = np.abs(np.fft.rfft((made - before)[0, RATE : 2 * RATE] * np.hanning(RATE))) ** 2
    assert change[900:3400].sum() > 0.95 * change.sum() > 0
    note = np.abs(np.fft.rfft(made[0, RATE : 2 * RATE]))[220]
    assert note == pytest.approx(np.abs(np.fft.rfft(before[0, RATE : 2 * RATE]))[220], rel=0.02)


@pytest.mark.parametrize("before", [False, True])
def test_extending_goes_on_from_the_end(pipe, before):
    known = song(channels=2, rate=22050)
    made = pipe.extend(known, 1.5, "a harp", before=before, sample_rate=22050, **FAST).waveform
    more = round(1.5 * 22050)
    assert made.shape == (2, known.shape[1] + more)
    fade = round(0.031 * 22050)
    kept, new = (made[:, more:], made[:, :more]) if before else (made[:, :-more], made[:, -more:])
    where = slice(fade, None) if before else slice(None, -fade)
    np.testing.assert_array_equal(kept[:, where], known[:, where])
    near = known[:, : 2 * 22050] if before else known[:, -2 * 22050 :]
    assert abs(rms_db(new[0]) - rms_db(near[0])) < 1.5
    assert rms_db(new[0]) - rms_db(new[1]) == pytest.approx(6.02, abs=0.1)


def test_spans_that_touch_are_one_and_others_are_refused():
    assert check_spans([(2, 3), (0, 1), (1, 1.5)], 64000, RATE) == [(0, 1.5), (2, 3)]
    wrong: list[tuple[Any, str]] = [
        ([], "spans is empty"),
        ([(1, 1)], "the span is 1 to 1 s"),
        ([(-1, 1)], "the span is -1 to 1 s"),
        ([(3, 5)], r"within 0 to 4\.000 s"),
        ([(float("nan"), 1)], "the span is nan"),
        ([(0, 4)], "cover all"),
        ([(1.0, 1.00001)], "expected at least a sample"),
        ((1.0, 2.0), r"a span is 1\.0; expected its start and its end"),
        ([("1", "2")], "a span is"),
        ([(1, 2, 3)], "a span is"),
    ]
    for spans, said in wrong:
        with pytest.raises(InputError, match=said):
            check_spans(spans, 64000, RATE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": ""}, "expected at least one English word"),
        ({"prompt": "the sound of"}, "expected at least one English word"),
        ({"duration_s": 0}, "duration_s is 0"),
        ({"duration_s": 601}, "at most 600"),
        ({"num_takes": 0}, "num_takes is 0"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": 1001}, "num_inference_steps is 1001"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"negative_prompt": "qqqqqqq"}, "expected at least one English word"),
        ({"negative_prompt": "rain", "guidance_scale": 1}, "guidance_scale is 1, at which negative_prompt, 'rain'"),
        ({"prompt": None}, "the text is None; expected a str"),
        ({"prompt": ["a harp"]}, "the text is"),
        ({"duration_s": "3"}, "duration_s is '3'"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_wrong_arguments_are_named(pipe, changes, said):
    with pytest.raises(InputError, match=said):
        pipe(**({"prompt": "a harp", "duration_s": 0.5} | FAST | changes))


def test_wrong_bands_and_lengths_are_named(pipe):
    for band in ({"low_hz": 3000, "high_hz": 200}, {"low_hz": -1}, {"low_hz": 7990, "high_hz": 7991}):
        with pytest.raises(InputError, match="low_hz is"):
            pipe.inpaint(song(), [(1, 2)], sample_rate=22050, **band)
    with pytest.raises(InputError, match="seconds is 0"):
        pipe.extend(song(), 0, sample_rate=22050)


def test_unknown_words_are_said(pipe):
    for call in (
        lambda: pipe("a qqqqqqq harp and 808 \u592a\u9f13", duration_s=0.5, **FAST),
        lambda: pipe.inpaint(song(), [(1, 2)], "a qqqqqqq harp and 808 \u592a\u9f13", sample_rate=22050, **FAST),
    ):
        with pytest.warns(UserWarning, match="does not know qqqqqqq, 808, \u592a\u9f13; left out") as caught:
            call()
        assert [warning.filename for warning in caught] == [__file__]


def test_without_a_text_what_is_not_wanted_still_counts(pipe):
    free, rain, more = (
        pipe.inpaint(song(), [(1, 2)], " ", sample_rate=22050, **(FAST | options)).waveform
        for options in ({}, {"negative_prompt": "rain"}, {"negative_prompt": "rain", "guidance_scale": 4.0})
    )
    assert np.abs(rain - free).max() > 1e-4
    assert np.abs(more - rain).max() > 1e-4


def test_it_is_a_system_like_the_others(tiny_generator, tiny_model_folder):
    system = load_system(tiny_generator, GenerateSystem)
    assert system.info["sampling"] == {"steps": 4, "guidance": 2.0, "eta": 1.0}
    with pytest.raises(ModelError, match="holds a system 'transfer'; expected 'generate'"):
        GeneratePipeline.load(tiny_model_folder)
