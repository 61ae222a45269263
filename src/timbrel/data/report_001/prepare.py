"""Recordings -> report 001's dataset (its section 3.3): a folder of pictures and its manifest.

OUT/LABEL/STEM_chunkN.png    the Nth 3 s of a recording's sound
OUT/manifest.jsonl           one picture a line (see `Picture`), with its split
OUT/.finished/               what is done of each recording: a stopped run goes on from it
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from timbrel.audio.io import open_audio
from timbrel.audio.mel import mel_spectrogram
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
from timbrel.data.report_001.pictures import CHUNK, CHUNK_S, CONFIG, MANIFEST, Picture, write_picture
from timbrel.data.splits import assign_split, split_keys
from timbrel.errors import AudioError, InputError
from timbrel.files import write_text

TRIM_DB = 20.0
RECORDS = ".finished"  # version 0.1.0 had recordings.jsonl
Span = Sequence[int]
"""The first sample of a recording's sound, and the first after it, at 22,050 Hz."""


def prepare_pictures(
    recordings: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    max_minutes: float = 30.0,
    workers: int | None = None,
    validation_share: float = 0.1,
    seed: int = 0,
    progress: bool = True,
) -> PrepareReport:
    """Makes report 001's pictures of the recordings in `recordings/LABEL/`, folders in it included.

    Each is mixed to mono and resampled to 22,050 Hz, trimmed at both ends to what is within 20 dB of its loudest
    frame (librosa's `effects.trim`, done here block by block) and cut into chunks of 3 s, the last one padded. No
    label gets more than the label with the least sound has: of the others, the longest recordings end early.

    Splits are by recording, as `prepare` makes them; a label with a single one is split in time, and the chunks
    between are left out. Every recording is read twice, once for where its sound is. A run that was stopped goes on
    where it was; what has changed is done again, and the pictures of what has left the folder go.

    Args:
        max_minutes: of sound taken of a recording.
        workers: processes, one recording each; as many as there are processors by default.
        validation_share: of each label's recordings, at least one; of its time, where it has only one.
        seed: another seed is another choice of validation recordings.
        progress: bars on stderr, if that is a terminal.

    Raises:
        InputError: no usable recording; `out` holds something else; a value out of range.
    """
    root, out = Path(recordings), Path(out)
    pool = Pool(workers, progress)
    _check(out, max_minutes, validation_share)
    sources, pool.failures = find_recordings(root)
    out.mkdir(parents=True, exist_ok=True)

    listening = [_Listening(root, source, out) for source in sources]
    spans = {job.source: span for job, span in pool.finish(_listen, listening, "listening")}
    if not spans:
        raise nothing_usable(root, pool.failures)
    plan, warnings = _plan(spans, max_minutes, validation_share, seed)
    stems = _stems(sources)
    drawings = [
        _Drawing(root, source, out, stems[source], spans[source], splits) for source, splits in sorted(plan.items())
    ]
    done, reused = _drawn(drawings, pool)
    if not done:
        raise nothing_usable(root, pool.failures)

    pictures = sorted((p for drawing in done for p in drawing.pictures()), key=lambda picture: picture.file)
    write_text(out / MANIFEST, "".join(json.dumps(dataclasses.asdict(picture)) + "\n" for picture in pictures))
    _sweep(out, {picture.file for picture in pictures}, {job.record for job in (*listening, *drawings)})
    warnings += _without_recording(sources, spans)
    return PrepareReport(out, len(done), reused, _hours(pictures), tuple(pool.failures), tuple(warnings))


def _check(out: Path, max_minutes: float, validation_share: float) -> None:
    assign_split("", validation_share)
    if not 0 < max_minutes < math.inf:
        raise InputError(f"max_minutes is {max_minutes}; expected above 0")
    for name in ("config.json", MANIFEST):
        if (out / name).exists() and not any((out / ours).exists() for ours in (RECORDS, "recordings.jsonl")):
            raise InputError(f"{out} holds a {name} of something other than pictures; use another folder")


def _hours(pictures: Sequence[Picture]) -> dict[str, dict[str, float]]:
    hours = {label: {"train": 0.0, "validation": 0.0} for label in sorted({picture.label for picture in pictures})}
    for picture in pictures:
        hours[picture.label][picture.split] += CHUNK_S / 3600
    return hours


