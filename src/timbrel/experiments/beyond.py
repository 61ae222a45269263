"""What the benchmark does not ask: recordings that are not clean, other sources, targets that training never heard.

The benchmark's scores are played anew by its library. Of *variations* each changes one thing about the source as a real
recording would; what belongs to the performance (rubato, legato, dynamics) is in the target too, what belongs to the
recording (room, noise, codec) is not. *Sources* are instruments that are no target of the benchmark. *Targets* are
those that no training renders (`instruments.UNSEEN_INSTRUMENTS`). All of it is a proxy: no microphone was there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbrel.audio.io import resample
from timbrel.data.render import render
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.experiments import benchmark
from timbrel.experiments.benchmark import NOTES_KEPT, SAMPLE_RATE, Case, Waveform
from timbrel.experiments.manifest import LIBRARY, PROGRAMS
from timbrel.instruments import INSTRUMENTS, UNSEEN_INSTRUMENTS
from timbrel.metrics import level, notes, spectral
from timbrel.metrics.instrument import evaluate as judge_instrument
from timbrel.metrics.summary import mean_interval, ratio_interval

SOURCES = ("flute", "cello", "clarinet", "saxophone", "trumpet", "hammond-organ", "accordion", "voice")
"""Other instruments that the benchmark's library has."""
DURATION_S = 8.0

Score = Sequence[Note]
Rng = np.random.Generator


# --- what recordings have and renderings lack: of the performance


def rubato(score: Score, rng: Rng) -> list[Note]:
    """Tempo breathes by up to 15 %."""
    rate, phase = rng.uniform(0.15, 0.35), rng.uniform(0, 6)

    def when(s: float) -> float:
        return s + 0.15 / (2 * np.pi * rate) * (np.sin(2 * np.pi * rate * s + phase) - np.sin(phase))

    return [replace(n, start_s=max(0.0, when(n.start_s)), end_s=max(0.05, when(n.end_s))) for n in score]


def legato(score: Score, rng: Rng) -> list[Note]:
    """Each note is held until 0.1 s into what follows."""
    starts = np.unique([n.start_s for n in score])
    after = {n.start_s: starts[starts > n.start_s + 0.01] for n in score}
    return [replace(n, end_s=max(n.end_s, float(after[n.start_s][:1].sum()) + 0.1)) for n in score]


def dynamics(score: Score, rng: Rng) -> list[Note]:
    """From pianissimo to fortissimo, note by note."""
    return [replace(n, velocity=int(rng.integers(35, 125))) for n in score]


def swell(score: Score, rng: Rng) -> list[Note]:
    """A crescendo from pianissimo to fortissimo, or a diminuendo."""
    place = np.array([n.start_s for n in score]) / max(1e-9, *(n.start_s for n in score))
    place = place if rng.random() < 0.5 else 1 - place
    return [replace(n, velocity=int(30 + 90 * p)) for n, p in zip(score, place, strict=True)]


def loose(score: Score, rng: Rng) -> list[Note]:
    """Chords that are not struck at once: 15 ms of standard deviation."""
    moves = rng.normal(0, 0.015, len(score))
    return [replace(n, start_s=max(0.0, n.start_s + m), end_s=n.end_s + m) for n, m in zip(score, moves, strict=True)]


# --- of the recording


def room(x: NDArray, rng: Rng) -> NDArray:
    """Image sources of a shoebox (Allen & Berkley 1979) of some 6 x 5 x 3 m, players and microphone anywhere in it."""
    from scipy.signal import oaconvolve

    size = np.array([6.0, 5.0, 3.0]) * rng.uniform(0.8, 1.6, 3)
    player, microphone = (size * rng.uniform(0.2, 0.8, 3) for _ in range(2))
    wall = rng.uniform(0.75, 0.9)  # amplitude that a wall gives back
    order = np.arange(-12, 13)
    grid = np.stack(np.meshgrid(order, order, order, indexing="ij"), axis=-1).reshape(-1, 3)
    image = np.where(grid % 2 == 0, grid * size + player, (grid + 1) * size - player)
    distance = np.linalg.norm(image - microphone, axis=1)
    response = np.zeros(SAMPLE_RATE)
    at = np.round((distance - distance.min()) / 343 * SAMPLE_RATE).astype(int)
    near = at < len(response)
    sign = rng.choice([-1, 1], len(at))  # scattering: without it image sources ring
    sign[distance == distance.min()] = 1
    np.add.at(response, at[near], (sign * wall ** np.abs(grid).sum(axis=1) / distance)[near])
    return oaconvolve(x, response)[: len(x)]


