"""The parts of the run: music that nobody trained on, pictures of it, and what is measured; each gives figures as
JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from timbrel.audio.io import read_audio, resample, write_audio
from timbrel.audio.musicnn import SAMPLE_RATE
from timbrel.data.paint.labels import LABELS, NAMES
from timbrel.data.paint.make import make_set
from timbrel.data.paint.music import render_label, work_name
from timbrel.data.paint.store import Pictures, load_pictures, split_of
from timbrel.errors import InputError, InterruptedRunError
from timbrel.experiments.report_004.budget import Budget
from timbrel.experiments.report_004.outside import render_outside
from timbrel.experiments.run import Result
from timbrel.files import whole
from timbrel.metrics import diversity, fad, motion, picture_label, similarity, spectral
from timbrel.metrics.spaces import ClapClipSpace, Space, pairs
from timbrel.metrics.summary import mean_interval
from timbrel.parallel import answers
from timbrel.pipelines.listen import Recording
from timbrel.pipelines.movie import FPS, frames, listen
from timbrel.pipelines.picture import DEFAULTS, SHIPPED, PaintPipeline, Picture, enlarge
from timbrel.pipelines.settings import PaintSettings
from timbrel.systems.folder import load_system
from timbrel.systems.picture import PictureSystem
from timbrel.training import recipes
from timbrel.training.loop import fit
from timbrel.training.picture import PictureStage

SIZE, BATCH = 128, 8  # of the pictures that are measured
NO_MUSIC = "no music"
MOVING = ("African traditional folklore", "Electronic music", "Modern instrumental music")  # with drums
MOST_TRIES = 2000  # works of a label that are looked at for those of a split
MAP_CLIPS, MAP_PICTURES = 8, 8  # of a label, and of each of its clips, that CLAP's map to CLIP is fitted on


class Run:
    """What the parts share: the folder, the budget, the space and the settings of the run."""

    def __init__(
        self,
        out: Path,
        budget: Budget,
        data: Path | None,
        paintings: Path | None,
        model: str | None,
        outside: Sequence[Path],
        space: Callable[[], Space],
        workers: int | None,
        progress: bool,
    ) -> None:
        self.out, self.budget, self.own_data, self.paintings = out, budget, data, paintings
        self.model, self.outside, self.make_space = model, outside, space
        self.workers, self.progress = workers, progress
        self.data = data or out / "data"

    def settings(self) -> Result:
        """What the figures depend on."""
        budget = dataclasses.asdict(self.budget)
        places = {"data": self.own_data, "paintings": self.paintings}
        paths = {name: path and str(path.resolve()) for name, path in places.items()}
        of_run = {"budget": budget.pop("name"), "model": self.model, "outside": list(map(str, self.outside))}
        return json.loads(json.dumps(of_run | paths | budget | {"space": self.space.name}))

    @cached_property
    def space(self) -> Space:
        return self.make_space()

    @property
    def pictures(self) -> Pictures:
        """The set's, in the size in which they are measured."""
        return self._loaded[0]

    @property
    def side(self) -> int:
        """Pixels of a side of the set's pictures as they are."""
        return self._loaded[1]

    @cached_property
    def _loaded(self) -> tuple[Pictures, int]:
        pictures = load_pictures(self.data)
        side = pictures.pixels.shape[1]
        return pictures if side == SIZE else replace(pictures, pixels=_at_size(pictures.pixels)), side

    @cached_property
    def labels(self) -> list[int]:
        """Those with as many pictures to test and to validate by as there are clips."""
        counts = [np.bincount(self.pictures.label[self.pictures.split == s], minlength=len(LABELS)) for s in (1, 2)]
        return [int(k) for k in np.flatnonzero(np.minimum(*counts) >= self.budget.clips)]

    def true(self, split: int) -> NDArray[np.uint8]:
        """True pictures in the clips' order: uint8 [clips, 128, 128, 3]."""
        pictures, clips = self.pictures, self.budget.clips
        rows = [np.flatnonzero((pictures.split == split) & (pictures.label == k))[:clips] for k in self.labels]
        return pictures.pixels[np.concatenate(rows)].numpy()

    @property
    def clip_labels(self) -> list[int]:
        """The label of each clip."""
        return [label for label in self.labels for _ in range(self.budget.clips)]

    def clip(self, label: int, number: int) -> Path:
        return self.out / "music" / f"{label:02d}-{number:02d}.flac"

    def clips(self) -> Iterator[Path]:
        return (self.clip(label, number) for label in self.labels for number in range(self.budget.clips))

    @cached_property
    def music(self) -> NDArray:
        """The clips in the space [clips, d]."""
        if isinstance(self.space, ClapClipSpace):
            _fit_map(self, self.space)
        return np.stack([self.space.music(_waveform(path, self.space.sample_rate)) for path in self.clips()])

    @cached_property
    def judge(self) -> Any:
        return picture_label.train_judge(self.pictures, self.labels)


