"""The full-size painter on networks of no size: the token's place, what a folder holds, training, and errors."""

import json

import numpy as np
import pytest
import torch

from timbrel.data.paint.procedural import draw_picture
from timbrel.data.paint.store import save_music, save_pictures
from timbrel.errors import InputError, ModelError
from timbrel.pipelines.picture import PaintPipeline
from timbrel.systems.base import Sampling
from timbrel.systems.ears import load_ear
from timbrel.systems.stable_painter import load_stable_painter, new_stable_painter, save_stable_painter
from timbrel.training import picture
from timbrel.training.loop import fit
from timbrel.training.picture import PictureStage
from timbrel.training.recipes import PICTURE_RECIPES, find_recipe

pytest.importorskip("diffusers")


@pytest.fixture
def painter(tiny_stable_diffusion):
    torch.manual_seed(0)
    return new_stable_painter(str(tiny_stable_diffusion), load_ear("timbrel-features"))


def song(seconds=4.0, rate=22050):
    return 0.3 * np.sin(np.arange(round(seconds * rate)) / 9, dtype=np.float32)


def test_the_musics_token_is_in_the_text_encoders_input_after_the_words(painter):
    ids, mask = painter.text.read(["a b", ""])
    assert mask.sum(1).tolist() == [4, 2]
    token = torch.randn(2, 16, requires_grad=True)
    plain = painter.text(ids, mask)[0]
    both = painter.text.with_token(ids, mask, token, torch.tensor([True, False]))
    assert both.shape == plain.shape
    torch.testing.assert_close(both[0, :3], plain[0, :3])  # the attention is causal
    assert (both[0, 3:] - plain[0, 3:]).abs().max() > 1e-3
    torch.testing.assert_close(both[1], plain[1])
    both[0].square().mean().backward()
    assert token.grad[0].abs().sum() > 0
    assert not token.grad[1].any()


def test_a_prompt_that_leaves_no_room_is_refused(painter):
    with pytest.raises(InputError, match="of 76 tokens; expected at most 74"):
        painter.text.read(["x" * 76])
    painter.text.read(["x" * 74])
    with pytest.raises(InputError, match="of 76 tokens"):
        PaintPipeline(painter).check_prompt("x" * 76)


def test_a_folder_points_to_stable_diffusion_and_paints(painter, tiny_stable_diffusion, tmp_path):
    painter.info = {"sampling": {"steps": 2, "guidance": 2.0}}
    save_stable_painter(tmp_path, painter, whole=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embedder.safetensors", "timbrel.json"]
    pipe = PaintPipeline.load(tmp_path)
    assert load_stable_painter(tmp_path).source == str(tiny_stable_diffusion)
    options = {"sample_rate": 22050, "size": 48, "seed": 3}
    [painted] = pipe(song(), **options)
    assert painted.pixels.shape == (48, 48, 3)
    np.testing.assert_array_equal(pipe(song(), **options)[0].pixels, painted.pixels)
    assert (pipe(np.random.default_rng(0).normal(0, 0.1, 88200), **options)[0].pixels != painted.pixels).any()
    assert (pipe(song(), prompt="a sea", **options)[0].pixels != painted.pixels).any()
    none = pipe.model.condition("", None)
    torch.testing.assert_close(none.tokens[0], pipe.model.denoiser.null_token)


@pytest.fixture
def data(tmp_path):
    """Pictures of two labels in the size of the tiny Stable Diffusion, and music as our features hear it."""
    folder = tmp_path / "set"
    save_pictures(folder, ((draw_picture(("quilt", "fire")[k % 2], k)[::4, ::4], k % 2, k // 4) for k in range(8)))
    width = load_ear("timbrel-features").width
    save_music(folder, torch.randn(8, 3, width), [0, 1] * 4, [0] * 4 + [1] * 4, ("timbrel-features", ""))
    return folder


@pytest.mark.parametrize("recipe", ["experiment-1", "experiment-2"])
def test_both_experiments_train_what_they_say(recipe, data, tiny_stable_diffusion, tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "SAMPLING", Sampling(steps=1, guidance=4.0))  # of the pictures of a validation
    changes = {"epochs": 2, "batch_size": 2, "precision": "fp32", "num_workers": 0, "learning_rate": 1e-2}
    stage = PictureStage.prepare(
        find_recipe(PICTURE_RECIPES, recipe, **changes), data, init_from=str(tiny_stable_diffusion)
    )
    assert (stage.recipe.steps, stage.recipe.validate_every) == (4, 2)
    alone = recipe == "experiment-1"
    assert set(stage.modules) == ({"embedder"} if alone else {"embedder", "denoiser", "text"})
    unet = {name: p.clone() for name, p in stage.model.denoiser.named_parameters()}
    assert fit(stage, tmp_path / "run")
    same = all(torch.equal(unet[name], p) for name, p in stage.model.denoiser.named_parameters())
    assert same == alone
    assert (tmp_path / "run/model/stable-diffusion").exists() != alone
    loaded = load_stable_painter(tmp_path / "run/model")
    assert loaded.audio.kind == "timbrel-features"
    assert Sampling(**loaded.info["sampling"]) == Sampling(steps=50, guidance=7.5)


def test_pictures_of_another_size_are_refused(data, tiny_stable_diffusion):
    save_pictures(data, ((draw_picture("fire", k), k % 2, k // 4) for k in range(8)))
    with pytest.raises(InputError, match="128 pixels a side; expected 32: make it with --size 32"):
        PictureStage.prepare(PICTURE_RECIPES["experiment-1"], data, init_from=str(tiny_stable_diffusion))


def test_what_is_missing_is_said(painter, tmp_path):
    save_stable_painter(tmp_path, painter, whole=False)
    settings = json.loads((tmp_path / "timbrel.json").read_text())
    for name, value, message in (
        ("stable_diffusion", str(tmp_path / "gone"), "cannot be read as Stable Diffusion"),
        ("audio", {"kind": "beats", "source": ""}, "names no audio encoder"),
        ("embedder", {"input_width": 3, "token_width": 16}, "embedder.input_width are 128 and 3"),
        ("embedder", "no", "cannot be read"),
    ):
        (tmp_path / "timbrel.json").write_text(json.dumps(settings | {name: value}))
        with pytest.raises(ModelError, match=message):
            PaintPipeline.load(tmp_path)
