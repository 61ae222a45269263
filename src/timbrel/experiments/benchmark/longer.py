"""What shows only in longer music: seams between windows, and speed."""

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

from timbrel.audio.io import resample, write_audio
from timbrel.errors import InputError
from timbrel.experiments.benchmark import rows
from timbrel.experiments.benchmark.cases import SAMPLE_RATE, Case, Waveform
from timbrel.metrics import spectral
from timbrel.metrics.summary import Summary, ratio_interval

JOIN_S = 0.1  # frames this close to a cross-fade count as part of the seam
AROUND_S = 10.0  # of a join, to either side: what one window hears


def seams(model: str | None, cases: Sequence[Case]) -> dict[str, Summary] | None:
    """LSD where the model's windows join, on the triplets of 30 s; 1 is no seam to be heard.

    Returns:
        "elsewhere": over the LSD of all other frames; "unjoined": over that of the same frames when the model hears
        only the 20 s around them, in one window. None if no windows join.
    """
    pipe = rows.pipeline(model)
    distances: list[list[float]] = []  # at the joins, elsewhere, without a join

    def transfer(content: Waveform, case: Case) -> Waveform:
        result = pipe(content, to=case.path("style"), sample_rate=SAMPLE_RATE, seed=0)
        return resample(result.waveform, result.sample_rate, SAMPLE_RATE)

    for case in cases:
        content, target = case.read("content"), case.read("target")
        joined = transfer(content, case)
        for start_s, stop_s in _joins(pipe, content.shape[1] / SAMPLE_RATE):
            first_s = max(0.0, start_s - AROUND_S)
            around = slice(round(first_s * SAMPLE_RATE), round((stop_s + AROUND_S) * SAMPLE_RATE))
            with_join = _distances(target[:, around], joined[:, around])
            without = _distances(target[:, around], transfer(content[:, around], case))
            close = _close(len(with_join), around.start / SAMPLE_RATE, start_s, stop_s)
            frames = (with_join[close], with_join[~close], without[close])
            distances.append([float(x.mean()) for x in frames])
    if not distances:
        return None
    at_joins, *others = zip(*distances, strict=True)
    return {name: ratio_interval(at_joins, x) for name, x in zip(("elsewhere", "unjoined"), others, strict=True)}


def _joins(pipe: Any, duration_s: float) -> list[tuple[float, float]]:
    """Where the pipeline cross-fades from one window into the next, in seconds."""
    window, overlap = pipe.model.window, pipe.model.overlap
    frame_s = pipe.model.codec.factor / pipe.model.mel.frame_rate
    step_s, fade_s = (window - overlap) * frame_s, overlap * frame_s
    starts = np.arange(step_s, duration_s - fade_s, step_s)
    return [(float(start), float(start + fade_s)) for start in starts]


def _distances(target: Waveform, result: Waveform) -> NDArray:
    """LSD of each frame."""
    mels = (spectral.mel_db(spectral.prepare(waveform, SAMPLE_RATE)) for waveform in (target, result))
    return spectral.frame_distances(*mels)


def _close(frames: int, first_s: float, start_s: float, stop_s: float) -> NDArray:
    """Which of so many frames from `first_s` on are part of the seam between `start_s` and `stop_s`: bool [frames]."""
    times = first_s + np.arange(frames) * spectral.CONFIG.hop_length / spectral.SAMPLE_RATE
    return (times > start_s - JOIN_S) & (times < stop_s + JOIN_S)


def speed(model: str | None, cases: Sequence[Case]) -> dict[str, float]:
    """Real-time factor of a 60-s file on two threads; seconds from the start of a process to a 5-s file."""
    minute, style = np.concatenate([case.read("content") for case in cases[:2]], axis=1), cases[0].path("style")
    words = ["--to", str(style), *([] if model is None else ["--model", model])]
    return {
        "real_time_factor": _real_time_factor(model, minute, style),
        "five_second_file_s": timed_transfer(minute[:, : 5 * SAMPLE_RATE], words)["seconds"],
    }


def _real_time_factor(model: str | None, content: Waveform, style: Path) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    pipe = rows.pipeline(model)
    options: dict[str, Any] = {"to": style, "sample_rate": SAMPLE_RATE, "seed": 0}
    pipe(content[:, : 2 * SAMPLE_RATE], **options)
    start = time.perf_counter()
    pipe(content, **options)
    seconds = time.perf_counter() - start
    torch.set_num_threads(before)
    return seconds / (content.shape[1] / SAMPLE_RATE)


def timed_transfer(music: Waveform, words: Sequence[str]) -> dict[str, float]:
    """What `timbrel transfer` of music [channels, samples] with these options takes, as `timed`."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "source.wav"), Path(folder, "result.wav")
        write_audio(source, music, SAMPLE_RATE)
        return timed(["transfer", str(source), "-o", str(result), *words])


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


def timed(words: Sequence[str]) -> dict[str, float]:
    """Runs `timbrel` in a process of its own: "seconds" from its start to its end, "cpu_s", "peak_bytes", "threads".

    Raises:
        InputError: it failed.
    """
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _CHILD, *words], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise InputError(f"timbrel {' '.join(words)} failed: {done.stderr.strip()[-300:]}")
    return {"seconds": seconds, **json.loads(done.stdout.strip().splitlines()[-1])}
