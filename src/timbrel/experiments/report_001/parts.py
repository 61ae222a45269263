"""The parts of the run: data, trained models, and what is measured with them; each gives figures as JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.mel import mel_spectrogram
from timbrel.data.datasets import Windows
from timbrel.data.render import LIBRARIES
from timbrel.data.store import MelStore, write_manifest
from timbrel.data.synth import SynthConfig, synthesise
from timbrel.errors import InputError, InterruptedRunError
from timbrel.experiments.report_001 import budget as budgets
from timbrel.experiments.report_001.budget import Budget, Variant
from timbrel.experiments.report_001.clips import (
    FRAMES,
    KINDS,
    MEL,
    SAMPLES,
    Clip,
    generated,
    judged,
    make_clips,
    mels,
    read_clips,
    rms_db,
    sound,
    transferred,
)
from timbrel.experiments.run import Result
from timbrel.models.report import ReportCodec, ReportCodecConfig, ReportStyleConfig, ReportUNetConfig
from timbrel.systems.base import ScheduleConfig
from timbrel.systems.folder import load_codec, load_system
from timbrel.systems.report_001 import Report001System
from timbrel.training import recipes
from timbrel.training.features import FeaturesStage
from timbrel.training.loop import fit
from timbrel.training.report import ReportAutoencoderStage, ReportTransferStage
from timbrel.training.stage import Stage


class Run:
    """What the parts share: the folder, the budget and the settings of the run."""

    def __init__(
        self, out: Path, budget: Budget, data: Path | None, networks: Sequence[str], workers: int | None, progress: bool
    ) -> None:
        self.out, self.budget, self.own_data = out, budget, data
        self.networks, self.workers, self.progress = tuple(networks), workers, progress
        installed = [name for name in SynthConfig().libraries if LIBRARIES[name].path is not None]
        self.libraries = installed or list(SynthConfig().libraries[:1])  # checked before anything runs
        self.data = data or out / "data"
        self.variants = budgets.VARIANTS | {
            f"network-{k}": Variant(f"perceptual and style loss of {name}", {"feature_network": name})
            for k, name in enumerate(self.networks)
        }

    def settings(self) -> Result:
        """What the figures depend on."""
        data = self.own_data and str(self.own_data.resolve())
        named = {"data": data, "libraries": self.libraries, "networks": self.networks}
        budget = dataclasses.asdict(self.budget)
        return json.loads(json.dumps({"budget": budget.pop("name")} | budget | named))

    def model(self, name: str) -> Path:
        return self.out / "runs" / name / "model"

    @cached_property
    def clips(self) -> list[Clip]:
        return read_clips(self.out / "clips")

    def forget_checkpoints(self, but: str) -> None:
        """Deletes those of trainings that are done, 160 MB each: of all but one."""
        for checkpoint in self.out.glob("runs/*/checkpoint.safetensors"):
            if checkpoint.parent.name != but:
                checkpoint.unlink()

    def curves(self, name: str) -> list[Result]:
        """The lines of a training run's log."""
        lines = (self.out / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def parts(run: Run) -> dict[str, Callable[[Run], Result]]:
    """The parts in the order in which they run: a part needs some of those before it."""
    return {
        "parameters": parameters,
        "data": _data,
        "clips": _clips,
        "bands": _bands,
        "features": _features,
        "codec": partial(_codec, name="codec", downsamplings=3),
        "codec-8x8": partial(_codec, name="codec-8x8", downsamplings=4),
        "transfer": _transfer,
        "steps": _steps,
        **{f"variant-{name}": partial(_variant, name=name) for name in run.variants},
    }


def parameters(run: Run) -> Result:
    """Table 2: the parameters of each part, as the recipe has it."""
    schedule = ScheduleConfig("linear", 200, "v")
    codec, unet = ReportCodec(ReportCodecConfig()), ReportUNetConfig()
    model = Report001System.build(MEL, codec, ReportStyleConfig(), unet, schedule)
    attentions = [model.denoiser.cross_attention1, model.denoiser.cross_attention2]
    counted = {
        "encoder": model.codec.encoder,
        "decoder": model.codec.decoder,
        "style": model.style,
        "attention": torch.nn.ModuleList(attentions),
        "unet": model.denoiser,
        "all": torch.nn.ModuleList([model.codec, model.style, model.denoiser]),
    }
    return {name: sum(p.numel() for p in part.parameters()) for name, part in counted.items()}


def check_data(store: MelStore) -> None:
    if store.config != MEL:
        raise InputError(
            f"{store.folder} holds mels made with {store.config}; expected the report's: make them with "
            "--mel.sample-rate 22050 --mel.n-fft 2048 --mel.hop-length 512 --mel.n-mels 128"
        )
    for split in ("train", "validation"):
        labels = Windows(store, split, FRAMES, FRAMES).labels
    if len(labels) < 2:
        raise InputError(f"{store.folder} names {', '.join(labels)}; expected at least two instruments")


def _data(run: Run) -> Result:
    """Renders the training data, if none are given."""
    if run.own_data is None:
        config = SynthConfig(
            num_groups=run.budget.groups,
            duration_s=run.budget.duration_s,
            composers=run.budget.composers,
            libraries=tuple(run.libraries),
            num_others=0,
            degraded_per_group=0,
            validation_share=run.budget.validation_share,
        )
        synthesise(config, run.data, mel=MEL, workers=run.workers, progress=run.progress)
        # The report has four instruments, and none that is invented.
        write_manifest(run.data, [entry for entry in MelStore(run.data).entries if entry.library != "virtual"])
        check_data(MelStore(run.data))
    entries = [entry for entry in MelStore(run.data).entries if not entry.degraded]
    minutes: dict[str, dict[str, float]] = {}
    for entry in entries:
        of_split = minutes.setdefault(entry.split, {})
        of_split[entry.label] = of_split.get(entry.label, 0.0) + entry.frames / MEL.frame_rate / 60
    return {"minutes_of_music": minutes, "recordings": len(entries)}


def _clips(run: Run) -> Result:
    """Renders the clips."""
    folder, budget = run.out / "clips", run.budget
    trained = {entry.source for entry in MelStore(run.data).entries if entry.split == "train"}
    scores = make_clips(folder, budget.clips, budget.composers, budget.validation_share, run.libraries, trained)
    return {"scores": scores}


def load(run: Run, name: str) -> Report001System:
    """The transfer model of a part."""
    return load_system(run.model(name), Report001System)


def _bands(run: Run) -> Result:
    """Section 4.2: how much a mel and its inversion lose, by the number of bands."""
    figures: Result = {}
    for bands in budgets.BANDS:
        config = dataclasses.replace(MEL, n_mels=bands)
        begin, waveforms = time.monotonic(), []
        for clip in run.clips:
            mel = mel_spectrogram(torch.from_numpy(clip.answer)[None, None], config)
            waveforms.append(invert_mel(mel, config, length=SAMPLES)[0, 0].numpy())
        seconds = (time.monotonic() - begin) / len(waveforms)
        figures[str(bands)] = judged(run.clips, waveforms) | {"seconds_a_clip": round(seconds, 3)}
    references = {kind: judged(run.clips, [getattr(clip, kind) for clip in run.clips]) for kind in KINDS}
    return {"bands": figures, "known": references}


# --- training


def _train(run: Run, name: str, stage: Stage) -> Result:
    """One training run; what its last validation and its log say."""
    if not fit(stage, run.model(name).parent):
        raise InterruptedRunError(f"stopped while {name} was trained; the same command goes on")
    curves = run.curves(name)
    last = [line for line in curves if "validation/loss" in line][-1]
    losses = {key.removeprefix("validation/"): value for key, value in last.items() if key.startswith("validation/")}
    return {
        "validation": losses,
        "steps": stage.recipe.steps,
        "batch_size": stage.recipe.batch_size,
        "training_minutes": round(curves[-1]["elapsed_s"] / 60, 2),
    }


def _recipe(run: Run, named: dict[str, recipes.Recipe], steps: int, **changes: Any) -> Any:
    """The report's recipe by the budget."""
    of_run = {"steps": steps, "feature_network": str(run.model("features"))}
    if run.budget.changes:
        of_run |= {"validate_every": -(-steps // max(2, min(8, steps // 20))), "log_every": -(-steps // 40)}
    return recipes.find_recipe(named, "report", **of_run | run.budget.changes | changes)


def _features(run: Run) -> Result:
    steps, short = run.budget.features_steps, run.budget.changes
    changes: dict[str, Any] = {"num_workers": 0, "batch_size": 2 * short["batch_size"]} if short else {}
    recipe: Any = recipes.find_recipe(recipes.FEATURES_RECIPES, "default", steps=steps, **changes)
    return _train(run, "features", FeaturesStage.prepare(recipe, run.data))


def _codec(run: Run, name: str, downsamplings: int) -> Result:
    """Stage 1, and how near the clips' answers come through it (figure 1)."""
    recipe = _recipe(run, recipes.AUTOENCODER_RECIPES, run.budget.codec_steps, downsamplings=downsamplings)
    figures = _train(run, name, ReportAutoencoderStage.prepare(recipe, run.data))
    answers = mels(run.clips, "answer")
    latents, decoded = rebuilt(run, name, answers)
    figures |= {"latents": list(latents.shape[1:]), "rms_db": rms_db(decoded, answers)}
    return figures | judged(run.clips, [sound(mel) for mel in decoded])


@torch.inference_mode()
def rebuilt(run: Run, name: str, originals: Tensor) -> tuple[Tensor, Tensor]:
    """Latents of mels [clips, 1, 128, 128] in dB by a part's codec, and the decoded mels."""
    _, codec = load_codec(run.model(name), ReportCodec)
    latents = codec.encode(originals)
    return latents, codec.decode(latents)


def _transfer(run: Run) -> Result:
    """Stage 2."""
    recipe = _recipe(run, recipes.TRANSFER_RECIPES, run.budget.transfer_steps)
    figures = _train(run, "transfer", ReportTransferStage.prepare(recipe, run.data, codec=run.model("codec")))
    return figures | _measured(run, load(run, "transfer"))


def _measured(run: Run, model: Report001System) -> Result:
    """A model's transfers against the answers, and what it makes of the style: the answers themselves, noised to -8 dB,
    come back by one prediction, with a style clip of their instrument or of another."""
    contents, styles, answers = (mels(run.clips, kind) for kind in KINDS)
    transfers = transferred(model, contents, styles, budgets.STEPS)
    right = transferred(model, answers, styles, 1)
    wrong = transferred(model, answers, styles.roll(1, 0), 1)  # neighbours have different targets
    return {
        **judged(run.clips, [sound(mel) for mel in transfers]),
        "rms_db": rms_db(transfers, answers),
        "denoised_rms_db": rms_db(right, answers),
        "denoised_wrong_style_rms_db": rms_db(wrong, answers),
        "parameters": sum(p.numel() for part in (model.codec, model.style, model.denoiser) for p in part.parameters()),
    }


def _steps(run: Run) -> Result:
    """Figures 5 and 6: generation and transfer by the number of the sampler's steps."""
    model = load(run, "transfer")
    contents, styles = mels(run.clips, "content"), mels(run.clips, "style")
    figures: Result = {"generation": {}, "transfer": {}}
    for steps in budgets.DDIM_STEPS:
        ways = {
            "generation": lambda steps=steps: generated(model, styles, steps),
            "transfer": lambda steps=steps: transferred(model, contents, styles, steps),
        }
        for way, make in ways.items():
            results = make()
            measures = judged(run.clips, [sound(mel) for mel in results])
            figures[way][str(steps)] = measures | {"content_rms_db": rms_db(results, contents)}
    return figures


def variant_recipe(run: Run, name: str) -> recipes.ReportTransferRecipe:
    """Stage 2's, with a variant's change."""
    variant = run.variants[name]
    recipe = _recipe(run, recipes.TRANSFER_RECIPES, run.budget.variant_steps, **variant.changes)
    return dataclasses.replace(recipe, batch_size=round(variant.pairs * recipe.batch_size))


def _variant(run: Run, name: str) -> Result:
    variant, recipe = run.variants[name], variant_recipe(run, name)
    stage = ReportTransferStage.prepare(recipe, run.data, codec=run.model(variant.codec))
    folder = f"variant-{name}"
    figures = _train(run, folder, stage)
    return figures | {"title": variant.title} | _measured(run, load(run, folder))
