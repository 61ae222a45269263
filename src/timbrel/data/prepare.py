"""Recordings -> a mel store: any user's own, one folder an instrument, unaligned, hours long.

    recordings/INSTRUMENT/**/*.mp3|wav|flac|...  ->  OUT/config.json, manifest.jsonl, mels/, finished/

A recording is decoded once, block by block. Its mel waits on disk until its loudness is known (a gain moves
every dB of a mel alike), so that memory does not grow with length. `OUT/finished/ID.json` says that a
recording is finished; the manifest, with the splits, is written last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import torch

from timbrel.audio.io import AudioReader, StreamResampler, open_audio
from timbrel.audio.level import TARGET_RMS_DB, active_rms
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data.splits import assign_split, split_keys
from timbrel.data.store import (
    Entry,
    StoreWriter,
    quantise,
    write_levels,
    write_manifest,
    write_text,
)
from timbrel.errors import AudioError, InputError, TimbrelError

SUFFIXES = (
    *(
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".m4a",
        ".m4b",
        ".aac",
        ".mp4",
        ".webm",
        ".mka",
        ".mkv",
    ),
    *(".mov", ".wma", ".aif", ".aiff", ".aifc", ".caf", ".au"),
)
EDGE_S = 0.1  # silence kept before the first and after the last sound
REST_S = 1.0  # silence kept of a longer one between two sounds
PIECE_S = 600.0  # longest mel in the store
GAP_S = 10.0  # left out between train and validation of a recording that is its label's only one
FAINTEST_DB = -75.0  # a recording whose sound is below this holds nothing but noise
BLOCK = 2**16  # samples at a time: what stays in the cache is fastest


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did; as text, a summary.

    Attributes:
        recordings: usable ones; `reused` of them were finished by an earlier run.
        hours: label -> split -> hours in the store.
        failures: (path below the recordings folder, reason) of each recording that was skipped.
        warnings: what makes the data weaker than it looks.
    """

    out: Path
    recordings: int
    reused: int
    hours: dict[str, dict[str, float]]
    failures: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        hours = [
            f"  {label}: " + ", ".join(f"{hours:.2f} h {split}" for split, hours in by_split.items())
            for label, by_split in self.hours.items()
        ]
        return "\n".join(
            [
                f"{self.out}: {self.recordings} recordings, {self.reused} of them from an earlier run",
                *hours,
                *(f"warning: {warning}" for warning in self.warnings),
                *(f"skipped {source}: {reason}" for source, reason in self.failures),
            ]
        )


