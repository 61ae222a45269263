"""The triplets of the benchmark, rendered.

BENCHMARK/  content/ID.wav  style/ID.wav  target/ID.wav  other-style/ID.wav  notes/DIGEST.json  cache/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.audio.io import read_audio, write_audio
from timbrel.data.render import find_library, render
from timbrel.data.scores import Note
from timbrel.errors import InputError, MissingDependencyError
from timbrel.experiments.benchmark import manifest
from timbrel.experiments.benchmark.manifest import LIBRARY, PROGRAMS, Excerpt, Triplet
from timbrel.files import write_text
from timbrel.parallel import answers

SAMPLE_RATE = 44100
OTHER_LIBRARY = "fluidr3"  # whose instruments are right, and sound different: the check that the style clip is heard

Waveform = NDArray[np.float32]


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
    scores = _missing_scores(folder, cases)
    for _ in answers(_write_notes, scores, workers=workers, progress=progress, name="reading scores"):
        pass
    missing = [case for case in cases if not all(case.path(kind).exists() for kind, *_ in _parts(case))]
    for _ in answers(_render_case, missing, workers=workers, progress=progress, name="rendering"):
        pass
    write_text(folder / "manifest.json", json.dumps(manifest.manifest(), indent=1))
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


def _missing_scores(folder: Path, cases: Sequence[Case]) -> list[tuple[Path, list[Excerpt]]]:
    """The excerpts whose notes are not written down yet, grouped by score, for reading a score takes longest."""
    excerpts = [excerpt for case in cases for excerpt in (case.triplet.content, case.triplet.style)]
    missing = [excerpt for excerpt in excerpts if not (folder / "notes" / f"{excerpt.digest}.json").exists()]
    missing.sort(key=lambda excerpt: excerpt.score)
    return [(folder, list(group)) for _, group in groupby(missing, key=lambda excerpt: excerpt.score)]


def _write_notes(job: tuple[Path, list[Excerpt]]) -> None:
    folder, excerpts = job
    for excerpt in excerpts:
        notes = [[n.start_s, n.end_s, n.pitch, n.velocity] for n in excerpt.notes()]
        write_text(folder / "notes" / f"{excerpt.digest}.json", json.dumps(notes))


def _parts(case: Case) -> list[tuple[str, Excerpt, str, str]]:
    """Kind, excerpt, instrument and library of each. The target comes last: a triplet that has one is whole."""
    t = case.triplet
    parts = [("content", t.content, t.source, LIBRARY), ("style", t.style, t.target, LIBRARY)]
    parts += [("other-style", t.style, t.target, OTHER_LIBRARY)] if has_library(OTHER_LIBRARY) else []
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


def has_library(name: str) -> bool:
    """Whether a sample library is installed, and TiMidity++ to play it."""
    try:
        find_library(name)
    except MissingDependencyError:
        return False
    return True
