"""AudioSet -> a mel store: its segment lists, label table and ontology, and a folder of clips.

balanced_train_segments.csv     three lines of comment, then YTID, start_seconds, end_seconds, "/m/09x0r,/t/dd00088"
class_labels_indices.csv        index,mid,display_name
ontology.json                   see `ontology`
CLIPS/**/YTID.wav               or YTID_START.wav, YTID_START_END.flac, with a "Y" before it or not; START in
                                seconds (30, 30.000) or milliseconds (30000)
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timbrel.audio.io import open_audio
from timbrel.audio.mel import MelConfig
from timbrel.data.recordings import SUFFIXES, mono_blocks
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.splits import assign_split
from timbrel.data.store import Entry, MelStore, StoreWriter, levelled, write_manifest
from timbrel.errors import AudioError, InputError
from timbrel.files import write_text
from timbrel.parallel import outcomes


@dataclass(frozen=True)
class Segment:
    """A row of a segment list: a part of a video, and the ids of what is heard in it."""

    ytid: str
    start_s: float
    end_s: float
    mids: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.ytid}_{self.start_s:g}"


@dataclass(frozen=True)
class AudioSetReport:
    """What became of a segment list; as text, a summary.

    Attributes:
        counts: class -> how many clips have it as their label.
        missing: segments without a clip.
        failures: (segment, reason) of each clip that could not be used.
    """

    out: Path
    counts: dict[str, int]
    missing: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"{self.out}: {sum(self.counts.values())} clips of {len(self.counts)} classes"]
        if self.missing:
            names = ", ".join(self.missing[:5])
            lines.append(f"{len(self.missing)} segments have no clip ({names} ...); all are in {self.out}/missing.txt")
        return "\n".join([*lines, *(f"skipped {name}: {reason}" for name, reason in self.failures)])


def prepare_audioset(
    clips: str | Path,
    out: str | Path,
    *,
    segments: str | Path,
    labels: str | Path,
    ontology: str | Path,
    per_class: int | None = None,
    config: MelConfig | None = None,
    validation_share: float = 0.1,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> AudioSetReport:
    """Makes the mel store `out` of AudioSet's clips that are there; those that are done stay.

    A clip has one label: the most specific of its classes; where several are, and all are of one parent, that parent
    (the labels "back up" the hierarchy); else one of them, drawn by the segment's name.

    Args:
        segments: `balanced_train_segments.csv` or a list like it.
        labels: `class_labels_indices.csv`.
        ontology: `ontology.json`.
        per_class: at most so many clips of a class; None for all of the list.
        validation_share: of the videos; two clips of one video are of one split.

    Raises:
        InputError: a file that is not of its format, with the row; no clip of any segment.
    """
    tree, root, out = Ontology.load(ontology), Path(clips), Path(out)
    rows = read_segments(segments, read_labels(labels), tree)
    writer = StoreWriter(out, config or MelConfig())
    paths = find_clips(root, rows)
    if not paths:
        raise InputError(f"{root} holds no clip of the {len(rows)} segments; expected files such as {rows[0].id}.wav")
    missing = tuple(segment.id for segment in rows if segment.id not in paths)
    write_text(out / "missing.txt", "".join(f"{name}\n" for name in missing))
    chosen = _balanced([(s, label_of(s, tree)) for s in rows if s.id in paths], per_class)
    jobs = [
        _Job(paths[s.id], s, label, assign_split(s.ytid, validation_share, seed), writer.config)
        for s, label in chosen
        if s.id not in writer.done
    ]
    failures = []
    for job, outcome in outcomes(_listen, jobs, workers=workers, progress=progress, unit="clip"):
        if (error := outcome.exception()) is not None:
            failures.append((job.segment.id, str(error)))
        else:
            writer.add(*outcome.result())
    write_manifest(out, sorted(MelStore(out).entries, key=lambda entry: entry.id))  # whoever was ready first
    wanted = {s.id: label for s, label in chosen}
    counts = Counter(label for name, label in wanted.items() if name in writer.done)
    return AudioSetReport(out, dict(sorted(counts.items())), missing, tuple(sorted(failures)))


def read_labels(path: str | Path) -> frozenset[str]:
    """The ids of `class_labels_indices.csv`.

    Raises:
        InputError: no such table, or a bad row.
    """
    rows = list(csv.reader(_lines(path)))
    if not rows or rows[0] != ["index", "mid", "display_name"]:
        raise InputError(f"{path} begins with {rows[0] if rows else 'nothing'}; expected index,mid,display_name")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3:
            raise InputError(f"{path}, line {number}: {row} has {len(row)} columns; expected index,mid,display_name")
    return frozenset(row[1] for row in rows[1:])


def read_segments(path: str | Path, mids: frozenset[str], ontology: Ontology) -> list[Segment]:
    """The rows of a segment list.

    Args:
        mids: the ids that a row may have.

    Raises:
        InputError: a row that is wrong, with its number; no rows.
    """
    rows = [
        _segment(row, f"{path}, line {number}", mids, ontology)
        for number, row in enumerate(csv.reader(_lines(path), skipinitialspace=True), 1)
        if row and not row[0].startswith("#")
    ]
    if not rows:
        raise InputError(f'{path} has no segments; expected rows such as --4gqARaEJE, 0.000, 10.000, "/m/068hy"')
    return rows


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); expected a CSV file of AudioSet") from error


def _segment(row: list[str], where: str, mids: frozenset[str], ontology: Ontology) -> Segment:
    try:
        ytid, start, end, labels = row
        segment = Segment(ytid, float(start), float(end), tuple(labels.split(",")))
    except ValueError as error:
        raise InputError(
            f'{where}: {row} is no segment; expected 4 columns, YTID, start, end in seconds and "mid,mid"'
        ) from error
    if not 0 <= segment.start_s < segment.end_s:
        raise InputError(f"{where}: the segment goes from {start} to {end} s; expected 0 <= start < end")
    for mid in segment.mids:
        if mid not in mids:
            raise InputError(f"{where}: the label {mid!r} is not in the label table")
        ontology.find(mid)
    return segment


def label_of(segment: Segment, ontology: Ontology) -> str:
    """The label of a segment, as `prepare_audioset` says."""
    names = list(dict.fromkeys(ontology.find(mid).name for mid in segment.mids))
    above = {ancestor for name in names for ancestor in ontology.ancestors(name)}
    lowest = [name for name in names if name not in above]
    shared = set.intersection(*(set(ontology.parents(name)) for name in lowest))
    if len(lowest) == 1:
        return lowest[0]
    if shared:
        return min(shared)
    return lowest[int.from_bytes(hashlib.sha256(segment.id.encode()).digest()[:8]) % len(lowest)]


def find_clips(root: Path, segments: list[Segment]) -> dict[str, Path]:
    """Segment's id -> its clip, for those that have one."""
    by_stem: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            by_stem.setdefault(path.stem, path)
    return {s.id: path for s in segments for path in [_clip(s, by_stem)] if path is not None}


