"""The system of generated sound: its folder, its parts that have to fit, and CLIP's text model in place of words."""

import json

import pytest
import torch

from timbrel.audio.mel import mel_spectrogram
from timbrel.diffusion.masks import told
from timbrel.diffusion.samplers import ddim, dpm_solver_pp_2m, seeded_generators, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError, ModelError
from timbrel.models.text import WordsConfig
from timbrel.models.text_unet import TextUNetConfig, with_masks
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.foreign import CLIPText, CLIPTextConfig
from timbrel.systems.generate import GenerateSystem
from timbrel.systems.listing import list_models


def with_clip(tiny_generator, source, width=16):
    words = load_system(tiny_generator, GenerateSystem)
    return GenerateSystem.build(
        words.mel, words.codec, CLIPTextConfig(str(source), width), words.denoiser.config, words.schedule_config
    )


def test_a_text_is_conditioned_on_and_no_text_is_the_null_token(tiny_generator):
    system = load_system(tiny_generator, GenerateSystem)
    text, null = system.encode_text("a slow harp"), system.encode_text("")
    assert text.tokens.shape == (1, 2, 16)
    torch.testing.assert_close(null.tokens[0, 0], system.denoiser.null_token)
    x, t = torch.randn(2, 4, 8, 10), torch.tensor([500, 500])
    one, other = (system.model(prompt, guidance_scale=scale)(x, t) for prompt, scale in (("", 1), ("a harp", 0)))
    torch.testing.assert_close(one, other)
    wanted = system.model("a harp")(x, t)
    torch.testing.assert_close(system.model("a harp", guidance_scale=3)(x, t), one + 3 * (wanted - one))
    assert system.latent_shape(41) == (4, 8, 11)


def test_each_take_hears_the_words_a_little_differently(tiny_generator):
    system = load_system(tiny_generator, GenerateSystem)

    def tokens(text, seed, word_noise=0.5):
        system.info["sampling"] = {"word_noise": word_noise}
        return system.encode_text(text, seed).tokens

    plain = system.encode_text("a harp").tokens
    torch.testing.assert_close(tokens("a harp", 1), tokens("a harp", 1), rtol=0, atol=0)
    moved, other, less = (tokens("a harp", *of) - plain for of in ((1,), (2,), (1, 0.05)))
    assert float((moved - other).abs().max()) > 1e-2
    assert float(less.abs().max()) < 0.3 * float(moved.abs().max())
    torch.testing.assert_close(tokens("a harp", 1, 0.0), plain)
    torch.testing.assert_close(tokens("", 1), system.encode_text("").tokens)
    x, t = torch.randn(1, 4, 8, 10), torch.tensor([500])
    for word_noise, differ in ((0.0, False), (0.5, True)):
        system.info["sampling"] = {"word_noise": word_noise}
        one, two = (system.model("a harp", seed=seed)(x, t) for seed in (1, 2))
        assert (float((one - two).abs().max()) > 1e-4) == differ


def test_guidance_leads_away_from_a_sound_that_knows_neither_text_nor_surroundings(tiny_generator):
    system = load_system(tiny_generator, GenerateSystem)
    system.denoiser = with_masks(system.denoiser).eval().requires_grad_(False)
    torch.nn.init.normal_(system.denoiser.known.weight, std=0.2)
    x, known, t = torch.randn(1, 4, 8, 10), torch.randn(1, 4, 8, 10), torch.tensor([950])
    mask = torch.arange(10) < 4
    for prompt in ("a harp", ""):
        wanted, more = (told(system.model(prompt, guidance_scale=scale), known, mask)(x, t) for scale in (1, 3))
        neither = system.model("")(x, t)
        assert float((wanted - neither).abs().max()) > 1e-3
        torch.testing.assert_close(more, neither + 3 * (wanted - neither))
        cleaner = [told(system.model(prompt, guidance_scale=scale), known, mask)(x, t - 100) for scale in (1, 3)]
        torch.testing.assert_close(*cleaner, rtol=0, atol=0)


def test_the_model_that_ships_takes_the_names_of_a_class_for_one_another():
    system = load_system("generate", GenerateSystem)
    fiddle, violin = (system.encode_text(text).tokens for text in ("there is a fiddle somewhere", "a violin"))
    torch.testing.assert_close(fiddle, violin)
    with pytest.raises(InputError, match="the text is 'xqzzk'"):
        system.encode_text("xqzzk")


