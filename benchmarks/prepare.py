"""Speed and memory of `timbrel data prepare`: one thread, a stereo recording of 48 kHz in each format.

    python benchmarks/prepare.py [minutes [suffix ...]]

Prints seconds of sound made into mels per CPU second, and the highest memory of the process.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from timbrel.audio.io import AudioWriter
from timbrel.data.prepare import prepare

RATE = 48000


def notes(seconds: float) -> np.ndarray:
    """Plucked chords over a little noise, [2, samples]."""
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 277, 330, 440, 1109, 2217)) * np.exp(-4 * (t % 0.5))
    return (0.08 * chord + 0.003 * rng.standard_normal((2, len(t)))).astype(np.float32)


def main(minutes: float, *suffixes: str) -> None:
    block = notes(10)
    for suffix in suffixes or ("wav", "flac", "mp3", "ogg"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recordings" / "guitar" / f"one.{suffix}"
            path.parent.mkdir(parents=True)
            with AudioWriter(path, RATE, 2) as writer:
                for _ in range(round(minutes * 6)):
                    writer.write(block)
            start = time.process_time()
            prepare(path.parents[1], Path(folder) / "out", workers=1, progress=False)
            speed = minutes * 60 / (time.process_time() - start)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{suffix:4}  {speed:4.0f} x real time a core, at most {memory:.0f} MB", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, *sys.argv[2:])
