"""Report 001's recipe: from a store through both stages to a folder that plays."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import timbrel
from timbrel.audio.mel import MelConfig
from timbrel.cli.main import main
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError, ModelError
from timbrel.models.features import FeatureConfig, FeatureNetwork
from timbrel.models.report import ReportCodec
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import load_codec, load_system, save_system
from timbrel.systems.listing import list_models
from timbrel.systems.report_001 import Report001System
from timbrel.training import recipes
from timbrel.training.report import LabelLoss, ReportAutoencoderStage, ReportTransferStage

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
def network(tmp_path_factory):
    """A feature network's folder, its weights as they come."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks") / "features"
    network = FeatureNetwork(FeatureConfig(("piano", "violin"), width=4, embedding=8))
    save_system(folder, FeaturesSystem(mel=MEL, features=network))
    return str(folder)


@pytest.fixture(scope="module")
def runs(data, network, tmp_path_factory):
    """`codec/` and `transfer/`, of both stages by the command line."""
    out = tmp_path_factory.mktemp("runs")
    short = ["--feature-network", network, *SHORT]
    first = ["train", "autoencoder", "report", "--data", str(data), "--out", str(out / "codec"), *short]
    second = ["train", "transfer", "report", "--data", str(data), "--out", str(out / "transfer"), *short]
    assert main(first) == 0
    assert main([*second, "--codec", str(out / "codec" / "model")]) == 0
    return out


@pytest.fixture(scope="module")
def make_stage(data, network, runs):
    """Either stage, on small batches; of the second over the codec that was trained, where it is not given a start."""

    def make(stage=ReportTransferStage, **changes):
        autoencoder = stage is ReportAutoencoderStage
        named = recipes.AUTOENCODER_RECIPES if autoencoder else recipes.TRANSFER_RECIPES
        recipe = recipes.find_recipe(named, "report", **{"batch_size": 4, "feature_network": network, **changes})
        return stage.prepare(recipe, data, **({} if autoencoder else {"codec": runs / "codec" / "model"}))

    return make


@pytest.fixture(scope="module")
def stage(make_stage):
    return make_stage()


@pytest.fixture
def change(stage, monkeypatch):
    """Changes the stage's recipe for one test; making a stage takes seconds."""
    return lambda **fields: monkeypatch.setattr(stage, "recipe", dataclasses.replace(stage.recipe, **fields))


@pytest.fixture
def model(runs):
    return load_system(runs / "transfer" / "model")


def sound(seconds, hz=440.0):
    t = np.arange(int(seconds * 22050)) / 22050
    return (0.3 * np.sin(2 * np.pi * hz * t) * np.exp(-3 * (t % 0.5))).astype(np.float32)


def test_the_folder_holds_the_whole_system(runs, model):
    assert isinstance(model, Report001System)
    parts = (model.codec, model.style, model.denoiser)
    assert sum(p.numel() for part in parts for p in part.parameters()) == 9_881_537
    assert sorted(model.instruments) == ["piano", "violin"]
    assert model.schedule.prediction_type == "v"
    assert model.schedule.alphas_cumprod[199] == 0
    purposes = {info.name: info.purpose for info in list_models(runs / "transfer")}
    assert purposes["model"] == "timbre transfer, the system of report 001"


def test_a_round_trip_changes_nothing(model, tmp_path):
    save_system(tmp_path, model)
    again: Any = load_system(tmp_path)
    for part in ("codec", "style", "denoiser"):
        before, after = getattr(model, part).state_dict(), getattr(again, part).state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_encoder_stays_and_the_decoder_learns(runs):
    before, after = (load_file(runs / run / "model" / "codec.safetensors") for run in ("codec", "transfer"))
    encoder = [name for name in before if name.startswith("encoder.")]
    assert {"encoder.1.running_mean", "encoder.1.running_var", "encoder.1.num_batches_tracked"} <= set(encoder)
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert not torch.equal(before["decoder.0.weight"], after["decoder.0.weight"])
    latents = load_codec(runs / "transfer" / "model", ReportCodec)[1].encode(torch.rand(4, 1, 128, 128) * -100)
    assert latents.isfinite().all()


