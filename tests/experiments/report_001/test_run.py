"""Report 001 computed anew: every part on the smallest budget, resumed, and what is refused."""

import csv
import dataclasses
import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import read_audio, write_audio
from timbrel.audio.mel import MelConfig
from timbrel.data.render import LIBRARIES
from timbrel.data.splits import assign_split
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError, InterruptedRunError
from timbrel.experiments.benchmark import cases
from timbrel.experiments.report_001 import budget
from timbrel.experiments.report_001 import clips as report_clips
from timbrel.experiments.report_001 import parts as report_parts
from timbrel.experiments.report_001 import run as report_run
from timbrel.experiments.report_001.clips import (
    MEL,
    SAMPLES,
    clip_path,
    make_clips,
    mels,
    noise,
    read_clips,
    transferred,
)
from timbrel.experiments.report_001.parts import Run
from timbrel.experiments.report_001.run import reproduce
from timbrel.files import write_text
from timbrel.models.report import ReportCodec, ReportCodecConfig, ReportStyleConfig, ReportUNetConfig
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.report_001 import Report001System
from timbrel.training import recipes
from timbrel.training.report import ReportTransferStage

TINY = dataclasses.replace(
    budget.QUICK,
    clips=2,
    features_steps=1,
    codec_steps=1,
    transfer_steps=1,
    variant_steps=1,
    changes=budget.QUICK.changes | {"precision": "fp32"},  # much faster where a CPU knows no bf16
)
VARIANTS = {name: budget.VARIANTS[name] for name in ("recipe", "label", "small-latents")}
LEVELS = {"piano": 200, "violin": 60}
DOCS = Path(__file__).parents[3] / "docs" / "report-001.md"
EVERY = budget.VARIANTS


def make_store(folder, config=MEL):
    rng, writer = np.random.default_rng(0), StoreWriter(folder, config)
    for group, split in (("a", "train"), ("b", "train"), ("c", "validation")):
        for label, level in LEVELS.items():
            entry = Entry(f"{group}-{label}", label, split, 200, "made up", group=group)
            writer.add(entry, (level + rng.integers(-20, 20, (200, config.n_mels))).astype(np.uint8))
    return folder


def make_tones(folder, *rest):
    """Clips without scores and libraries."""
    asked = []
    folder.mkdir()
    for k, (source, target) in enumerate((("piano", "guitar"), ("piano", "harp"))):
        for i, kind in enumerate(("content", "style", "answer")):
            time = np.arange(3 * cases.SAMPLE_RATE) / cases.SAMPLE_RATE
            tone = np.sin(2 * np.pi * 220 * (1 + k + i) * time) * np.exp(-4 * (time % 0.5))
            write_audio(clip_path(folder, k, kind), (tone[None] / 2).astype(np.float32), cases.SAMPLE_RATE)
        asked.append({"source": source, "target": target, "library": "none"})
    write_text(folder / "clips.json", json.dumps(asked))
    return ["tones"]


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "QUICK", TINY)
        patch.setattr(budget, "VARIANTS", VARIANTS)
        patch.setattr(budget, "DDIM_STEPS", (1, 3))
        patch.setattr(budget, "SHOWN", 1)
        for module in (report_parts, report_clips):
            patch.setattr(module, "invert_mel", partial(invert_mel, num_iters=1))
        held_out = ReportTransferStage._held_out
        patch.setattr(ReportTransferStage, "_held_out", lambda stage, size: held_out(stage, min(size, 4)))
        small = recipes.find_recipe(recipes.TRANSFER_RECIPES, "report", num_filters=16)
        patch.setitem(recipes.TRANSFER_RECIPES, "report", small)
        patch.setattr(budget, "BANDS", (64, 128))
        patch.setattr(report_parts, "make_clips", make_tones)
        patch.setattr(report_run, "corpus_scores", lambda composers: [])
        patch.setattr(report_run, "find_library", lambda name: LIBRARIES[name])
        yield patch


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def made(patched, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    return out, reproduce(out, quick=True, data=data, progress=False)


def table(out, name):
    with open(out / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.reader(file))


def test_every_part_has_figures(made):
    out, parts = made
    assert {path.stem for path in (out / "parts").iterdir()} == set(parts)
    assert set(parts) >= {"parameters", "bands", "codec", "codec-8x8", "transfer", "steps", "variant-label"}
    assert parts["codec"]["latents"] == [32, 16, 16]
    assert parts["codec-8x8"]["latents"] == [32, 8, 8]
    assert set(parts["bands"]["bands"]) == {"64", "128"}
    assert parts["bands"]["bands"]["128"]["lsd_db"]["mean"] < parts["bands"]["known"]["content"]["lsd_db"]["mean"]
    assert set(parts["steps"]["generation"]) == set(parts["steps"]["transfer"]) == {"1", "3"}
    assert parts["steps"]["transfer"]["1"] != parts["steps"]["transfer"]["3"]
    for name in VARIANTS:
        found = parts[f"variant-{name}"]
        assert found["lsd_db"]["clips"] == TINY.clips
        assert found["denoised_rms_db"]["mean"] > 0 < found["denoised_wrong_style_rms_db"]["mean"]
        assert {"diffusion", "diffusion_wrong_style", "mse", "style[timbrel-features]"} <= set(found["validation"])
    assert "label" in parts["variant-label"]["validation"]


def test_table_2_is_the_reports_beside_ours(made):
    rows = {row[0]: row[1:3] for row in table(made[0], "table-2")[1:]}
    assert rows["SpectrogramEncoder"] == ["111,840", "111,840"]
    assert rows["UNet"] == ["8,155,296", "6,841,504"]
    assert rows["LDM (full)"] == ["12,609,985", "9,881,537"]
    documented = re.search(r"<!-- table-2 -->\n(.*)\n<!-- /table-2 -->", DOCS.read_text(), re.DOTALL)[1]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in documented.splitlines()[2:]]
    assert {row[0]: row[1:3] for row in shown} == rows


