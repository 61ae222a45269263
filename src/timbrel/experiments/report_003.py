"""Tables 5.1 and 5.2 of report 003, computed anew: cross-diffusion over forward steps and starts, in both directions.

The report judges each cell by the Fréchet audio distance alone. Here instrument accuracy and note F1 against the
source's score stand beside it, and rows whose quality is known: the source unchanged, the true answer (the source's
score on the wanted instrument), the same recordings dealt to the wrong sources, and what `timbrel transfer` does by
either method. Scores are those that no training heard (the validation split of `timbrel data synth`), libraries are
training's: as kind as the report.

    OUT/clips.json   clips/content-guitar-000.flac ...          what is asked
    OUT/guitar-to-violin/  rows/*.json  audio/*.ogg             each row of a table, kept once it is measured
    OUT/results.json  *.csv  *.png  tables.md  index.html       what was found
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import read_audio, resample, write_audio
from timbrel.audio.level import levelled
from timbrel.audio.mel import mel_spectrogram
from timbrel.checkpoint import fingerprint, load_single_models, load_transfer_model
from timbrel.data.render import LIBRARIES, find_library
from timbrel.data.scores import Note, corpus_scores
from timbrel.data.splits import assign_split
from timbrel.data.store import check_settings, write_bytes, write_text
from timbrel.data.synth import SynthConfig
from timbrel.diffusion.samplers import seeded_noise
from timbrel.errors import InputError
from timbrel.experiments import benchmark, page, report_003_page
from timbrel.experiments.benchmark import NOTES_KEPT, SAMPLE_RATE, Measures
from timbrel.experiments.manifest import places
from timbrel.experiments.report_003_page import DIRECTIONS, ROWS, cell_name, cell_of
from timbrel.metrics import fad, kad, notes, require, spectral
from timbrel.metrics.encoders import Encoder, load_encoder
from timbrel.metrics.instrument import evaluate as judge_instrument
from timbrel.metrics.sets import GROUPS, Embeddings
from timbrel.metrics.summary import mean_interval, ratio_interval
from timbrel.pipelines.cross import START, STEPS, CrossModel

FORWARD_STEPS, STARTS = (0, 100, 200, 300, 400, 500), (0, 10, 20, 30, 40)
CLIPS = 100
NOTE_SHARE = 3  # one clip in so many is listened to for notes, which takes longest
QUICK_FORWARD_STEPS, QUICK_STARTS, QUICK_CLIPS = (100, 300, 500), (0, 20, 40), 12
DURATION_S, LONGEST_REST_S = 5.0, 1.2
HEARD = ("fluidr3", "musescore", "timgm6mb", "csound", "opl3")
"""Sample libraries that the shipped models learnt from: those of them that are installed play the clips, in turn."""
SPAN = 1024  # samples that levels are taken over, as in the transfer pipeline
BATCH = 20  # clips that are denoised at a time
SHOWN = 2  # clips of each row that are kept to be heard
SPEED_STARTS = (0, START)
SPEED_S, QUICK_SPEED_S = (10, 70), (5, 35)


@dataclass(frozen=True)
class Run:
    """What is computed, and where, from `clips` of each set."""

    out: Path
    models: str | None = None
    encoder: str = "timbrel-features"
    weights: str | None = None
    clips: int = CLIPS
    precision: str = "fp32"
    seed: int = 0

    @property
    def note_clips(self) -> int:
        return -(-self.clips // NOTE_SHARE)

    def path(self, kind: str, instrument: str, index: int) -> Path:
        """Of a rendered clip; `kind` is "content" (sources and answers) or "reference" (of other scores)."""
        return self.out / "clips" / f"{kind}-{instrument}-{index:03d}.flac"


def reproduce(
    out: str | Path,
    *,
    quick: bool = False,
    models: str | Path | None = None,
    encoder: str = "timbrel-features",
    weights: str | Path | None = None,
    forward_steps: Sequence[int] | None = None,
    starts: Sequence[int] | None = None,
    clips: int | None = None,
    precision: str = "fp32",
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Computes both tables into a folder and prints them; a second call goes on where the first stopped.

    Args:
        out: the folder; one that holds what was made with other settings is refused.
        quick: nine cells of few clips, to see that it works.
        models: a folder with models of a guitar and a violin, beside those that ship.
        encoder, weights: what listens for the distances; see `metrics.encoders.load_encoder`.
        forward_steps: how far sources are noised, of all the schedule's steps (rows of the tables).
        starts: denoising steps that are skipped, of 50 (columns).
        clips: of each set, at least 10; notes are counted in the first third of them.
        precision: of the denoiser: "fp32", as `timbrel transfer`, or "bf16", as in training: half the time or less
            where the processor has it.
        seed: of the passages, of the noise, and of the parts that FAD cuts sets into.
        workers: processes; by default one a core.

    Returns:
        What results.json holds.

    Raises:
        InputError: values out of range, or a folder made with other settings.
        ModelError: an instrument, or the encoder, has no model.
        MissingDependencyError: without music21, TiMidity++, any of `HEARD`, or the `metrics` extra.
    """
    if clips is None:
        clips = QUICK_CLIPS if quick else CLIPS
    rows = tuple(forward_steps or (QUICK_FORWARD_STEPS if quick else FORWARD_STEPS))
    columns = tuple(starts or (QUICK_STARTS if quick else STARTS))
    if precision not in ("fp32", "bf16"):
        raise InputError(f"precision is {precision!r}; expected 'fp32' or 'bf16'")
    if clips < GROUPS:
        raise InputError(f"clips is {clips}; expected at least {GROUPS} of each set, better {CLIPS}")
    named, heard = (None if path is None else str(path) for path in (models, weights))
    run = Run(Path(out), named, encoder, heard, clips, precision, seed)
    targets = {direction: direction.rpartition("-")[2] for direction in DIRECTIONS}
    singles = dict(zip(targets, load_single_models(list(targets.values()), named), strict=True))
    cells = [(forward, start) for forward in rows for start in columns]
    for single in singles.values():
        for forward, start in cells:
            CrossModel(single, start=start, forward_steps=forward)  # refuses steps out of range
    ear = load_encoder(encoder, heard)
    if notes.available():
        require("mir_eval.transcription")
    asked = _questions_settings(run)
    settings = {"encoder": ear.name, "notes": notes.available(), "precision": precision, "steps": STEPS, "start": START}
    main = load_transfer_model()
    settings["main"] = fingerprint(_whole(main.codec, main.style, main.denoiser, *main.instruments.values()))
    own = {name: {"model": fingerprint(_whole(single.codec, single.denoiser))} for name, single in singles.items()}
    for keep in (False, True):  # all are compared before one is written
        _same_settings(run.out, asked, keep=keep)
        for direction in DIRECTIONS:
            _same_settings(run.out / direction, settings | own[direction], keep=keep)

    _make_clips(run, asked["libraries"], workers, progress)
    wanted = [*ROWS, *(cell_name(*cell) for cell in cells)]
    for direction in DIRECTIONS:
        todo = [name for name in wanted if not _row_path(run, direction, name).exists()]
        for _ in benchmark.parallel(partial(_make_row, run, direction), todo, workers, progress and direction):
            pass
    lengths = QUICK_SPEED_S if quick else SPEED_S
    results = _results(run, rows, columns) | {
        "partial": quick or rows != FORWARD_STEPS or columns != STARTS or clips < CLIPS,
        "settings": asked | settings | own,
        "speed": _speed(run, lengths, progress),
    }
    _write(run, results)
    print(report_003_page.tables(results))
    return results


