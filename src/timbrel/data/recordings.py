"""A user's recordings: where they lie, how they are read, and what came of each.

recordings/INSTRUMENT/**/*.mp3|wav|flac|...
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from timbrel.audio.io import AudioReader, StreamResampler
from timbrel.audio.stereo import scan_blocks
from timbrel.errors import InputError, TimbrelError
from timbrel.files import write_text
from timbrel.parallel import outcomes

# fmt: off
SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".m4b", ".aac", ".mp4",
    ".webm", ".mka", ".mkv", ".mov", ".wma", ".aif", ".aiff", ".aifc", ".caf", ".au",
)
# fmt: on
GAP_S = 10.0  # left out between train and validation of a recording that is its label's only one
FAINTEST_DB = -75.0  # a recording whose sound is below this holds nothing but noise
BLOCK = 2**16  # samples at a time: what stays in the cache is fastest


@dataclass(frozen=True)
class Recording:
    """A recording to work on: `source` is its path below `root`, `out` the folder of what is made of it."""

    records: ClassVar[str]  # the folder in `out` that says what is finished

    root: Path
    source: str
    out: Path

    @property
    def path(self) -> Path:
        return self.root / self.source

    @property
    def label(self) -> str:
        return label_of(self.source)

    @cached_property
    def bytes(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def time(self) -> int:
        """When it was changed, in ns."""
        return self.path.stat().st_mtime_ns

    def settings(self) -> Any:
        """What the work on it depends on besides."""
        return ()

    @cached_property
    def id(self) -> str:
        """Another for a file that has changed, or for other settings."""
        key = hashlib.sha256(repr((self.source, self.bytes, self.time, self.settings())).encode())
        return re.sub(r"[^A-Za-z0-9]+", "-", self.source.rpartition(".")[0])[:60] + "-" + key.hexdigest()[:12]

    @property
    def record(self) -> Path:
        return self.out / self.records / f"{self.id}.json"

    def keep(self, answer: Any) -> None:
        """Writes the record."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.record, json.dumps(answer))


