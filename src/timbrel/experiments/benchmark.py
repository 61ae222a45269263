"""How good is a transfer? 240 times the true answer is known, and this measures how far from it an output is.

A *triplet* is a content (a passage of a score on instrument A), a style (another passage on B) and a target
(the content's score on B), all rendered by a sample library that training never hears. `build` renders them
into a folder, `evaluate` measures a model, or another program's outputs, beside the rows that say what the
figures mean: doing nothing, another piece, the truth through the mel spectrogram, transcribing and rendering,
and other sample libraries.

    BENCHMARK/  content/ID.wav  style/ID.wav  target/ID.wav  other-style/ID.wav  notes/DIGEST.json  cache/
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from timbrel.audio import inversion, mel
from timbrel.audio.io import read_audio, resample, write_audio
from timbrel.data.render import find_library, render
from timbrel.data.scores import Note
from timbrel.errors import InputError, MissingDependencyError
from timbrel.experiments import manifest
from timbrel.experiments.manifest import LIBRARY, PROGRAMS, Excerpt, Triplet
from timbrel.metrics import chroma, notes, onsets, spectral
from timbrel.metrics.instrument import InstrumentClassifier
from timbrel.metrics.instrument import evaluate as judge_instrument
from timbrel.metrics.summary import Summary, mean_interval, ratio_interval

SAMPLE_RATE = 44100
CLASSIFIER = Path(__file__).with_name("instrument_classifier.safetensors")
OTHER_LIBRARY = "fluidr3"  # whose instruments are right, and sound different: the check that the style clip is heard
STYLE_CHECKS_PER_DIRECTION = 5
SHOWN = 24  # triplets on the page: two of each direction
NOTES_KEPT = 0.8  # "both at once": this share of the true target's note F1
JOIN_S = 0.1  # frames this close to a cross-fade count as part of the seam

Waveform = NDArray[np.float32]
Measures = dict[str, float]
Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Case:
    """A triplet that `build` has rendered into `folder`."""

    triplet: Triplet
    folder: Path

    @property
    def id(self) -> str:
        return self.triplet.id

    def path(self, kind: str) -> Path:
        """Of "content", "style", "target", or "other-style": the style's score by another library."""
        return self.folder / kind / f"{self.id}.wav"

    def read(self, kind: str) -> Waveform:
        """[1, samples] at 44,100 Hz."""
        return read_audio(self.path(kind))[0]

    def score(self, excerpt: Excerpt | None = None) -> list[Note]:
        """The notes of the content (or of another excerpt)."""
        path = self.folder / "notes" / f"{(excerpt or self.triplet.content).digest}.json"
        return [Note(*values) for values in json.loads(path.read_text())]


# --- building


def build(
    folder: str | Path, *, workers: int | None = None, progress: bool = True, limit: int | None = None
) -> list[Case]:
    """Renders the benchmark into a folder (about 550 MB); what is there already is not made again.

    Args:
        workers: processes; by default one a core.
        limit: only the first so many triplets, and none of 30 s.

    Returns:
        The rendered triplets, then those of 30 s.

    Raises:
        MissingDependencyError: without music21, TiMidity++ or the Freepats library.
        InputError: if music21 gives other notes than the benchmark was drawn with.
    """
    find_library(LIBRARY)
    folder = Path(folder)
    (folder / "notes").mkdir(parents=True, exist_ok=True)
    cases = _cases(folder, limit)
    missing = [
        excerpt
        for case in cases
        for excerpt in (case.triplet.content, case.triplet.style)
        if not (folder / "notes" / f"{excerpt.digest}.json").exists()
    ]
    missing.sort(key=lambda e: e.score)
    scores = [(folder, list(group)) for _, group in groupby(missing, key=lambda e: e.score)]
    for _ in parallel(_write_notes, scores, workers, progress and "reading scores"):
        pass
    todo = [case for case in cases if not all(case.path(kind).exists() for kind, *_ in _parts(case))]
    for _ in parallel(_render_case, todo, workers, progress and "rendering"):
        pass
    write(folder / "manifest.json", json.dumps(manifest.manifest(), indent=1))
    return cases


