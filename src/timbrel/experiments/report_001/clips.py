"""The clips that the models of report 001 transfer, and the measures of the results.

A clip is 3 s of a score that training keeps for validation, on two instruments of one library: so a transfer from one
to the other has its true answer. Its style is the next clip's passage on the second instrument.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import read_audio, write_audio
from timbrel.audio.level import levelled
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data.render import LIBRARIES
from timbrel.data.scores import corpus_scores
from timbrel.data.splits import assign_split
from timbrel.data.synth import CORE
from timbrel.diffusion import ddim, inference_timesteps, seeded_noise
from timbrel.errors import InputError
from timbrel.experiments.benchmark import cases
from timbrel.experiments.benchmark.manifest import places
from timbrel.experiments.benchmark.measures import classifier
from timbrel.files import write_text
from timbrel.metrics import instrument, spectral
from timbrel.metrics.summary import mean_interval
from timbrel.systems.report_001 import Report001System

MEL = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128)
FRAMES = 128
SAMPLES = FRAMES * MEL.hop_length - 1  # of 3 s, cropped to 128 frames as the report crops them
KINDS = ("content", "style", "answer")


@dataclass(frozen=True)
class Clip:
    """A passage on instrument `source`, and on `target` as the answer; another on `target` as the style. Waveforms
    [SAMPLES] at 22,050 Hz."""

    source: str
    target: str
    library: str
    content: NDArray
    style: NDArray
    answer: NDArray


def libraries_with(libraries: Sequence[str], source: str, target: str) -> list[str]:
    """The libraries that have both instruments.

    Raises:
        InputError: none has.
    """
    names = [name for name in libraries if not {source, target} & set(LIBRARIES[name].without)]
    if not names:
        raise InputError(f"none of the libraries {', '.join(libraries)} has {source} and {target}; install another")
    return names


def make_clips(
    folder: Path,
    count: int,
    composers: Sequence[str],
    validation_share: float,
    libraries: Sequence[str],
    heard: Collection[str] = (),
) -> list[str]:
    """Renders clips of the validation split's scores, each of another score, in all directions in turn; of none that
    is in `heard`, the names of scores that training uses.

    Returns:
        Their scores.

    Raises:
        InputError: there are fewer scores with a passage of 3 s.
    """
    rng = random.Random(0)
    names = corpus_scores(composers)
    names = [n for n in names if assign_split(n, validation_share) == "validation" and n not in heard]
    rng.shuffle(names)
    passages = []
    for name in names:
        passages += [place for place, _ in zip(places(name, 3.0, 1.0, rng), range(1), strict=False)]
        if len(passages) == count:
            break
    else:
        raise InputError(
            f"the scores of {', '.join(composers)} that no training hears give {len(passages)} clips; {count} are "
            "needed. Keep more scores from the training data"
        )
    directions, clips = list(permutations(CORE, 2)), []
    folder.mkdir(exist_ok=True)
    for k, passage in enumerate(passages):
        source, target = directions[k % len(directions)]
        with_both = libraries_with(libraries, source, target)
        library, style = with_both[k % len(with_both)], passages[(k + 1) % count]
        for kind, played, name in zip(KINDS, (passage, style, passage), (source, target, target), strict=True):
            waveform = cases.play(played.notes(), name, library, played.duration_s)
            write_audio(clip_path(folder, k, kind), waveform, cases.SAMPLE_RATE, overwrite=True)
        clips.append({"source": source, "target": target, "library": library})
    write_text(folder / "clips.json", json.dumps(clips, indent=1) + "\n")
    return [passage.score for passage in passages]


def clip_path(folder: Path, index: int, kind: str) -> Path:
    return folder / f"{index:02d}-{kind}.flac"


def read_clips(folder: Path) -> list[Clip]:
    """What `make_clips` made, at the level of the training data."""

    def read(index: int, kind: str) -> NDArray:
        waveform = read_audio(clip_path(folder, index, kind), sample_rate=MEL.sample_rate, mono=True)[0][0]
        return levelled(waveform[:SAMPLES], MEL.hop_length)

    clips = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
    return [Clip(*clip.values(), *(read(k, kind) for kind in KINDS)) for k, clip in enumerate(clips)]


def mels(clips: Sequence[Clip], kind: str) -> Tensor:
    """[clips, 1, 128, 128], dB."""
    return mel_spectrogram(torch.from_numpy(np.stack([getattr(clip, kind) for clip in clips]))[:, None], MEL)


def sound(mel: Tensor) -> NDArray:
    """Mel in dB [1, 128, 128] -> waveform [SAMPLES]."""
    return invert_mel(mel[None], MEL, length=SAMPLES)[0, 0].numpy()


def judged(clips: Sequence[Clip], waveforms: Sequence[NDArray]) -> dict[str, Any]:
    """Measures of waveforms [SAMPLES] against the clips' answers: means with intervals."""
    measured = []
    for clip, waveform in zip(clips, waveforms, strict=True):
        answer, estimate = (spectral.prepare(x, MEL.sample_rate) for x in (clip.answer, waveform))
        measured.append(spectral.evaluate(answer, estimate) | instrument.evaluate(classifier(), clip.target, estimate))
    names = ("lsd_db", "mfcc_distance", "detail", "instrument_accuracy")
    return {name: mean_interval([clip[name] for clip in measured])._asdict() for name in names}


def rms_db(estimates: Tensor, answers: Tensor) -> dict[str, Any]:
    """Root mean square error of each mel [clips, 1, 128, 128] in dB: mean with interval."""
    return mean_interval((estimates - answers).square().mean(dim=(1, 2, 3)).sqrt().numpy())._asdict()


def noise(model: Report001System, clips: int) -> Tensor:
    """A clip's own noise, the same for every model with such latents."""
    side = FRAMES // model.codec.factor
    return seeded_noise((model.codec.config.latent_channels, side, side), range(clips))


@torch.inference_mode()
def transferred(model: Report001System, contents: Tensor, styles: Tensor, steps: int) -> Tensor:
    """Mels [clips, 1, 128, 128] in dB, from the contents noised to -8 dB: by one step, or by more (figures 3 and 6)."""
    latents, samples = model.codec.encode(contents), []
    for k, start in enumerate(noise(model, len(latents))):
        tokens = model.style_tokens(styles[k : k + 1])
        samples.append(model.sample(latents[k : k + 1], tokens, start[None], steps=steps, guidance=1.0, strength=1.0))
    return model.decode(torch.cat(samples))


@torch.inference_mode()
def generated(model: Report001System, styles: Tensor, steps: int) -> Tensor:
    """Mels [clips, 1, 128, 128] in dB, from noise and a style alone (figures 4 and 5)."""
    style = model.style(model.codec.normalise(styles))
    x, timesteps = noise(model, len(styles)), inference_timesteps(model.schedule, steps)
    return model.decode(ddim(lambda x, t: model.denoiser(x, t, style), x, model.schedule, timesteps))
