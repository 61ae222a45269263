"""Does a model play real music? Solo recordings by real players go to other instruments, where no true answer exists.

Of each recording in a folder, the first 30 s go to the four instruments by name, and by a clip of each where clips are
given. A recording `NAME-N.ogg` whose NAME is the wanted instrument is left out. The results stay, to be heard:

    OUT/settings.json  OUT/rows/SOURCE-to-TARGET-by-WAY.json  OUT/results/by-WAY/TARGET/SOURCE.flac  OUT/results.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import read_audio, resample, write_audio
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.errors import InputError, TimbrelError
from timbrel.experiments.benchmark.measures import NOTES_KEPT, Measures, left_out
from timbrel.experiments.benchmark.rows import pipeline
from timbrel.experiments.page import Column, table
from timbrel.experiments.run import keep_settings, measure_rows
from timbrel.files import write_text
from timbrel.instruments import INSTRUMENTS
from timbrel.metrics import chroma, fad, heard, intonation, kad, life, notes, sets, spectral
from timbrel.metrics.encoders import load_encoder
from timbrel.metrics.heard import FOUR as TARGETS
from timbrel.metrics.summary import mean_interval
from timbrel.systems.folder import DEFAULT_MODEL, resolve

LONGEST_S = 30
SUSTAINED = ("pipe", "reed", "bowed", "voice", "brass", "woodwind")  # families; notes of the others fade
ONE_VOICE = 1.1  # mean number of notes at a time, up to which intonation is followed
OVERTONES = (12, 19, 24, 28, 31, 34, 36)  # semitones above the note
VIBRATO_CENTS = 8.0  # shallower is none that could be kept
COLUMNS = (
    Column("heard_as", "heard as", 2, "higher"),
    Column("note_f1", "note F1", 3, "higher"),
    Column("chroma", "chroma", 3, "higher"),
    Column("both", "both at once", 2, "higher"),
    Column("modulation_4_9", "modulation 4-9 Hz", 2, "1"),
    Column("modulation_9_20", "9-20 Hz", 2, "1"),
    Column("tuning_error", "tuning error, cents", 1, "lower"),
    Column("vibrato_kept", "vibrato kept", 2, "1"),
    Column("grid_source", "to the grid, source", 1),
    Column("grid_distance", "result", 1),
)


@dataclass(frozen=True)
class Transfer:
    """One recording to one instrument: by `clip`, or by the name of the target."""

    source: Path
    target: str
    clip: Path | None

    @property
    def way(self) -> str:
        return "name" if self.clip is None else "clip"

    @property
    def id(self) -> str:
        return f"{self.source.stem}-to-{self.target}-by-{self.way}"


@dataclass(frozen=True)
class Settings:
    """How the model is asked; None is the model's own."""

    model: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0


def transfers(sources: Sequence[Path], clips: Mapping[str, Path]) -> list[Transfer]:
    """Each source to each instrument that it is not, by name and by the clips that are given."""
    return [
        Transfer(source, target, clip)
        for source in sources
        for target in TARGETS
        if target != instrument_of(source)
        for clip in dict.fromkeys((None, clips.get(target)))
    ]


def instrument_of(source: Path) -> str:
    """What its file's name says it is: "jazz-guitar-3.ogg" is "jazz-guitar"."""
    name, dash, number = source.stem.rpartition("-")
    return name if dash and number.isdigit() else source.stem


@dataclass(frozen=True)
class Source:
    """What results are compared with: `waveform` [channels, samples]; the rest is of its `prepared` form [samples]."""

    waveform: NDArray
    sample_rate: int
    prepared: NDArray
    chroma: NDArray
    notes: NDArray | None
    kept_f1: float  # note F1 of the source through mel and back
    pitch: NDArray | None  # of one voice


@lru_cache(maxsize=1)
def read_source(path: Path) -> Source:
    """What there is to know of it; errors as `beginning`."""
    waveform, sample_rate = beginning(path)
    prepared = spectral.prepare(waveform, sample_rate)
    harmony = chroma.chromagram(prepared)
    if not notes.available():
        return Source(waveform, sample_rate, prepared, harmony, None, 0.0, None)
    heard_notes = notes.transcribe(prepared)
    kept = notes.note_f1(heard_notes, notes.transcribe(_through_mel(waveform, sample_rate)))
    pitch = intonation.pitch_curve(prepared) if voices(heard_notes) <= ONE_VOICE else None
    return Source(waveform, sample_rate, prepared, harmony, heard_notes, kept, pitch)


