"""Report 001 (Musical Style Transfer Using Latent Diffusion Models) computed anew, and what its outlook asks measured.

Its two stages are trained on rendered music by the package's own loop; then everything is measured on clips of scores
that training keeps for validation, played on two instruments each, so that every transfer has its true answer. What is
compared is one change to the recipe at a time, from nothing, by the same budget, beside the recipe with another seed.

    OUT/settings.json             what the rest was made with
    OUT/data/  clips/  runs/      training data; what is asked; the models
    OUT/parts/*.json              each part's figures, kept once it is done
    OUT/tables/*.csv  figures/*.png  audio/*.flac  index.html
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.mel import mel_spectrogram
from timbrel.checkpoint import (
    ReportModel,
    ScheduleConfig,
    expect,
    load_codec,
    load_picture_network,
    load_transfer_model,
)
from timbrel.data.datasets import Windows
from timbrel.data.render import LIBRARIES, find_library
from timbrel.data.scores import corpus_scores
from timbrel.data.store import MelStore, check_settings, write_manifest, write_text
from timbrel.data.synth import CORE, SynthConfig, synthesise
from timbrel.errors import InputError, MissingDependencyError
from timbrel.experiments.report_001_clips import (
    FRAMES,
    KINDS,
    MEL,
    SAMPLES,
    Clip,
    able,
    generated,
    judged,
    make_clips,
    mels,
    read_clips,
    rms_db,
    sound,
    transferred,
)
from timbrel.models.report import ReportCodec, ReportCodecConfig, ReportStyleConfig, ReportUNetConfig
from timbrel.training import recipes
from timbrel.training.features import FeaturesStage
from timbrel.training.loop import fit
from timbrel.training.report import ReportAutoencoderStage, ReportTransferStage
from timbrel.training.stage import Stage

BANDS = (32, 64, 96, 128, 192, 256)
DDIM_STEPS = (1, 5, 10, 20, 50, 200)
STEPS = 20  # of the sampler, where no other number is named
SHOWN = 4  # clips of figure 1

Result = dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """How much is computed. Steps of training are of `changes["batch_size"]` clips of 3 s, or the recipe's 16."""

    name: str
    groups: int
    duration_s: float
    validation_share: float
    composers: tuple[str, ...]
    clips: int
    features_steps: int
    codec_steps: int
    transfer_steps: int
    variant_steps: int
    changes: dict[str, Any] = field(default_factory=dict)


SHORT = {
    "batch_size": 8,
    "learning_rate": 5e-4,
    "min_learning_rate_ratio": 0.05,
    "plateau_patience": None,
    "warmup_steps": 10,
    "precision": "bf16",
    "num_workers": 0,
}
"""Of the report's recipes where they are cut short: its own learning rate of 5e-5 would hardly have moved."""

QUICK = Budget(
    name="quick",
    groups=12,
    duration_s=12.0,
    validation_share=0.25,
    composers=("bach",),
    clips=4,
    features_steps=20,
    codec_steps=12,
    transfer_steps=12,
    variant_steps=2,
    changes=SHORT | {"batch_size": 4},
)
CPU = Budget(
    name="cpu",
    groups=27,
    duration_s=40.0,
    validation_share=0.15,
    composers=SynthConfig().composers,
    clips=12,
    features_steps=200,
    codec_steps=500,
    transfer_steps=700,
    variant_steps=100,
    changes=SHORT,
)
GPU = dataclasses.replace(
    CPU,
    name="gpu",
    groups=54,
    clips=48,
    features_steps=4000,
    codec_steps=75000,
    transfer_steps=150000,
    variant_steps=15000,
    changes={},
)
"""`groups` excerpts of `duration_s`, each on the report's four instruments. On a GPU as in the report: 30 minutes of
each instrument train, for 100 and 200 epochs of 750 steps of 16; a variant trains for 20."""


@dataclass(frozen=True)
class Variant:
    """One change to the recipe of stage 2. `codec` is the part that trains what it works over, `pairs` the share of the
    others' pairs that it gets a step."""

    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    codec: str = "codec"
    pairs: float = 1.0