def parts(run: Run) -> dict[str, Callable[[Run], Result]]:
    """The parts in the order in which they run: a part needs some of those before it."""
    return {
        "data": _data,
        "music": _music,
        "painted": _painted,
        "controls": _controls,
        "outside": _outside,
        "movies": _movies,
        "experiment-1": partial(_experiment, "experiment-1", 0),
        "experiment-2": partial(_experiment, "experiment-2", 1),
    }


def _data(run: Run) -> Result:
    """Makes the set, if none is given."""
    if run.own_data is None:
        budget = run.budget
        counts = {"works": budget.works, "procedural": budget.procedural}
        make_set(run.data, run.paintings, load_system("picture", PictureSystem).audio, **counts, workers=run.workers)
    check_data(run)
    return {"pictures": len(run.pictures.label), "labels": [NAMES[label] for label in run.labels]}


def check_data(run: Run) -> None:
    """Raises InputError where there are not enough pictures."""
    if len(run.labels) < 2:
        raise InputError(
            f"{run.data} has {len(run.labels)} labels with {run.budget.clips} pictures to validate and to test by; "
            "expected two or more: make more with `timbrel data paint`"
        )


def _music(run: Run) -> Result:
    """Renders works of the test half of each label; in the set that is made, and in the shipped painter's, none is
    trained on."""
    jobs = [
        (label, number, work, run.clip(label, number))
        for label in run.labels
        for number, work in enumerate(_held_out(run, label))
    ]
    rendered = answers(_render, jobs, workers=run.workers, progress=run.progress, unit="clip")
    works = {(label, number): name for label, number, name in rendered}
    return {"works": [works[label, number] for label in run.labels for number in range(run.budget.clips)]}


def _held_out(run: Run, label: int) -> list[int]:
    """Numbers of works of the test half; where there are too few, other passages of the same."""
    works = _works(label, 2, run.budget.clips)
    if len(works) < run.budget.clips:
        raise InputError(f"{NAMES[label]} has {len(works)} held-out works; expected {run.budget.clips}")
    return works


def _works(label: int, split: int, most: int) -> list[int]:
    """Numbers of the first works of a split."""
    works = (work for work in range(MOST_TRIES) if split_of(work_name(NAMES[label], work)) == split)
    return list(islice(works, most))


def _render(job: tuple[int, int, int, Path]) -> tuple[int, int, str]:
    label, number, work, path = job
    name, waveform = render_label(NAMES[label], work, sample_rate=SAMPLE_RATE)
    _write_clip(path, waveform)
    return label, number, name


def _fit_map(run: Run, space: ClapClipSpace) -> None:
    """From CLAP's vectors to CLIP's, on works of the training half, each with pictures of its label; kept in a file."""
    path = run.out / "clap-clip.npy"
    if not path.exists():
        folder = run.out / "music" / "training"
        jobs = [
            (label, number, work, folder / f"{label:02d}-{number:02d}.flac")
            for label in run.labels
            for number, work in enumerate(_works(label, 0, MAP_CLIPS))
        ]
        for _ in answers(_render, jobs, workers=run.workers, progress=run.progress, unit="training clip"):
            pass
        heard = np.stack([space.heard(_waveform(file, space.sample_rate)) for *_, file in jobs])
        training = np.flatnonzero(run.pictures.split.numpy() == 0)
        labels = np.repeat([label for label, *_ in jobs], MAP_PICTURES)
        chosen = training[pairs(labels.tolist(), run.pictures.label.numpy()[training].tolist())]
        space.fit(np.repeat(heard, MAP_PICTURES, axis=0), space.pictures(run.pictures.pixels[chosen].numpy()))
        with whole(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.asarray(space.map))
    space.map = np.load(path)