def test_validation_is_logged(runs):
    lines = [json.loads(line) for line in (runs / "transfer" / "metrics.jsonl").read_text().splitlines()]
    (found,) = (line for line in lines if "validation/diffusion" in line)
    assert found["validation/diffusion"] != found["validation/diffusion_wrong_style"]
    judged = found["validation/perceptual[timbrel-features]"] + found["validation/style[timbrel-features]"]
    assert found["validation/loss"] == pytest.approx(
        found["validation/diffusion"] + found["validation/mse"] + 0.1 * judged, rel=1e-5
    )


def test_what_judged_is_named_and_where_it_was_is_not(runs, network):
    for run in ("codec", "transfer"):
        assert json.loads((runs / run / "model" / "config.json").read_text())["info"]["recipe"]["feature_network"] == (
            "timbrel-features"
        )
        assert network not in (runs / run / "model" / "config.json").read_text()
    figures = json.loads((runs / "codec" / "model" / "config.json").read_text())["info"]["figures"]
    assert {"mse", "kl", "perceptual[timbrel-features]"} <= set(figures)


def test_the_style_is_another_moment_of_the_same_instrument(stage):
    """Defect 2: with another instrument's style and the content's own noise, the optimum is to ignore it."""
    batch = stage.batch(0)
    assert all(torch.equal(value, stage.batch(0)[name]) for name, value in batch.items())
    assert len({round(float(mel.mean()) / 20) for mel in batch["mel"]}) == 2  # both instruments
    for mel, style in zip(batch["mel"], batch["style"], strict=True):
        assert float((mel.mean() - style.mean()).abs()) < 2
        assert not torch.equal(mel, style)


def gradients(stage, term, parts):
    """The largest gradient of one term of the loss in each part: 0 where it does not reach."""
    value = stage.loss(stage.batch(0), 0)[term]
    found = {}
    for name, module in parts.items():
        grads = torch.autograd.grad(value, list(module.parameters()), retain_graph=True, allow_unused=True)
        found[name] = max((float(g.abs().max()) for g in grads if g is not None), default=0.0)
    return found


@pytest.mark.parametrize("style_loss", ["gram", "maps"])
def test_each_term_alone_trains_what_it_should(stage, change, style_loss):
    """Defect 1: under `no_grad` the style loss trained nothing."""
    change(style_loss=style_loss, null_style_share=0.0)
    model = stage.model
    modules = {"decoder": model.codec.decoder, "style": model.style, "denoiser": model.denoiser}
    trained = {
        "diffusion": {"style", "denoiser"},
        "mse": {"decoder"},
        "perceptual[timbrel-features]": {"decoder", "style", "denoiser"},
        "style[timbrel-features]": {"decoder", "style", "denoiser"},
        "loss": {"decoder", "style", "denoiser"},
    }
    for term, parts in trained.items():
        found = gradients(stage, term, modules)
        assert all(found[part] > 1e-8 for part in parts), (term, found)
    assert gradients(stage, "diffusion", modules)["decoder"] == 0
    assert not any(p.requires_grad for p in stage.model.codec.encoder.parameters())
    assert not any(p.requires_grad for p in stage.features.network.parameters())


def test_every_part_but_the_encoder_is_trained(stage):
    encoder = {name: value.clone() for name, value in stage.model.codec.encoder.state_dict().items()}
    for module in stage.modules.values():
        module.zero_grad()
    stage.loss(stage.batch(0), 0)["loss"].backward()
    for module in (stage.model.codec.decoder, stage.model.style, stage.model.denoiser):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters() if p.ndim > 1)
    assert all(p.grad is None for p in stage.model.codec.encoder.parameters())
    assert not stage.model.codec.encoder.training
    assert stage.model.codec.decoder.training
    after = stage.model.codec.encoder.state_dict()  # defect 7: BatchNorm went on learning
    assert all(torch.equal(value, after[name]) for name, value in encoder.items())