def load(folder: str | Path, *, limit: int | None = None) -> list[Case]:
    """The triplets of a benchmark folder, then those of 30 s (unless limited), as `build` returns them.

    Raises:
        InputError: if the folder is no benchmark, or not a whole one.
    """
    cases = _cases(Path(folder), limit)
    missing = [case.id for case in cases if not case.path("target").exists()]
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(cases)} triplets ({missing[0]}, ...); "
            f"expected a benchmark: `timbrel evaluate build {folder}` makes or completes one"
        )
    return cases


def _cases(folder: Path, limit: int | None) -> list[Case]:
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; expected at least 1 triplet")
    chosen = manifest.triplets()[:limit] + (manifest.long_triplets() if limit is None else [])
    return [Case(triplet, folder) for triplet in chosen]


def _write_notes(job: tuple[Path, list[Excerpt]]) -> None:
    folder, excerpts = job
    for excerpt in excerpts:
        rows = [[n.start_s, n.end_s, n.pitch, n.velocity] for n in excerpt.notes()]
        write(folder / "notes" / f"{excerpt.digest}.json", json.dumps(rows))


def _parts(case: Case) -> list[tuple[str, Excerpt, str, str]]:
    """Kind, excerpt, instrument and library of each. The target comes last: a triplet that has one is whole."""
    t = case.triplet
    parts = [("style", t.style, t.target, LIBRARY), ("content", t.content, t.source, LIBRARY)]
    parts += [("other-style", t.style, t.target, OTHER_LIBRARY)] if _has(OTHER_LIBRARY) else []
    return [*parts, ("target", t.content, t.target, LIBRARY)]


def _render_case(case: Case) -> None:
    for kind, excerpt, instrument, library in _parts(case):
        path = case.path(kind)
        path.parent.mkdir(exist_ok=True)
        waveform = play(case.score(excerpt), instrument, library, excerpt.duration_s)
        write_audio(path, waveform, SAMPLE_RATE, overwrite=True)


def play(score: Sequence[Note], instrument: str, library: str, duration_s: float) -> Waveform:
    """[1, samples] at 44,100 Hz, peak 0.5."""
    waveform = render(score, PROGRAMS[instrument], library, sample_rate=SAMPLE_RATE, duration_s=duration_s)
    return waveform[None] * np.float32(0.5 / max(float(np.abs(waveform).max()), 1e-9))


def _has(library: str) -> bool:
    try:
        find_library(library)
    except MissingDependencyError:
        return False
    return True


def write(path: Path, text: str) -> None:
    """A file is there whole, or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


# --- the rows of the table


Output = Callable[[Case], Waveform]
"""What a row puts in the place of the target: [channels, samples] at 44,100 Hz."""


@dataclass(frozen=True)
class Row:
    """One line of the table; without its `library`, or a transcriber where it `needs_notes`, it is left out; `kept`:
    it depends on nothing but the benchmark, and is measured once and kept in its folder."""

    name: str
    title: str
    output: Output
    library: str | None = None
    needs_notes: bool = False
    kept: bool = False


def _file(kind: str, case: Case) -> Waveform:
    return case.read(kind)


def _through_mel(case: Case) -> Waveform:
    import torch

    from timbrel.audio.inversion import invert_mel
    from timbrel.audio.mel import MelConfig, mel_spectrogram

    config, target = MelConfig(), torch.from_numpy(case.read("target"))[None]
    mel = mel_spectrogram(target, config)
    return invert_mel(mel, config, length=target.shape[-1])[0].numpy()


def _transcribed(library: str, case: Case) -> Waveform:
    content = case.read("content")
    heard = notes.transcribe(spectral.prepare(content, SAMPLE_RATE))
    score = [Note(start, end, int(pitch), max(1, round(127 * level))) for start, end, pitch, level in heard]
    if not score:
        return np.zeros_like(content)
    return play(score, case.triplet.target, library, content.shape[1] / SAMPLE_RATE)


def _true_score(library: str, case: Case) -> Waveform:
    return play(case.score(), case.triplet.target, library, case.triplet.content.duration_s)


def _transferred(model: str | None, style: str | None, case: Case) -> Waveform:
    """By the model, to a clip of the benchmark, or to the instrument's name."""
    to = case.triplet.target if style is None else case.path(style)
    result = pipeline(model)(case.path("content"), to=to, seed=0)
    return resample(result.waveform, result.sample_rate, SAMPLE_RATE)


