"""Makes piano.flac: a short piece of our own, played by FluidR3's piano in a small room. How it was made, no more.

python examples/make_piano.py [OUTPUT]      needs timbrel[data], TiMidity++ and the FluidR3 library
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import oaconvolve

from timbrel.data.render import render
from timbrel.data.scores import Note

BEAT_S, RATE = 0.58, 44100
MELODY = [(76, 1.5), (74, 0.5), (72, 1), (69, 1), (77, 1.5), (76, 0.5), (74, 1), (69, 1)]
MELODY += [(79, 0.5), (77, 0.5), (76, 0.5), (74, 0.5), (72, 1), (71, 1), (72, 0.5), (71, 0.5), (69, 3)]
CHORDS = [(57, 60, 64), (57, 60, 64), (57, 62, 65), (57, 62, 65), (55, 60, 64), (56, 59, 64), (57, 60, 64)]


def piece() -> list[Note]:
    notes, beat = [], 0.25
    for k, (pitch, beats) in enumerate(MELODY):
        notes.append(Note(beat * BEAT_S, (beat + 0.95 * beats) * BEAT_S, pitch, 84 + 6 * (k % 3)))
        beat += beats
    for k, (low, middle, high) in enumerate(CHORDS):
        for step, pitch in enumerate((low, middle, high, middle)):
            start = 0.25 + 2 * k + 0.5 * step
            notes.append(Note(start * BEAT_S, (start + 0.9) * BEAT_S, pitch, 58 + 5 * (step == 0)))
    notes += [Note(14.25 * BEAT_S, 17 * BEAT_S, pitch, 56) for pitch in CHORDS[-1]]
    return notes


def in_a_room(dry: np.ndarray) -> np.ndarray:
    """[samples] -> [2, samples]: each ear has its own reverberation, well below the piano; a fade ends it."""
    time = np.arange(RATE // 2) / RATE
    tail = np.random.default_rng(0).standard_normal((2, len(time))) * np.exp(-14 * time)
    tail[:, 1:] = (tail[:, 1:] + tail[:, :-1]) / 2
    wet = oaconvolve(dry[None], tail / np.linalg.norm(tail, axis=1, keepdims=True), axes=1)[:, : len(dry)]
    both = np.stack([dry, 0.92 * dry]) + 0.1 * wet
    fade = np.clip((len(dry) - np.arange(len(dry))) / RATE, 0, 1)
    return (0.5 * fade * both / np.abs(both).max()).astype(np.float32)


if __name__ == "__main__":
    output = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("piano.flac")
    waveform = in_a_room(render(piece(), 0, "fluidr3", duration_s=10.0))
    soundfile.write(output, waveform.T, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