def prepare(
    recordings: str | Path,
    out: str | Path,
    *,
    config: MelConfig | None = None,
    workers: int | None = None,
    silence_db: float = -60.0,
    min_seconds: float = 3.0,
    validation_share: float = 0.1,
    seed: int = 0,
    progress: bool = True,
) -> PrepareReport:
    """Makes the mel store `out` of the recordings in `recordings/INSTRUMENT/`, folders in it included.

    Each is resampled, mixed to mono and brought to -20 dB RMS by one gain; silence is trimmed from its ends,
    and one of over a second inside it is cut to a second. A run that was stopped goes on where it was: a
    recording is done again only if its path, size, time or the settings have changed. The store mirrors the
    folder: what has left it leaves the store.

    Args:
        config: of the mels; `MelConfig()` by default.
        workers: processes, one recording each; as many as there are processors by default.
        silence_db: what is silent, in dB of full scale once the recording is at -20 dB RMS.
        min_seconds: a recording with less sound is skipped.
        validation_share: of each instrument's recordings, at least one; of its time, where it has only one.
        seed: another seed is another choice of validation recordings.
        progress: a bar on stderr, if that is a terminal.

    Raises:
        InputError: no usable recording; `out` is another kind of store or of another config; a value out of
            range.
    """
    root, out, config = Path(recordings), Path(out), config or MelConfig()
    workers = os.cpu_count() or 1 if workers is None else workers
    assign_split("", validation_share)
    for name, value, fine, expected in (
        ("workers", workers, workers >= 1, "at least 1"),
        ("silence_db", silence_db, -120 <= silence_db < TARGET_RMS_DB, f"-120 to {TARGET_RMS_DB:.0f} dB"),
        ("min_seconds", min_seconds, 0 < min_seconds <= PIECE_S, f"above 0 and up to {PIECE_S:.0f} s"),
    ):
        if not fine:
            raise InputError(f"{name} is {value}; expected {expected}")
    if (out / "manifest.jsonl").exists() and not (out / "finished").is_dir():
        raise InputError(f"{out} holds a mel store that was not prepared from recordings; use another folder")
    sources, failures = find_recordings(root)
    if not sources:
        raise nothing_usable(root, failures)
    StoreWriter(out, config)
    (out / "finished").mkdir(exist_ok=True)

    in_blocks = _Job(root, "", out, config, silence_db, min_seconds, validation_share)
    whole = replace(in_blocks, block_share=0.0)
    count = Counter(map(label_of, sources))
    jobs = [replace(whole if count[label_of(source)] > 1 else in_blocks, source=source) for source in sources]
    reused = sum(job.record.exists() for job in jobs)
    done = _finish(jobs, workers, progress, failures)
    left = Counter(map(label_of, done))
    alone = [source for source in done if left[label_of(source)] == 1 and count[label_of(source)] > 1]
    done |= _finish([replace(in_blocks, source=source) for source in alone], workers, progress, failures)

    by_label: dict[str, dict[str, list[Entry]]] = defaultdict(dict)
    for source in sorted(done):
        by_label[label_of(source)][source] = done[source]
    entries: list[Entry] = []
    warnings: list[str] = []
    for by_source in by_label.values():
        if len(by_source) > 1:
            splits = split_keys(by_source, validation_share, seed)
            entries += [replace(e, split=splits[e.source]) for made in by_source.values() for e in made]
        else:
            (source,) = by_source
            entries += by_source[source]
            if validation_share:
                warnings.append(warn_alone(source, {entry.split for entry in by_source[source]}))
    if not entries:
        raise nothing_usable(root, failures)
    _write_manifest(out, entries)
    hours: dict[str, dict[str, float]] = {label: {"train": 0.0, "validation": 0.0} for label in by_label}
    for entry in entries:
        hours[entry.label][entry.split] += entry.frames / config.frame_rate / 3600
    return PrepareReport(out, len(done), reused, hours, tuple(failures), tuple(warnings))


def label_of(source: str) -> str:
    return source.partition("/")[0]