def _at_size(pixels: Tensor) -> Tensor:
    """Pictures uint8 [n, h, w, 3] -> [n, SIZE, SIZE, 3]."""
    return (
        torch.cat(
            [
                functional.interpolate(batch.permute(0, 3, 1, 2).float(), (SIZE, SIZE), mode="area").round().byte()
                for batch in pixels.split(64)
            ]
        )
        .permute(0, 2, 3, 1)
        .contiguous()
    )


def _write_clip(path: Path, waveform: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, np.float32(0.9 / max(np.abs(waveform).max(), 1e-4)) * waveform[None], SAMPLE_RATE, overwrite=True)


def _waveform(path: Path, sample_rate: int) -> NDArray:
    return read_audio(path, sample_rate=sample_rate, mono=True)[0][0]


# --- pictures


def painted(run: Run, row: str, model: str | None, music: Sequence[Path | None]) -> NDArray[np.uint8]:
    """A picture of each clip by a model, or of no music, each with its own seed: uint8 [n, 128, 128, 3]."""
    folder = run.out / "pictures" / row
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(seed, path, folder / f"{seed:03d}.png") for seed, path in enumerate(music)]
    missing = [one for one in wanted if not one[-1].exists()]
    jobs = [(model, missing[start : start + BATCH]) for start in range(0, len(missing), BATCH)]
    for _ in answers(_paint, jobs, workers=run.workers, progress=run.progress, name=row, unit="batch"):
        pass
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for *_, path in wanted])


def _paint(job: tuple[str | None, list[tuple[int, Path | None, Path]]]) -> None:
    """Paints a batch, which is faster than one by one."""
    model, wanted = job
    pipe = _pipe(model)
    heard = [None if music is None else pipe.hear(Recording.of(music, None)) for _, music, _ in wanted]
    latents = pipe.latents(heard, DEFAULTS, [seed for seed, *_ in wanted])
    for one, (*_, path) in zip(latents, wanted, strict=True):
        Picture(enlarge(pipe.levels(one[None]), SIZE)).save(path, overwrite=True)


@lru_cache(maxsize=1)
def _pipe(model: str | None) -> PaintPipeline:
    return PaintPipeline.load(model)


def _painted(run: Run) -> Result:
    """By the model that ships, or that was given."""
    return measured(run, painted(run, "painted", run.model, list(run.clips())))


def _controls(run: Run) -> Result:
    """What the figures mean: other true pictures, the same pictures under shuffled music, a few pictures of no music,
    and true pictures whose pixels are shuffled."""
    count, rng = len(run.clip_labels), np.random.default_rng(0)
    few = np.flatnonzero(np.arange(count) % run.budget.clips < 2)
    made = painted(run, "painted", run.model, list(run.clips()))
    true = run.true(2)
    return {
        "true pictures": measured(run, run.true(1))
        | _told(run, true, run.clip_labels),  # the judge learnt from the first
        "shuffled music": measured(run, made, rng.permutation(count)),
        NO_MUSIC: measured(run, painted(run, NO_MUSIC, run.model, [None] * len(few)), few),
        "shuffled pixels": measured(run, np.stack([_shuffled(picture, rng) for picture in true])),
    }


