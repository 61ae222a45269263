"""The measures of an output, and their columns: to add a measure is one column, and one line in `measure`."""

from __future__ import annotations

import hashlib
import inspect
import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbrel.audio import inversion, mel
from timbrel.audio.io import resample
from timbrel.data.render import render
from timbrel.errors import InputError
from timbrel.experiments.benchmark.cases import SAMPLE_RATE, Case, Waveform
from timbrel.experiments.page import Column
from timbrel.files import write_bytes
from timbrel.metrics import chroma, heard, instrument, life, notes, onsets, spectral
from timbrel.metrics.instrument import InstrumentClassifier
from timbrel.models import musicnn

Measures = dict[str, float]

COLUMNS = (
    Column("lsd_db", "LSD dB", 1, "lower"),
    Column("mfcc_distance", "MFCC distance", 0, "lower"),
    Column("detail", "detail", 2, "1"),
    Column("instrument_accuracy", "instrument", 2, "higher"),
    Column("note_f1", "note F1", 3, "higher"),
    Column("note_f1_ratio", "ratio", 2, "1"),
    Column("onset_f1", "onset F1", 3, "higher"),
    Column("onset_f1_ratio", "ratio", 2, "1"),
    Column("chroma", "chroma", 3, "higher"),
    Column("both", "both at once", 2, "higher"),
    Column("heard_as", "heard as", 2, "higher"),
    Column("modulation_4_9", "modulation 4-9 Hz", 2, "1"),
    Column("modulation_9_20", "9-20 Hz", 2, "1"),
)
"""The table. A column NAME_ratio is the mean of NAME over that of the true target, every other the mean of what
`measure` and `against_truth` say of each clip; one that no clip has a figure for is left out."""
NOTES_KEPT = 0.8  # "both at once": this share of the true target's note F1
CLASSIFIER = Path(__file__).with_name("instrument_classifier.safetensors")
_MEASURED_BY = (chroma, heard, musicnn, instrument, life, notes, onsets, spectral, inversion, mel, render, resample)
"""What makes and measures the rows that are kept, beside the files of this folder."""


def measure(case: Case, waveform: Waveform) -> Measures:
    """All measures of an output [channels, samples] at 44,100 Hz, against the case's target and score.

    Raises:
        InputError: if the output is over 0.1 s longer or shorter than the target.
        MissingDependencyError: without librosa or mir_eval.
    """
    target = spectral.prepare(case.read("target"), SAMPLE_RATE)
    estimate = _as_long(spectral.prepare(waveform, SAMPLE_RATE), len(target), case.id)
    score = np.array([[n.start_s, n.end_s, n.pitch] for n in case.score()])
    return {
        **spectral.evaluate(target, estimate),
        **instrument.evaluate(classifier(), case.triplet.target, estimate),
        **(notes.evaluate(score, estimate) if notes.available() else {}),
        **onsets.evaluate(score[:, 0], estimate),
        "chroma": chroma.chroma_cosine(_target_chroma(case, target), chroma.chromagram(estimate)),
        **(heard.evaluate(case.triplet.target, waveform, SAMPLE_RATE) if heard.available() else {}),
        **life.evaluate(target, estimate),
    }


def against_truth(clip: Measures, truth: Mapping[str, float]) -> Measures:
    """What follows from a clip's measures and the true target's: is it the target instrument, with the notes?"""
    if "note_f1" not in clip:
        return {}
    kept = clip["note_f1"] >= NOTES_KEPT * truth["note_f1"]
    return {"both": float(kept and clip["clip_is_instrument"] == 1)}


def left_out() -> dict[str, str]:
    """The measures that cannot be taken here, and why."""
    lacking = {} if notes.available() else {"note_f1": notes.MISSING}
    return lacking if heard.available() else lacking | {"heard_as": heard.MISSING}


@lru_cache(maxsize=1)
def classifier() -> InstrumentClassifier:
    """The frozen judge of instruments that belongs to the benchmark."""
    return InstrumentClassifier.load(CLASSIFIER)


@lru_cache(maxsize=1)
def measured_by() -> str:
    """Changes with the source of what makes and measures a kept row, and with what is left out: it is measured anew
    then. (Another version of a library that is called goes unnoticed.)"""
    paths = [Path(str(inspect.getsourcefile(part))) for part in _MEASURED_BY]
    here = [Path(__file__).with_name(name) for name in ("manifest.py", "cases.py", "rows.py", "measures.py")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*paths, *here, CLASSIFIER)))
    digest.update(",".join(left_out()).encode())
    return digest.hexdigest()[:8]


def _as_long(estimate: NDArray, samples: int, name: str) -> NDArray:
    if abs(len(estimate) - samples) > 0.1 * spectral.SAMPLE_RATE:
        raise InputError(
            f"the output for {name} lasts {len(estimate) / spectral.SAMPLE_RATE:.2f} s; "
            f"expected {samples / spectral.SAMPLE_RATE:.2f} s, as its content does"
        )
    return np.pad(estimate, (0, max(0, samples - len(estimate))))[:samples]


def _target_chroma(case: Case, target: Waveform) -> NDArray:
    path = case.folder / "cache" / f"chroma-{measured_by()}" / f"{case.id}.npy"
    if path.exists():
        return np.load(path)
    chromagram = chroma.chromagram(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(file := io.BytesIO(), chromagram)
    write_bytes(path, file.getvalue())
    return chromagram
