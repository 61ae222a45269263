"""Writes a listening test.

OUT/page/index.html, OUT/page/sounds/ID.flac   what listeners get: no name tells what a sound is
OUT/key.json                                    stays here: which system made which sound
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin

from timbrel.audio.io import write_audio
from timbrel.audio.level import TARGET_RMS, loudness
from timbrel.errors import InputError
from timbrel.experiments.benchmark.cases import SAMPLE_RATE, Case, load
from timbrel.experiments.benchmark.manifest import NUM_DIRECTIONS
from timbrel.experiments.benchmark.rows import BASELINES, Row, model_rows, outputs_row
from timbrel.files import exists, whole_folder, write_text
from timbrel.parallel import answers

REFERENCE, ANCHOR = "reference", "anchor"
ROWS = ("model-clip", "model-name", "transcribe-timgm6mb")
MOST_SYSTEMS = 7  # beside the hidden reference and the anchor: what keys 1 to 9 can play
CEILING = 0.98  # of full scale

Waveform = NDArray[np.float32]
Trial = dict[str, Waveform]
"""The sounds of one triplet [1, samples] at 44,100 Hz, by system."""


def build(
    benchmark: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    outputs: str | Path | None = None,
    rows: Sequence[str] = (),
    per_direction: int = 1,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Writes the page and its key into a new folder, whole or not at all.

    Args:
        benchmark: what `timbrel evaluate build` made.
        model: the model of the rows model-...: a shipped name or a folder; None is the shipped one.
        outputs: another program's results, the row "outputs".
        rows: names of benchmark rows to compare; none is `ROWS`, and "outputs" where those are given.
        per_direction: triplets of each of the 12 directions, one trial each.
        seed: of the names of sounds, and with a listener's name of the order that he or she hears.
        workers: processes; by default one a core.

    Returns:
        What key.json holds.

    Raises:
        InputError: the folder exists, a row is unknown, cannot be made here or is one too many.
        ModelError: as loading the model.
    """
    if exists(out):
        raise InputError(f"{out} exists; name a new folder")
    if per_direction < 1:
        raise InputError(f"per_direction is {per_direction}; expected at least 1")
    cases = load(benchmark, limit=per_direction * NUM_DIRECTIONS)
    chosen = _chosen(None if model is None else str(model), outputs, rows, cases)
    Path(out).absolute().parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(out) as place:
        sounds = place / "page" / "sounds"
        sounds.mkdir(parents=True)
        write = partial(_write_trial, chosen, sounds, seed)
        trials = dict(answers(write, cases, workers=workers, progress=progress, name="sounds", unit="trial"))
        titles = {row.name: row.title for row in chosen}
        key = key_of(titles, [{"triplet": case.id, **trials[case.id]} for case in cases], seed)
        write_text(place / "key.json", json.dumps(key, indent=1) + "\n")
        write_text(place / "page" / "index.html", page(key))
    return key


def _chosen(model: str | None, outputs: str | Path | None, names: Sequence[str], cases: Sequence[Case]) -> list[Row]:
    offered = {row.name: row for row in (*BASELINES, *model_rows(model)) if row.name != "target"}
    if outputs is not None:
        offered["outputs"] = outputs_row(Path(outputs))
    names = list(dict.fromkeys(names)) or [*ROWS, *(["outputs"] if outputs is not None else [])]
    if unknown := [name for name in names if name not in offered]:
        raise InputError(f"row {unknown[0]!r} is unknown; expected some of {', '.join(offered)}")
    if len(names) > MOST_SYSTEMS:
        raise InputError(f"there are {len(names)} rows; expected at most {MOST_SYSTEMS}: listeners keep apart no more")
    if missing := [f"{name}: {why}" for name in names if (why := offered[name].left_out(cases))]:
        raise InputError(f"{missing[0]}; leave this row out with --rows")
    return [offered[name] for name in names]


def _write_trial(rows: Sequence[Row], folder: Path, seed: int, case: Case) -> tuple[str, dict[str, Any]]:
    reference = case.read("target")
    trial = {REFERENCE: reference, ANCHOR: anchor(reference)} | {row.name: row.output(case) for row in rows}
    trial = equally_loud({name: _as_long(sound, reference.shape[1]) for name, sound in trial.items()})
    sounds = {_nameless(seed, case.id, system): system for system in trial}
    opened = _nameless(seed, case.id)
    for name, system in [(opened, REFERENCE), *sounds.items()]:
        write_audio(folder / f"{name}.flac", trial[system], SAMPLE_RATE)
    return case.id, {"open": opened, "sounds": sounds}


def _nameless(seed: int, *what: str) -> str:
    return hashlib.sha256(" ".join([str(seed), *what]).encode()).hexdigest()[:10]


def _as_long(sound: Waveform, samples: int) -> Waveform:
    mono = sound.mean(axis=0, keepdims=True)[:, :samples]
    return np.pad(mono, ((0, 0), (0, samples - mono.shape[1])))


def anchor(reference: Waveform) -> Waveform:
    """The low anchor: [channels, samples] at 44,100 Hz low-passed at 3.5 kHz, within 0.1 dB below and at least 25 dB
    down at 4 kHz, 50 dB at 4.5 kHz (BS.1534-3, section 5.1). Nothing is delayed."""
    filtered: Waveform = fftconvolve(reference, low_pass()[None], mode="same", axes=1).astype(np.float32)
    return filtered


def low_pass() -> NDArray[np.float64]:
    """The anchor's filter [taps]."""
    taps: NDArray[np.float64] = firwin(401, 3750, window=("kaiser", 6.0), fs=SAMPLE_RATE)
    return taps


def equally_loud(trial: Mapping[str, Waveform]) -> Trial:
    """All sounds of a trial at one RMS of what sounds, which is that of a transfer's source or as near to it as no peak
    clips; silence stays silent."""
    levels = {name: loudness([sound]) for name, sound in trial.items()}
    crests = [float(np.abs(sound).max()) / levels[name] for name, sound in trial.items() if levels[name]]
    target = min([TARGET_RMS, *(CEILING / crest for crest in crests)])
    return {name: sound * np.float32(target / (levels[name] or 1)) for name, sound in trial.items()}


def key_of(titles: Mapping[str, str], trials: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """What key.json holds. `test` is a name that answers carry, so that they are not read with another key."""
    systems = {**titles, REFERENCE: "hidden reference", ANCHOR: "anchor, 3.5 kHz"}
    content = {"seed": seed, "systems": systems, "trials": list(trials)}
    return {"test": hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10], **content}


def page(key: Mapping[str, Any]) -> str:
    """The page: one file, beside the folder of its sounds. Nothing in it says which system made a sound."""
    trials = [{"open": trial["open"], "sounds": sorted(trial["sounds"])} for trial in key["trials"]]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.render(test={"test": key["test"], "seed": key["seed"], "trials": trials})