def _shuffled(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The pixels of a picture [h, w, 3] in an order of chance."""
    return rng.permutation(picture.reshape(-1, 3)).reshape(picture.shape)


def measured(run: Run, pixels: NDArray[np.uint8], own: NDArray | None = None) -> Result:
    """All measures of pictures [n, 128, 128, 3]; `own` [n] are the clips that they are taken for, all by default. FID
    grows as pictures are fewer: it is left out where there are not as many as true ones."""
    own = np.arange(len(pixels)) if own is None else own
    labels = [run.clip_labels[k] for k in own]
    space, true = run.space, run.true(2)
    vectors, seen = space.pictures(pixels), space.features(pixels)
    alike = similarity.evaluate(space.name, vectors, run.music, list(own), space.pictures(true), list(own))
    true_seen = space.features(true)
    giils = {label: similarity.label_margins(vectors, labels, label) for label in run.labels}
    return {
        **{name.partition("[")[0]: summary._asdict() for name, summary in alike.items()},
        "fid": fad.plain_distance(true_seen, seen) if len(seen) == len(true_seen) else None,
        "diversity": diversity.evaluate(_by_label(true_seen, run.clip_labels), _by_label(seen, labels))._asdict(),
        "giils": {NAMES[label]: similarity.angle_score(values.mean()) for label, values in giils.items()},
        **_told(run, pixels, labels),
    }


def _told(run: Run, pixels: NDArray[np.uint8], labels: Sequence[int]) -> Result:
    """How many of the pictures [n, 128, 128, 3] the judge tells as their label."""
    accuracies = picture_label.evaluate(run.judge, pixels, labels)
    return {
        "accuracy": mean_interval(list(accuracies.values()))._asdict(),
        "accuracies": {NAMES[label]: share for label, share in accuracies.items()},
    }


def _by_label(rows: NDArray, labels: Sequence[int]) -> Mapping[str, list[NDArray]]:
    """Each label's rows, as `diversity` has them."""
    own = np.asarray(labels)
    return {NAMES[label]: list(rows[own == label, None]) for label in np.unique(own)}


def _outside(run: Run) -> Result:
    """Pictures of what is no music of the set: sounds and scores that are made, and recordings that were given."""
    folder = run.out / "music" / "outside"
    for name, waveform in render_outside(SAMPLE_RATE):
        _write_clip(folder / f"{name}.flac", waveform)
    clips = {path.stem: path for path in (*sorted(folder.glob("*.flac")), *run.outside)}
    figures = {}
    for name, path in clips.items():
        pixels = painted(run, f"outside/{name}", run.model, [path] * 4)
        said = run.judge.predict([picture_label.features(picture) for picture in pixels])
        figures[name] = [NAMES[int(label)] for label in said]
    return {"called": figures}


def _movies(run: Run) -> Result:
    """Beat F1 of movies, and what a minute of movie at 512 x 512 takes."""
    labels = [label for label in map(NAMES.index, MOVING) if label in run.labels] or run.labels
    pipe, rows = _pipe(run.model), []
    took: dict[str, float] = {}
    for label in labels[: run.budget.movies]:
        waveform = _waveform(run.clip(label, 0), SAMPLE_RATE)[: round(run.budget.movie_s * SAMPLE_RATE)]
        course = listen(pipe, Recording.of(waveform, SAMPLE_RATE))
        settings = PaintSettings(size=128 if took else 512)
        begin = np.array([time.monotonic(), time.process_time()])
        moved = motion.motion(frames(pipe, course, settings))
        if not took:
            each = (np.array([time.monotonic(), time.process_time()]) - begin) / (len(moved) / FPS / 60)
            took = dict(zip(("wall_s", "cpu_s"), each.tolist(), strict=True))
        sound = resample(waveform[None], SAMPLE_RATE, spectral.SAMPLE_RATE)[0]
        rows.append({"label": NAMES[label]} | motion.evaluate(moved, sound, FPS))
    means = {name: mean_interval([row[name] for row in rows])._asdict() for name in ("beat_f1", "beat_f1_shuffled")}
    return {"rows": rows, "minute": took} | means


def stage(run: Run, name: str, **changes: Any) -> PictureStage:
    """What trains one of the report's two experiments, on from the model that is measured."""
    recipe = recipes.find_recipe(recipes.PICTURE_RECIPES, name, precision="fp32", num_workers=0, **changes)
    return PictureStage.prepare(recipe, run.data, init_from=run.model or SHIPPED)


def _experiment(name: str, number: int, run: Run) -> Result:
    """One of the report's two, on from the model that is measured: training, and what the best epoch paints."""
    trained = stage(run, name, epochs=run.budget.epochs[number], learning_rate=run.budget.rates[number])
    recipe, folder = trained.recipe, run.out / "runs" / name
    if not fit(trained, folder):
        raise InterruptedRunError(f"stopped while {name} was trained; the same command goes on")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    validation = [line["validation/error"] for line in lines if "validation/error" in line]
    return {
        "epochs": recipe.epochs,
        "steps_an_epoch": recipe.validate_every,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "best_epoch": int(np.argmin(validation)) + 1,
        "validation": validation,
        "training_minutes": round(lines[-1]["elapsed_s"] / 60, 2),
        "measured": measured(run, painted(run, name, str(folder / "model"), list(run.clips()))),
    }
