"""The rows of a table: what cross-diffusion, and what it is compared with, make of the clips, and how it is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import read_audio, resample, write_audio
from timbrel.audio.level import levelled
from timbrel.audio.mel import mel_spectrogram
from timbrel.diffusion.samplers import seeded_noise
from timbrel.experiments.benchmark import rows as benchmark_rows
from timbrel.experiments.benchmark.measures import Measures, classifier
from timbrel.experiments.report_003.cells import ROWS, cell_of
from timbrel.experiments.report_003.clips import clip_path, passages
from timbrel.metrics import fad, instrument, kad, notes, spectral
from timbrel.metrics.encoders import Encoder, load_encoder
from timbrel.metrics.sets import Embeddings
from timbrel.pipelines.cross import START, STEPS, CrossSystem
from timbrel.systems.listing import load_single_models

CLIPS = 100
NOTE_SHARE = 3  # one clip in so many is listened to for notes, which takes longest
SPAN = 1024  # samples that levels are taken over, as in the transfer pipeline
BATCH = 20  # clips that are denoised at a time
SHOWN = 2  # clips of each row that are kept to be heard


@dataclass(frozen=True)
class Run:
    """What is computed, and where, from `clips` of each set."""

    out: Path
    models: str | None = None
    encoder: str = "timbrel-features"
    weights: str | None = None
    clips: int = CLIPS
    precision: str = "fp32"
    seed: int = 0

    @property
    def note_clips(self) -> int:
        return -(-self.clips // NOTE_SHARE)


def measure(run: Run, direction: str, row: str) -> dict[str, Any]:
    """The measures of a row of a direction's table."""
    return _direction(run, direction).measure(row)


def audio_path(out: Path, direction: str, row: str, clip: int) -> Path:
    """Of a clip of a row that is kept to be heard."""
    return out / direction / "audio" / f"{clip}-{row}.ogg"


class Direction:
    """What the rows of one direction share: the model, the clips, and the set that they are compared with."""

    def __init__(self, run: Run, direction: str) -> None:
        self.run = run
        self.source, _, self.target = direction.split("-")
        [self.single] = load_single_models([self.target], run.models)
        self.rate = self.single.mel.sample_rate
        self.sources, self.answers = (self._read("content", name) for name in (self.source, self.target))
        self.frames = self.single.mel.num_frames(len(self.sources[0]))
        self.ear: Encoder = load_encoder(run.encoder, run.weights)
        self.reference = [self._embed(clip, self.rate) for clip in self._read("reference", self.target)]
        scores = [passage["notes"] for passage in passages(run.out)["content"]]
        self.scores = [np.array(score)[:, :3] for score in scores]

    def _read(self, kind: str, name: str) -> list[NDArray]:
        """Clips [samples] at the model's rate, as loud as what it was trained on."""
        paths = [clip_path(self.run.out, kind, name, i) for i in range(self.run.clips)]
        return [levelled(read_audio(path, sample_rate=self.rate, mono=True)[0][0], SPAN) for path in paths]

    def _latents(self, clips: Sequence[NDArray]) -> Tensor:
        mel = mel_spectrogram(torch.from_numpy(np.stack(clips))[:, None], self.single.mel)
        short = -self.frames % self.single.codec.factor
        return self.single.codec.encode(torch.nn.functional.pad(mel, (0, short), value=self.single.mel.floor_db))

    def _sound(self, mel: Tensor, sources: Sequence[NDArray]) -> Iterator[NDArray]:
        """Mel [batch, 1, n_mels, frames] -> waveforms [samples], inverted as the transfer pipeline does it."""
        for one, source in zip(mel[..., : self.frames], sources, strict=True):
            yield invert_mel(one[None], self.single.mel, source=torch.from_numpy(source)[None, None])[0, 0].numpy()

    @torch.inference_mode()
    def outputs(self, row: str) -> Iterator[NDArray]:
        """What a row puts in the place of the answers: a waveform [samples] at `rate` for each source."""
        if row == "unchanged":
            yield from self.sources
        elif row == "answer":
            yield from self.answers
        elif row == "misdealt":
            half = self.run.clips // 2
            yield from [*self.answers[half:], *self.answers[:half]]
        elif row == "main":
            for clip in self.sources:
                result = benchmark_rows.pipeline(None)(clip, to=self.target, sample_rate=self.rate, seed=self.run.seed)
                yield resample(result.waveform, result.sample_rate, self.rate)[0]
        else:
            for first in range(0, self.run.clips, BATCH):
                batch = slice(first, first + BATCH)
                if row == "codec":
                    mel = self.single.codec.decode(self._latents(self.answers[batch]))
                else:
                    mel = self.single.decode(self._crossed(row, self._latents(self.sources[batch]), first))
                yield from self._sound(mel, self.sources[batch])

    def _crossed(self, row: str, content: Tensor, first: int) -> Tensor:
        if row in ROWS:
            model = CrossSystem(self.single, start=20 if row == "equalised" else START)
        else:  # a cell, as the report has it
            forward, start = cell_of(row)
            model = CrossSystem(self.single, start=start, forward_steps=forward, equalise=False)
        seeds = [self.run.seed * self.run.clips + first + i for i in range(len(content))]  # a clip's own in all cells
        noise = seeded_noise(content.shape[1:], seeds)
        tokens = model.instruments[self.target]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.run.precision == "bf16"):
            return model.sample(content, tokens, noise, steps=STEPS, guidance=1, strength=1)

    def _embed(self, waveform: NDArray, rate: int) -> NDArray:
        return self.ear.embed(resample(levelled(waveform, SPAN)[None], rate, self.ear.sample_rate)[0])

    def measure(self, row: str) -> dict[str, Any]:
        """Measures of each clip of a row, and the distances of all of them from the reference set."""
        counted = self.run.note_clips if notes.available() else 0
        clips: list[Measures] = []
        embeddings = []
        for i, waveform in enumerate(self.outputs(row)):
            if i < SHOWN:
                _write_shown(audio_path(self.run.out, f"{self.source}-to-{self.target}", row, i), waveform, self.rate)
            prepared = spectral.prepare(waveform[None], self.rate)
            clip = instrument.evaluate(classifier(), self.target, prepared)
            if i < counted:
                clip |= notes.evaluate(self.scores[i], prepared)
            clips.append(clip)
            embeddings.append(self._embed(waveform, self.rate))
        reference, estimated = (Embeddings(self.ear.name, recordings) for recordings in (self.reference, embeddings))
        distances = {
            "fad": fad.frechet_audio_distance(reference, estimated, seed=self.run.seed),
            "kad": kad.kernel_audio_distance(reference, estimated, seed=self.run.seed),
        }
        return {"clips": clips} | {name: dataclasses.asdict(distance) for name, distance in distances.items()}


_direction = lru_cache(maxsize=1)(Direction)


def _write_shown(path: Path, waveform: NDArray, rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = waveform * (0.9 / max(float(np.abs(waveform).max()), 1e-9))
    write_audio(path, shown[None].astype(np.float32), rate, overwrite=True)
