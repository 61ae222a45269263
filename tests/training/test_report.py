"""Report 001's recipe: from a store through both stages to a folder that plays."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import timbrel
from timbrel.audio.mel import MelConfig
from timbrel.checkpoint import ReportModel, list_models, load_codec, load_transfer_model, save_transfer_model
from timbrel.cli.main import main
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError, ModelError
from timbrel.models.report import ReportCodec
from timbrel.training import recipes
from timbrel.training.report import ReportAutoencoderStage, ReportTransferStage

MEL = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128)
LEVELS = {"piano": 200, "violin": 60}  # of uint8, so that an instrument is known by its loudness
SHORT = ["--steps", "2", "--batch-size", "2", "--num-workers", "0", "--num-threads", "1", "--validate-every", "2"]


def make_store(folder, config=MEL):
    rng, writer = np.random.default_rng(0), StoreWriter(folder, config)
    for group, split in (("a", "train"), ("b", "train"), ("c", "validation"), ("d", "validation")):
        for label, level in LEVELS.items():
            noise = rng.integers(-20, 20, (300, config.n_mels))
            entry = Entry(f"{group}-{label}", label, split, 300, "made up", group=group)
            writer.add(entry, (level + noise).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """`codec/` and `transfer/`, of both stages by the command line."""
    out = tmp_path_factory.mktemp("runs")
    first = ["train", "autoencoder", "report", "--data", str(data), "--out", str(out / "codec"), *SHORT]
    second = ["train", "transfer", "report", "--data", str(data), "--out", str(out / "transfer"), *SHORT]
    assert main(first) == 0
    assert main([*second, "--codec", str(out / "codec" / "model")]) == 0
    return out


@pytest.fixture(scope="module")
def stage(data, runs):
    recipe = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report", batch_size=4)
    return ReportTransferStage(recipe, data, codec=runs / "codec" / "model")


@pytest.fixture
def model(runs):
    return load_transfer_model(runs / "transfer" / "model")


def sound(seconds, hz=440.0):
    t = np.arange(int(seconds * 22050)) / 22050
    return (0.3 * np.sin(2 * np.pi * hz * t) * np.exp(-3 * (t % 0.5))).astype(np.float32)


def test_the_folder_holds_the_whole_system(runs, model):
    assert isinstance(model, ReportModel)
    parts = (model.codec, model.style, model.denoiser)
    assert sum(p.numel() for part in parts for p in part.parameters()) == 9_881_537
    assert sorted(model.instruments) == ["piano", "violin"]
    assert model.schedule.prediction_type == "v"
    assert model.schedule.alphas_cumprod[199] == 0
    purposes = {info.name: info.purpose for info in list_models(runs / "transfer")}
    assert purposes["model"] == "timbre transfer, the system of report 001"


def test_a_round_trip_changes_nothing(model, tmp_path):
    save_transfer_model(tmp_path, model)
    again = load_transfer_model(tmp_path)
    for part in ("codec", "style", "denoiser"):
        before, after = getattr(model, part).state_dict(), getattr(again, part).state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_encoder_stays_and_the_decoder_learns(runs):
    before, after = (load_file(runs / run / "model" / "codec.safetensors") for run in ("codec", "transfer"))
    encoder = [name for name in before if name.startswith("encoder.")]
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert not torch.equal(before["decoder.0.weight"], after["decoder.0.weight"])
    latents = load_codec(runs / "transfer" / "model")[1].encode(torch.rand(4, 1, 128, 128) * -100)
    assert latents.isfinite().all()


def test_validation_is_logged(runs):
    lines = [json.loads(line) for line in (runs / "transfer" / "metrics.jsonl").read_text().splitlines()]
    (found,) = (line for line in lines if "validation/diffusion" in line)
    assert found["validation/diffusion"] != found["validation/diffusion_wrong_style"]
    assert found["validation/loss"] == pytest.approx(found["validation/diffusion"] + found["validation/reconstruction"])


def test_the_style_is_another_moment_of_the_same_instrument(stage):
    """Defect 2: with another instrument's style and the content's own noise, the optimum is to ignore it."""
    batch = stage.batch(0)
    assert all(torch.equal(value, stage.batch(0)[name]) for name, value in batch.items())
    assert len({round(float(mel.mean()) / 20) for mel in batch["mel"]}) == 2  # both instruments
    for mel, style in zip(batch["mel"], batch["style"], strict=True):
        assert float((mel.mean() - style.mean()).abs()) < 2
        assert not torch.equal(mel, style)


def test_every_part_but_the_encoder_is_trained(stage):
    stage.loss(stage.batch(0), 0)["loss"].backward()
    for module in (stage.model.codec.decoder, stage.model.style, stage.model.denoiser):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters() if p.ndim > 1)
    assert all(p.grad is None for p in stage.model.codec.encoder.parameters())


def test_latents_have_unit_variance(stage):
    mel = stage.train.single(np.random.default_rng(1), 32)
    assert float(stage.model.codec.encode(mel).std()) == pytest.approx(1, abs=0.1)


def test_a_codec_goes_on_from_another(data, runs):
    recipe = recipes.find_recipe(recipes.AUTOENCODER_RECIPES, "report")
    codec = ReportAutoencoderStage(recipe, data, init_from=runs / "codec" / "model").codec
    weights = load_file(runs / "codec" / "model" / "codec.safetensors")
    assert isinstance(codec, ReportCodec)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in codec.state_dict().items())
    assert all(p.requires_grad for p in codec.parameters())


def test_strength_is_how_far_the_content_is_noised(model):
    seen = []
    model.denoiser.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0], int(inputs[1]))))
    content, noise = torch.full((1, 32, 16, 16), 5.0), torch.randn(1, 32, 16, 16)
    tokens = model.instruments["piano"]

    def start(strength):
        seen.clear()
        result = model.sample(content, tokens, noise, steps=4, guidance=1.0, strength=strength)
        return (*seen[0], result) if seen else (None, 0, result)

    (x, full, _), (_, half, _), (_, none, unchanged) = start(1.0), start(0.5), start(0.0)
    abar = float(model.schedule.alphas_cumprod[full])
    assert 10 * np.log10(abar / (1 - abar)) == pytest.approx(-8, abs=0.3)
    assert float(x.mean()) == pytest.approx(5 * abar**0.5, abs=0.1)
    assert full > half > none == 0
    assert torch.equal(unchanged, content)


def test_style_tokens_survive_their_packing(model):
    mel = torch.rand(1, 1, 128, 256) * -100
    tokens, halves = model.style_tokens(mel), [model.style_tokens(half) for half in mel.chunk(2, dim=-1)]
    torch.testing.assert_close(tokens, torch.cat(halves))
    seen = []
    model.denoiser.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]))
    x = torch.zeros(1, 32, 16, 16)
    model.sample(x, halves[0], x, steps=1, guidance=1.0, strength=1.0)
    expected = model.style(model.codec.picture(mel[..., :128]))
    torch.testing.assert_close(seen[0].coarse, expected.coarse)
    torch.testing.assert_close(seen[0].fine, expected.fine)
    assert len(model.style_tokens(mel[..., :50])) == 4  # shorter than a piece


def test_the_folder_plays(runs):
    pipe = timbrel.load(runs / "transfer" / "model")
    assert pipe.default_steps == 20
    source = sound(2)
    by_name = pipe(source, to="violin", sample_rate=22050, steps=3)
    by_clip = pipe(source, to=sound(5, 660), sample_rate=22050, steps=3, guidance=2.0)
    for result in (by_name, by_clip):
        assert (result.sample_rate, result.waveform.shape) == (22050, (1, 44100))
        assert 0.01 < np.sqrt((result.waveform**2).mean()) < 1.01 * np.sqrt((source**2).mean())
    assert not np.allclose(by_name.waveform, by_clip.waveform, atol=1e-3)
    streamed = np.concatenate(list(pipe.stream(sound(7), to="violin", sample_rate=22050, steps=1)), axis=1)
    assert streamed.shape == (1, 7 * 22050)  # three windows


def test_each_recipe_works_on_its_own_system(data, runs, tmp_path, capsys):
    other = ["train", "transfer", "tiny", "--data", str(data), "--out", str(tmp_path / "o")]
    assert main([*other, "--codec", str(runs / "codec" / "model")]) == 2
    assert "holds a ReportCodec; expected a MelAutoencoder" in capsys.readouterr().err
    recipe = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report")
    with pytest.raises(InputError, match="train autoencoder report"):
        ReportTransferStage(recipe, data)
    with pytest.raises(ModelError, match="expected a 'transfer' model"):
        ReportTransferStage(recipe, data, init_from=runs / "codec" / "model")


def test_mels_of_other_sizes_are_refused_with_a_remedy(runs, tmp_path):
    recipe = recipes.find_recipe(recipes.AUTOENCODER_RECIPES, "report")
    config = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=80)
    with pytest.raises(InputError, match=r"80 bands.*--mel.n-mels 128"):
        ReportAutoencoderStage(recipe, make_store(tmp_path / "narrow", config))
    wide = make_store(tmp_path / "wide", MelConfig(n_mels=128))
    transfer = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report")
    with pytest.raises(InputError, match="the codec works on"):
        ReportTransferStage(transfer, wide, codec=runs / "codec" / "model")
