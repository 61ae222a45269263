"""Speed of sound from a text, in one run: with one candidate and with the usual number, start-up apart.

    python benchmarks/generate.py [SECONDS ...]

For each length (10 and 30 s where none is given) the least of three takes, in seconds, on two threads or as many cores
as there are.
"""

import os
import sys
import time

import torch

import timbrel


def least_s(pipe: timbrel.GeneratePipeline, duration_s: float, num_candidates: int, runs: int = 3) -> float:
    times = []
    for seed in range(runs):
        begin = time.perf_counter()
        pipe("a harp melody", duration_s=duration_s, num_candidates=num_candidates, seed=seed)
        times.append(time.perf_counter() - begin)
    return min(times)


def main(durations_s: list[float]) -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    pipe = timbrel.GeneratePipeline.load()
    pipe("a harp", duration_s=1)
    for duration_s in durations_s:
        usual = pipe.num_candidates(None, pipe.model.mel.num_frames(round(duration_s * pipe.sample_rate)))
        one, some = (least_s(pipe, duration_s, count) for count in (1, usual))
        print(f"{duration_s:g} s: {one:.1f} with one candidate, {some:.1f} with {usual}: {some / one:.2f} times")


if __name__ == "__main__":
    main([float(text) for text in sys.argv[1:]] or [10.0, 30.0])