def test_the_page_shows_and_plays_what_it_names(made):
    out, _ = made
    page = (out / "index.html").read_text()
    for number in range(1, 7):
        assert f'src="figures/figure-{number}.png"' in page
        assert Image.open(out / "figures" / f"figure-{number}.png").size[0] > 150
    played = {part.split('"')[0] for part in page.split('src="audio/')[1:]}
    assert played == {path.name for path in (out / "audio").iterdir()}
    assert len(played) == 19
    for name in played:
        waveform, rate = read_audio(out / "audio" / name)
        assert (waveform.shape, rate) == ((1, SAMPLES), 22050)
    assert len(table(out, "variants")) == 1 + len(VARIANTS)
    assert len({len(row) for row in table(out, "variants")}) == 1


def test_checkpoints_are_not_kept(made):
    assert not list(made[0].glob("runs/*/checkpoint.safetensors"))
    assert (made[0] / "runs" / "transfer" / "model" / "config.json").exists()


def test_a_second_call_only_writes_the_page(made, data, patched, monkeypatch):
    out, parts = made
    (out / "index.html").unlink()
    monkeypatch.setattr(report_parts, "fit", lambda *args: pytest.fail("trained again"))
    assert reproduce(out, quick=True, data=data, progress=False) == parts
    assert (out / "index.html").exists()


def test_other_settings_are_refused(made, data, patched, monkeypatch):
    monkeypatch.setattr(budget, "QUICK", dataclasses.replace(TINY, codec_steps=2))
    with pytest.raises(InputError, match="was made with codec_steps 1; now codec_steps is 2"):
        reproduce(made[0], quick=True, data=data, progress=False)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"was made with data .*store; now data is None"):
        reproduce(made[0], quick=True, progress=False)


def test_damaged_settings_are_said(patched, data, tmp_path):
    (tmp_path / "settings.json").write_text('{"budget": ')
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        reproduce(tmp_path, quick=True, data=data, progress=False)


def test_libraries_without_an_instrument_are_refused():
    lacking = next(name for name, library in LIBRARIES.items() if "piano" in library.without)
    assert report_clips.libraries_with([lacking], "guitar", "violin") == [lacking]
    with pytest.raises(InputError, match="has piano and violin; install another"):
        report_clips.libraries_with([lacking], "piano", "violin")


