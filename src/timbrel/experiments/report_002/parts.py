"""The parts of the run: data, the judge, trained models, and what they make; each gives figures as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.mel import mel_spectrogram
from timbrel.data.sounds.make import SoundsConfig, make_sounds
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.sounds.windows import SoundWindows
from timbrel.data.store import MelStore
from timbrel.diffusion.samplers import seeded_generators, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import InputError, InterruptedRunError, MissingDependencyError
from timbrel.experiments.generate.rows import beginning, train_judge
from timbrel.experiments.report_002 import codecs
from timbrel.experiments.report_002.budget import Budget
from timbrel.experiments.report_002.squares import SHAPES, Drawer, SquaresStage, load_drawer, stretched
from timbrel.experiments.run import Result
from timbrel.metrics import fad
from timbrel.metrics.periodicity import periodicity
from timbrel.metrics.sounds import FRAMES, SoundClassifier, features, window
from timbrel.metrics.summary import mean_interval
from timbrel.systems.folder import load_system
from timbrel.systems.generate import GenerateSystem
from timbrel.training import recipes
from timbrel.training.generate import GenerateStage
from timbrel.training.loop import fit
from timbrel.training.stage import Stage

Mels = Mapping[str, Sequence[NDArray]]
"""Class -> mels in dB [n_mels, FRAMES]."""


class Run:
    """What the parts share: the folder, the budget and the settings of the run."""

    def __init__(self, out: Path, budget: Budget, data: Path | None, workers: int | None, progress: bool) -> None:
        self.out, self.budget, self.own_data = out, budget, data
        self.workers, self.progress = workers, progress
        self.data = data or out / "data"

    def settings(self) -> Result:
        """What the figures depend on."""
        budget = dataclasses.asdict(self.budget)
        data = self.own_data and str(self.own_data.resolve())
        return json.loads(json.dumps({"budget": budget.pop("name"), "data": data} | budget))

    def model(self, name: str) -> Path:
        return self.out / "runs" / name / "model"

    def curves(self, name: str) -> list[Result]:
        """The lines of a training run's log."""
        lines = (self.out / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @cached_property
    def store(self) -> MelStore:
        return MelStore(self.data)

    @cached_property
    def labels(self) -> list[str]:
        """The classes: those with held-out sounds and training sounds enough for two sets."""
        counts = {(label, split): len(entries) for (label, split), entries in self.entries.items()}
        enough = {"train": 2 * self.budget.takes, "validation": 1}
        labels = sorted({label for label, _ in counts})
        return [n for n in labels if all(counts.get((n, split), 0) >= least for split, least in enough.items())]

    @cached_property
    def entries(self) -> dict[tuple[str, str], list[Any]]:
        """Class and split -> the sounds, in an order of chance."""
        sounds: dict[tuple[str, str], list[Any]] = {}
        for i in np.random.default_rng(0).permutation(len(self.store.entries)):
            entry = self.store.entries[i]
            sounds.setdefault((entry.label, entry.split), []).append(entry)
        return sounds

    def real(self, split: str, first: int = 0) -> Mels:
        """`takes` real sounds of each class, from the `first` on."""
        last = first + self.budget.takes
        return {
            label: [beginning(self.store, entry) for entry in self.entries[label, split][first:last]]
            for label in self.labels
        }

    @cached_property
    def classifier(self) -> SoundClassifier:
        return SoundClassifier.load(self.out / "classifier.safetensors")

    @cached_property
    def reference(self) -> NDArray:
        """What distances are from: embeddings of training sounds [n, d]."""
        return self.embedded(self.real("train"))

    @torch.inference_mode()
    def embedded(self, mels: Mels) -> NDArray:
        seen = np.stack([features(mel) for some in mels.values() for mel in some])
        return self.classifier.embed(torch.from_numpy(seen)).double().numpy()

    def judged(self, mels: Mels) -> Result:
        """What is measured of a set: its Fréchet distance from the reference, as it is, and means over the classes."""
        right = {n: [self.classifier.ranked(features(mel))[0] == n for mel in some] for n, some in mels.items()}
        repeats = [float(np.mean([periodicity(mel) for mel in some])) for some in mels.values()]
        return {
            "fd": fad.plain_distance(self.reference, self.embedded(mels)),
            "accuracy": mean_interval([float(np.mean(some)) for some in right.values()])._asdict(),
            "periodicity": mean_interval(repeats)._asdict(),
        }


def parts(run: Run) -> dict[str, Callable[[Run], Result]]:
    """The parts in the order in which they run: a part needs some of those before it."""
    return {
        "data": _data,
        "known": _known,
        "generator": _generator,
        "squares": _squares,
        "agreement": _agreement,
        "codecs": _codecs,
    }


def _data(run: Run) -> Result:
    """Makes the sounds, if none are given."""
    if run.own_data is None:
        config = SoundsConfig(
            num_sounds=run.budget.num_sounds,
            sources=run.budget.sources,
            validation_share=run.budget.validation_share,
        )
        make_sounds(config, run.data, workers=run.workers, progress=run.progress)
    check_data(run)
    return {"sounds": len(run.store.entries), "classes": len(run.labels)}


def check_data(run: Run) -> None:
    """Raises InputError where there are not enough sounds."""
    if len(run.labels) < 4:
        raise InputError(
            f"{run.data} has {len(run.labels)} classes of {2 * run.budget.takes} training sounds and a held-out one; "
            "expected at least four: make more with `timbrel data sounds`"
        )


def _known(run: Run) -> Result:
    """Trains the judge; what it says of real sounds and of noise."""
    train_judge(run.store, run.labels).save(run.out / "classifier.safetensors")
    rng, shape = np.random.default_rng(0), (run.store.config.n_mels, FRAMES)
    noise = {label: [rng.normal(-50, 5, shape) for _ in range(run.budget.takes)] for label in run.labels}
    rows = {"held-out": run.real("validation"), "half": run.real("train", run.budget.takes), "noise": noise}
    return {name: run.judged(mels) for name, mels in rows.items()}


# --- training


def _train(run: Run, name: str, stage: Stage) -> Result:
    """One training run; what its log says."""
    if not fit(stage, run.model(name).parent):
        raise InterruptedRunError(f"stopped while {name} was trained; the same command goes on")
    curves = run.curves(name)
    modules = stage.modules.values()
    return {
        "validation": [line for line in curves if "validation/loss" in line],
        "steps": stage.recipe.steps,
        "batch_size": stage.recipe.batch_size,
        "training_minutes": round(curves[-1]["elapsed_s"] / 60, 2),
        "parameters": sum(p.numel() for module in modules for p in module.parameters()),
    }


class WatchedStage(GenerateStage):
    """Its validations also say how far from real sounds it is that the model makes: figure 4.2."""

    def __init__(self, run: Run, plain: GenerateStage) -> None:
        super().__init__(plain.recipe, plain.model, plain.train, plain.validation)
        self.run = run

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        figures = super().validate()
        return figures | {"fd": fad.plain_distance(self.run.reference, self.run.embedded(made(self.run, self.model)))}


def _recipe(run: Run, steps: int) -> dict[str, Any]:
    return {
        "steps": steps,
        "batch_size": run.budget.batch_size,
        "precision": "fp32",
        "num_workers": 0,
        "validate_every": -(-steps // run.budget.checkpoints),
        "log_every": -(-steps // 40),
    } | run.budget.changes


def _generator(run: Run) -> Result:
    """Ours: a U-Net along time over the codec's latents, that attends to the class's name."""
    settings = _recipe(run, run.budget.generator_steps) | {"mask_share": 0.0}  # the report does not inpaint
    recipe = recipes.find_recipe(recipes.GENERATE_RECIPES, "default", **settings)
    stage = WatchedStage(run, GenerateStage.prepare(recipe, run.data))
    before = run.judged(made(run, stage.model))
    figures = _train(run, "generator", stage)
    return figures | {"before": before, "after": run.judged(made(run, load_generator(run)))}


def load_generator(run: Run) -> GenerateSystem:
    return load_system(run.model("generator"), GenerateSystem)


def made(run: Run, model: GenerateSystem, labels: Sequence[str] | None = None) -> Mels:
    """`takes` of some classes, or of all, by their names."""
    return {label: _made(run, model, label) for label in labels or run.labels}


@torch.inference_mode()
def _made(run: Run, model: GenerateSystem, prompt: str) -> list[NDArray]:
    """Mels in dB [n_mels, FRAMES] of a text, one for each seed, before they are inverted."""
    noise = seeded_generators(range(run.budget.takes))
    start = seeded_noise(model.latent_shape(FRAMES), noise, device=next(model.denoiser.parameters()).device)
    denoiser = model.model(prompt, guidance_scale=run.budget.guidance)
    shift = model.sampling.timestep_shift
    timesteps = inference_timesteps(model.schedule, run.budget.sampling_steps, shift=shift)
    latents = model.sample(denoiser, start, timesteps, noise)
    return list(model.decode(latents)[:, 0, :, :FRAMES].cpu().numpy())


def _squares(run: Run) -> Result:
    """The report's: a U-Net over bands and time, trained on square pictures, that draws square and wide ones."""
    settings = _recipe(run, run.budget.squares_steps)
    recipe = recipes.Recipe(**{name: value for name, value in settings.items() if name in _RECIPE})
    torch.manual_seed(recipe.seed)
    windows = (SoundWindows(run.store, split, FRAMES, Ontology.load()) for split in ("train", "validation"))
    stage = SquaresStage(recipe, new_drawer(run), *windows)
    before = {shape: run.judged(drawn(run, stage.drawer, shape)) for shape in SHAPES}
    figures = _train(run, "squares", stage)
    drawer = load_drawer(run.model("squares"), new_drawer(run))
    return figures | {"before": before, "after": {shape: run.judged(drawn(run, drawer, shape)) for shape in SHAPES}}


_RECIPE = {field.name for field in dataclasses.fields(recipes.Recipe)}


def new_drawer(run: Run) -> Drawer:
    return Drawer(run.budget.square_widths, len(_train_labels(run)))


def _train_labels(run: Run) -> list[str]:
    """As `SoundWindows` numbers them."""
    return sorted({entry.label for entry in run.store.entries if entry.split == "train"})


def drawn(run: Run, drawer: Drawer, shape: str, labels: Sequence[str] | None = None) -> Mels:
    """As `made`, by a `Drawer`: pictures of a shape, stretched to mels."""
    budget, numbers = run.budget, _train_labels(run)
    drawer.eval()
    mels = {}
    for label in labels or run.labels:
        pictures = drawer.draw(
            numbers.index(label),
            SHAPES[shape],
            list(range(budget.takes)),
            steps=budget.sampling_steps,
            guidance=budget.guidance,
        )
        mels[label] = list(stretched(pictures, _size(run), run.store.config.floor_db)[:, 0].numpy())
    return mels


def _size(run: Run) -> tuple[int, int]:
    return run.store.config.n_mels, FRAMES


def _codecs(run: Run) -> Result:
    """Section 3.2; without its packages, why it is left out."""
    try:
        steps, windows = run.budget.codec_steps, run.budget.codec_windows
        return {"rows": codecs.compare(run.data, run.out / "codecs", steps=steps, windows=windows)}
    except MissingDependencyError as error:
        return {"left_out": str(error)}


# --- mels and waveforms


AGREEMENT_CLASSES = 12


def _agreement(run: Run) -> Result:
    """Mels are judged here, where a user gets waveforms: how often the judge says the same of both."""
    labels = run.labels[:: max(1, len(run.labels) // AGREEMENT_CLASSES)]
    model = load_generator(run)
    sets = {"held-out": run.real("validation"), "generated": made(run, model, labels)}
    figures = {}
    for name, mels in sets.items():
        pairs = [(mel, through_waveform(run, mel)) for label in labels for mel in mels[label]]
        ranked = [[run.classifier.ranked(features(mel))[0] for mel in pair] for pair in pairs]
        figures[name] = {
            "same": mean_interval([float(one == other) for one, other in ranked])._asdict(),
            "difference_db": mean_interval([float(np.abs(a - b).mean()) for a, b in pairs])._asdict(),
        }
    return figures


def through_waveform(run: Run, mel: NDArray) -> NDArray:
    """The mel of what a mel sounds like."""
    config = run.store.config
    again = mel_spectrogram(torch.from_numpy(sound(run, mel))[None, None], config)[0, 0].numpy()
    return window(again, config.floor_db)


def sound(run: Run, mel: NDArray | Tensor) -> NDArray:
    """Mel in dB [n_mels, FRAMES] -> waveform [samples]."""
    config = run.store.config
    picture = torch.as_tensor(np.asarray(mel, np.float32))[None, None]
    return invert_mel(picture, config, length=FRAMES * config.hop_length - 1)[0, 0].numpy()
