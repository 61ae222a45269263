"""Speed and memory of a transfer, with any model (random weights of the default's sizes where none is named).

    python benchmarks/transfer.py [MODEL] [--quick]

Prints the real-time factor of a 60-s stereo file with start-up apart and the share of each part of it; then, through
the command and from the start of the process to its end, time and peak memory of stereo files of 5 s, 10 s, 1, 10 and
60 minutes: the last takes about six times as long as the one before, and no more memory. `--quick` stops at 1 minute.
Two threads, or as many cores as there are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

THREADS = str(min(2, os.cpu_count() or 1))
RATE = 44100
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, time.perf_counter() - start, usage.ru_maxrss / 1024]))
"""


def write_music(path: Path, seconds: float) -> Path:
    """Plucked chords that wander between the channels, over a little noise."""
    import numpy as np

    from timbrel.audio.io import AudioWriter

    rng, t = np.random.default_rng(0), np.arange(10 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 277, 330, 440, 1109, 2217)) * np.exp(-4 * (t % 0.5))
    side = np.stack([np.sin(t) ** 2, np.cos(t) ** 2])
    block = (0.1 * side * chord + 0.002 * rng.standard_normal((2, len(t)))).astype(np.float32)
    with AudioWriter(path, RATE, 2) as writer:
        for begin in range(0, round(seconds), 10):
            writer.write(block[:, : round((seconds - begin) * RATE)])
    return path


def random_model(folder: Path) -> Path:
    """The default's sizes; how long it takes does not hang on the weights."""
    import torch

    from timbrel.audio.mel import MelConfig
    from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
    from timbrel.models.denoiser import DenoiserConfig
    from timbrel.models.style import StyleConfig
    from timbrel.systems.base import ScheduleConfig
    from timbrel.systems.folder import save_system
    from timbrel.systems.transfer import TransferSystem

    codec = MelAutoencoder(AutoencoderConfig())
    model = TransferSystem.build(MelConfig(), codec, StyleConfig(), DenoiserConfig(), ScheduleConfig())
    model.instruments = {"violin": torch.randn(104, model.style.config.width)}
    save_system(folder, model)
    return folder


def command(model: Path, source: Path, output: Path) -> tuple[float, float]:
    """Seconds and peak MB of `timbrel transfer` in a process of its own."""
    call = [sys.executable, "-m", "timbrel", "transfer", str(source), "--to", "violin", "-o", str(output)]
    call += ["--model", str(model)]
    environment = os.environ | {"OMP_NUM_THREADS": THREADS}
    # ru_maxrss is the largest of all children: a process between keeps this one's others out.
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *call], env=environment, capture_output=True, text=True, check=False
    )
    code, seconds, megabytes = json.loads(measured.stdout)
    if code:
        sys.exit(f"{' '.join(call)} failed with {code}:\n{measured.stderr}")
    return seconds, megabytes


class Clock:
    """Seconds in the parts of a call: `watch` puts a stop-watch around a function. Parts do not lie in each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def watch(self, owner: Any, function: str, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, function)

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return original(*args, **kwargs)

        setattr(owner, function, watched)


def shares(model: Path, source: Path, output: Path, seconds: float) -> None:
    clock = Clock()
    with clock.part("start-up"):
        import torch

        torch.set_num_threads(int(THREADS))
        from timbrel import load
        from timbrel.audio import io
        from timbrel.audio.inversion import StreamInverter
        from timbrel.audio.stereo import StereoImage
        from timbrel.pipelines import windows

        pipe = load(model)
    clock.watch(io.AudioReader, "_read", "read")
    clock.watch(io.StreamResampler, "push", "resample")
    clock.watch(io.StreamResampler, "finish", "resample")
    clock.watch(windows, "transposed_mel", "mel")
    clock.watch(pipe.model.codec, "encode", "encode")
    clock.watch(pipe.model, "sample", "sample")
    clock.watch(pipe.model.codec, "decode", "decode")
    clock.watch(StreamInverter, "push", "invert")
    clock.watch(StreamInverter, "finish", "invert")
    clock.watch(StereoImage, "apply", "stereo image")
    clock.watch(io.AudioWriter, "write", "write")
    start = time.perf_counter()
    pipe.transfer_file(source, output, to="violin")
    whole = time.perf_counter() - start
    begun = clock.seconds.pop("start-up")
    print(f"{seconds:.0f}-s stereo file, {THREADS} threads: {whole:.1f} s, real-time factor {whole / seconds:.3f}")
    print(f"  {'start-up':12} {begun:6.2f} s  (not counted)")
    for name, spent in [*clock.seconds.items(), ("the rest", whole - sum(clock.seconds.values()))]:
        print(f"  {name:12} {spent:6.2f} s  {100 * spent / whole:3.0f} %", flush=True)


def main(*arguments: str) -> None:
    quick, named = "--quick" in arguments, [a for a in arguments if a != "--quick"]
    lengths = [5, 10, 60] if quick else [5, 10, 60, 600, 3600]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if named:
            from timbrel.systems.folder import resolve

            model = resolve(named[0])
        else:
            model = random_model(folder / "model")
        shares(model, write_music(folder / "minute.wav", 60), folder / "minute-out.wav", 60)
        print(f"\n{'length s':>10} {'seconds':>8} {'a second':>9} {'peak MB':>8}")
        for length in lengths:
            source = write_music(folder / f"{length}.flac", length)
            seconds, megabytes = command(model, source, folder / f"{length}-out.flac")
            print(f"{length:10} {seconds:8.1f} {seconds / length:9.3f} {megabytes:8.0f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
