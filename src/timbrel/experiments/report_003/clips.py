"""The clips: passages of scores that training keeps for validation, played on both instruments."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from timbrel.audio.io import write_audio
from timbrel.data.render import LIBRARIES, find_library
from timbrel.data.scores import Note, corpus_scores
from timbrel.data.splits import assign_split
from timbrel.data.synth import SynthConfig
from timbrel.errors import InputError
from timbrel.experiments.benchmark import cases
from timbrel.experiments.benchmark.cases import SAMPLE_RATE
from timbrel.experiments.benchmark.manifest import Excerpt, places
from timbrel.experiments.report_003.cells import DIRECTIONS
from timbrel.files import write_text
from timbrel.parallel import answers

DURATION_S, LONGEST_REST_S = 5.0, 1.2
HEARD = ("fluidr3", "musescore", "timgm6mb", "csound", "opl3")
"""Sample libraries that the shipped models learnt from: those of them that are installed play the clips, in turn."""
INSTRUMENTS = [direction.partition("-")[0] for direction in DIRECTIONS]


def installed_libraries() -> list[str]:
    """Those of `HEARD` that are installed.

    Raises:
        MissingDependencyError: without any, TiMidity++ or music21.
    """
    corpus_scores(SynthConfig().composers)
    installed = [name for name in HEARD if LIBRARIES[name].path is not None]
    find_library([*installed, *HEARD][0])
    return installed


def clip_path(out: Path, kind: str, instrument: str, index: int) -> Path:
    """Of a rendered clip; `kind` is "content" (sources and answers) or "reference" (of other scores)."""
    return out / "clips" / f"{kind}-{instrument}-{index:03d}.flac"


def make_clips(
    out: Path, count: int, seed: int, libraries: Sequence[str], *, workers: int | None, progress: bool
) -> None:
    """Draws `count` passages of each set and renders them on both instruments; existing files stay."""
    path = out / "clips.json"
    if not path.exists():
        if progress:
            print("reading scores ...", file=sys.stderr)
        drawn = draw(count, seed)
        for passages in drawn.values():
            for i, passage in enumerate(passages):
                passage["library"] = libraries[i % len(libraries)]
        write_text(path, json.dumps(drawn))
    (out / "clips").mkdir(exist_ok=True)
    jobs = [(kind, name, i) for kind in ("content", "reference") for name in INSTRUMENTS for i in range(count)]
    jobs = [job for job in jobs if not clip_path(out, *job).exists()]
    for _ in answers(partial(_render, out), jobs, workers=workers, progress=progress, name="rendering"):
        pass


@lru_cache(maxsize=1)
def passages(out: Path) -> dict[str, list[dict[str, Any]]]:
    """What `draw` drew, each with its library."""
    return json.loads((out / "clips.json").read_text(encoding="utf-8"))


def _render(out: Path, job: tuple[str, str, int]) -> None:
    kind, instrument, i = job
    passage = passages(out)[kind][i]
    score = [Note(*values) for values in passage["notes"]]
    waveform = cases.play(score, instrument, passage["library"], DURATION_S)
    write_audio(clip_path(out, *job), waveform, SAMPLE_RATE)  # whole or not at all


def draw(count: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Passages of 5 s of the scores that training keeps for validation: "content" and "reference", of other scores.

    Returns:
        For each set `count` times {"score", "start_s", "transposition", "notes": [[start_s, end_s, pitch, velocity]]}.

    Raises:
        InputError: there are fewer.
    """
    config, rng = SynthConfig(), random.Random(seed)
    names = corpus_scores(config.composers)
    names = [name for name in names if assign_split(name, config.validation_share, config.seed) == "validation"]
    rng.shuffle(names)
    sets = {"content": names[::2], "reference": names[1::2]}
    return {kind: [_passage(place) for place in _draw_set(kind, own, count, rng)] for kind, own in sets.items()}


def _draw_set(kind: str, names: Sequence[str], count: int, rng: random.Random) -> list[Excerpt]:
    """So many places, every score in turn."""
    each = -(-2 * count // len(names))  # twice as many as needed, for short scores have few
    turns = [zip(range(each), places(name, DURATION_S, LONGEST_REST_S, rng), strict=False) for name in names]
    drawn = sorted((pair for turn in turns for pair in turn), key=lambda pair: pair[0])
    if len(drawn) < count:
        raise InputError(f"clips is {count}; the scores kept for validation give {len(drawn)} for the set {kind}")
    return [place for _, place in drawn[:count]]


def _passage(place: Excerpt) -> dict[str, Any]:
    named = {"score": place.score, "start_s": place.start_s, "transposition": place.transposition}
    return named | {"notes": [dataclasses.astuple(note) for note in place.notes()]}
