"""The rows of the benchmark's table: what is put in the place of the true target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import read_audio, resample
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.experiments.benchmark.cases import OTHER_LIBRARY, SAMPLE_RATE, Case, Waveform, has_library, play
from timbrel.experiments.benchmark.manifest import LIBRARY, NUM_DIRECTIONS
from timbrel.metrics import notes, spectral
from timbrel.pipelines.transfer import TransferPipeline
from timbrel.systems.base import StyleTransfer
from timbrel.systems.folder import load_system

Output = Callable[[Case], Waveform]
"""What a row puts in the place of the target: [channels, samples] at 44,100 Hz."""


@dataclass(frozen=True)
class Row:
    """One line of the table. It is left out without its `library`, without a transcriber where it `needs_notes`, and
    where the benchmark has no clips of the kind `clip`. `kept`: it depends on nothing but the benchmark, so that it is
    measured once and kept in its folder. `per_direction`: only the first so many triplets of each direction."""

    name: str
    title: str
    output: Output
    library: str | None = None
    needs_notes: bool = False
    kept: bool = False
    clip: str = "style"
    per_direction: int | None = None

    def cases(self, cases: Sequence[Case]) -> list[Case]:
        """Those of the benchmark's triplets that it is measured on."""
        count = None if self.per_direction is None else self.per_direction * NUM_DIRECTIONS
        return [case for case in cases[:count] if case.path(self.clip).exists()]

    def left_out(self, cases: Sequence[Case]) -> str:
        """Why the row cannot be measured here; empty if it can."""
        if self.needs_notes and not notes.available():
            return notes.MISSING
        if self.library is not None and not has_library(self.library):
            return f"the sample library {self.library} is not installed"
        return "" if self.cases(cases) else f"the benchmark was built without {OTHER_LIBRARY}"


def _file(kind: str, case: Case) -> Waveform:
    return case.read(kind)


def _through_mel(case: Case) -> Waveform:
    config, target = MelConfig(), torch.from_numpy(case.read("target"))[None]
    mel = mel_spectrogram(target, config)
    return invert_mel(mel, config, length=target.shape[-1])[0].numpy()


def _transcribed(library: str, case: Case) -> Waveform:
    content = case.read("content")
    transcription = notes.transcribe(spectral.prepare(content, SAMPLE_RATE))
    score = [Note(start, end, int(pitch), max(1, round(127 * level))) for start, end, pitch, level in transcription]
    if not score:
        return np.zeros_like(content)
    return play(score, case.triplet.target, library, content.shape[1] / SAMPLE_RATE)


def _true_score(library: str, case: Case) -> Waveform:
    return play(case.score(), case.triplet.target, library, case.triplet.content.duration_s)


def _transferred(model: str | None, style: str | None, case: Case) -> Waveform:
    """By the model, to a clip of the benchmark, or to the instrument's name."""
    to = case.triplet.target if style is None else case.path(style)
    result = pipeline(model)(case.path("content"), to=to, seed=0)
    return resample(result.waveform, result.sample_rate, SAMPLE_RATE)


def _from_folder(folder: Path, case: Case) -> Waveform:
    suffixes = {".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".webm", ".opus"}
    files = sorted(p for p in folder.glob(f"{case.id}.*") if p.suffix.lower() in suffixes)
    if not files:
        raise InputError(
            f"{folder} has no output for {case.id}; expected an audio file named after each triplet, "
            f"{case.id}.wav for one, made of content/{case.id}.wav and style/{case.id}.wav"
        )
    return read_audio(files[0], sample_rate=SAMPLE_RATE)[0]


@lru_cache(maxsize=1)
def pipeline(model: str | None) -> TransferPipeline:
    """As `timbrel.load`, without the user's own instruments: one of those may have the name of a model's instrument."""
    return TransferPipeline(load_system(model, StyleTransfer))


BASELINES = (
    Row("target", "the true target", partial(_file, "target"), kept=True),
    Row("unchanged", "nothing done", partial(_file, "content"), kept=True),
    Row("other-piece", "another piece, right instrument", partial(_file, "style"), kept=True),
    Row("mel", "target through mel and back", _through_mel, kept=True),
    *(
        Row(f"transcribe-{name}", f"transcribe, render: {name}", partial(_transcribed, name), name, True, True)
        for name in ("timgm6mb", LIBRARY)
    ),
    *(
        Row(f"score-{name}", f"true score on {name}", partial(_true_score, name), name, kept=True)
        for name in ("fluidr3", "musescore")
    ),
)


def model_rows(model: str | None) -> tuple[Row, ...]:
    """The rows of a model: a shipped name, a folder, or None for the shipped transfer model."""
    kind = "other-style"
    return (
        Row("model-clip", "the model, by clip", partial(_transferred, model, "style")),
        Row("model-name", "the model, by name", partial(_transferred, model, None)),
        Row(
            f"model-{kind}",
            "the model, clip of another library",
            partial(_transferred, model, kind),
            clip=kind,
            per_direction=5,
        ),
    )


def outputs_row(folder: Path) -> Row:
    """The row of another program, by its files."""
    return Row("outputs", f"outputs in {folder}", partial(_from_folder, folder))