def _without_recording(sources: Iterable[str], usable: Iterable[str]) -> list[str]:
    labels = {label_of(source) for source in sources} - {label_of(source) for source in usable}
    return [f"{label} has no usable recording, and is left out" for label in sorted(labels)]


def _stems(sources: Sequence[str]) -> dict[str, str]:
    """What the pictures of each source are called: as its file, where that is neither long nor said twice."""

    def plain(source: str) -> str:
        return source.rpartition("/")[2].rpartition(".")[0]

    def same(source: str) -> str:
        return unicodedata.normalize("NFC", f"{label_of(source)}/{plain(source)}").casefold()

    count = Counter(map(same, sources))
    stems = {}
    for source in sources:
        stem = plain(source)
        if count[same(source)] > 1 or len(os.fsencode(stem)) > 200:
            short = os.fsencode(stem)[:180].decode(errors="ignore")
            stem = f"{short}-{sha256(os.fsencode(source)).hexdigest()[:8]}"
        stems[source] = stem
    return stems


# which chunks ---------------------------------------------------------------------------------------


def _plan(
    spans: Mapping[str, Span], max_minutes: float, validation_share: float, seed: int
) -> tuple[dict[str, dict[str, range]], list[str]]:
    """Source -> split -> the numbers of its chunks; and warnings."""
    by_label = _chunk_counts(spans, max_minutes)
    totals = {label: sum(counts.values()) for label, counts in by_label.items()}
    shortest = min(totals, key=lambda label: totals[label])
    plan: dict[str, dict[str, range]] = {}
    warnings = []
    if max(totals.values()) > 2 * totals[shortest]:
        warnings.append(
            f"{shortest} has only {totals[shortest] * CHUNK_S / 60:.1f} min of sound, and every label is cut to that. "
            f"Add recordings of {shortest}, or leave it out"
        )
    for counts in by_label.values():
        counts = _share_out(counts, totals[shortest])
        if len(counts) > 1:
            splits = split_keys(counts, validation_share, seed)
            plan |= {source: {splits[source]: range(count)} for source, count in counts.items()}
            continue
        ((source, count),) = counts.items()
        plan[source] = _split_in_time(count, validation_share)
        if validation_share:
            warnings.append(warn_alone(source, set(plan[source])))
    return plan, warnings