def find_recordings(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Paths of recordings below `root`, and what is not where it should be."""
    if not root.is_dir():
        raise nothing_usable(root, [])
    folders = [path for path in root.iterdir() if path.is_dir()]
    filed = only_recordings(root, (path for folder in folders for path in folder.rglob("*")))
    loose = only_recordings(root, root.iterdir())
    return filed, [(name, "it is in no instrument's folder; move it into one") for name in loose]


def only_recordings(root: Path, paths: Iterable[Path]) -> list[str]:
    """Those of the paths that are recordings, below `root` and in order; hidden ones are left out."""
    found = (path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    names = (path.relative_to(root).as_posix() for path in found)
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


def nothing_usable(root: Path, failures: Sequence[tuple[str, str]]) -> InputError:
    skipped = "".join(f"\n  skipped {source}: {reason}" for source, reason in failures[:5])
    return InputError(
        f"{root} holds no usable recording; expected a folder for each instrument, any file names, say\n"
        f"  {root}/violin/one.mp3\n  {root}/violin/two.wav\n  {root}/piano/three.flac\n"
        f"(also {', '.join(suffix[1:] for suffix in SUFFIXES)}){skipped}"
    )


def warn_alone(source: str, splits: set[str]) -> str:
    label = label_of(source)
    cut = (
        "its end validates, after a gap: validation figures will flatter"
        if "validation" in splits
        else "and too short to hold out a part: nothing of it validates"
    )
    return f"{label} has a single usable recording ({source}), {cut}. Add another recording of {label}"


# one recording --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """A recording to be done: `source` is its path below `root`."""

    root: Path
    source: str

    @cached_property
    def bytes(self) -> int:
        return (self.root / self.source).stat().st_size


@dataclass(frozen=True)
class _Job(Recording):
    """With a `block_share` above 0 that share of its time validates."""

    out: Path
    config: MelConfig
    silence_db: float
    min_seconds: float
    block_share: float

    @cached_property
    def id(self) -> str:
        """Another for a file that has changed, or for other settings."""
        time = (self.root / self.source).stat().st_mtime_ns
        settings = (self.config, self.silence_db, self.min_seconds, self.block_share)
        key = hashlib.sha256(repr((self.source, self.bytes, time, settings)).encode())
        return re.sub(r"[^A-Za-z0-9]+", "-", self.source.rpartition(".")[0])[:60] + "-" + key.hexdigest()[:12]

    @property
    def record(self) -> Path:
        return self.out / "finished" / f"{self.id}.json"


def _prepare(job: _Job) -> list[Entry]:
    """Writes the mels of one recording, then its record."""
    entries: list[Entry] = []
    with tempfile.TemporaryFile(dir=job.out) as spool:
        power = _listen(job.root / job.source, job.config, spool)
        gain_db, kept = _sound(power, job)
        for split, frames in _cut(kept, job):
            entry = Entry(
                id=f"{job.id}-{len(entries):02d}",
                label=label_of(job.source),
                split=split,
                frames=len(frames),
                source=job.source,
                gain_db=round(gain_db, 2),
            )
            mel = np.memmap(spool, np.float16, "r", shape=(len(power), job.config.n_mels))  # anew: pages go
            piece = torch.from_numpy(np.asarray(mel[frames])).float()
            write_levels(job.out, entry.id, quantise((piece + gain_db).T, job.config.floor_db))
            entries.append(entry)
    write_text(job.record, json.dumps([dataclasses.asdict(entry) for entry in entries]))
    return entries


def _listen(path: Path, config: MelConfig, spool: IO[bytes]) -> np.ndarray:
    """Spools a recording's dB mel, float16 [frames, n_mels]. Returns each frame's power."""
    power = []
    with open_audio(path) as reader:
        # The floor belongs under the music once the gain is on it, not before.
        for mel, frame_power in stream_mel(mono_blocks(reader, config.sample_rate), replace(config, floor_db=-200.0)):
            spool.write(mel.astype(np.float16).tobytes())
            power.append(frame_power)
    spool.flush()
    return np.concatenate(power)


def mono_blocks(reader: AudioReader, sample_rate: int) -> Iterator[np.ndarray]:
    resampler = StreamResampler(reader.sample_rate, sample_rate, 1)
    for block in reader.blocks(BLOCK):
        yield resampler.push(block.mean(axis=0, keepdims=True))[0]
    yield resampler.finish()[0]


def stream_mel(blocks: Iterable[np.ndarray], config: MelConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`mel_spectrogram` of a waveform that comes in blocks [samples], float32, of any lengths.

    Yields:
        mel [frames, n_mels] in dB and the power of each frame's middle `hop_length` samples [frames],
        `config.num_frames(samples)` frames in all.
    """
    hop, reach = config.hop_length, config.n_fft // 2
    margin = -(-reach // hop)  # frames at either end of what is held that see beyond it
    held = np.zeros(margin * hop, np.float32)
    for block in chain(blocks, [np.zeros(reach, np.float32)]):
        held = np.concatenate([held, block])
        count = (len(held) - reach) // hop - margin + 1
        if count > 0:
            mel = mel_spectrogram(torch.from_numpy(held)[None, None], config)[0, 0].T.numpy()
            middle = held[margin * hop - hop // 2 :][: count * hop].reshape(count, hop)
            yield mel[margin : margin + count], np.square(middle).mean(axis=1, dtype=np.float64)
            held = held[count * hop :]


def _sound(power: np.ndarray, job: _Job) -> tuple[float, np.ndarray]:
    """From each frame's power: the gain in dB that brings the sound to -20 dB RMS, and the frames to keep."""
    level_db = 20 * math.log10(max(active_rms(power), 1e-12))
    if level_db < FAINTEST_DB:
        raise AudioError(f"{job.source} is silent ({level_db:.0f} dB of full scale); expected sound")
    gain_db = TARGET_RMS_DB - level_db

    def frames(seconds: float) -> int:
        return round(seconds * job.config.frame_rate)

    heard = power > 10 ** ((job.silence_db - gain_db) / 10)
    near, edge, end = frames(REST_S / 2), frames(EDGE_S), len(power)
    before = np.concatenate([[0], np.cumsum(heard)])  # sounding frames before each
    first, last = np.flatnonzero(heard)[[0, -1]]
    at = np.arange(max(first - edge, 0), min(last + edge + 1, end))
    kept = at[before[np.minimum(at + near + 1, end)] > before[np.maximum(at - near, 0)]]
    if len(kept) < frames(job.min_seconds):
        raise AudioError(
            f"{job.source} holds {len(kept) / job.config.frame_rate:.1f} s of sound; expected at least "
            f"{job.min_seconds:g} s (min_seconds)"
        )
    return gain_db, kept


def _cut(kept: np.ndarray, job: _Job) -> Iterator[tuple[str, np.ndarray]]:
    """The frames of each piece, all of one recording's pieces nearly alike in length."""
    rate = job.config.frame_rate
    parts = {"train": kept}
    if job.block_share:
        last = max(job.block_share * len(kept), job.min_seconds * rate)
        gap = min(GAP_S * rate, 0.1 * len(kept))
        first = len(kept) - round(last + gap)
        if first >= job.min_seconds * rate:
            parts = {"train": kept[:first], "validation": kept[len(kept) - round(last) :]}
    for split, frames in parts.items():
        for piece in np.array_split(frames, -(-len(frames) // int(PIECE_S * rate))):
            yield split, piece


# all of them ----------------------------------------------------------------------------------------


J = TypeVar("J", bound=Recording)
R = TypeVar("R")


def _finish(
    jobs: Sequence[_Job], workers: int, progress: bool, failures: list[tuple[str, str]]
) -> dict[str, list[Entry]]:
    """Source -> entries of every job that succeeds; the others are added to `failures`."""
    done: dict[str, list[Entry]] = {}
    todo = []
    for job in jobs:
        if job.record.exists():
            fields = json.loads(job.record.read_text(encoding="utf-8"))
            done[job.source] = [Entry(**entry) for entry in fields]
        else:
            todo.append(job)
    done |= {job.source: entries for job, entries in run_jobs(_prepare, todo, workers, progress, failures)}
    return done


def run_jobs(
    work: Callable[[J], R],
    jobs: Sequence[J],
    workers: int,
    progress: bool,
    failures: list[tuple[str, str]],
    name: str | None = None,
) -> Iterator[tuple[J, R]]:
    """Does every job, and yields those that succeed, as they end; the others are added to `failures`.

    Args:
        work: a function that another process can import.
        workers: processes, one recording each.
        progress: a bar on stderr, called `name`, if that is a terminal.
    """
    from tqdm import tqdm

    jobs = sorted(jobs, key=lambda job: -job.bytes)  # no long one comes last
    total = sum(job.bytes for job in jobs)
    with tqdm(desc=name, total=total, unit="B", unit_scale=True, disable=None if progress else True) as bar:
        for job, future in _run(work, jobs, workers):
            bar.update(job.bytes)
            try:
                result = future.result()
            except BrokenProcessPool as error:
                raise TimbrelError(
                    f"one of {workers} workers died, as for want of memory; what is finished is kept: "
                    "run again with fewer (workers=1)"
                ) from error
            except Exception as error:  # whatever is wrong with one file, the others go on
                kind = "" if isinstance(error, TimbrelError) else f"{type(error).__name__}: "
                failures.append((job.source, f"{kind}{error}"))
            else:
                yield job, result
    failures.sort()


def _run(work: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[tuple[J, Future[R]]]:
    """Jobs as they end."""
    if min(workers, len(jobs)) <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for job in jobs:
                future: Future[R] = Future()
                try:
                    future.set_result(work(job))
                except Exception as error:
                    future.set_exception(error)
                yield job, future
        finally:
            torch.set_num_threads(threads)
        return
    pool = ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), _start_worker)
    try:
        futures = {pool.submit(work, job): job for job in jobs}
        for ended in as_completed(futures):
            yield futures[ended], ended
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker at once, without a traceback
    torch.set_num_threads(1)


def _write_manifest(out: Path, entries: Sequence[Entry]) -> None:
    """The manifest, whole; then records and mels that it does not name go."""
    write_manifest(out, entries)
    named = {entry.id for entry in entries}
    old = [path for path in (out / "finished").glob("*.json") if f"{path.stem}-00" not in named]
    old += [path for path in (out / "mels").glob("*.npy") if path.stem not in named]
    for path in [*old, *(out / "finished").glob("*.tmp"), *(out / "mels").glob("*.tmp")]:
        path.unlink()