# --- what is asked: passages of scores, played on both instruments


def _questions_settings(run: Run) -> dict[str, Any]:
    corpus_scores(SynthConfig().composers)  # without music21 it says so now
    installed = [name for name in HEARD if LIBRARIES[name].path is not None]
    find_library([*installed, *HEARD][0])  # without any, or TiMidity++, likewise
    return {"clips": run.clips, "seed": run.seed, "libraries": installed}


def _whole(*parts: torch.nn.Module | Tensor) -> torch.nn.Module:
    """All that a result depends on, as one network."""
    return torch.nn.ModuleList(
        part if isinstance(part, torch.nn.Module) else torch.nn.ParameterList([part]) for part in parts
    )


def _same_settings(folder: Path, settings: dict[str, Any], *, keep: bool) -> None:
    """Refuses a folder whose rows were made with other settings; writes them down with `keep`."""
    path = folder / "settings.json"
    check_settings(path, settings)
    if keep and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(settings, indent=1) + "\n")


def draw(clips: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Passages of 5 s of the scores that training keeps for validation: "content" and "reference", of other scores.

    Returns:
        For each set `clips` times {"score", "start_s", "transposition", "notes": [[start_s, end_s, pitch, velocity]]}.
    """
    config, rng = SynthConfig(), random.Random(seed)
    names = corpus_scores(config.composers)
    names = [name for name in names if assign_split(name, config.validation_share, config.seed) == "validation"]
    rng.shuffle(names)
    drawn = {}
    for kind, own in (("content", names[::2]), ("reference", names[1::2])):
        each = -(-2 * clips // len(own))  # twice as many as needed, for short scores have few
        found = []
        for name in own:
            for turn, place in zip(range(each), places(name, DURATION_S, LONGEST_REST_S, rng), strict=False):
                found.append((turn, place))
        found.sort(key=lambda pair: pair[0])  # every score in turn
        if len(found) < clips:
            raise InputError(f"clips is {clips}; the scores kept for validation give {len(found)} for the set {kind}")
        drawn[kind] = [
            {
                "score": place.score,
                "start_s": place.start_s,
                "transposition": place.transposition,
                "notes": [dataclasses.astuple(note) for note in place.notes()],
            }
            for _, place in found[:clips]
        ]
    return drawn


def _make_clips(run: Run, libraries: Sequence[str], workers: int | None, progress: bool) -> None:
    path = run.out / "clips.json"
    if not path.exists():
        if progress:
            print("reading scores ...", file=sys.stderr)
        drawn = draw(run.clips, run.seed)
        for passages in drawn.values():
            for i, passage in enumerate(passages):
                passage["library"] = libraries[i % len(libraries)]
        write_text(path, json.dumps(drawn))
    (run.out / "clips").mkdir(exist_ok=True)
    kinds = ("content", "reference")
    jobs = [(kind, instrument, i) for kind in kinds for instrument in _instruments() for i in range(run.clips)]
    jobs = [job for job in jobs if not run.path(*job).exists()]
    for _ in benchmark.parallel(partial(_render, run), jobs, workers, progress and "rendering"):
        pass


def _instruments() -> list[str]:
    return [direction.partition("-")[0] for direction in DIRECTIONS]


@lru_cache(maxsize=1)
def _passages(path: Path) -> dict[str, list[dict[str, Any]]]:
    return json.loads(path.read_text())


def _render(run: Run, job: tuple[str, str, int]) -> None:
    kind, instrument, i = job
    passage = _passages(run.out / "clips.json")[kind][i]
    score = [Note(*values) for values in passage["notes"]]
    waveform = benchmark.play(score, instrument, passage["library"], DURATION_S)
    write_audio(run.path(*job), waveform, SAMPLE_RATE)  # whole or not at all


# --- the rows of a table


class _Direction:
    """What the rows of one direction share: the model, the clips, and the set that they are compared with."""

    def __init__(self, run: Run, direction: str) -> None:
        self.run = run
        self.source, _, self.target = direction.split("-")
        [self.single] = load_single_models([self.target], run.models)
        self.rate = self.single.mel.sample_rate
        self.sources, self.answers = (self._read("content", name) for name in (self.source, self.target))
        self.frames = self.single.mel.num_frames(len(self.sources[0]))
        self.ear: Encoder = load_encoder(run.encoder, run.weights)
        self.reference = [self._embed(clip, self.rate) for clip in self._read("reference", self.target)]
        scores = [passage["notes"] for passage in _passages(run.out / "clips.json")["content"]]
        self.scores = [np.array(score)[:, :3] for score in scores]

    def _read(self, kind: str, instrument: str) -> list[NDArray]:
        """Clips [samples] at the model's rate, as loud as what it was trained on."""
        paths = [self.run.path(kind, instrument, i) for i in range(self.run.clips)]
        return [levelled(read_audio(path, sample_rate=self.rate, mono=True)[0][0], SPAN) for path in paths]

    def _latents(self, clips: Sequence[NDArray]) -> Tensor:
        mel = mel_spectrogram(torch.from_numpy(np.stack(clips))[:, None], self.single.mel)
        short = -self.frames % self.single.codec.factor
        return self.single.codec.encode(torch.nn.functional.pad(mel, (0, short), value=self.single.mel.floor_db))

    def _sound(self, mel: Tensor, sources: Sequence[NDArray]) -> Iterator[NDArray]:
        """Mel [batch, 1, n_mels, frames] -> waveforms [samples], inverted as the transfer pipeline does it."""
        for one, source in zip(mel[..., : self.frames], sources, strict=True):
            yield invert_mel(one[None], self.single.mel, source=torch.from_numpy(source)[None, None])[0, 0].numpy()

    @torch.inference_mode()
    def outputs(self, row: str) -> Iterator[NDArray]:
        """What a row puts in the place of the answers: a waveform [samples] at `rate` for each source."""
        if row == "unchanged":
            yield from self.sources
        elif row == "answer":
            yield from self.answers
        elif row == "misdealt":
            half = self.run.clips // 2
            yield from [*self.answers[half:], *self.answers[:half]]
        elif row == "main":
            for clip in self.sources:
                made = benchmark.pipeline(None)(clip, to=self.target, sample_rate=self.rate, seed=self.run.seed)
                yield resample(made.waveform, made.sample_rate, self.rate)[0]
        else:
            for first in range(0, self.run.clips, BATCH):
                batch = slice(first, first + BATCH)
                if row == "codec":
                    mel = self.single.codec.decode(self._latents(self.answers[batch]))
                else:
                    mel = self.single.decode(self._crossed(row, self._latents(self.sources[batch]), first))
                yield from self._sound(mel, self.sources[batch])

    def _crossed(self, row: str, content: Tensor, first: int) -> Tensor:
        if row in ROWS:
            model = CrossModel(self.single, start=20 if row == "equalised" else START)
        else:  # a cell, as the report has it
            forward, start = cell_of(row)
            model = CrossModel(self.single, start=start, forward_steps=forward, equalise=False)
        seeds = [self.run.seed * self.run.clips + first + i for i in range(len(content))]  # a clip's own in all cells
        noise = seeded_noise(content.shape[1:], seeds)
        tokens = model.instruments[self.target]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.run.precision == "bf16"):
            return model.sample(content, tokens, noise, steps=STEPS, guidance=1, strength=1)

    def _embed(self, waveform: NDArray, rate: int) -> NDArray:
        return self.ear.embed(resample(levelled(waveform, SPAN)[None], rate, self.ear.sample_rate)[0])

    def measure(self, row: str) -> dict[str, Any]:
        """Measures of each clip of a row, and the distances of all of them from the reference set."""
        counted = self.run.note_clips if notes.available() else 0
        clips: list[Measures] = []
        heard = []
        for i, waveform in enumerate(self.outputs(row)):
            if i < SHOWN:
                _write_shown(_audio_path(self.run, f"{self.source}-to-{self.target}", row, i), waveform, self.rate)
            prepared = spectral.prepare(waveform[None], self.rate)
            clip = judge_instrument(benchmark.classifier(), self.target, prepared)
            if i < counted:
                clip |= notes.evaluate(self.scores[i], prepared)
            clips.append(clip)
            heard.append(self._embed(waveform, self.rate))
        reference, made = (Embeddings(self.ear.name, recordings) for recordings in (self.reference, heard))
        found = fad.frechet_audio_distance(reference, made, seed=self.run.seed)
        kernel = kad.kernel_audio_distance(reference, made, seed=self.run.seed)
        return {"clips": clips, "fad": dataclasses.asdict(found), "kad": dataclasses.asdict(kernel)}


