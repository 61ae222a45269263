"""The rows: what is made or taken from the set, and how each sound of it is judged."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import resample, write_audio
from timbrel.audio.level import TARGET_RMS
from timbrel.audio.mel import mel_spectrogram
from timbrel.data.sounds.captions import held_out_captions
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.store import Entry, MelStore
from timbrel.experiments.run import Result
from timbrel.metrics import copies, heard
from timbrel.metrics.encoders import load_encoder
from timbrel.metrics.sounds import FRAMES, SoundClassifier, features, train_classifier, window
from timbrel.pipelines.generate import GeneratePipeline
from timbrel.pipelines.settings import GenerateSettings

ROWS = {
    "generated": "the model, by the class's name",
    "wordings": "the model, by wordings that training never draws",
    "aliases": "the model, by names that training never draws",
    "real": "held-out real sounds",
    "half": "real sounds of the training half",
    "codec": "held-out real sounds through the codec",
    "copies": "one training sound of each class through the codec",
    "noise": "white noise",
    "silence": "silence",
}
MADE, KNOWN = ("generated", "wordings", "aliases"), ("noise", "silence")
REFERENCE = "reference"  # the row that distances are from: further real sounds of the training half
TAGGED = {
    "piano": "piano",
    "classical guitar": "guitar",
    "steel-string guitar": "guitar",
    "harp": "harp",
    "violin": "violin",
    "cello": "cello",
    "flute": "flute",
    "harpsichord": "harpsichord",
    "choir": "voice",
}
"""Classes of the shipped ontology for which musicnn has a tag -> its instrument."""


@dataclass(frozen=True)
class Run:
    """What a process needs to measure a row. Paths are str, and all is hashable."""

    out: Path
    data: str
    model: str | None
    ontology: str | None
    encoders: tuple[tuple[str, str | None], ...]
    takes: int
    steps: int | None
    guidance: float | None
    seed: int
    on_mels: bool = False
    candidates: int | None = None
    listener: str | None = None


class Judge:
    """What a process listens with, and where the sounds of a row come from."""

    def __init__(self, run: Run) -> None:
        self.run, self.store, self.ontology = run, MelStore(run.data), Ontology.load(run.ontology)
        self.mel = self.store.config
        self.samples = FRAMES * self.mel.hop_length - 1
        self.encoders = [load_encoder(*encoder) for encoder in run.encoders]
        self.classifier = SoundClassifier.load(run.out / "classifier.safetensors")
        self.pipe = GeneratePipeline.load(run.model, listener=run.listener)

    def sounds(self, row: str, label: str) -> Iterator[tuple[NDArray | None, NDArray]]:
        """Waveforms [samples], of a run on mels None, and mels in dB [n_mels, FRAMES] of a row of one class."""
        if self.run.on_mels:
            yield from ((None, mel) for mel in self._mels(row, label))
        else:
            yield from ((waveform, self._heard(waveform)) for waveform in self._waveforms(row, label))

    def _waveforms(self, row: str, label: str) -> Iterator[NDArray]:
        if row in MADE:
            yield from self._made(self._prompts(row, label))
        elif row in KNOWN:
            yield self._known(row, label)
        else:
            yield from map(self._inverted, self._real_mels(row, label))

    def _mels(self, row: str, label: str) -> Iterator[NDArray]:
        if row in MADE:
            yield from self._made_mels(self._prompts(row, label))
        elif row in KNOWN:
            yield self._heard(self._known(row, label))
        else:
            yield from self._real_mels(row, label)

    def _known(self, row: str, label: str) -> NDArray:
        if row == "silence":
            return np.zeros(self.samples, np.float32)
        return self._rng(label).standard_normal(self.samples, dtype=np.float32) * np.float32(TARGET_RMS)

    def _real_mels(self, row: str, label: str) -> Iterator[NDArray]:
        takes = self.run.takes
        split = "validation" if row in ("real", "codec") else "train"
        first, last = {"half": (takes, 2 * takes), "copies": (0, 1)}.get(row, (0, takes))
        entries = self.entries(label, split)
        for i in self._rng(label).permutation(len(entries))[first:last]:
            mel = beginning(self.store, entries[i])
            yield self._coded(mel) if row in ("codec", "copies") else mel

    def entries(self, label: str, split: str) -> list[Entry]:
        return [e for e in self.store.entries if e.label == label and e.split == split]

    def _heard(self, waveform: NDArray) -> NDArray:
        """The mel of a sound: dB [n_mels, FRAMES]."""
        mel = mel_spectrogram(torch.from_numpy(waveform)[None, None], self.mel)[0, 0].numpy()
        return window(mel, self.mel.floor_db)

    def embedded(self, waveform: NDArray | None, seen: NDArray) -> dict[str, list[list[float]]]:
        """Windows [n, d] as each encoder hears them, in four digits; of a mel alone as the classifier sees it."""
        rows = {self.classifier.name: self.classifier.embed(torch.from_numpy(seen)[None]).numpy()}
        if waveform is not None:
            for ear in self.encoders:
                rows[ear.name] = ear.embed(resample(waveform[None], self.mel.sample_rate, ear.sample_rate)[0])
        return {name: [[float(f"{x:.4g}") for x in line] for line in lines] for name, lines in rows.items()}

    def nearest_db(self, mel: NDArray, label: str) -> float:
        """To any training sound of the class."""
        return copies.nearest_db(mel, (self.store.mel(entry).numpy() for entry in self.entries(label, "train")))

    def _rng(self, label: str) -> np.random.Generator:
        return np.random.default_rng((self.run.seed, zlib.crc32(label.encode())))

    def _prompts(self, row: str, label: str) -> list[str]:
        """A text for each take."""
        sound = self.ontology.find(label)
        if row == "generated":
            return [sound.wordings[0]] * self.run.takes
        unseen = held_out_captions(label, self.ontology)
        first = len(unseen) - len(sound.aliases_held_out)
        texts = unseen[first:] if row == "aliases" else unseen[:first]
        return [texts[i] for i in self._rng(label).permutation(len(texts))[: self.run.takes]]

    def _made(self, prompts: Sequence[str]) -> Iterator[NDArray]:
        """A take of each text; silence of a text that the model refuses, for it knows no word of it."""
        duration_s, silence = self.samples / self.mel.sample_rate, np.zeros(self.samples, np.float32)
        for options in self._asked(prompts):
            with warnings.catch_warnings(action="ignore"):  # of words that the model does not know
                take = self.pipe(duration_s=duration_s, **options)[0].waveform[0] if options else silence
            yield take

    def _made_mels(self, prompts: Sequence[str]) -> Iterator[NDArray]:
        """What `_made` inverts."""
        silence = np.full((self.mel.n_mels, FRAMES), self.mel.floor_db, np.float32)
        for options in self._asked(prompts):
            with warnings.catch_warnings(action="ignore"):
                mel = self.pipe.mel(frames=FRAMES, **options)[0, 0].numpy() if options else silence
            yield mel

    def _asked(self, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """What the pipeline is asked for by each text; nothing by one that it refuses."""
        run = self.run
        for number, prompt in enumerate(prompts):
            settings = GenerateSettings(
                num_inference_steps=run.steps, guidance_scale=run.guidance, seed=run.seed + number
            )
            options = {"prompt": prompt, "num_candidates": run.candidates, "settings": settings}
            yield options if self.pipe.model.text.knows(prompt) else {}

    @torch.inference_mode()
    def _coded(self, mel: NDArray) -> NDArray:
        codec = self.pipe.model.codec
        return codec.decode(codec.encode(torch.from_numpy(mel)[None, None]))[0, 0].numpy()

    def _inverted(self, mel: NDArray) -> NDArray:
        return invert_mel(torch.from_numpy(mel)[None, None], self.mel, length=self.samples)[0, 0].numpy()


_judge = lru_cache(maxsize=1)(Judge)


def measure(run: Run, row: str, label: str) -> list[Result]:
    """How each sound of a row of one class is judged, and embedded."""
    judge = _judge(run)
    return [_judged(judge, row, label, number, *sound) for number, sound in enumerate(judge.sounds(row, label), 1)]


def _judged(judge: Judge, row: str, label: str, number: int, waveform: NDArray | None, mel: NDArray) -> Result:
    seen = features(mel)
    sound: Result = {
        "taken_for": judge.classifier.ranked(seen)[:5],
        "embeddings": judge.embedded(waveform, seen),
    }
    if row in ("generated", "real", "copies"):
        sound["nearest_db"] = judge.nearest_db(mel, label)
    if waveform is None:
        return sound
    rate = judge.mel.sample_rate
    if row in ("generated", "real", "codec") and label in TAGGED and heard.available():
        sound |= heard.evaluate(TAGGED[label], waveform, rate, tuple(heard.INSTRUMENTS))
    if row == "generated":
        write_audio(take_path(judge.run.out, label, number), waveform[None], rate, overwrite=True)
    return sound


def beginning(store: MelStore, entry: Entry) -> NDArray:
    """Of a sound, with silence after one that is shorter: dB [n_mels, FRAMES]."""
    return window(store.mel(entry, 0, FRAMES).numpy(), store.config.floor_db)


def train_judge(store: MelStore, labels: Sequence[str], seed: int = 0) -> SoundClassifier:
    """A classifier of these classes, trained on the beginnings of the training half's sounds."""
    entries = [entry for entry in store.entries if entry.split == "train" and entry.label in labels]
    seen = np.stack([features(beginning(store, entry)) for entry in entries])
    return train_classifier(seen, [entry.label for entry in entries], seed=seed)


def take_path(out: Path, label: str, number: int) -> Path:
    """Of a take that is kept to be heard."""
    folder = out / "takes"
    folder.mkdir(exist_ok=True)
    return folder / f"{file_name(label)}-{number}.flac"


def file_name(label: str) -> str:
    """Another for each label.

    >>> file_name("acoustic guitar"), file_name("a/b"), file_name("a-b")
    ('acoustic-guitar', 'a-b-07f4401c', 'a-b-35c2229e')
    """
    name = label.replace(" ", "-").replace("/", "-")
    return name if name.replace("-", " ") == label else f"{name}-{zlib.crc32(label.encode()):08x}"