def _chunk_counts(spans: Mapping[str, Span], max_minutes: float) -> dict[str, dict[str, int]]:
    """Label -> source -> how many chunks there are of it."""
    most = math.ceil(60 * max_minutes / CHUNK_S)
    by_label: dict[str, dict[str, int]] = defaultdict(dict)
    for source, (start, stop) in sorted(spans.items()):
        by_label[label_of(source)][source] = min(-(-(stop - start) // CHUNK), most)
    return by_label


def _split_in_time(count: int, validation_share: float) -> dict[str, range]:
    """Split -> chunks of a label's only recording, with a gap between, if it is long enough."""
    last = max(1, round(validation_share * count))
    first = count - last - min(math.ceil(GAP_S / CHUNK_S), math.ceil(0.1 * count))
    if not validation_share or first < 1:
        return {"train": range(count)}
    return {"train": range(first), "validation": range(count - last, count)}


def _share_out(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """As many of each as there are, or all as many, so that together they are `total` at most; none has none."""
    shares, sources = {}, sorted(counts, key=lambda source: (counts[source], source))
    for index, source in enumerate(sources):
        if share := min(counts[source], total // (len(sources) - index)):
            shares[source] = share
            total -= share
    return dict(sorted(shares.items()))


# pictures -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listening(Recording):
    """A recording whose sound is to be found."""

    records: ClassVar = f"{RECORDS}/listening"


@dataclass(frozen=True)
class _Drawing(Recording):
    """A recording of whose sound chunks are to be drawn, by their split. Its record names the files before they are
    drawn."""

    records: ClassVar = f"{RECORDS}/drawing"

    stem: str
    span: Span
    splits: Mapping[str, range]

    def settings(self) -> Any:
        return (self.stem, sorted(self.files()))

    def files(self) -> dict[int, str]:
        """Each chunk's path below `out`."""
        return {n: f"{self.label}/{self.stem}_chunk{n}.png" for numbers in self.splits.values() for n in numbers}

    def pictures(self) -> list[Picture]:
        files, first = self.files(), self.span[0]
        return [
            Picture(files[n], self.label, split, self.source, round((first + n * CHUNK) / CONFIG.sample_rate, 3))
            for split, numbers in self.splits.items()
            for n in numbers
        ]

    def done(self) -> bool:
        return self.record.exists() and all((self.out / file).exists() for file in self.files().values())


def _drawn(drawings: Sequence[_Drawing], pool: Pool) -> tuple[list[_Drawing], int]:
    """Those that are drawn at the end, and how many were before."""
    todo = [drawing for drawing in drawings if not drawing.done()]
    for drawing in todo:
        files = list(drawing.files().values())
        for file in files:
            (drawing.out / file).unlink(missing_ok=True)  # perhaps of a recording as it was
        drawing.keep(files)
    made = {drawing.source for drawing, _ in pool.work(_draw, todo, "drawing")}
    unmade = {drawing.source for drawing in todo} - made
    return [drawing for drawing in drawings if drawing.source not in unmade], len(drawings) - len(todo)


def _sweep(out: Path, wanted: set[str], records: set[Path]) -> None:
    """Removes pictures of earlier runs that are not wanted any more, and their records; no other file."""
    for record in list((out / RECORDS).rglob("*.json")):
        if record not in records:
            made = json.loads(record.read_text(encoding="utf-8")) if record.parent.name == "drawing" else []
            for path in (out / file for file in made if file not in wanted):
                path.unlink(missing_ok=True)
                if path.parent.is_dir() and not any(path.parent.iterdir()):
                    path.parent.rmdir()
            record.unlink()


# one recording --------------------------------------------------------------------------------------


def _listen(job: _Listening) -> Span:
    """Where a recording has sound.

    Frames of `n_fft` around every `hop_length`th sample count where they are within 20 dB of the loudest, as in
    librosa's `effects.trim`; here they are put together from spans of `hop_length`.
    """
    hop, span = CONFIG.hop_length, CONFIG.n_fft // CONFIG.hop_length
    energies, pending, samples = [np.zeros(span // 2)], np.empty(0, np.float32), 0
    with open_audio(job.path) as reader:
        for block in mono_blocks(reader, CONFIG.sample_rate):
            samples += len(block)
            pending = np.concatenate([pending, block])
            whole = len(pending) // hop * hop
            energies.append(np.square(pending[:whole], dtype=np.float64).reshape(-1, hop).sum(axis=1))
            pending = pending[whole:]
    energies += [np.square(pending, dtype=np.float64).sum(keepdims=True), np.zeros(span // 2 - 1)]
    frames = np.lib.stride_tricks.sliding_window_view(np.concatenate(energies), span)
    level_db = 10 * np.log10((frames.sum(axis=1) / CONFIG.n_fft).clip(1e-10))
    if level_db.max() < FAINTEST_DB:
        raise AudioError(f"{job.source} is silent ({level_db.max():.0f} dB of full scale); expected sound")
    heard = np.flatnonzero(level_db > level_db.max() - TRIM_DB)
    return int(heard[0]) * hop, min(int(heard[-1] + 1) * hop, samples)


def _draw(job: _Drawing) -> None:
    """Writes the pictures of one recording."""
    files = job.files()
    (job.out / job.label).mkdir(parents=True, exist_ok=True)
    with open_audio(job.path) as reader:
        chunks = _chunks(mono_blocks(reader, CONFIG.sample_rate), *job.span)
        for number, chunk in enumerate(chunks):
            if file := files.pop(number, None):
                write_picture(job.out / file, mel_spectrogram(torch.from_numpy(chunk)[None, None], CONFIG)[0, 0])
            if not files:
                return
    raise AudioError(f"{job.source} is shorter than it was a moment ago; run again when nothing changes it")


def _chunks(blocks: Iterable[np.ndarray], start: int, stop: int) -> Iterator[np.ndarray]:
    """The samples from `start` to `stop` in pieces of `CHUNK`, the last one padded with silence."""
    pending, at = np.empty(0, np.float32), 0
    for block in blocks:
        pending = np.concatenate([pending, block[max(start - at, 0) : max(stop - at, 0)]])
        at += len(block)
        while len(pending) >= CHUNK:
            yield pending[:CHUNK]
            pending = pending[CHUNK:]
        if at >= stop:
            break
    if len(pending):
        yield np.pad(pending, (0, CHUNK - len(pending)))
