"""Recordings -> a mel store: any user's own, one folder an instrument, unaligned, hours long.

    recordings/INSTRUMENT/**/*.mp3|wav|flac|...  ->  OUT/config.json, manifest.jsonl, mels/, finished/

A recording is decoded once, block by block. Its mel waits on disk until its loudness is known (a gain moves
every dB of a mel alike), so that memory does not grow with length. `OUT/finished/ID.json` says that a
recording is finished; the manifest, with the splits, is written last.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch

from timbrel.audio.io import open_audio
from timbrel.audio.level import TARGET_RMS_DB, active_rms
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data.recordings import (
    FAINTEST_DB,
    GAP_S,
    Pool,
    PrepareReport,
    Recording,
    find_recordings,
    label_of,
    mono_blocks,
    nothing_usable,
    warn_alone,
)
from timbrel.data.splits import assign_split, split_keys
from timbrel.data.store import Entry, StoreWriter, load_levels, quantise, write_levels, write_manifest
from timbrel.errors import AudioError, InputError

EDGE_S = 0.1  # silence kept before the first and after the last sound
REST_S = 1.0  # silence kept of a longer one between two sounds
ENOUGH_S = 3.2  # of a recording that training can use alone, by the recipes that ship
COMPARED, POOL = 640, 16  # frames: the beginning of recordings that may be copies, and what a codec does not move
STILL_DB = 0.2  # a level that moves by less does not move
PIECE_S = 600.0  # longest mel in the store


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
    cluster: str | None = None,
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
        cluster: of Ray, all of whose nodes see `recordings` and `out` under the same names, in place of processes here.

    Raises:
        InputError: no usable recording; `out` is another kind of store or of another config; a value out of
            range.
    """
    root, out, config = Path(recordings), Path(out), config or MelConfig()
    if cluster is not None:
        root, out = root.absolute(), out.absolute()
    pool = Pool(workers, progress, cluster)
    _check(out, silence_db, min_seconds, validation_share)
    sources, pool.failures = find_recordings(root)
    StoreWriter(out, config)

    jobs = [_Job(root, source, out, config, silence_db, min_seconds) for source in sources]
    entries, reused = _finish(jobs, validation_share, pool)
    if not entries:
        raise nothing_usable(root, pool.failures)
    split, warnings = _split(entries, validation_share, seed)
    seconds = {source: sum(part.frames for part in parts) / config.frame_rate for source, parts in entries.items()}
    short = Counter(label_of(source) for source in entries if seconds[source] < ENOUGH_S)
    warnings += [
        f"{count} of {label}'s recordings have under {ENOUGH_S:g} s; training joins them into phrases"
        for label, count in short.items()
    ]
    _write_manifest(out, split)
    hours = {label_of(source): {"train": 0.0, "validation": 0.0} for source in entries}
    for entry in split:
        hours[entry.label][entry.split] += entry.frames / config.frame_rate / 3600
    return PrepareReport(out, len(entries), reused, hours, tuple(pool.failures), tuple(warnings))


def _check(out: Path, silence_db: float, min_seconds: float, validation_share: float) -> None:
    assign_split("", validation_share)
    if not -120 <= silence_db < TARGET_RMS_DB:
        raise InputError(f"silence_db is {silence_db}; expected -120 to {TARGET_RMS_DB:.0f} dB")
    if not 0 < min_seconds <= PIECE_S:
        raise InputError(f"min_seconds is {min_seconds}; expected above 0 and up to {PIECE_S:.0f} s")
    if (out / "manifest.jsonl").exists() and not (out / "finished").is_dir():
        raise InputError(f"{out} holds a mel store that was not prepared from recordings; use another folder")


# all recordings -------------------------------------------------------------------------------------


def _finish(jobs: Sequence[_Job], validation_share: float, pool: Pool) -> tuple[dict[str, list[Entry]], int]:
    """Source -> entries of every recording that is usable; and how many an earlier run finished.

    A label's only recording is split in time, also where failures leave it as the only one."""
    count = Counter(job.label for job in jobs)
    jobs = [replace(job, block_share=validation_share) if count[job.label] == 1 else job for job in jobs]
    reused = sum(job.record.exists() for job in jobs)
    entries = _entries(jobs, pool)
    for copy, original in _copies(entries, jobs).items():
        del entries[copy]
        pool.failures.append((copy, f"it is a copy of {original}, and would be in training and validation at once"))
    left = Counter(map(label_of, entries))
    alone = [job for job in jobs if job.source in entries and left[job.label] == 1 and count[job.label] > 1]
    entries |= _entries([replace(job, block_share=validation_share) for job in alone], pool)
    return dict(sorted(entries.items())), reused


def _entries(jobs: Sequence[_Job], pool: Pool) -> dict[str, list[Entry]]:
    """Source -> entries of every job that succeeds, now or in an earlier run."""
    return {job.source: [Entry(**entry) for entry in entries] for job, entries in pool.finish(_prepare, jobs)}