def test_the_style_term_hears_the_style_clip(stage):
    batch = stage.batch(0) | {"drop": torch.ones(4, dtype=torch.bool)}  # so that the result does not hear it
    with torch.no_grad():
        first = stage.loss(batch, 0)
        other = stage.loss(batch | {"style": batch["style"].roll(1, 0) / 2}, 0)
    for term in ("diffusion", "mse", "perceptual[timbrel-features]"):
        assert float(first[term]) == pytest.approx(float(other[term]), rel=1e-4)
    assert float(first["style[timbrel-features]"]) != pytest.approx(float(other["style[timbrel-features]"]), rel=1e-2)


def test_stage_one_sums_its_terms_and_each_trains_the_codec(make_stage):
    stage = make_stage(ReportAutoencoderStage, kl_weight=0.5, perceptual_weight=0.25)
    with torch.no_grad():
        values = stage.loss(stage.batch(0), 0)
    perceptual = values["perceptual[timbrel-features]"]
    assert float(values["loss"]) == pytest.approx(float(values["mse"] + 0.5 * values["kl"] + 0.25 * perceptual))
    parts = {"encoder": stage.codec.encoder, "decoder": stage.codec.decoder}
    for term in ("mse", "perceptual[timbrel-features]"):
        assert min(gradients(stage, term, parts).values()) > 1e-6
    kl = gradients(stage, "kl", parts)
    assert kl["encoder"] > 0 == kl["decoder"]


def test_the_log_variance_is_counted_apart(make_stage, tmp_path):
    stage = make_stage(ReportAutoencoderStage, log_variance=True)
    assert sum(p.numel() for p in stage.modules["log_variance"].parameters()) == 1056
    assert sum(p.numel() for p in stage.codec.parameters()) == 111_840 + 198_209
    batch = stage.batch(0)
    values = stage.loss(batch, 0)
    assert values["kl"].item() == pytest.approx(0.5 * (1 + np.exp(-4) - 1 + 4), rel=0.01)  # latents of variance 1
    assert gradients(stage, "loss", stage.modules)["log_variance"] > 0
    assert torch.equal(stage.loss(batch, 0)["loss"], values["loss"])  # what is random is in the batch
    assert not torch.equal(stage.loss(batch | {"noise": -batch["noise"]}, 0)["mse"], values["mse"])
    for module in stage.modules.values():
        module.eval().requires_grad_(False)
    stage.save(tmp_path)
    assert load_codec(tmp_path, ReportCodec)[1].state_dict().keys() == stage.codec.state_dict().keys()


def test_many_noise_levels_for_one_pair(stage, change):
    change(noise_levels=3, batch_size=2)
    batch = stage.batch(0)
    assert {len(value) for value in batch.values()} == {2}  # processes share them out
    assert batch["timesteps"].shape == (2, 3)
    assert len(set(batch["timesteps"].flatten().tolist())) > 3
    stage.model.codec.eval()  # a sample is then on its own, and the loss is the mean over levels
    with torch.no_grad():
        whole = stage.loss(batch, 0)
        change(noise_levels=1)
        one = [
            stage.loss(batch | {name: batch[name][:, k : k + 1] for name in ("noise", "timesteps")}, 0)
            for k in range(3)
        ]
    stage.model.codec.train()
    for term, value in whole.items():
        assert value.item() == pytest.approx(np.mean([values[term].item() for values in one]), rel=1e-4)


