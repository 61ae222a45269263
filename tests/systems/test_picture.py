import dataclasses
import json

import pytest
import torch

from timbrel.errors import InputError, ModelError
from timbrel.systems.folder import load_system
from timbrel.systems.listing import list_models
from timbrel.systems.picture import PictureSystem


@pytest.fixture(scope="module")
def system(tiny_painter):
    return load_system(tiny_painter, PictureSystem)


def test_the_musics_token_stands_after_the_prompts(system):
    features = system.hear(torch.randn(10 * 16000))
    assert features.shape == (3, 392)  # whole moments of 3 s
    both, prompt, music, none = (
        system.condition(text, heard)
        for text, heard in (("a ship", features), ("a ship", None), ("", features), ("", None))
    )
    assert both.tokens.shape == (1, 2, 16)
    torch.testing.assert_close(both.tokens[:, :1], prompt.tokens)
    torch.testing.assert_close(both.tokens[:, 1:], music.tokens)
    torch.testing.assert_close(none.tokens[0, 0], system.denoiser.null_token)


def test_level_plays_no_part_and_short_music_is_repeated(system):
    second = torch.randn(16000)
    torch.testing.assert_close(system.hear(0.01 * second), system.hear(second), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(system.hear(second), system.hear(second.repeat(3)))


def test_guidance_exaggerates_what_the_condition_changes(system):
    x, t = torch.randn(2, *system.latent_shape), torch.tensor([500, 500])
    text = system.condition("", torch.randn(5, 392))
    null, wanted = system.model(system.condition("", None))(x, t), system.model(text)(x, t)
    assert (wanted - null).abs().max() > 1e-3
    torch.testing.assert_close(system.model(text, 3.0)(x, t), null + 3 * (wanted - null))


def test_it_is_listed_and_a_prompt_needs_a_word(system, tiny_painter):
    [listed] = [model for model in list_models(tiny_painter) if model.path == tiny_painter]
    assert (listed.purpose, listed.error) == ("tests", "")
    with pytest.raises(InputError, match="'xqzzk'"):
        system.condition("xqzzk", None)


def test_parts_have_to_fit(tiny_painter, tmp_path):
    for path in tiny_painter.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tiny_painter / "config.json").read_text())
    config["mel"]["hop_length"] = 128
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="which the audio encoder hears"):
        load_system(tmp_path)
    fresh = load_system(tiny_painter, PictureSystem)
    fresh.embedder.config = dataclasses.replace(fresh.embedder.config, token_width=8)
    with pytest.raises(ModelError, match="token_width are 16 and 8"):
        fresh.check()
