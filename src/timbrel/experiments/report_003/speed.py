"""Speed and memory of cross-diffusion and of the main method, which the report claims and does not measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from timbrel.experiments.benchmark.cases import SAMPLE_RATE
from timbrel.experiments.benchmark.longer import timed_transfer
from timbrel.pipelines.cross import START
from timbrel.systems.folder import load_system
from timbrel.systems.listing import load_single_models
from timbrel.systems.transfer import TransferSystem

STARTS = (0, START)


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
                runs.append(timed_transfer(np.resize(music, (1, seconds * SAMPLE_RATE)), ["--to", "violin", *options]))
                bar.update()
            short, long = runs
            speed[way] = _rates(short, long, lengths_s[1] - lengths_s[0]) | {"parameters": _parameters(*networks)}
    return speed


def _rates(short: dict[str, float], long: dict[str, float], more_s: int) -> dict[str, float]:
    return {
        "seconds_a_second": (long["seconds"] - short["seconds"]) / more_s,
        "cpu_seconds_a_second": (long["cpu_s"] - short["cpu_s"]) / more_s,
        "shortest_file_s": short["seconds"],
        "peak_mb": long["peak_bytes"] / 1e6,
        "threads": long["threads"],
    }


def _parameters(*networks: torch.nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())