def noise(x: NDArray, rng: Rng) -> NDArray:
    """Hiss and hum 30 dB below the music."""
    pink = np.fft.rfft(rng.standard_normal(len(x)))
    pink /= np.sqrt(np.maximum(np.arange(len(pink)), 20))
    mains = np.array([[1], [2], [3], [5]])
    hum = (np.sin(2 * np.pi * 50 * mains * np.arange(len(x)) / SAMPLE_RATE) / mains).sum(axis=0)
    return x + 10 ** (-30 / 20) * _rms(x) * (_unit(np.fft.irfft(pink, len(x))) + 0.5 * _unit(hum))


def telephone(x: NDArray, rng: Rng) -> NDArray:
    """A small microphone: nothing below 180 Hz, little above 6 kHz, a bump at 2.5 kHz."""
    from scipy.signal import butter, sosfilt

    low = sosfilt(butter(2, [180, 6000], "bandpass", fs=SAMPLE_RATE, output="sos"), x)
    return low + 0.7 * sosfilt(butter(1, [1800, 3300], "bandpass", fs=SAMPLE_RATE, output="sos"), x)


def compression(x: NDArray, rng: Rng) -> NDArray:
    """4 to 1 above -30 dB of the loudest, 10 ms to turn down and 200 ms to recover, as recorders' automatic gain."""
    hop = 441
    level = np.abs(np.pad(x, (0, -len(x) % hop))).reshape(-1, hop).max(axis=1) / np.abs(x).max()
    gain = (np.maximum(level, 10**-1.5) / 10**-1.5) ** (1 / 4 - 1)
    for i in range(1, len(gain)):
        gain[i] = min(gain[i], gain[i - 1] + (1 - gain[i - 1]) * 0.05)
    return x * np.interp(np.arange(len(x)) / hop, np.arange(len(gain)), gain)


def mp3(x: NDArray, rng: Rng) -> NDArray:
    """A low-quality mp3 file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, 0.5 * x / np.abs(x).max(), SAMPLE_RATE, format="MP3", compression_level=0.95)
    file.seek(0)
    heard = soundfile.read(file)[0]
    return np.pad(heard[: len(x)], (0, max(0, len(x) - len(heard))))


@dataclass(frozen=True)
class Variation:
    """What is done to a source: to its performance, by the player (cents of vibrato), to its recording, in order."""

    title: str
    performance: tuple[Callable[[Score, Rng], list[Note]], ...] = ()
    vibrato_cents: float = 0.0
    recording: tuple[Callable[[NDArray, Rng], NDArray], ...] = ()
    style_too: bool = False


_ALL = (compression, telephone, room, noise, mp3)
VARIATIONS = {
    "clean": Variation("as the benchmark"),
    "rubato": Variation("tempo breathes", (rubato,)),
    "legato": Variation("notes overlap", (legato,)),
    "dynamics": Variation("loud and soft notes", (dynamics,)),
    "swell": Variation("a crescendo or diminuendo", (swell,)),
    "loose": Variation("chords not quite together", (loose,)),
    "vibrato": Variation("vibrato of 35 cents", vibrato_cents=35),
    "compression": Variation("automatic gain", recording=(compression,)),
    "telephone": Variation("a small microphone", recording=(telephone,)),
    "room": Variation("a room", recording=(room,)),
    "noise": Variation("hiss and hum at -30 dB", recording=(noise,)),
    "mp3": Variation("a poor mp3", recording=(mp3,)),
    "all": Variation("all of these", (rubato, legato, dynamics, loose), 20, _ALL),
    "all-style": Variation("all of these; clip and answer in another room", (rubato, legato, dynamics, loose), 20, _ALL,
                           style_too=True),
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One transfer whose answer is known: `case` says score and style; `source` and `target` are programs."""

    row: str
    case: Case
    source: int
    target: int
    label: str | None  # the target's name, where the classifier knows it
    variation: Variation = VARIATIONS["clean"]