def test_a_text_fits_a_sound_that_it_names():
    system = load_system("generate", GenerateSystem)
    moment = torch.arange(2 * system.mel.sample_rate) / system.mel.sample_rate
    noise = torch.randn(len(moment), generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(64, 20, dtype=torch.bool)
    for sound, name, other in (
        (noise, "white noise", "a sine wave"),
        ((2 * torch.pi * 600 * moment).sin(), "a sine wave", "white noise"),
    ):
        with torch.inference_mode():
            latents = system.codec.encode(mel_spectrogram(0.1 * sound[None, None], system.mel)[..., :80])
            for text, fitting in ((name, True), (other, False), ("a harp melody", False), ("male speech", False)):
                for seed in (0, 1):
                    assert system.fits(text, latents, everywhere, seed) == fitting
            assert not system.fits(name, latents, ~everywhere, 0)
            long, beginning = latents.repeat(1, 1, 1, 28), torch.arange(560).expand(64, 560) < 530  # more than a window
            assert system.fits(name, long, beginning, 0)
            assert not system.fits(other, long, beginning, 0)


def test_a_text_fits_by_the_mean_share_of_the_error_that_it_saves_away_from_pure_noise(tiny_generator, monkeypatch):
    system = load_system(tiny_generator, GenerateSystem)
    latents, everywhere, levels = torch.randn(1, 4, 8, 10), torch.ones(8, 10, dtype=torch.bool), set()
    errors = {"": 1.0, "harp": 0.998, "drum": 1.002, "bell": 1.01}  # so much at each noise level, but for these:
    by_chance, clear = {"harp": 100.0, "drum": 0.01}, {"bell": 0.8}

    def answer(text, x, t):
        levels.add(int(t))
        error = errors[text]
        if t > 980:
            error = by_chance.get(text, error)
        elif 500 < t < 600:
            error = clear.get(text, error)
        return torch.full_like(x, error**0.5)

    monkeypatch.setattr(type(system.schedule), "target", lambda _, x, *__: torch.zeros_like(x))
    monkeypatch.setattr(GenerateSystem, "encode_text", lambda _, text: text)
    monkeypatch.setattr(GenerateSystem, "_conditioned", lambda _, text: lambda x, t: answer(text, x, t))
    assert [system.fits(text, latents, everywhere, 0) for text in ("harp", "drum", "bell")] == [True, False, True]
    assert len(levels) == 10
    gaps = torch.tensor(sorted(levels)).diff()
    assert gaps.max() - gaps.min() <= 1


def test_its_info_says_how_it_is_sampled(tiny_generator):
    system = load_system(tiny_generator, GenerateSystem)
    model, timesteps = system.model("a harp"), inference_timesteps(system.schedule, 4)
    start = seeded_noise((4, 8, 10), [0, 1])
    noisy = ddim(model, start, system.schedule, timesteps, eta=1, noise=seeded_generators([0, 1]))
    same = system.sample(model, start, timesteps, seeded_generators([0, 1]))
    torch.testing.assert_close(same, noisy, rtol=0, atol=0)
    system.info["sampling"]["temperature"] = 0.5
    cool = ddim(model, start, system.schedule, timesteps, eta=1, temperature=0.5, noise=seeded_generators([0, 1]))
    same = system.sample(model, start, timesteps, seeded_generators([0, 1]))
    torch.testing.assert_close(same, cool, rtol=0, atol=0)
    system.info = {}
    plain = system.sample(model, start, timesteps, seeded_generators([0, 1]))
    torch.testing.assert_close(plain, dpm_solver_pp_2m(model, start, system.schedule, timesteps), rtol=0, atol=0)
    assert not torch.equal(plain, noisy)


def test_the_listing_shows_it(tiny_generator):
    [listed] = [model for model in list_models(tiny_generator) if model.path == tiny_generator]
    assert (listed.purpose, listed.error) == ("tests", "")


def test_parts_that_do_not_fit_are_refused(tiny_generator):
    system = load_system(tiny_generator, GenerateSystem)
    for text, denoiser, said in (
        (WordsConfig(width=32), system.denoiser.config, "text.width and denoiser.token_width are 32 and 16"),
        (WordsConfig(width=16), TextUNetConfig(latent_channels=4, latent_height=9, token_width=16), "latent_height"),
    ):
        built = GenerateSystem.build(system.mel, system.codec, text, denoiser, ScheduleConfig(prediction_type="v"))
        with pytest.raises(ModelError, match=said):
            built.check()


def test_clip_is_a_text_encoder_that_a_folder_names(tiny_generator, tiny_clip, tmp_path):
    system = with_clip(tiny_generator, tiny_clip)
    save_system(tmp_path, system)
    assert json.loads((tmp_path / "config.json").read_text())["text"]["source"] == str(tiny_clip)
    again = load_system(tmp_path, GenerateSystem)
    tokens, mask = again.encode_text("a violin")
    assert tokens.shape == (1, 77, 16)
    assert mask.all()
    assert not torch.equal(tokens, again.encode_text("a harp").tokens)
    assert again.encode_text("").tokens.shape == (1, 1, 16)
    assert again.model("a violin", guidance_scale=2)(torch.randn(1, 4, 8, 6), torch.tensor([3])).isfinite().all()
    with pytest.raises(InputError, match="the text is empty"):
        again.text.read([" "])


def test_another_width_or_no_clip_is_refused(tiny_clip, tmp_path):
    with pytest.raises(ModelError, match="has tokens of 16; expected 32"):
        CLIPText(CLIPTextConfig(str(tiny_clip), 32)).read(["a harp"])
    with pytest.raises(ModelError, match="cannot be read as CLIP"):
        CLIPText(CLIPTextConfig(str(tmp_path), 32)).read(["a harp"])