VARIANTS = {
    "recipe": Variant("the recipe"),
    "seed": Variant("the recipe, another seed", {"seed": 1}),
    "levels": Variant("4 noise levels a pair, a quarter of the pairs", {"noise_levels": 4}, pairs=0.25),
    "more-levels": Variant("4 noise levels a pair, as many pairs", {"noise_levels": 4}),
    "no-style": Variant("no style loss", {"style_weight": 0.0}),
    "maps": Variant("style loss of feature maps, equation 12", {"style_loss": "maps"}),
    "label": Variant("label loss, as CLIP's", {"label_weight": 0.1}),
    "cosine": Variant("cosine schedule", {"schedule": "cosine"}),
    "epsilon": Variant("the report's schedule and noise prediction", {"prediction_type": "epsilon"}),
    "learned-time": Variant("learned time embedding", {"time_embedding": "learned"}),
    "fourier-time": Variant("random Fourier time embedding", {"time_embedding": "fourier"}),
    "larger": Variant("1.5 times as wide", {"num_filters": 96}),
    "small-latents": Variant("latents [32, 8, 8]", codec="codec-8x8"),
}


class Run:
    """Where it goes and what it is made with; what the parts share."""

    def __init__(
        self, out: Path, budget: Budget, data: Path | None, networks: Sequence[str], workers: int | None, progress: bool
    ) -> None:
        self.out, self.budget, self.own_data = out, budget, data
        self.networks, self.workers, self.progress = tuple(networks), workers, progress
        installed = [name for name in SynthConfig().libraries if LIBRARIES[name].path is not None]
        self.libraries = installed or list(SynthConfig().libraries[:1])  # `_check` says what to install
        self.data = data or out / "data"
        self.variants = VARIANTS | {
            f"network-{k}": Variant(f"perceptual and style loss of {name}", {"feature_network": name})
            for k, name in enumerate(self.networks)
        }

    def settings(self) -> Result:
        """What the figures depend on."""
        data = self.own_data and str(self.own_data.resolve())
        named = {"data": data, "libraries": self.libraries, "networks": self.networks}
        budget = dataclasses.asdict(self.budget)
        return json.loads(json.dumps({"budget": budget.pop("name")} | budget | named))

    def part(self, name: str) -> Result:
        """The figures of a part that is done."""
        return json.loads(self._path(name).read_text(encoding="utf-8"))

    def _path(self, name: str) -> Path:
        return self.out / "parts" / f"{name}.json"

    def do(self, name: str, part: Callable[[Run], Result]) -> None:
        """A part, unless it is done."""
        if self._path(name).exists():
            return
        begin = time.monotonic()
        found = part(self)
        found["minutes"] = round((time.monotonic() - begin) / 60, 2)
        write_text(self._path(name), json.dumps(found, indent=1) + "\n")
        for checkpoint in self.out.glob("runs/*/checkpoint.safetensors"):  # 160 MB each, and no more needed
            checkpoint.unlink()

    def model(self, name: str) -> Path:
        return self.out / "runs" / name / "model"

    @cached_property
    def clips(self) -> list[Clip]:
        return read_clips(self.out / "clips")

    def curves(self, name: str) -> list[Result]:
        """The lines of a training run's log."""
        lines = (self.out / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def reproduce(
    out: str | Path,
    *,
    quick: bool = False,
    budget: Literal["cpu", "gpu"] | None = None,
    data: str | Path | None = None,
    networks: Sequence[str] = (),
    workers: int | None = None,
    progress: bool = True,
) -> Result:
    """Computes the report's table and figures, and the comparisons, into a folder; a second call goes on where the
    first stopped. Stages 1 and 2 and 13 variants of it are trained.

    Args:
        out: the folder; one that holds what was made with other settings is refused.
        quick: minutes, to see that it works.
        budget: "gpu" trains for the report's epochs; "cpu" for some minutes each. By default "gpu" where CUDA
            is, else "cpu".
        data: a mel store to train on, of the report's mels, instead of one that is rendered. Clips are then of none of
            the scores that its train entries name as their `source`.
        networks: weights of VGGish or LPIPS (files, or hf:OWNER/REPO/FILE): each is compared as one more variant.
        workers: processes that render; by default one a core.

    Returns:
        The figures of all parts, by name.

    Raises:
        InputError: a folder made with other settings, or data that do not fit.
        ModelError: `networks` cannot be read.
        MissingDependencyError: without the extras [train] and [data], TiMidity++ or a sample library.
        KeyboardInterrupt: stopped while it trained; the same call goes on.
    """
    from timbrel.experiments import report_001_page

    if quick and budget:
        raise InputError(f"quick is a budget of its own, and budget is {budget!r}; give one of them")
    if budget not in (None, "cpu", "gpu"):
        raise InputError(f"budget is {budget!r}; expected 'cpu', 'gpu' or None")
    on_gpu = budget == "gpu" or (budget is None and torch.cuda.is_available())
    of_run = QUICK if quick else GPU if on_gpu else CPU
    run = Run(Path(out).absolute(), of_run, None if data is None else Path(data), networks, workers, progress)
    _check(run)
    parts: dict[str, Callable[[Run], Result]] = {
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
    for number, (name, part) in enumerate(parts.items(), 1):
        if progress:
            print(f"part {number} of {len(parts)}: {name}", file=sys.stderr, flush=True)
        run.do(name, part)
    report_001_page.write(run)
    print(f"the page is {run.out / 'index.html'}")
    return {name: run.part(name) for name in parts}


def _check(run: Run) -> None:
    """Everything that can be wrong, before anything long; then the settings are written down."""
    for network in run.networks:
        load_picture_network(network)
    if run.own_data is not None:
        _check_data(MelStore(run.own_data))
    path, settings = run.out / "settings.json", run.settings()
    check_settings(path, settings)
    find_library(run.libraries[0])
    for source, target in permutations(CORE, 2):
        able(run.libraries, source, target)
    corpus_scores(run.budget.composers)
    try:
        import accelerate  # noqa: F401
        import pretty_midi  # noqa: F401
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"this trains and renders, and {error}: pip install 'timbrel[train,data]'"
        ) from error
    (run.out / "parts").mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(settings, indent=1) + "\n")