_direction = lru_cache(maxsize=1)(_Direction)


def _make_row(run: Run, direction: str, row: str) -> None:
    path = _row_path(run, direction, row)
    path.parent.mkdir(exist_ok=True)
    measured = _direction(run, direction).measure(row)
    write_text(path, json.dumps(measured))


def _row_path(run: Run, direction: str, row: str) -> Path:
    return run.out / direction / "rows" / f"{row}.json"


def _audio_path(run: Run, direction: str, row: str, clip: int) -> Path:
    return run.out / direction / "audio" / f"{clip}-{row}.ogg"


def _write_shown(path: Path, waveform: NDArray, rate: int) -> None:
    path.parent.mkdir(exist_ok=True)
    shown = waveform * (0.9 / max(float(np.abs(waveform).max()), 1e-9))
    write_audio(path, shown[None].astype(np.float32), rate, overwrite=True)


# --- speed and memory, which the report claims and does not measure

_CHILD = """
import json, pathlib, sys, time
from timbrel.cli.main import main
code = main(sys.argv[1:])
import torch
status = pathlib.Path("/proc/self/status")
if status.exists():
    peak = 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"cpu_s": time.process_time(), "peak_bytes": peak, "threads": torch.get_num_threads()}))
sys.exit(code)
"""


def _speed(run: Run, lengths: tuple[int, int], progress: bool) -> dict[str, Any]:
    """What `timbrel transfer` of a file takes by each method: seconds a second of music, from the difference of two
    lengths, so that start-up is apart; most memory; parameters."""
    from tqdm import tqdm

    path = run.out / "speed.json"
    if path.exists() and (before := json.loads(path.read_text()))["seconds"] == list(lengths):
        return before
    [single], main = load_single_models(["violin"], run.models), load_transfer_model()
    sizes = {
        "cross": _parameters(single.denoiser, single.codec),
        "main": _parameters(main.denoiser, main.codec, main.style),
    }
    cross = ["--method", "cross", *([] if run.models is None else ["--models", run.models])]
    ways = {f"cross-diffusion, start {k}": [*cross, "--start", str(k)] for k in SPEED_STARTS}
    found: dict[str, Any] = {"seconds": lengths}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=6, desc="speed", disable=not progress) as bar:
        clips = [read_audio(run.path("content", "guitar", i))[0] for i in range(run.clips)]
        for way, options in (ways | {"the main method": []}).items():
            taken = []
            for seconds in lengths:
                source, result = Path(folder, f"{seconds}.wav"), str(Path(folder, "result.wav"))
                samples = seconds * SAMPLE_RATE
                write_audio(source, np.resize(np.concatenate(clips, 1), (1, samples)), SAMPLE_RATE, overwrite=True)
                taken.append(_timed(["transfer", str(source), "--to", "violin", "-o", result, "--overwrite", *options]))
                bar.update()
            short, long = taken
            more = lengths[1] - lengths[0]
            found[way] = {
                "seconds_a_second": (long["seconds"] - short["seconds"]) / more,
                "cpu_seconds_a_second": (long["cpu_s"] - short["cpu_s"]) / more,
                "shortest_file_s": short["seconds"],
                "peak_mb": long["peak_bytes"] / 1e6,
                "threads": long["threads"],
                "parameters": sizes["cross" if options else "main"],
            }
    write_text(path, json.dumps(found, indent=1))
    return found


