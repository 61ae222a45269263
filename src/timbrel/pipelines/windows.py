"""Music of any length, as a chain of small stages.

    samples -> `Windows` -> mels that overlap, each transferred by a model -> `CrossFade` -> one mel

`push` takes the next part and gives what is ready of the result; `finish` gives the rest. The resampler, the band-pass
and the inverter of `timbrel.audio` are stages, too. The memory of a stage does not grow with length. No stage knows how
long the music is before its end: one chain serves files, streams and generated music.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.io import Waveform
from timbrel.audio.mel import MelConfig
from timbrel.audio.pitch import transposed_mel


class Stage(Protocol):
    """Blocks [channels, n] in and out, of any lengths."""

    def push(self, block: Waveform, /) -> Waveform: ...

    def finish(self) -> Waveform: ...


def flow(blocks: Iterable[Waveform], *stages: Stage) -> Iterator[Waveform]:
    """Sends blocks [channels, n] through one stage after the other; empty blocks are left out."""
    for stage in stages:
        blocks = _through(blocks, stage)
    return (block for block in blocks if block.shape[-1])


def _through(blocks: Iterable[Waveform], stage: Stage) -> Iterator[Waveform]:
    for block in blocks:
        yield stage.push(block)
    yield stage.finish()


def split(blocks: Iterable[Waveform], samples: int) -> Iterator[Waveform]:
    """Cuts blocks [channels, n] into blocks of at most `samples` samples."""
    for block in blocks:
        for start in range(0, block.shape[-1], samples):
            yield block[:, start : start + samples]


def blend(wet: Iterable[Waveform], dry: Iterator[Waveform], mix: float) -> Iterator[Waveform]:
    """The blocks of `wet`, [channels, n], each `mix` of it and the rest of what `dry` has of the same moment."""
    waiting: Queue | None = None
    for block in wet:
        waiting = waiting or Queue(len(block))
        while waiting.samples < block.shape[1] and (part := next(dry, None)) is not None:
            waiting.push(part)
        source = waiting.pop(block.shape[1])  # a sample less at the end, where rates differ
        yield np.float32(mix) * block + np.float32(1 - mix) * np.pad(
            source, ((0, 0), (0, block.shape[1] - source.shape[1]))
        )


class Queue:
    """Blocks [channels, n] in, any number of samples out."""

    def __init__(self, channels: int) -> None:
        self._blocks: list[Waveform] = [np.zeros((channels, 0), np.float32)]

    @property
    def samples(self) -> int:
        """How many wait."""
        return sum(block.shape[1] for block in self._blocks)

    def push(self, block: Waveform) -> None:
        self._blocks.append(block)

    def pop(self, samples: int) -> Waveform:
        """The next samples, [channels, samples]."""
        while len(self._blocks) > 1 and self._blocks[0].shape[1] < samples:
            self._blocks[:2] = [np.concatenate(self._blocks[:2], axis=1)]
        head, self._blocks[0] = self._blocks[0][:, :samples], self._blocks[0][:, samples:]
        return head


@dataclass(frozen=True)
class Window:
    """A part of the music that a model transfers at one time.

    Attributes:
        mel: dB [1, 1, n_mels, frames].
        first_frame: of all the music's.
        samples: [n], from its first frame to that of the next window, or to the end.
    """

    mel: Tensor
    first_frame: int
    samples: Waveform


class Windows:
    """Samples in, windows that overlap out.

    A window is cut once more than the overlap is there after it: the last window may be longer, and none is all fade. A
    frame of a window's mel is the same wherever the window begins.

    Args:
        config: of the mels.
        frames: length of a window.
        overlap: frames that a window shares with the next, at least 1.
        transpose: semitones to move the music by.
    """

    def __init__(self, config: MelConfig, frames: int, overlap: int, transpose: float = 0) -> None:
        self._config, self._frames, self._overlap, self._transpose = config, frames, overlap, transpose
        reach = config.n_fft / 2 * max(1.0, 2 ** (transpose / 12))
        self._margin = math.ceil(reach / config.hop_length)  # frames to either side that a window's mel sees
        self._parts = [np.zeros(self._margin * config.hop_length, np.float32)]  # from a margin before the next window
        self._first_frame = 0
        self.samples = 0  # so far

    def push(self, samples: Waveform) -> list[Window]:
        """The next samples [n] -> the windows that are whole, perhaps none."""
        self._parts.append(samples)
        self.samples += len(samples)
        return list(self._whole(self.samples))

    def finish(self) -> list[Window]:
        """The last windows."""
        silence = np.zeros((self._margin + 1) * self._config.hop_length, np.float32)
        self._parts.append(silence)
        windows = list(self._whole(self.samples + len(silence)))
        return [*windows, self._cut(self._frames_left, self.samples - self._first_frame * self._config.hop_length)]

    @property
    def _frames_left(self) -> int:
        """From the next window's first to the last so far."""
        return self._config.num_frames(self.samples) - self._first_frame

    def _whole(self, available: int) -> Iterator[Window]:
        hop, keep = self._config.hop_length, self._frames - self._overlap
        while (
            self._frames_left >= self._frames + self._overlap
            and available >= (self._first_frame + self._frames + self._margin) * hop
        ):
            yield self._cut(self._frames, keep * hop)
            self._parts = [self._parts[0][keep * hop :]]
            self._first_frame += keep

    def _cut(self, frames: int, samples: int) -> Window:
        hop, margin = self._config.hop_length, self._margin
        self._parts = [np.concatenate(self._parts)]
        piece = torch.from_numpy(self._parts[0][: (frames + 2 * margin) * hop - 1])[None, None]
        mel = transposed_mel(piece, self._config, self._transpose)[..., margin : margin + frames]
        return Window(mel, self._first_frame, self._parts[0][margin * hop : margin * hop + samples].copy())


class CrossFade:
    """Mels [..., frames] that overlap in, one mel out.

    Args:
        overlap: frames that each shares with the one before.
    """

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self._fade = torch.linspace(0, 1, overlap)
        self._tail: Tensor | None = None

    def push(self, mel: Tensor) -> Tensor:
        if self._tail is not None:
            mel = torch.cat([self._tail.lerp(mel[..., : self._overlap], self._fade), mel[..., self._overlap :]], dim=-1)
        self._tail = mel[..., -self._overlap :]
        return mel[..., : -self._overlap]

    def finish(self) -> Tensor:
        """The rest, after one mel at least."""
        assert self._tail is not None
        return self._tail


def noise_at(seed: int, first: int, shape: Sequence[int], grid: int) -> Tensor:
    """Standard normal noise that belongs to the moment: windows that overlap have the same noise there.

    Args:
        seed: of all the music.
        first: the place of the first frame of latents.
        shape: [1, c, h, frames].
        grid: frames that are drawn together.
    """
    parts = []
    for number in range(first // grid, (first + shape[-1]) // grid + 1):
        part_seed = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(part_seed) >> 1)
        parts.append(torch.randn(*shape[1:-1], grid, generator=generator))
    skip = first % grid
    return torch.cat(parts, dim=-1)[None, ..., skip : skip + shape[-1]]