def beginning(path: Path) -> tuple[NDArray, int]:
    """Its first 30 s, [channels, samples], and the sample rate.

    Raises:
        AudioError: it cannot be read.
        InputError: it is silent, or shorter than 1 s.
    """
    waveform, sample_rate = read_audio(path)
    waveform = waveform[:, : LONGEST_S * sample_rate]
    if waveform.shape[1] < sample_rate or not waveform.any():
        raise InputError(
            f"{path.name} lasts {waveform.shape[1] / sample_rate:.1f} s or is silent; expected 1 s of music"
        )
    return waveform, sample_rate


def voices(played: NDArray) -> float:
    """Mean number of notes [notes, 3 or more: start_s, end_s, MIDI pitch] at a time, where any sounds. What may be an
    overtone of another does not count: a transcriber often takes one for a note."""
    times = np.arange(0, played[:, 1].max(initial=0), 0.01)[:, None]
    sounding = (played[:, 0] <= times) & (times < played[:, 1])
    above = np.isin(np.round(played[:, 2] - played[:, 2:3]), OVERTONES)  # [below, above]
    count = (sounding & ~(sounding @ above)).sum(1)
    return float(count[count > 0].mean()) if count.any() else 0.0


def _through_mel(waveform: NDArray, sample_rate: int) -> NDArray:
    config = MelConfig()
    mono = torch.from_numpy(resample(waveform.mean(0, keepdims=True), sample_rate, config.sample_rate))[None]
    back = invert_mel(mel_spectrogram(mono, config), config, length=mono.shape[-1])
    return spectral.prepare(back[0].numpy(), config.sample_rate)


def measure(settings: Settings, out: Path, transfer: Transfer) -> Measures:
    """Transfers, keeps the result, and compares it with its source."""
    source = read_source(transfer.source)
    result = pipeline(settings.model)(
        source.waveform,
        to=transfer.target if transfer.clip is None else str(transfer.clip),
        sample_rate=source.sample_rate,
        **{name: value for name in ("steps", "guidance", "seed") if (value := getattr(settings, name)) is not None},
    )
    path = results_folder(out, transfer.way, transfer.target) / f"{transfer.source.stem}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, result.waveform, result.sample_rate, overwrite=True)
    return compare(source, instrument_of(transfer.source), transfer.target, result.waveform, result.sample_rate)


def results_folder(out: Path, way: str, target: str) -> Path:
    return out / "results" / f"by-{way}" / target


def compare(source: Source, instrument: str, target: str, waveform: NDArray, sample_rate: int) -> Measures:
    """All measures of a result [channels, samples]; those that need a package, or one voice, where there is one."""
    estimate = spectral.prepare(waveform, sample_rate)
    estimate = np.pad(estimate, (0, max(0, len(source.prepared) - len(estimate))))[: len(source.prepared)]
    figures = {"chroma": chroma.chroma_cosine(source.chroma, chroma.chromagram(estimate))}
    if heard.available():
        figures |= heard.evaluate(target, waveform, sample_rate)
    if source.notes is not None:
        figures["note_f1"] = notes.note_f1(source.notes, notes.transcribe(estimate))
        if heard.available():
            kept = figures["note_f1"] >= NOTES_KEPT * source.kept_f1
            figures["both"] = float(kept and figures["heard_as"] == 1)
    if _sustained(instrument) == _sustained(target):
        figures |= life.evaluate(source.prepared, estimate)
    return figures | _intonation(source.pitch, estimate)


def _sustained(instrument: str) -> bool | None:
    row = INSTRUMENTS.get(instrument)
    return None if row is None else row.family in SUSTAINED


def _intonation(source: NDArray | None, estimate: NDArray) -> Measures:
    if source is None:
        return {}
    try:
        figures = intonation.compare(source, intonation.pitch_curve(estimate))
    except InputError:  # too little of it has a pitch
        return {}
    figures["tuning_error"] = abs(figures["tuning_error"])
    if not figures.pop("vibrato_source") >= VIBRATO_CENTS:
        del figures["vibrato_kept"]
    return figures


