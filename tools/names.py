"""Which recordings stand for a name: transfers by typical clips of each library, heard by a judge of real music.

    python -m tools.names MODEL DATA OUT [--names guitar harp] [--clips 12]

MODEL is a transfer model and DATA the mel store that it was trained on. For each instrument of DATA that the judge has
a tag for (`metrics/heard.py`), and for each library that plays it, the most typical clips of training become the name.
Windows of other instruments, of scores held out from training, are transferred to it and heard. OUT/names.csv has the
share heard as what the name says, and the mean margin: log of the tag's score over the best other tag's. OUT/model is
MODEL with each name's best clips: the highest share, then the widest margin. Names without a tag, and those that DATA
lacks, stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore, dequantise
from timbrel.diffusion.samplers import seeded_noise
from timbrel.experiments.page import Table
from timbrel.files import write_text
from timbrel.metrics import heard
from timbrel.systems.folder import load_system, save_system
from timbrel.systems.transfer import TransferSystem
from timbrel.training.shared import split_windows, typical

FRAMES, STYLE_FRAMES = 256, 320
LEAST_CLIPS = 3  # of a library, to say what is typical of it
SOURCES = ("piano", "guitar", "harp", "violin")


@dataclass(frozen=True)
class Candidate:
    """`tokens` [n, width] of typical clips of one library, for a name."""

    name: str
    library: str
    tokens: Tensor


def candidates(model: TransferSystem, windows: Windows, names: Sequence[str]) -> Iterator[Candidate]:
    """Two for each library that plays a name: its two most typical clips, and the next two."""
    for (name, library), entries in sorted(windows.voices.items(), key=str):
        if name in names and library is not None and len(entries) >= LEAST_CLIPS:
            clips = [model.style_tokens(_mel(model, clip)) for clip in typical(windows, entries, 4)]
            for pair in (clips[:2], clips[2:]):
                if pair:
                    yield Candidate(name, library, torch.cat(pair))


def sources(model: TransferSystem, windows: Windows, clips: int) -> list[tuple[str, Tensor]]:
    """Label and latents [1, c, h, w] of windows of held-out scores, drawn once for all candidates."""
    rng = np.random.default_rng(0)
    entries = [e for e in windows.targets if e.label in SOURCES]
    chosen = [entries[i] for i in rng.permutation(len(entries))[:clips]]
    starts = [int(rng.integers(0, e.frames - FRAMES)) for e in chosen]
    mels = [_mel(model, windows.window(e, start, FRAMES)) for e, start in zip(chosen, starts, strict=True)]
    return [(e.label, model.codec.encode(mel)) for e, mel in zip(chosen, mels, strict=True)]


def _mel(model: TransferSystem, levels: np.ndarray) -> Tensor:
    return dequantise(levels, model.mel.floor_db)[None, None]


def measure(model: TransferSystem, candidate: Candidate, played: list[tuple[str, Tensor]]) -> tuple[float, float]:
    """Share of the sources that are heard as the name, and the mean margin."""
    among = tuple(dict.fromkeys((*heard.FOUR, candidate.name)))
    margins = []
    for seed, (label, content) in enumerate(played):
        if label != candidate.name:
            noise = seeded_noise(content.shape[1:], [seed])
            latents = model.sample(content, candidate.tokens, noise, steps=1, guidance=1.0, strength=1.0)
            waveform = invert_mel(model.decode(latents), model.mel)[0, 0].numpy()
            scores = heard.scores(waveform, model.mel.sample_rate, among)
            own = scores.pop(candidate.name)
            margins.append(np.log(own / max(scores.values())))
    return float(np.mean([margin > 0 for margin in margins])), float(np.mean(margins))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    for name in ("model", "data", "out"):
        parser.add_argument(name, type=Path, metavar=name.upper())
    parser.add_argument("--names", nargs="+", default=list(heard.INSTRUMENTS), help="which (default: all with a tag)")
    parser.add_argument("--clips", type=int, default=12, help="sources for each candidate (default: 12)")
    args = parser.parse_args()
    model = load_system(str(args.model), TransferSystem)
    train, validation = split_windows(MelStore(args.data), FRAMES, STYLE_FRAMES)
    played = sources(model, validation, args.clips)
    best: dict[str, tuple[float, float]] = {}
    rows = []
    for candidate in candidates(model, train, args.names):
        figures = measure(model, candidate, played)
        rows.append([candidate.name, candidate.library, *(f"{figure:.2f}" for figure in figures)])
        print(*rows[-1], flush=True)
        if figures > best.get(candidate.name, (-1.0, 0.0)):
            best[candidate.name] = figures
            model.instruments[candidate.name] = candidate.tokens.contiguous()
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "names.csv", Table(["name", "library", "heard as", "margin"], rows).csv())
    save_system(args.out / "model", model)


if __name__ == "__main__":
    main()