def _check_data(store: MelStore) -> None:
    if store.config != MEL:
        raise InputError(
            f"{store.folder} holds mels made with {store.config}; expected the report's: make them with "
            "--mel.sample-rate 22050 --mel.n-fft 2048 --mel.hop-length 512 --mel.n-mels 128"
        )
    for split in ("train", "validation"):
        labels = Windows(store, split, FRAMES, FRAMES).labels
    if len(labels) < 2:
        raise InputError(f"{store.folder} names {', '.join(labels)}; expected at least two instruments")


def parameters(run: Run) -> Result:
    """Table 2: the parameters of each part, as the recipe has it."""
    schedule = ScheduleConfig("linear", 200, "v")
    codec, unet = ReportCodec(ReportCodecConfig()), ReportUNetConfig()
    model = ReportModel.build(MEL, codec, ReportStyleConfig(), unet, schedule)
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
        _check_data(MelStore(run.data))
    entries = [entry for entry in MelStore(run.data).entries if not entry.degraded]
    minutes: dict[str, dict[str, float]] = {}
    for entry in entries:
        of_split = minutes.setdefault(entry.split, {})
        of_split[entry.label] = of_split.get(entry.label, 0.0) + entry.frames / MEL.frame_rate / 60
    return {"minutes_of_music": minutes, "recordings": len(entries)}


def _clips(run: Run) -> Result:
    """Renders what is asked."""
    budget, folder = run.budget, run.out / "clips"
    heard = {entry.source for entry in MelStore(run.data).entries if entry.split == "train"}
    share = budget.validation_share
    return {"scores": make_clips(folder, budget.clips, budget.composers, share, run.libraries, heard)}


def load(run: Run, name: str) -> ReportModel:
    """The transfer model of a part."""
    return expect(load_transfer_model(run.model(name)), ReportModel, run.model(name))


def _bands(run: Run) -> Result:
    """Section 4.2: what is lost on the way to a mel and back, by its number of bands."""
    found: Result = {}
    for bands in BANDS:
        config = dataclasses.replace(MEL, n_mels=bands)
        begin, made = time.monotonic(), []
        for clip in run.clips:
            mel = mel_spectrogram(torch.from_numpy(clip.answer)[None, None], config)
            made.append(invert_mel(mel, config, length=SAMPLES)[0, 0].numpy())
        seconds = (time.monotonic() - begin) / len(made)
        found[str(bands)] = judged(run.clips, made) | {"seconds_a_clip": round(seconds, 3)}
    known = {kind: judged(run.clips, [getattr(clip, kind) for clip in run.clips]) for kind in KINDS}
    return {"bands": found, "known": known}