def questions(cases: Sequence[Case]) -> dict[str, list[Question]]:
    """The questions of each table, over the benchmark's cases: every one for each variation, those of one source
    instrument for each of the other sources, those of one target for each unheard one."""

    def ask(row: str, case: Case, source: int | None = None, target: int | None = None, **more: Any) -> Question:
        t = case.triplet
        label = t.target if target is None else None
        source = PROGRAMS[t.source] if source is None else source
        return Question(row, case, source, PROGRAMS[t.target] if target is None else target, label, **more)

    from_piano = [case for case in cases if case.triplet.source == "piano" or case.triplet.id.startswith("violin-to-p")]
    to_piano = [case for case in cases if case.triplet.target == "piano" or case.triplet.id.startswith("piano-to-v")]
    return {
        "variations": [ask(name, case, variation=v) for name, v in VARIATIONS.items() for case in cases],
        "sources": [ask(name, case, source=INSTRUMENTS[name].program) for name in SOURCES for case in from_piano],
        "targets": [ask(n, case, target=row.program) for n, row in UNSEEN_INSTRUMENTS.items() for case in to_piano],
    }


def answer(model: str | None, question: Question) -> tuple[str, str, dict[str, float]]:
    """Renders a question's source, style and target, transfers, and measures: its row, its case's id and figures."""
    case, variation = question.case, question.variation
    rng = np.random.default_rng(int(case.triplet.content.digest, 16))
    score = case.score()
    for change in variation.performance:
        score = change(score, rng)
    source = _play(score, question.source, variation.vibrato_cents)
    style = _play(case.score(case.triplet.style), question.target)
    target = _play(score, question.target)
    source = _recorded(source, variation, rng)
    if variation.style_too:  # the answer then sounds as the clip does: in one room, through one microphone
        style, target = (_recorded(x, variation, np.random.default_rng(len(score))) for x in (style, target))
    result = benchmark.pipeline(model)(_as_clip(source), to=_as_clip(style), sample_rate=SAMPLE_RATE, seed=0)
    truth, heard, plain = (
        spectral.prepare(x, SAMPLE_RATE)
        for x in (_as_clip(target), resample(result.waveform, result.sample_rate, SAMPLE_RATE), _as_clip(source))
    )
    figures = spectral.evaluate(truth, heard) | level.evaluate(truth, heard)
    figures["unchanged_mfcc_distance"] = spectral.evaluate(truth, plain)["mfcc_distance"]
    if question.label is not None:
        figures |= judge_instrument(benchmark.classifier(), question.label, heard)
    if notes.available():
        reference = np.array([[n.start_s, n.end_s, n.pitch] for n in score])
        of_truth, of_result = (notes.evaluate(reference, x)["note_f1"] for x in (truth, heard))
        figures |= {"note_f1": of_result, "true_note_f1": of_truth}
        if question.label is not None:
            figures["both"] = float(of_result >= NOTES_KEPT * of_truth and figures["clip_is_instrument"] == 1)
    return question.row, case.id, figures