def _from_folder(folder: Path, case: Case) -> Waveform:
    suffixes = {".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".webm", ".opus"}
    found = sorted(p for p in folder.glob(f"{case.id}.*") if p.suffix.lower() in suffixes)
    if not found:
        raise InputError(
            f"{folder} has no output for {case.id}; expected an audio file named after each triplet, "
            f"{case.id}.wav for one, made of content/{case.id}.wav and style/{case.id}.wav"
        )
    return read_audio(found[0], sample_rate=SAMPLE_RATE)[0]


@lru_cache(maxsize=1)
def pipeline(model: str | None) -> Any:
    """As `timbrel.load`, without a user's own instruments, which may have the names of a model's."""
    from timbrel.checkpoint import load_transfer_model
    from timbrel.pipelines.transfer import TransferPipeline

    return TransferPipeline(load_transfer_model(model))


BASELINES = (
    Row("target", "the true target", partial(_file, "target"), kept=True),
    Row("unchanged", "nothing done", partial(_file, "content"), kept=True),
    Row("other-piece", "another piece, right instrument", partial(_file, "style"), kept=True),
    Row("mel", "target through mel and back", _through_mel, kept=True),
    *(
        Row(f"transcribe-{name}", f"transcribe, render: {name}", partial(_transcribed, name), name, True, True)
        for name in ("timgm6mb", LIBRARY)
    ),
    *(
        Row(f"score-{name}", f"true score on {name}", partial(_true_score, name), name, kept=True)
        for name in ("fluidr3", "musescore")
    ),
)


def model_rows(model: str | Path | None) -> tuple[Row, ...]:
    """The rows of a model: a shipped name, a folder, or None for the default."""
    name = None if model is None else str(model)
    return (
        Row("model-clip", "the model, by clip", partial(_transferred, name, "style")),
        Row("model-name", "the model, by name", partial(_transferred, name, None)),
        Row(
            "model-other-style",
            "the model, clip of another library",
            partial(_transferred, name, "other-style"),
        ),
    )


# --- measuring


@lru_cache(maxsize=1)
def classifier() -> InstrumentClassifier:
    """The frozen judge of instruments that belongs to the benchmark."""
    return InstrumentClassifier.load(CLASSIFIER)


@lru_cache(maxsize=1)
def _measured_by() -> str:
    """Changes with the source of what makes and measures a kept row: it is measured anew then. (Another version of a
    library that is called goes unnoticed.)"""
    measures = (Case, chroma, notes, onsets, spectral, InstrumentClassifier)
    makers = (manifest, inversion, mel, render, resample)
    paths = [Path(str(inspect.getsourcefile(part))) for part in (*measures, *makers)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in (*paths, CLASSIFIER))).hexdigest()[:8]


def measure(case: Case, waveform: Waveform) -> Measures:
    """All measures of an output [channels, samples] at 44,100 Hz, against the case's target and score.

    Raises:
        InputError: if it is over 0.1 s longer or shorter than the target.
        MissingDependencyError: without librosa or mir_eval.
    """
    target = spectral.prepare(case.read("target"), SAMPLE_RATE)
    estimate = spectral.prepare(waveform, SAMPLE_RATE)
    if abs(len(estimate) - len(target)) > 0.1 * spectral.SAMPLE_RATE:
        raise InputError(
            f"the output for {case.id} lasts {len(estimate) / spectral.SAMPLE_RATE:.2f} s; "
            f"expected {len(target) / spectral.SAMPLE_RATE:.2f} s, as its content does"
        )
    estimate = np.resize(np.pad(estimate, (0, max(0, len(target) - len(estimate)))), len(target))
    score = np.array([[n.start_s, n.end_s, n.pitch] for n in case.score()])
    return {
        **spectral.evaluate(target, estimate),
        **judge_instrument(classifier(), case.triplet.target, estimate),
        **(notes.evaluate(score, estimate) if notes.available() else {}),
        **onsets.evaluate(score[:, 0], estimate),
        "chroma": chroma.chroma_cosine(_target_chroma(case, target), chroma.chromagram(estimate)),
    }