def test_the_long_budget_needs_cuda_or_to_be_asked_for(monkeypatch, tmp_path):
    found = []

    def check(run):
        found.append(run.budget.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(report_run, "_check", check)
    for cuda, asked in ((False, None), (True, None), (True, "cpu"), (False, "gpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        with pytest.raises(KeyboardInterrupt):
            reproduce(tmp_path, budget=asked, progress=False)  # type: ignore[arg-type]
    assert found == ["cpu", "gpu", "cpu", "gpu"]


def test_no_clip_is_of_a_score_that_training_hears(tmp_path, monkeypatch):
    class Passage:
        duration_s = 3.0

        def __init__(self, score):
            self.score = score

        def notes(self):
            return []

    names = [f"bach/{k}.mxl" for k in range(40)]
    kept = [name for name in names if assign_split(name, 0.5) == "validation"]
    monkeypatch.setattr(report_clips, "corpus_scores", lambda composers: names)
    monkeypatch.setattr(report_clips, "places", lambda name, *rest: iter([Passage(name)]))
    monkeypatch.setattr(cases, "play", lambda *args: np.zeros((1, 100), np.float32))
    heard, libraries = kept[:3], [next(n for n, x in LIBRARIES.items() if not x.without)]
    assert set(make_clips(tmp_path, len(kept) - 3, ("bach",), 0.5, libraries, heard)) == set(kept) - set(heard)
    with pytest.raises(InputError, match="that no training hears give"):
        make_clips(tmp_path, len(kept) - 2, ("bach",), 0.5, libraries, heard)


def test_data_that_do_not_fit_are_refused_before_anything_is_written(patched, tmp_path):
    wide = make_store(tmp_path / "wide", MelConfig(n_mels=128))
    with pytest.raises(InputError, match="expected the report's: make them with"):
        reproduce(tmp_path / "out", quick=True, data=wide, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        reproduce(tmp_path / "file", quick=True, progress=False)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_part_is_not_taken_for_done(patched, data, made, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for folder in ("parts", "clips", "runs/features", "runs/codec"):
        shutil.copytree(made[0] / folder, out / folder)
    (out / "parts" / "variant-label.json").unlink()
    monkeypatch.setattr(report_parts, "fit", lambda *args: False)
    with pytest.raises(InterruptedRunError, match="stopped while variant-label was trained"):
        reproduce(out, quick=True, data=data, progress=False)
    assert not (out / "parts" / "variant-label.json").exists()
    assert not (out / "index.html").exists()


def test_a_variant_changes_one_thing_and_costs_what_it_says(patched, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "VARIANTS", EVERY)
    run = Run(tmp_path, budget.CPU, tmp_path, (), None, False)
    found = {name: report_parts.variant_recipe(run, name) for name in EVERY}
    assert found["levels"].batch_size * found["levels"].noise_levels == found["recipe"].batch_size
    assert found["recipe"].steps == budget.CPU.variant_steps
    for name, recipe in found.items():
        changed = [f for f in dataclasses.asdict(recipe) if getattr(recipe, f) != getattr(found["recipe"], f)]
        assert len(changed) == {"recipe": 0, "small-latents": 0, "levels": 2}.get(name, 1), name


def test_one_step_is_the_estimate_of_one_prediction():
    """Figure 3 is figure 6 with one step: equation 4. And the style counts."""
    torch.manual_seed(0)
    schedule, codec = ScheduleConfig("linear", 200, "v"), ReportCodec(ReportCodecConfig()).eval()
    model = Report001System.build(MEL, codec, ReportStyleConfig(), ReportUNetConfig(), schedule)
    content, style = torch.rand(2, 1, 1, 128, 128) * -100
    with torch.no_grad():
        t = round(model.full_start * 200) - 1
        x = model.schedule.add_noise(model.codec.encode(content), noise(model, 1), t)
        said = model.denoiser(x, torch.tensor([t]), model.style(model.codec.normalise(style)))
        expected = model.decode(model.schedule.to_x0(said, x, t))
    found = transferred(model, content, style, 1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)
    assert found.std() > 1
    assert not torch.allclose(found, transferred(model, content, style / 2, 1), atol=0.1)


def test_clips_are_of_scores_kept_for_validation(tmp_path):
    pytest.importorskip("music21")
    installed = [name for name, library in LIBRARIES.items() if library.path and name != "freepats"]
    if not installed or not shutil.which("timidity"):
        pytest.skip("needs TiMidity++ and a sample library that training hears")
    found = make_clips(tmp_path, 2, ("bach",), 0.2, installed)
    assert len(set(found)) == 2
    assert all(assign_split(name, 0.2) == "validation" for name in found)
    clips = read_clips(tmp_path)
    assert [(clip.source, clip.target) for clip in clips] == [("piano", "guitar"), ("piano", "harp")]
    for clip in clips:
        assert clip.content.shape == clip.answer.shape == (SAMPLES,)
        assert not np.allclose(clip.content, clip.answer, atol=0.01)
    assert mels(clips, "answer").shape == (2, 1, 128, 128)
