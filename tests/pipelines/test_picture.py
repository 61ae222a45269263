"""Pictures from music with a model of no sense: seeds, sizes, what a PNG keeps, and what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from timbrel.errors import AudioError, InputError
from timbrel.pipelines.picture import DEFAULTS, PaintPipeline, enlarge

RATE = 22050


@pytest.fixture(scope="module")
def pipe(tiny_painter):
    return PaintPipeline.load(tiny_painter)


def song(hz, seconds=4.0):
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE, dtype=np.float32)


def test_pictures_are_the_same_alone_and_together_and_differ(pipe):
    pictures = pipe(song(220), sample_rate=RATE, num_pictures=3, seed=5, size=128)
    for k, picture in enumerate(pictures):
        [alone] = pipe(song(220), sample_rate=RATE, seed=5 + k, size=128)
        np.testing.assert_array_equal(alone.pixels, picture.pixels)
        assert picture.about["seed"] == 5 + k
    assert (pictures[0].pixels != pictures[1].pixels).any()


def test_a_batch_of_latents_is_each_alone(pipe):
    heard = [pipe.model.hear(torch.from_numpy(song(hz))) for hz in (220, 700)]
    both = pipe.latents(heard, DEFAULTS, [4, 9])
    for k, seed in enumerate((4, 9)):
        torch.testing.assert_close(both[k : k + 1], pipe.latents([heard[k]], DEFAULTS, [seed]), atol=1e-3, rtol=1e-3)


def test_music_prompt_and_place_count(pipe):
    options = {"sample_rate": RATE, "size": 128, "guidance_scale": 5.0}
    long = np.concatenate([song(220, 40), np.random.default_rng(0).normal(0, 0.1, 40 * RATE).astype(np.float32)])
    first, last = (pipe(long, start_s=start, **options)[0].pixels for start in (0, 50))
    assert (first != last).any()
    np.testing.assert_array_equal(pipe(song(220, 30), **options)[0].pixels, first)
    assert (pipe(long, start_s=0, prompt="a ship", **options)[0].pixels != first).any()


def test_a_pictures_colours_are_put_on_what_is_painted(pipe, tmp_path):
    Image.fromarray(np.random.default_rng(0).normal((200, 90, 40), 12, (20, 20, 3)).astype(np.uint8)).save(
        tmp_path / "warm.png"
    )
    options = {"sample_rate": RATE, "size": 128}
    [plain] = pipe(song(220), **options)
    [warm] = pipe(song(220), style_of=str(tmp_path / "warm.png"), **options)
    np.testing.assert_allclose(warm.pixels.mean((0, 1)), (200, 90, 40), atol=4)
    assert (plain.about["style_of"], warm.about["style_of"]) == (None, "warm.png")
    with pytest.raises(InputError, match=r"gone\.png cannot be read as a picture"):
        pipe(song(220), style_of=str(tmp_path / "gone.png"), **options)


def test_a_png_says_how_it_was_made(pipe, tmp_path):
    [picture] = pipe(song(220), sample_rate=RATE, seed=7, size=200, num_inference_steps=2, guidance_scale=1.5)
    path = tmp_path / "out.png"
    picture.save(path)
    with Image.open(path) as image:
        assert image.size == (200, 200)
        about = json.loads(image.info["timbrel"])
        np.testing.assert_array_equal(np.asarray(image), picture.pixels)
    assert about == picture.about
    assert {"model": "model", "seed": 7, "steps": 2, "guidance": 1.5, "size": 200}.items() <= about.items()
    with pytest.raises(InputError, match="exists"):
        picture.save(path)
    with pytest.raises(InputError, match=r"'\.jpg'; expected one of \.png"):
        picture.save(tmp_path / "out.jpg")
    with pytest.raises(AudioError, match="there is no folder"):
        picture.save(tmp_path / "nowhere" / "out.png")


def test_an_enlarged_picture_made_small_is_the_picture():
    rng = np.random.default_rng(0)
    levels = np.kron(rng.uniform(0, 255, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.float32)
    large = enlarge(levels, 512)
    assert large.shape == (512, 512, 3)
    small = np.asarray(Image.fromarray(large).resize((128, 128), Image.Resampling.LANCZOS), np.float32)
    plain = Image.fromarray(levels.astype(np.uint8)).resize((512, 512), Image.Resampling.LANCZOS)
    blurred = np.asarray(plain.resize((128, 128), Image.Resampling.LANCZOS), np.float32)
    assert np.abs(small - levels).mean() < 0.7 * np.abs(blurred - levels).mean()
    assert enlarge(levels, 64).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_pictures": 0}, "num_pictures is 0"),
        ({"start_s": 9.0}, "start_s is 9; expected 0 to below 4.0"),
        ({"start_s": -1.0}, "start_s is -1"),
        ({"prompt": "xqzzk"}, "prompt is 'xqzzk'"),
        ({"prompt": 3}, "prompt is 3"),
        ({"prompt": "sea " * 75}, "of 75 words that count; expected at most 40"),
        ({"size": 5000}, "size is 5000"),
        ({"guidance_scale": 30}, "guidance_scale is 30"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
    ],
)
def test_a_wrong_value_is_named(pipe, options, message):
    with pytest.raises(InputError, match=message):
        pipe(song(220), sample_rate=RATE, **options)


def test_a_prompt_is_checked_before_the_song_is_heard(pipe, monkeypatch):
    monkeypatch.setattr(pipe.model, "hear", lambda waveform: pytest.fail("heard"))
    with pytest.raises(InputError, match="of 41 words that count"):
        pipe(song(220), sample_rate=RATE, prompt="sea " * 41)
    assert pipe.check_prompt("the " * 100 + "sea " * 40), "small words are not read"


def test_silence_and_words_that_are_unknown_are_told(pipe):
    with pytest.raises(AudioError, match="silent"):
        pipe(np.zeros(RATE, np.float32), sample_rate=RATE)
    with pytest.warns(UserWarning, match="does not know xqzzk"):
        pipe(song(220), sample_rate=RATE, prompt="a ship xqzzk", size=128)