def test_labels_and_clips_find_each_other():
    """CLIP's loss: small where each clip lies at its instrument's name, whichever clips share one."""
    torch.manual_seed(0)
    loss, labels = LabelLoss(("harp", "piano", "violin"), 8), torch.tensor([0, 2, 2])
    names = loss.names.weight.detach()
    right, wrong = loss(names[labels], labels), loss(names[(labels + 1) % 3], labels)
    assert right < 0.4 < wrong  # log 2 / 2 is the least: two clips of one name
    assert torch.equal(loss(torch.cat([names[labels], names[:1] * 0 + 5]), torch.tensor([0, 2, 2, -1])), right)
    assert loss(names, torch.tensor([-1, -1, -1])) == 0
    with pytest.raises(InputError, match="the data name harp; expected at least two"):
        LabelLoss(["harp"], 8)


def test_the_label_term_trains_the_style_encoder_and_is_not_kept(make_stage, tmp_path):
    stage = make_stage(label_weight=0.5, null_style_share=0.0)
    batch = stage.batch(0)
    assert {stage.train.labels[k] for k in batch["label"]} == set(LEVELS)
    with torch.no_grad():
        values = stage.loss(batch, 0)
    judged = 0.1 * (values["perceptual[timbrel-features]"] + values["style[timbrel-features]"])
    expected = values["diffusion"] + values["mse"] + judged + 0.5 * values["label"]
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-5)
    parts = {name: stage.modules[name] for name in ("style", "labels", "denoiser")}
    found = gradients(stage, "label", parts | {"decoder": stage.model.codec.decoder})
    assert min(found["style"], found["labels"]) > 1e-6
    assert found["denoiser"] == found["decoder"] == 0
    stage.model.codec.eval()
    stage.save(tmp_path)
    assert sum(p.numel() for p in load_system(tmp_path, Report001System).style.parameters()) == 2_729_984


@pytest.mark.parametrize(
    "changes",
    [{"schedule": "cosine", "time_embedding": "fourier"}, {"prediction_type": "epsilon", "num_filters": 32}],
)
def test_what_the_recipe_changes_is_in_the_model(make_stage, data, tmp_path, changes):
    stage = make_stage(perceptual_weight=0.0, style_weight=0.0, feature_network=None, **changes)
    assert stage.loss(stage.batch(0), 0)["loss"].isfinite()
    stage.model.codec.eval()
    stage.save(tmp_path)
    again: Any = load_system(tmp_path)
    assert again.denoiser.config == stage.model.denoiser.config
    assert again.style.config.num_filters == changes.get("num_filters", 64)
    assert torch.equal(again.schedule.alphas_cumprod, stage.model.schedule.alphas_cumprod)
    assert again.schedule.prediction_type == changes.get("prediction_type", "v")
    if "prediction_type" in changes:  # the report's: it ends at the -8 dB where sampling starts
        assert again.full_start >= 0.98
    plain: Any = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report", perceptual_weight=0.0, style_weight=0.0)
    with pytest.raises(InputError, match="give the model's values"):
        ReportTransferStage.prepare(plain, data, init_from=tmp_path)


def test_small_latents_go_through_both_stages(make_stage, data, tmp_path):
    first = make_stage(ReportAutoencoderStage, downsamplings=4, perceptual_weight=0.0, feature_network=None)
    first.codec.eval().requires_grad_(False)
    first.save(tmp_path / "codec")
    recipe: Any = recipes.find_recipe(
        recipes.TRANSFER_RECIPES, "report", batch_size=2, perceptual_weight=0.0, style_weight=0.0
    )
    stage = ReportTransferStage.prepare(recipe, data, codec=tmp_path / "codec")
    assert stage.batch(0)["noise"].shape == (2, 1, 32, 8, 8)
    assert stage.loss(stage.batch(0), 0)["loss"].isfinite()
    stage.model.codec.eval()
    stage.save(tmp_path / "model")
    assert load_system(tmp_path / "model").window == 8  # 128 frames, as ever
    pipe = timbrel.load(tmp_path / "model")
    result = pipe(sound(4), to="violin", sample_rate=22050, steps=1)
    assert result.waveform.shape == (1, 4 * 22050)
    other: Any = recipes.find_recipe(recipes.AUTOENCODER_RECIPES, "report", perceptual_weight=0.0)
    with pytest.raises(InputError, match="downsamplings 4"):
        ReportAutoencoderStage.prepare(other, data, init_from=tmp_path / "codec")