def evaluate(
    folder: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    clips: str | Path | None = None,
    references: str | Path | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures a model on real recordings, prints the table and writes `results.json` and the results' sound.

    Args:
        folder: solo recordings, at any depth; those that cannot be read are named in the results.
        out: its folder; a run that was stopped goes on there.
        model: a shipped name or a model folder.
        clips: a folder with a recording of each wanted instrument: piano.wav, guitar.flac, ...
        references: a folder with folders piano, guitar, harp, violin of real recordings: FAD and KAD to them.
        steps, guidance, seed: as for a transfer.
        workers: processes; by default one a core.

    Returns:
        What results.json holds: rows (by way and target) with means and intervals, clips, left_out, skipped, distances.

    Raises:
        InputError: a folder without recordings, two recordings of one name, or other settings than those in `out`.
        MissingDependencyError: without the `metrics` extra.
        ModelError: as loading the model.
    """
    folder, out = Path(folder), Path(out)
    settings = Settings(None if model is None else str(model), steps, guidance, seed)
    styles = {} if clips is None else find_clips(Path(clips))
    sources, skipped = _readable([folder / name for name in sets.find_recordings(folder)])
    identity = {
        "model": settings.model or "default",
        "model_files": sets.digest(
            *sorted(p for p in resolve(settings.model or DEFAULT_MODEL).iterdir() if p.is_file())
        )[:8],
        "sources": {path.name: sets.digest(path)[:8] for path in sources},
        "clips": {instrument: sets.digest(path)[:8] for instrument, path in styles.items()},
        "left_out": sorted(left_out()),
    }
    keep_settings(out, identity | {"steps": steps, "guidance": guidance, "seed": seed})
    jobs = {transfer.id: transfer for transfer in transfers(sources, styles)}
    title = "real recordings" if progress else ""
    measured = measure_rows(partial(measure, settings, out), jobs, out / "rows", workers=workers, title=title)
    results = {
        "rows": summarise(jobs, measured),
        "clips": measured,
        "left_out": left_out(),
        "skipped": skipped,
        "distances": {} if references is None else _distances(Path(references), out, progress),
    }
    write_text(out / "results.json", json.dumps(results, indent=1))
    print(text(results))
    return results


def find_clips(folder: Path) -> dict[str, Path]:
    """The recording of each instrument in a folder, by its name.

    Raises:
        InputError: there is none.
    """
    files = {Path(name).stem: folder / name for name in sets.find_recordings(folder)}
    if not files.keys() & set(TARGETS):
        raise InputError(f"{folder} has no clip; expected recordings called {', '.join(TARGETS)}, of any format")
    return {name: files[name] for name in TARGETS if name in files}


def _readable(paths: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """The recordings that can be used, and why the others cannot."""
    names = [path.stem for path in paths]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two recordings are called {twice[0]!r}; expected another name for each")
    skipped = {}
    for path in paths:
        try:
            beginning(path)
        except TimbrelError as error:
            skipped[path.name] = str(error)
    usable = [path for path in paths if path.name not in skipped]
    if not usable:
        raise InputError(f"no recording can be used: {skipped}")
    return usable, skipped


def summarise(jobs: Mapping[str, Transfer], measured: Mapping[str, Measures]) -> dict[str, Any]:
    """Means with intervals, and how many transfers: for each way, and for each target of it."""
    groups: dict[str, list[Measures]] = {}
    for name, transfer in jobs.items():
        for row in (f"by {transfer.way}", f"by {transfer.way}, to {transfer.target}"):
            groups.setdefault(row, []).append(measured[name])
    return {row: {"transfers": len(groups[row]), **_means(groups[row])} for row in sorted(groups)}


def _means(rows: Sequence[Measures]) -> dict[str, Any]:
    values = {column.name: [row[column.name] for row in rows if column.name in row] for column in COLUMNS}
    return {name: mean_interval(some)._asdict() for name, some in values.items() if some}


def _distances(references: Path, out: Path, progress: bool) -> dict[str, Any]:
    """FAD and KAD of the results of each way and target to real recordings; or why there is none."""
    ear = load_encoder("musicnn")
    distances: dict[str, Any] = {}
    for way, target in _made(out):
        try:
            both = [
                sets.embed_folder(place, ear, progress=progress)
                for place in (references / target, results_folder(out, way, target))
            ]
            measures = fad.evaluate(*both) | kad.evaluate(*both)
        except InputError as error:
            distances[f"by {way}, to {target}"] = {"left_out": str(error)}
        else:
            distances[f"by {way}, to {target}"] = {name: asdict(value) for name, value in measures.items()}
    return distances


def _made(out: Path) -> Iterator[tuple[str, str]]:
    for way in ("name", "clip"):
        yield from ((way, target) for target in TARGETS if results_folder(out, way, target).is_dir())


def text(results: Mapping[str, Any]) -> str:
    """The table, and what is to be said about it."""
    rows = {f"{name} ({row['transfers']})": row for name, row in results["rows"].items()}
    lines = [table("", rows, COLUMNS, Column.bracketed).text(), ""]
    lines += [f"Left out: {name}: {why}." for name, why in results["left_out"].items()]
    lines += [f"Skipped {name}: {why}" for name, why in results["skipped"].items()]
    for row, measures in results["distances"].items():
        lines += [f"{row}: {name} {_said(value)}" for name, value in measures.items()]
    return "\n".join(lines)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else f"{value['value']:.2f} ± {value['standard_error']:.2f}"
