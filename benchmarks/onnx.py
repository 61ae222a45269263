"""The exported networks against torch, in one run on one thread: seconds of CPU, and how near the answers are.

    timbrel export -o FOLDER
    python benchmarks/onnx.py FOLDER BENCHMARK [OUTPUT.csv]

FOLDER is an export of the model that ships, BENCHMARK what `timbrel evaluate build` made. Networks: encoder, denoiser
and decoder on a window of 24 s, the least of five runs. File to file: `examples/onnx_transfer.py` and `timbrel.load()`
on one triplet of each of the 12 directions, to the style clip.
"""

import csv
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import timbrel
from timbrel.experiments.benchmark.cases import load
from timbrel.experiments.benchmark.manifest import NUM_DIRECTIONS
from timbrel.metrics import spectral
from timbrel.systems.onnx import graphs

EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_transfer.py"
NETWORKS = ("encoder", "denoiser", "decoder")


def cpu_s(work: Callable[[], object], runs: int = 5) -> float:
    times = []
    for _ in range(runs):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def networks(folder: Path, pipe: timbrel.TransferPipeline) -> list[float]:
    """CPU seconds of a window by torch and by onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    totals = [0.0, 0.0]
    for name, graph in graphs(pipe.model).items():
        if name in NETWORKS:
            inputs = graph.inputs(pipe.model.window)
            arrays = {key: tensor.numpy() for key, tensor in inputs.items()}
            session = onnxruntime.InferenceSession(folder / f"{name}.onnx", options)
            with torch.inference_mode():
                totals[0] += cpu_s(lambda: graph.function(*inputs.values()))  # noqa: B023
            totals[1] += cpu_s(lambda: session.run(None, arrays))  # noqa: B023
    return totals


def distances(result: Path, case) -> dict[str, float]:
    answer = spectral.prepare(case.read("target"), 44100)
    estimate = spectral.prepare(*timbrel.read_audio(result))
    shorter = min(len(answer), len(estimate))
    return spectral.evaluate(answer[:shorter], estimate[:shorter])


def main(folder: str, benchmark: str, output: str | None = None) -> None:
    torch.set_num_threads(1)
    pipe = timbrel.load()
    by_torch, by_onnx = networks(Path(folder), pipe)
    figures: dict[str, list[list[float]]] = {"torch": [], "onnx": []}
    every = load(benchmark, limit=96)
    firsts = {case.id.rpartition("-")[0]: case for case in reversed(every)}
    assert len(firsts) == NUM_DIRECTIONS
    with tempfile.TemporaryDirectory() as place:
        result = Path(place, "result.wav")
        for case in firsts.values():
            source, style = (str(case.path(kind)) for kind in ("content", "style"))
            sys.argv = [str(EXAMPLE), folder, source, style, str(result)]
            ways = {
                "torch": lambda: pipe.transfer_file(source, result, to=style, overwrite=True),  # noqa: B023
                "onnx": lambda: runpy.run_path(str(EXAMPLE)),
            }
            for name, way in ways.items():
                seconds = cpu_s(way, 1)
                measured = distances(result, case)
                figures[name].append([measured["lsd_db"], measured["mfcc_distance"], seconds])
    rows = [["", "networks, CPU s for 24 s", "LSD dB", "MFCC distance", "file to file, CPU s for 8 s"]]
    for name, title, window_s in (("torch", "timbrel", by_torch), ("onnx", "onnxruntime, numpy", by_onnx)):
        lsd, mfcc, seconds = np.mean(figures[name], axis=0)
        rows.append([title, f"{window_s:.2f}", f"{lsd:.1f}", f"{mfcc:.0f}", f"{seconds:.2f}"])
    for row in rows:
        print(" | ".join(row))
    if output:
        with open(output, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
