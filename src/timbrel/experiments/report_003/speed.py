"""Speed and memory of cross-diffusion and of the main method, which the report claims and does not measure."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from timbrel.audio.io import write_audio
from timbrel.errors import InputError
from timbrel.experiments.benchmark.cases import SAMPLE_RATE
from timbrel.pipelines.cross import START
from timbrel.systems.folder import load_system
from timbrel.systems.listing import load_single_models
from timbrel.systems.transfer import TransferSystem

STARTS = (0, START)

_CHILD = """
import json, pathlib, sys, time
from timbrel.cli.main import main
code = main(sys.argv[1:])
import torch
status = pathlib.Path("/proc/self/status")
if status.exists():
    peak = 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"cpu_s": time.process_time(), "peak_bytes": peak, "threads": torch.get_num_threads()}))
sys.exit(code)
"""


def measure(models: str | None, lengths_s: tuple[int, int], music: NDArray, *, progress: bool) -> dict[str, Any]:
    """What `timbrel transfer` of a file takes by each method: seconds a second of music, from the difference of two
    lengths, so that start-up is apart; most memory; parameters.

    Args:
        music: [1, samples] at 44,100 Hz, repeated to the lengths.
    """
    from tqdm import tqdm

    [single], main = load_single_models(["violin"], models), load_system(None, TransferSystem)
    cross = ["--method", "cross", *([] if models is None else ["--models", models])]
    ways: dict[str, tuple[list[str], tuple[torch.nn.Module, ...]]] = {
        f"cross-diffusion, start {k}": ([*cross, "--start", str(k)], (single.denoiser, single.codec)) for k in STARTS
    }
    ways["the main method"] = ([], (main.denoiser, main.codec, main.style))
    speed: dict[str, Any] = {"seconds": list(lengths_s)}
    with tqdm(total=len(ways) * len(lengths_s), desc="speed", disable=not progress) as bar:
        for way, (options, networks) in ways.items():
            runs = []
            for seconds in lengths_s:
                runs.append(_transfer(np.resize(music, (1, seconds * SAMPLE_RATE)), options))
                bar.update()
            short, long = runs
            speed[way] = _rates(short, long, lengths_s[1] - lengths_s[0]) | {"parameters": _parameters(*networks)}
    return speed


def _transfer(music: NDArray, options: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "source.wav"), Path(folder, "result.wav")
        write_audio(source, music, SAMPLE_RATE)
        return timed(["transfer", str(source), "--to", "violin", "-o", str(result), *options])


def _rates(short: dict[str, float], long: dict[str, float], more_s: int) -> dict[str, float]:
    return {
        "seconds_a_second": (long["seconds"] - short["seconds"]) / more_s,
        "cpu_seconds_a_second": (long["cpu_s"] - short["cpu_s"]) / more_s,
        "shortest_file_s": short["seconds"],
        "peak_mb": long["peak_bytes"] / 1e6,
        "threads": long["threads"],
    }


def timed(arguments: Sequence[str]) -> dict[str, float]:
    """Runs `timbrel` in a process of its own."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise InputError(f"timbrel {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}")
    return {"seconds": seconds, **json.loads(done.stdout.strip().splitlines()[-1])}


def _parameters(*networks: torch.nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())