@dataclass(frozen=True)
class PrepareReport:
    """What became of a folder of recordings; as text, a summary.

    Attributes:
        recordings: usable ones; `reused` of them were finished by an earlier run.
        hours: label -> split -> hours of sound.
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
            f"  {label}: " + ", ".join(f"{_time(hours)} {split}" for split, hours in by_split.items())
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


def _time(hours: float) -> str:
    """As hours, minutes or seconds.

    >>> _time(2.5), _time(0.25), _time(0.01)
    ('2.5 h', '15 min', '36 s')
    """
    for unit, seconds in (("h", 3600), ("min", 60)):
        if hours * 3600 >= seconds:
            return f"{hours * 3600 / seconds:.3g} {unit}"
    return f"{hours * 3600:.3g} s"


def label_of(source: str) -> str:
    """The instrument: the first folder of the path."""
    return source.partition("/")[0]


def find_recordings(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Paths of recordings below `root`, and what is not where it should be.

    Raises:
        InputError: there is no recording.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"{root} {what}; expected a folder that has a folder of recordings for each instrument")
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    sources = only_recordings(root, (path for folder in folders for path in folder.rglob("*")))
    loose = only_recordings(root, root.iterdir())
    failures = [(name, "it is in no instrument's folder; move it into one") for name in loose]
    labels = set(map(label_of, sources))
    failures += [(path.name, "it holds no recording") for path in folders if sources and path.name not in labels]
    if not sources:
        raise nothing_usable(root, failures)
    return sources, failures


def only_recordings(root: Path, paths: Iterable[Path]) -> list[str]:
    """Those of the paths that are recordings, below `root` and in order; hidden ones are left out."""
    recordings = (path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    names = (path.relative_to(root).as_posix() for path in recordings)
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


def nothing_usable(root: Path, failures: Sequence[tuple[str, str]]) -> InputError:
    """The error where no recording is left."""
    skipped = "".join(f"\n  skipped {source}: {reason}" for source, reason in failures[:5])
    return InputError(
        f"{root} holds no usable recording; expected a folder for each instrument, any file names, say\n"
        f"  {root}/violin/one.mp3\n  {root}/violin/two.wav\n  {root}/piano/three.flac\n"
        f"(also {', '.join(suffix[1:] for suffix in SUFFIXES)}){skipped}"
    )


def warn_alone(source: str, splits: set[str]) -> str:
    """The warning where a label has a single recording, of which there are these splits."""
    label = label_of(source)
    cut = (
        "its end validates, after a gap: validation figures will flatter"
        if "validation" in splits
        else "and too short to hold out a part: nothing of it validates"
    )
    return f"{label} has a single usable recording ({source}), {cut}. Add another recording of {label}"


def mono_blocks(reader: AudioReader, sample_rate: int) -> Iterator[np.ndarray]:
    """A recording mixed to mono and resampled: blocks [samples], float32. A channel that is upside down in the first
    minute, and would cancel the others, is turned."""
    resampler = StreamResampler(reader.sample_rate, sample_rate, 1)
    blocks = reader.blocks(BLOCK)
    first = list(islice(blocks, -(-60 * reader.sample_rate // BLOCK)))
    signs = scan_blocks(first, reader.sample_rate).signs.astype(np.float32)[:, None]
    while first:
        yield resampler.push((first.pop(0) * signs).mean(axis=0, keepdims=True))[0]
    for block in blocks:
        yield resampler.push((block * signs).mean(axis=0, keepdims=True))[0]
    yield resampler.finish()[0]


def _bytes(recording: Recording) -> int:
    return recording.bytes


Job = TypeVar("Job", bound=Recording)
Answer = TypeVar("Answer")


class Pool:
    """Works on recordings in several processes, and collects the failures: where one cannot be read, the others go on.

    Args:
        workers: processes; as many as there are processors by default.
        progress: bars on stderr, if that is a terminal.
        cluster: of Ray, in place of processes here (`timbrel.parallel.outcomes`).

    Raises:
        InputError: `workers` is below 1.
    """

    def __init__(self, workers: int | None, progress: bool, cluster: str | None = None) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers is {workers}; expected at least 1")
        self.workers, self.progress, self.cluster = workers, progress, cluster
        self.failures: list[tuple[str, str]] = []

    def finish(
        self, work: Callable[[Job], Any], jobs: Sequence[Job], name: str | None = None
    ) -> Iterator[tuple[Job, Any]]:
        """Jobs that succeed, now or in an earlier run, with their answers in JSON, which their records keep."""
        for job in jobs:
            if job.record.exists():
                yield job, json.loads(job.record.read_text(encoding="utf-8"))
        for job, answer in self.work(work, [job for job in jobs if not job.record.exists()], name):
            job.keep(answer)
            yield job, answer

    def work(
        self, work: Callable[[Job], Answer], jobs: Iterable[Job], name: str | None = None
    ) -> Iterator[tuple[Job, Answer]]:
        """Jobs that succeed, as they end, with their answers; the others are in `failures` at the end.

        Args:
            work: a function that another process can import.
            jobs: a recording each.
            name: what the bar is called.
        """
        largest_first = sorted(jobs, key=lambda job: -job.bytes)  # no long one comes last
        pool = outcomes(
            work,
            largest_first,
            workers=self.workers,
            progress=self.progress,
            name=name,
            unit="B",
            size=_bytes,
            cluster=self.cluster,
        )
        with closing(pool) as made:
            for job, outcome in made:
                if (error := outcome.exception()) is None:
                    yield job, outcome.result()
                else:
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise TimbrelError(
                            f"{job.out} cannot be written ({error.strerror}); what is finished is kept: free some "
                            "space, and run the same again"
                        ) from error
                    kind = "" if isinstance(error, TimbrelError) else f"{type(error).__name__}: "
                    self.failures.append((job.source, f"{kind}{error}"))
        self.failures.sort()