def evaluate(
    benchmark_folder: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    per_direction: int = 2,
    tables: Sequence[str] = (),
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures a model beyond the benchmark, prints the tables and writes `beyond.json` into `out`.

    Args:
        benchmark_folder: what `timbrel evaluate build` made.
        per_direction: how many of the benchmark's 20 scores of each direction are asked about, 1 to 20.
        tables: some of "variations", "sources", "targets"; all by default.

    Returns:
        For each table and row the means with intervals, and the number of clips.

    Raises:
        InputError: a folder that is no benchmark, or values out of range.
        MissingDependencyError: without TiMidity++, the library or the `metrics` extra.
    """
    if not 1 <= per_direction <= 20:
        raise InputError(f"per_direction is {per_direction}; expected 1 to 20 scores of each direction")
    cases = benchmark.load(benchmark_folder, limit=12 * per_direction)
    asked = questions(cases)
    if unknown := [name for name in tables if name not in asked]:
        raise InputError(f"table {unknown[0]!r} is unknown; expected some of {', '.join(asked)}")
    found: dict[str, Any] = {}
    name = None if model is None else str(model)
    for table in tables or asked:
        rows: dict[str, dict[str, dict[str, float]]] = {question.row: {} for question in asked[table]}
        answers = benchmark.parallel(partial(answer, name), asked[table], workers, progress and table)
        for row, case_id, figures in answers:
            rows[row][case_id] = figures
        found[table] = {row: _summary([clips[case_id] for case_id in sorted(clips)]) for row, clips in rows.items()}
        print(_markdown(table, found[table]))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    benchmark.write(out / "beyond.json", json.dumps(found, indent=1))
    return found


COLUMNS = {
    "lsd_db": ("LSD dB", 1),
    "mfcc_distance": ("MFCC distance", 0),
    "of_unchanged": ("of that of doing nothing", 2),
    "detail": ("detail", 2),
    "level_error_db": ("level error, dB", 1),
    "instrument_accuracy": ("instrument", 2),
    "note_f1_ratio": ("note F1, ratio", 2),
    "both": ("both at once", 2),
}


def _summary(clips: Sequence[dict[str, float]]) -> dict[str, Any]:
    columns = {key: [clip[key] for clip in clips] for key in clips[0]}
    summary: dict[str, Any] = {"clips": len(clips)}
    for key in COLUMNS:
        if key in columns:
            summary[key] = mean_interval(columns[key])._asdict()
    summary["of_unchanged"] = ratio_interval(columns["mfcc_distance"], columns["unchanged_mfcc_distance"])._asdict()
    if "note_f1" in columns:
        summary["note_f1_ratio"] = ratio_interval(columns["note_f1"], columns["true_note_f1"])._asdict()
    return summary


def _markdown(table: str, rows: dict[str, Any]) -> str:
    used = [key for key in COLUMNS if any(key in row for row in rows.values())]
    lines = ["| " + " | ".join([table, *(COLUMNS[key][0] for key in used)]) + " |", "|---" * (1 + len(used)) + "|"]
    for name, row in rows.items():
        title = f"{name}: {VARIATIONS[name].title}" if table == "variations" else name
        cells = [f"{row[key]['mean']:.{COLUMNS[key][1]}f}" if key in row else "" for key in used]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _recorded(x: NDArray, variation: Variation, rng: Rng) -> NDArray:
    for change in variation.recording:
        x = _unit(change(x, rng))
    return x


def _play(score: Score, program: int, vibrato_cents: float = 0.0) -> NDArray:
    """float64 [samples], RMS 1."""
    return _unit(_rendered(tuple(score), program, vibrato_cents).astype(np.float64))


@lru_cache(maxsize=32)
def _rendered(score: tuple[Note, ...], program: int, vibrato_cents: float) -> Waveform:
    return render(score, program, LIBRARY, sample_rate=SAMPLE_RATE, duration_s=DURATION_S, vibrato_cents=vibrato_cents)


def _rms(x: NDArray) -> float:
    return float(np.sqrt((x**2).mean())) + 1e-12


def _unit(x: NDArray) -> NDArray:
    return x / _rms(x)


def _as_clip(x: NDArray) -> Waveform:
    """[1, samples] float32, peak 0.5."""
    return (0.5 * x / np.abs(x).max())[None].astype(np.float32)