def test_frames_that_the_codec_does_not_divide_are_refused(make_stage):
    changes = {"frames": 120, "perceptual_weight": 0.0, "feature_network": None}
    assert make_stage(ReportAutoencoderStage, **changes).batch(0)["mel"].shape[-1] == 120
    with pytest.raises(InputError, match="frames is 120; expected multiples of 64 and 16"):
        make_stage(ReportAutoencoderStage, downsamplings=4, **changes)


def test_a_term_without_its_network_says_what_to_give(data, tmp_path, capsys):
    command = ["train", "autoencoder", "report", "--data", str(data), "--out", str(tmp_path / "o"), *SHORT]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "perceptual_weight is 0.1, and feature_network is None" in said
    assert "timbrel train features" in said
    assert "VGGish" in said
    assert not (tmp_path / "o").exists()
    recipe: Any = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report", perceptual_weight=0.0, style_weight=2.0)
    with pytest.raises(InputError, match="style_weight is 2, and feature_network"):
        ReportTransferStage.prepare(recipe, data)


def test_terms_of_weight_zero_need_nothing(make_stage, stage, change):
    first = make_stage(ReportAutoencoderStage, feature_network=None, perceptual_weight=0.0)
    assert first.features is None
    assert set(first.loss(first.batch(0), 0)) == {"loss", "mse", "kl", "rms_db"}
    change(perceptual_weight=0.0, style_weight=0.0)
    assert set(stage.loss(stage.batch(0), 0)) == {"loss", "diffusion", "mse"}


@pytest.mark.parametrize(
    ("change", "said"),
    [({"style_weight": -1.0}, "style_weight is -1; expected 0"), ({"noise_levels": 0}, "noise_levels is 0")],
)
def test_impossible_recipes_are_refused(make_stage, change, said):
    with pytest.raises(InputError, match=said):
        make_stage(**change)


def test_latents_have_unit_variance(stage):
    mel = stage.train.single(np.random.default_rng(1), 32)
    assert float(stage.model.codec.encode(mel).std()) == pytest.approx(1, abs=0.1)


def test_a_codec_goes_on_from_another(data, runs):
    recipe: Any = recipes.find_recipe(recipes.AUTOENCODER_RECIPES, "report", perceptual_weight=0.0)
    codec = ReportAutoencoderStage.prepare(recipe, data, init_from=runs / "codec" / "model").codec
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
    expected = model.style(model.codec.normalise(mel[..., :128]))
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
    recipe: Any = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report", perceptual_weight=0.0, style_weight=0.0)
    with pytest.raises(InputError, match="train autoencoder report"):
        ReportTransferStage.prepare(recipe, data)
    with pytest.raises(ModelError, match="holds a system 'codec'; expected 'report_001'"):
        ReportTransferStage.prepare(recipe, data, init_from=runs / "codec" / "model")


def test_mels_of_other_sizes_are_refused_with_a_remedy(runs, tmp_path):
    recipe: Any = recipes.find_recipe(recipes.AUTOENCODER_RECIPES, "report")
    config = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=80)
    with pytest.raises(InputError, match=r"80 bands.*--mel.n-mels 128"):
        ReportAutoencoderStage.prepare(recipe, make_store(tmp_path / "narrow", config))
    wide = make_store(tmp_path / "wide", MelConfig(n_mels=128))
    transfer: Any = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report", perceptual_weight=0.0, style_weight=0.0)
    with pytest.raises(InputError, match="the codec works on"):
        ReportTransferStage.prepare(transfer, wide, codec=runs / "codec" / "model")
    recipe = dataclasses.replace(recipe, perceptual_weight=0.0)
    with pytest.raises(InputError, match="the codec works on"):
        ReportAutoencoderStage.prepare(recipe, wide, init_from=runs / "codec" / "model")