def _timed(arguments: Sequence[str]) -> dict[str, float]:
    """Runs `timbrel` in a process of its own."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise InputError(f"timbrel {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}")
    return {"seconds": seconds, **json.loads(done.stdout.strip().splitlines()[-1])}


def _parameters(*networks: torch.nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())


# --- what was found


def _results(run: Run, rows: Sequence[int], columns: Sequence[int]) -> dict[str, Any]:
    found: dict[str, Any] = {"forward_steps": rows, "starts": columns, "directions": {}, "left_out": {}}
    for direction in DIRECTIONS:
        wanted = [*ROWS, *(cell_name(forward, start) for forward in rows for start in columns)]
        measured = {name: json.loads(_row_path(run, direction, name).read_text()) for name in wanted}
        found["directions"][direction] = {name: _summary(row, measured["answer"]) for name, row in measured.items()}
    if not notes.available():
        found["left_out"]["note_f1"] = "basic-pitch is not installed: pip install --no-deps basic-pitch"
    if warning := measured["answer"]["fad"]["warning"]:
        found["warning"] = warning
    return found


def _summary(row: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """The means of a row's clips with intervals, and its distances with standard errors."""
    accuracy = mean_interval([clip["instrument_accuracy"] for clip in row["clips"]])
    summary = {"fad": row["fad"], "kad": row["kad"], "instrument": accuracy._asdict()}
    pairs = [(a, b) for a, b in zip(row["clips"], answer["clips"], strict=True) if "note_f1" in a and "note_f1" in b]
    if pairs:
        made, true = zip(*pairs, strict=True)
        f1, true_f1 = ([clip["note_f1"] for clip in some] for some in (made, true))
        summary["note_f1_ratio"] = ratio_interval(f1, true_f1)._asdict()
        kept = [a["note_f1"] >= NOTES_KEPT * b["note_f1"] and a["clip_is_instrument"] == 1 for a, b in pairs]
        summary["both"] = mean_interval(np.array(kept, float))._asdict()
    return summary


def _write(run: Run, results: dict[str, Any]) -> None:
    """results.json, and all that is made of it."""
    maps: dict[str, bytes] = {}
    figures: dict[str, list[str]] = {}
    for name, direction in results["directions"].items():
        write_text(run.out / f"{name}.csv", report_003_page.csv_text(direction))
        maps[name] = report_003_page.heat_maps(name, direction, results["forward_steps"], results["starts"])
        write_bytes(run.out / f"{name}.png", maps[name])
        figures[name] = []
        for i in range(SHOWN):
            paths = {title: _audio_path(run, name, row, i) for row, title in report_003_page.shown(results).items()}
            clips = {title: read_audio(path, sample_rate=SAMPLE_RATE)[0] for title, path in paths.items()}
            figures[name].append(page.figure(f"{name.replace('-', ' ')}, clip {i}", clips))
    write_text(run.out / "results.json", json.dumps(results, indent=1))
    write_text(run.out / "tables.md", report_003_page.tables(results) + "\n")
    write_text(run.out / "index.html", report_003_page.html(results, maps, figures))
