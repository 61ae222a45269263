"""Speed of sound from a text, in one run: with one candidate and with up to the usual number, start-up apart.

    python benchmarks/generate.py [SECONDS ...]

For each length (10 and 30 s where none is given) the mean over takes of six texts, in seconds, of each the lesser time
of two, on two threads or as many cores as there are. How many candidates are begun depends on when one fits.
"""

import os
import sys
import time

import torch

import timbrel

TEXTS = ("a harp melody", "a violin", "rain", "a drum beat", "a dog barking", "a church organ")


def mean_s(pipe: timbrel.GeneratePipeline, duration_s: float, num_candidates: int) -> float:
    times = []
    for text in TEXTS:
        again = []
        for _ in range(2):
            begin = time.perf_counter()
            pipe(text, duration_s=duration_s, num_candidates=num_candidates, seed=1)
            again.append(time.perf_counter() - begin)
        times.append(min(again))
    return sum(times) / len(times)


def main(durations_s: list[float]) -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    pipe = timbrel.GeneratePipeline.load()
    pipe("a harp", duration_s=1)
    for duration_s in durations_s:
        usual = pipe.num_candidates(None, pipe.model.mel.num_frames(round(duration_s * pipe.sample_rate)))
        one, some = (mean_s(pipe, duration_s, count) for count in (1, usual))
        print(f"{duration_s:g} s: {one:.1f} with one candidate, {some:.1f} with up to {usual}: {some / one:.2f} times")


if __name__ == "__main__":
    main([float(text) for text in sys.argv[1:]] or [10.0, 30.0])
