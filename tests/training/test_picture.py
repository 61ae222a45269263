"""The two stages of pictures on a small set: a few steps, measured, saved, and painted from."""

import dataclasses
import json

import pytest
import torch

from timbrel.data.paint.labels import LABELS
from timbrel.data.paint.procedural import draw_picture
from timbrel.data.paint.store import ENCODER, load_music, save_music, save_pictures
from timbrel.errors import InputError
from timbrel.models.musicnn import Musicnn
from timbrel.pipelines.picture import PaintPipeline
from timbrel.systems.folder import load_system
from timbrel.systems.picture import PictureSystem
from timbrel.systems.weights import save_weights
from timbrel.training.loop import fit
from timbrel.training.picture import PictureCodecStage, PictureStage
from timbrel.training.recipes import PICTURE_CODEC_RECIPES, PICTURE_RECIPES, find_recipe

CODEC = find_recipe(PICTURE_CODEC_RECIPES, "tiny", precision="fp32", steps=4, num_workers=0)
PAINT = find_recipe(PICTURE_RECIPES, "tiny", precision="fp32", steps=4, num_workers=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Of each label four pictures, two of them to train on, and as many clips, which differ by the label."""
    folder = tmp_path_factory.mktemp("paint") / "set"
    splits = [0, 0, 1, 2]
    save_pictures(
        folder,
        ((draw_picture(("quilt", "fire")[k % 2], k), k, split) for k in range(len(LABELS)) for split in splits),
    )
    torch.manual_seed(0)
    music = torch.randn(len(LABELS), 1, 1, Musicnn.hidden_width) + 0.1 * torch.randn(
        len(LABELS), 4, 3, Musicnn.hidden_width
    )
    save_music(folder, music.flatten(0, 1), [k for k in range(len(LABELS)) for _ in splits], splits * len(LABELS))
    save_weights(folder / ENCODER, Musicnn(), torch.float32)
    return folder


@pytest.fixture(scope="module")
def codec(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("codec")
    assert fit(PictureCodecStage.prepare(CODEC, data), run)
    return run / "model"


def train(stage, steps, learning_rate=3e-3):
    """The losses of the first batch before and after so many steps."""
    for module in stage.frozen.values():
        module.eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(torch.nn.ModuleDict(stage.modules).parameters(), lr=learning_rate)
    before = stage.loss(stage.batch(0), 0)["loss"].item()
    for step in range(steps):
        optimizer.zero_grad()
        stage.loss(stage.batch(step), 0)["loss"].backward()
        optimizer.step()
    return before, stage.loss(stage.batch(0), 0)["loss"].item()


def test_the_codec_learns_against_its_discriminator(data):
    stage = PictureCodecStage.prepare(CODEC, data)
    before, after = train(stage, 12)
    assert after < 0.85 * before
    values = stage.loss(stage.batch(1), 10)
    assert {"error", "kl", "adversarial", "matching"} < values.keys()
    assert stage.discriminator_loss(stage.batch(1), 10)["loss"].requires_grad
    assert 0 < stage.validate()["mae_levels"] < 255
    picture = stage.samples()["pictures and reconstructions"]
    assert picture.shape[:2] == (3, 256)


def test_the_model_learns_and_tells_music_apart(data, codec):
    recipe = dataclasses.replace(
        PAINT, batch_size=32, l1_weight=0.0, null_share=0.0, prompt_share=0.0, feature_noise=0.0
    )
    stage = PictureStage.prepare(recipe, data, codec=codec)
    before, after = train(stage, 30)
    assert after < before - 0.05  # of 0.1 that the label's words weigh
    figures = stage.validate()
    assert figures["error"] > 0
    assert stage.loss(stage.batch(0), 0)["label"] < 0.5  # the token lies near the words of its label
    assert stage.samples()["painted"].shape == (3, 128, 12 * 128)


def test_a_batch_is_one_label_a_sample_and_follows_its_step(data, codec):
    stage = PictureStage.prepare(dataclasses.replace(PAINT, batch_size=64), data, codec=codec)
    batch, again = stage.batch(3), stage.batch(3)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    labels = load_music(data).label
    music = {tuple(clip[0, :3].tolist()): int(label) for clip, label in zip(stage.music.features, labels, strict=True)}
    plain = stage._draw("train", stage.rng(3), 64)
    assert [music[tuple(clip[0, :3].half().tolist())] for clip in plain["features"]] == plain["label"].tolist()
    assert batch["moments"].any(1).all()
    assert (batch["prompt"] == 0).any()
    assert (~batch["with_music"] & batch["drop"]).any()


def test_a_run_leaves_a_model_that_paints(data, codec, tmp_path):
    assert fit(PictureStage.prepare(PAINT, data, codec=codec), tmp_path)
    pipe = PaintPipeline.load(tmp_path / "model")
    [picture] = pipe(torch.randn(16000), sample_rate=16000, size=128, num_inference_steps=2)
    assert picture.pixels.shape == (128, 128, 3)


def test_what_is_missing_is_named(data, codec, tmp_path):
    with pytest.raises(InputError, match="timbrel train picture-codec"):
        PictureStage.prepare(PAINT, data)
    save_pictures(tmp_path, ((draw_picture("quilt", k), k, 0) for k in range(17)))
    for name in ("music.safetensors", ENCODER):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    with pytest.raises(InputError, match="no label has both music and pictures of the validation half"):
        PictureStage.prepare(PAINT, tmp_path, codec=codec)


def test_an_experiment_goes_on_from_a_model_with_a_new_embedder(data, tiny_painter, tmp_path):
    recipe = find_recipe(PICTURE_RECIPES, "experiment-1", precision="fp32", num_workers=0, epochs=2, accumulation=2)
    stage = PictureStage.prepare(recipe, data, init_from=tiny_painter)
    known = load_system(tiny_painter, PictureSystem)
    assert (stage.recipe.steps, stage.recipe.validate_every) == (10, 5)  # of 36 clips, 8 a step
    assert set(stage.modules) == {"embedder"}
    fresh, old = (painter.embedder.state_dict()["project.0.weight"] for painter in (stage.model, known))
    assert not torch.equal(fresh, old)
    assert fit(stage, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation/error" in line] == [5, 10]
    model = load_system(tmp_path / "model", PictureSystem)
    torch.testing.assert_close(model.denoiser.enter.weight, known.denoiser.enter.weight)