def _target_chroma(case: Case, target: Waveform) -> NDArray:
    path = case.folder / "cache" / f"chroma-{_measured_by()}" / f"{case.id}.npy"
    if path.exists():
        return np.load(path)
    chromagram = chroma.chromagram(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{case.id}.{os.getpid()}.npy")
    np.save(temporary, chromagram)
    temporary.replace(path)
    return chromagram


def judge(
    triplets: Sequence[Case],
    outputs: Output | Mapping[str, Waveform],
    *,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, Measures]:
    """Measures the outputs for some triplets of a benchmark.

    Args: triplets: as `build` or `load` returns them. outputs: a waveform [channels, samples] at 44,100 Hz
    for each triplet's id, or a function that makes one from the triplet (picklable, unless `workers` is 1).

    Returns:
        For each id: lsd_db, mfcc_distance, detail, instrument_accuracy, clip_is_instrument, note_f1 (where
        basic-pitch is installed), onset_f1, chroma.
    """
    output = outputs if callable(outputs) else partial(_look_up, outputs)
    return dict(parallel(partial(_judge_one, output), triplets, workers, progress and "judging"))


def _look_up(outputs: Mapping[str, Waveform], case: Case) -> Waveform:
    return outputs[case.id]


def _judge_one(output: Output, case: Case) -> tuple[str, Measures]:
    return case.id, measure(case, output(case))


def _draw_one(output: Output, case: Case) -> tuple[str, str]:
    from timbrel.experiments import page

    clips = {"source": case.read("content"), "style": case.read("style"), "result": output(case)}
    return case.id, page.figure(case.id, {**clips, "target": case.read("target")})


def _judge_row(row: Row, cases: Sequence[Case], workers: int | None, progress: bool) -> dict[str, Measures]:
    """As `judge`, remembering in the benchmark's folder what only changes with the code."""
    path = cases[0].folder / "cache" / f"{row.name}-{_measured_by()}.jsonl"
    known: dict[str, Measures] = {}
    if row.kept and path.exists():
        for line in path.read_text().splitlines():
            try:
                known.update(json.loads(line))
            except json.JSONDecodeError:  # the run was killed while it wrote
                continue
        known = {key: value for key, value in known.items() if "note_f1" in value or not notes.available()}
    todo = [case for case in cases if case.id not in known]
    path.parent.mkdir(exist_ok=True)
    with open(path if row.kept else os.devnull, "a") as file:
        for key, measures in parallel(partial(_judge_one, row.output), todo, workers, progress and row.title):
            known[key] = measures
            file.write("\n" + json.dumps({key: measures}))
            file.flush()
    return {case.id: known[case.id] for case in cases}


def parallel(
    function: Callable[[Job], Answer], jobs: Sequence[Job], workers: int | None, title: str | bool
) -> Iterator[Answer]:
    """The answers as they come, from several processes (this one if `workers` is 1); progress on stderr."""
    from tqdm import tqdm

    workers = min(workers or os.cpu_count() or 1, max(len(jobs), 1))
    with tqdm(total=len(jobs), desc=str(title), disable=not title or not jobs, file=sys.stderr) as bar:
        if workers == 1:
            for job in jobs:
                yield function(job)
                bar.update()
            return
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
        try:
            for future in as_completed([pool.submit(function, job) for job in jobs]):
                yield future.result()
                bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then cancels what is left
    torch.set_num_threads(1)


# --- seams and speed, on longer music


def seams(model: str | Path | None, cases: Sequence[Case]) -> dict[str, Summary] | None:
    """LSD where the model's windows join, on the triplets of 30 s; 1 is no seam to be heard.

    Returns:
        "elsewhere": over the LSD of all other frames; "unjoined": over that of the same frames when the model hears
        only the 20 s around them, in one window. None if no windows join.
    """
    pipe = pipeline(None if model is None else str(model))
    at_joins: list[float] = []
    elsewhere: list[float] = []
    unjoined: list[float] = []

    def transfer(content: Waveform, case: Case) -> Waveform:
        result = pipe(content, to=case.path("style"), sample_rate=SAMPLE_RATE, seed=0)
        return resample(result.waveform, result.sample_rate, SAMPLE_RATE)

    for case in cases:
        content, target = case.read("content"), case.read("target")
        joined = transfer(content, case)
        for start_s, stop_s in _joins(pipe, content.shape[1] / SAMPLE_RATE):
            around = slice(max(0, round((start_s - 10) * SAMPLE_RATE)), round((stop_s + 10) * SAMPLE_RATE))
            distances = _distances(target[:, around], joined[:, around])
            times = np.arange(len(distances)) * spectral.CONFIG.hop_length / spectral.SAMPLE_RATE
            times += around.start / SAMPLE_RATE
            close = (times > start_s - JOIN_S) & (times < stop_s + JOIN_S)
            at_joins.append(float(distances[close].mean()))
            elsewhere.append(float(distances[~close].mean()))
            alone = _distances(target[:, around], transfer(content[:, around], case))
            unjoined.append(float(alone[close].mean()))
    if not at_joins:
        return None
    return {
        "elsewhere": ratio_interval(at_joins, elsewhere),
        "unjoined": ratio_interval(at_joins, unjoined),
    }


def _joins(pipe: Any, duration_s: float) -> list[tuple[float, float]]:
    """Where the pipeline cross-fades from one window into the next, in seconds."""
    window, overlap = pipe.model.window, pipe.model.overlap
    frame_s = pipe.model.codec.factor / pipe.model.mel.frame_rate
    step_s, fade_s = (window - overlap) * frame_s, overlap * frame_s
    starts = np.arange(step_s, duration_s - fade_s, step_s)
    return [(float(start), float(start + fade_s)) for start in starts]


def _distances(target: Waveform, result: Waveform) -> NDArray:
    """LSD of each frame."""
    mels = (spectral.mel_db(spectral.prepare(waveform, SAMPLE_RATE)) for waveform in (target, result))
    return spectral.frame_distances(*mels)


def speed(model: str | Path | None, cases: Sequence[Case]) -> Measures:
    """Real-time factor of a 60-s file on two threads; seconds from the start of a process to a 5-s file."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    pipe = pipeline(None if model is None else str(model))
    minute = np.concatenate([cases[0].read("content"), cases[1].read("content")], axis=1)
    options = {"to": cases[0].path("style"), "sample_rate": SAMPLE_RATE, "seed": 0}
    pipe(minute[:, : 2 * SAMPLE_RATE], **options)
    start = time.perf_counter()
    pipe(minute, **options)
    factor = (time.perf_counter() - start) / (minute.shape[1] / SAMPLE_RATE)
    torch.set_num_threads(before)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.wav")
        write_audio(source, minute[:, : 5 * SAMPLE_RATE], SAMPLE_RATE)
        command = [
            sys.executable,
            "-m",
            "timbrel",
            "transfer",
            str(source),
            "--to",
            str(cases[0].path("style")),
        ]
        command += ["-o", str(Path(folder, "result.wav"))] + ([] if model is None else ["--model", str(model)])
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
    return {"real_time_factor": factor, "five_second_file_s": seconds}


# --- the whole


def evaluate(
    benchmark_folder: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    outputs: str | Path | None = None,
    rows: Iterable[str] | None = None,
    limit: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures a model, or another program's outputs, and writes results.json, clips.json and index.html.

    Prints the table to stdout.

    Args:
        benchmark_folder: what `build` made.
        out: folder for the results.
        model: a shipped name or a model folder; None is the default model, or none if `outputs` is given.
        outputs: a folder of audio files named after the triplets' ids.
        rows: names of rows to measure; None is all that can be. The true target is always among them.
        limit: a quick look at the first so many triplets, without seams and speed.
        workers: processes; by default one a core.

    Returns:
        What results.json holds.

    Raises:
        InputError: unknown rows, or a folder that is no benchmark or lacks outputs.
        MissingDependencyError: without the `metrics` extra.
        ModelError: as loading the model.
    """
    from timbrel.experiments import page

    every = load(benchmark_folder, limit=limit)
    cases = [case for case in every if case.triplet.content.duration_s == manifest.DURATION_S]
    long_cases = every[len(cases) :]
    with_model = model is not None or outputs is None
    offered = {row.name: row for row in (*BASELINES, *(model_rows(model) if with_model else ()))}
    if outputs is not None:
        offered["outputs"] = Row("outputs", f"outputs in {outputs}", partial(_from_folder, Path(outputs)))
    wanted = list(offered) if rows is None else ["target", *rows]
    if unknown := [name for name in wanted if name not in offered]:
        raise InputError(f"row {unknown[0]!r} is unknown; expected some of {', '.join(offered)}")

    measured: dict[str, dict[str, Measures]] = {}
    left_out: dict[str, str] = {}
    if not notes.available():
        left_out["note_f1"] = "basic-pitch is not installed: pip install --no-deps basic-pitch"
    for row in (offered[name] for name in dict.fromkeys(wanted)):
        some = cases
        if row.name == "model-other-style":
            some = [c for c in cases[: 12 * STYLE_CHECKS_PER_DIRECTION] if c.path("other-style").exists()]
        if row.needs_notes and not notes.available():
            left_out[row.name] = left_out["note_f1"]
        elif row.library is not None and not _has(row.library):
            left_out[row.name] = f"the sample library {row.library} is not installed"
        elif not some:
            left_out[row.name] = f"the benchmark was built without {OTHER_LIBRARY}"
        else:
            measured[row.name] = _judge_row(row, some, workers, progress)
    titles = {name: offered[name].title for name in measured}
    results = summarise(measured, titles)
    results |= {"model": None if not with_model else str(model or "default"), "left_out": left_out}
    results |= {
        "benchmark": manifest.manifest()["version"],
        "triplets": len(cases),
        "partial": limit is not None,
    }
    if "model-clip" in measured and long_cases:
        found = seams(model, long_cases)
        results["seams"] = found and {name: _as_dict(ratio) for name, ratio in found.items()}
        results["speed"] = speed(model, long_cases)

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write(out / "results.json", json.dumps(results, indent=1))
    write(out / "clips.json", json.dumps(measured))
    featured = next((name for name in ("outputs", "model-clip", "model-name", "mel") if name in measured), "target")
    shown = cases[:SHOWN]
    figures = dict(parallel(partial(_draw_one, offered[featured].output), shown, workers, progress and "drawing"))
    write(out / "index.html", page.html(results, featured, [figures[case.id] for case in shown]))
    print(page.table(results))
    return results


MEANS = ("lsd_db", "mfcc_distance", "detail", "instrument_accuracy", "note_f1", "onset_f1", "chroma", "both")
RATIOS = ("note_f1", "onset_f1")


def summarise(measured: Mapping[str, Mapping[str, Measures]], titles: Mapping[str, str]) -> dict[str, Any]:
    """The measures of all rows, by row and id -> their means with intervals, and the means of each direction.

    `measured` has the row "target", to which the ratios refer.
    """
    truth = measured["target"]
    table: dict[str, Any] = {}
    for name, clips in measured.items():
        full = {key: _with_both(clip, truth[key]) for key, clip in clips.items()}
        columns = {m: [clip[m] for clip in full.values()] for m in MEANS if all(m in c for c in full.values())}
        summary = {m: _as_dict(mean_interval(values)) for m, values in columns.items()}
        for m in RATIOS:
            if m in columns:
                summary[f"{m}_ratio"] = _as_dict(ratio_interval(columns[m], [truth[key][m] for key in full]))
        directions: dict[str, dict[str, float]] = {}
        for direction, keys in groupby(sorted(full), key=lambda key: key.rpartition("-")[0]):
            some = [full[key] for key in keys]
            directions[direction] = {m: float(np.mean([clip[m] for clip in some])) for m in columns}
        table[name] = {"title": titles[name], **summary, "directions": directions}
    results: dict[str, Any] = {"rows": table}
    if "model-other-style" in measured and "model-clip" in measured:
        other = measured["model-other-style"]
        distances = [[clips[key]["mfcc_distance"] for key in other] for clips in (other, measured["model-clip"])]
        results["style_is_heard"] = {
            "mfcc_distance_other_library": _as_dict(mean_interval(distances[0])),
            "mfcc_distance_right_library": _as_dict(mean_interval(distances[1])),
            "ratio": _as_dict(ratio_interval(*distances)),
        }
    return results


def _with_both(clip: Measures, truth: Measures) -> Measures:
    if "note_f1" not in clip:
        return dict(clip)
    kept = clip["note_f1"] >= NOTES_KEPT * truth["note_f1"]
    return {**clip, "both": float(kept and clip["clip_is_instrument"] == 1)}


def _as_dict(summary: Summary) -> dict[str, float]:
    return {k: round(v, 4) for k, v in summary._asdict().items()}