# --- training


def _train(run: Run, name: str, stage: Stage) -> Result:
    """One training run; what its last validation and its log say."""
    if not fit(stage, run.model(name).parent):
        raise KeyboardInterrupt
    curves = run.curves(name)
    last = [line for line in curves if "validation/loss" in line][-1]
    found = {key.removeprefix("validation/"): value for key, value in last.items() if key.startswith("validation/")}
    return {
        "validation": found,
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
    found = _train(run, name, ReportAutoencoderStage.prepare(recipe, run.data))
    answers = mels(run.clips, "answer")
    latents, made = rebuilt(run, name, answers)
    found |= {"latents": list(latents.shape[1:]), "rms_db": rms_db(made, answers)}
    return found | judged(run.clips, [sound(mel) for mel in made])


@torch.inference_mode()
def rebuilt(run: Run, name: str, given: Tensor) -> tuple[Tensor, Tensor]:
    """Latents of mels [clips, 1, 128, 128] in dB by a part's codec, and the mels that come back."""
    codec = expect(load_codec(run.model(name))[1], ReportCodec, run.model(name)).eval()
    latents = codec.encode(given)
    return latents, codec.decode(latents)


def _transfer(run: Run) -> Result:
    """Stage 2."""
    recipe = _recipe(run, recipes.TRANSFER_RECIPES, run.budget.transfer_steps)
    found = _train(run, "transfer", ReportTransferStage.prepare(recipe, run.data, codec=run.model("codec")))
    return found | _measured(run, load(run, "transfer"))


def _measured(run: Run, model: ReportModel) -> Result:
    """A model's transfers against the answers, and what it makes of the style: the answers themselves, noised to -8 dB,
    come back by one prediction, with a style clip of their instrument or of another."""
    contents, styles, answers = (mels(run.clips, kind) for kind in KINDS)
    made = transferred(model, contents, styles, STEPS)
    right = transferred(model, answers, styles, 1)
    wrong = transferred(model, answers, styles.roll(1, 0), 1)  # neighbours have different targets
    return {
        **judged(run.clips, [sound(mel) for mel in made]),
        "rms_db": rms_db(made, answers),
        "denoised_rms_db": rms_db(right, answers),
        "denoised_wrong_style_rms_db": rms_db(wrong, answers),
        "parameters": sum(p.numel() for part in (model.codec, model.style, model.denoiser) for p in part.parameters()),
    }


def _steps(run: Run) -> Result:
    """Figures 5 and 6: generation and transfer by the number of the sampler's steps."""
    model = load(run, "transfer")
    contents, styles = mels(run.clips, "content"), mels(run.clips, "style")
    found: Result = {"generation": {}, "transfer": {}}
    for steps in DDIM_STEPS:
        ways = {
            "generation": lambda steps=steps: generated(model, styles, steps),
            "transfer": lambda steps=steps: transferred(model, contents, styles, steps),
        }
        for way, make in ways.items():
            made = make()
            measures = judged(run.clips, [sound(mel) for mel in made])
            found[way][str(steps)] = measures | {"content_rms_db": rms_db(made, contents)}
    return found


def variant_recipe(run: Run, name: str) -> recipes.ReportTransferRecipe:
    """Stage 2's, with a variant's change."""
    variant = run.variants[name]
    recipe = _recipe(run, recipes.TRANSFER_RECIPES, run.budget.variant_steps, **variant.changes)
    return dataclasses.replace(recipe, batch_size=round(variant.pairs * recipe.batch_size))


def _variant(run: Run, name: str) -> Result:
    variant, recipe = run.variants[name], variant_recipe(run, name)
    stage = ReportTransferStage.prepare(recipe, run.data, codec=run.model(variant.codec))
    folder = f"variant-{name}"
    found = _train(run, folder, stage)
    return found | {"title": variant.title} | _measured(run, load(run, folder))