def _clip(segment: Segment, by_stem: dict[str, Path]) -> Path | None:
    times = [(f"{t:g}", f"{t:.3f}", f"{1000 * t:.0f}", f"{t:06.0f}") for t in (segment.start_s, segment.end_s)]
    names = ["", *(f"_{start}" for start in times[0])]
    names += [f"_{start}_{end}" for start, end in zip(*times, strict=True)]
    stems = (f"{y}{segment.ytid}{name}" for name in names[::-1] for y in ("", "Y"))
    return next((by_stem[stem] for stem in stems if stem in by_stem), None)


def _balanced(rows: list[tuple[Segment, str]], per_class: int | None) -> list[tuple[Segment, str]]:
    """The first `per_class` rows of each class."""
    counts: Counter[str] = Counter()
    chosen = []
    for segment, label in rows:
        counts[label] += 1
        if per_class is None or counts[label] <= per_class:
            chosen.append((segment, label))
    return chosen


@dataclass(frozen=True)
class _Job:
    path: Path
    segment: Segment
    label: str
    split: str
    config: MelConfig


def _listen(job: _Job) -> tuple[Entry, np.ndarray]:
    """A clip's entry and levels; of a file that is longer than its segment, which begins with the video, that part."""
    length_s = job.segment.end_s - job.segment.start_s
    with open_audio(job.path) as reader:
        waveform = np.concatenate(list(mono_blocks(reader, job.config.sample_rate)))
    rate = job.config.sample_rate
    if len(waveform) > max(length_s + 1, job.segment.start_s) * rate:
        waveform = waveform[round(job.segment.start_s * rate) :]
    waveform = waveform[: round(length_s * rate)]
    if not np.abs(waveform).max(initial=0) > 1e-4:
        raise AudioError(f"{job.path} is silent in its segment; expected sound")
    levels, gain_db = levelled(waveform, job.config)
    entry = Entry(
        id=re.sub(r"[^\w.-]", "-", job.segment.id),
        label=job.label,
        split=job.split,
        frames=len(levels),
        source=job.segment.ytid,
        library="AudioSet",
        licence="the video's own",
        gain_db=gain_db,
    )
    return entry, levels