def _copies(entries: Mapping[str, list[Entry]], jobs: Sequence[_Job]) -> dict[str, str]:
    """Each recording that has the sound of another one, also in another format or of another label -> that other one.

    Whole recordings are compared where their beginnings are alike."""
    heard: list[tuple[str, int, np.ndarray]] = []  # source, frames, the beginning
    copies = {}
    for source, parts in sorted(entries.items()):
        frames, beginning = sum(part.frames for part in parts), _pooled(jobs[0], parts[:1], COMPARED)
        for other, count, before in heard:
            if (
                abs(count - frames) < 2 * POOL
                and _sounds_alike(beginning, before)
                and _sounds_alike(_pooled(jobs[0], parts), _pooled(jobs[0], entries[other]))
            ):
                copies[source] = other
                break
        else:
            heard.append((source, frames, beginning.astype(np.float16)))  # there may be many
    return copies


def _pooled(job: _Job, parts: Sequence[Entry], frames: int | None = None) -> np.ndarray:
    """Levels in dB above the floor, of the first frames of each part: means over `POOL` frames, [n, n_mels]."""
    pools = []
    for part in parts:
        levels = load_levels(job.out, part.id)[:frames]
        count = max(1, len(levels) // POOL)
        pools += [pool.mean(axis=0) for pool in np.array_split(levels[: POOL * count], count)]
    return np.array(pools) * -job.config.floor_db / 255


def _sounds_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether levels in dB above the floor [time, n_mels] are the same where they are not faint, but for a codec, and
    move alike: the levels of two noises can be the same, their moves are not."""
    time = min(len(one), len(other))
    one, other = one[:time].astype(np.float32), other[:time].astype(np.float32)
    loud = np.maximum(one, other) > max(one.max(), other.max()) - 30
    moves = [(levels - levels.mean(axis=0))[loud] for levels in (one, other)]
    size = np.sqrt(np.square(moves[0]).mean() * np.square(moves[1]).mean())
    alike = size < STILL_DB**2 or (moves[0] * moves[1]).mean() > 0.5 * size
    return bool(alike and np.abs(one - other)[loud].mean() < 1)


def _split(entries: Mapping[str, list[Entry]], validation_share: float, seed: int) -> tuple[list[Entry], list[str]]:
    """Entries with their splits, by recording; and a warning for each label that has only one."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for source in entries:
        by_label[label_of(source)].append(source)
    split: list[Entry] = []
    warnings: list[str] = []
    for sources in by_label.values():
        if len(sources) > 1:
            splits = split_keys(sources, validation_share, seed)
            split += [replace(e, split=splits[e.source]) for source in sources for e in entries[source]]
        else:
            split += entries[sources[0]]
            if validation_share:
                warnings.append(warn_alone(sources[0], {entry.split for entry in entries[sources[0]]}))
    return split, warnings


def _write_manifest(out: Path, entries: Sequence[Entry]) -> None:
    """The manifest, whole; then records and mels that it does not name go."""
    write_manifest(out, entries)
    named = {entry.id for entry in entries}
    old = [path for path in (out / "finished").glob("*.json") if f"{path.stem}-00" not in named]
    old += [path for path in (out / "mels").glob("*.npy") if path.stem not in named]
    for path in old:
        path.unlink()


# one recording --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job(Recording):
    """With a `block_share` above 0 that share of its time validates."""

    records: ClassVar = "finished"

    config: MelConfig
    silence_db: float
    min_seconds: float
    block_share: float = 0.0

    def settings(self) -> Any:
        return (self.config, self.silence_db, self.min_seconds, self.block_share)


def _prepare(job: _Job) -> list[dict[str, Any]]:
    """Writes the mels of one recording; their entries."""
    entries: list[Entry] = []
    with tempfile.TemporaryFile(dir=job.out) as spool:
        power = _listen(job.path, job.config, spool)
        gain_db, kept = _sound(power, job)
        for split, frames in _cut(kept, job):
            entry = Entry(
                id=f"{job.id}-{len(entries):02d}",
                label=job.label,
                split=split,
                frames=len(frames),
                source=job.source,
                gain_db=round(gain_db, 2),
            )
            mel = np.memmap(spool, np.float16, "r", shape=(len(power), job.config.n_mels))  # anew: pages go
            piece = torch.from_numpy(np.asarray(mel[frames])).float()
            write_levels(job.out, entry.id, quantise((piece + gain_db).T, job.config.floor_db))
            entries.append(entry)
    return [dataclasses.asdict(entry) for entry in entries]


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


def stream_mel(blocks: Iterable[np.ndarray], config: MelConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`mel_spectrogram` of a waveform that comes in blocks [samples], float32, of any lengths.

    Yields:
        mel [frames, n_mels] in dB and the power of each frame's middle `hop_length` samples [frames],
        `config.num_frames(samples)` frames in all.
    """
    hop, reach = config.hop_length, config.n_fft // 2
    margin = -(-reach // hop)  # frames at either end of what is pending that see beyond it
    pending = np.zeros(margin * hop, np.float32)
    for block in chain(blocks, [np.zeros(reach, np.float32)]):
        pending = np.concatenate([pending, block])
        count = (len(pending) - reach) // hop - margin + 1
        if count > 0:
            mel = mel_spectrogram(torch.from_numpy(pending)[None, None], config)[0, 0].T.numpy()
            middle = pending[margin * hop - hop // 2 :][: count * hop].reshape(count, hop)
            yield mel[margin : margin + count], np.square(middle).mean(axis=1, dtype=np.float64)
            pending = pending[count * hop :]


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
            f"{job.min_seconds:g} s (min_seconds): lower that for single notes, which training joins into phrases"
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
