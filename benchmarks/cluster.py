"""The same archive on one process, and on a Ray cluster of one and two nodes, all on this machine.

    python benchmarks/cluster.py [OUTPUT.csv]

Eight files of 10 s are transferred to the violin by what `timbrel transfer DIR --ray` gives its workers. Before, each
worker transfers a second of music, and loads its model for that: this is its start-up, and is not in the other figure.
A node has one CPU. How much faster two are says how many processors this machine really has, and what else it does.
"""

import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import ray

from timbrel.audio.io import write_audio
from timbrel.cli.shared import MethodFlags, TransferFlags
from timbrel.cli.transfer import _Work
from timbrel.parallel import outcomes

RATE, FILES, SECONDS, PATIENCE_S = 44100, 8, 10, 300
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block", "--num-cpus", "1"]
RAY += ["--disable-usage-stats", "--object-store-memory", str(80 << 20)]
Jobs = list[tuple[Path, Path]]


def music(folder: Path, name: str, seconds: float) -> tuple[Path, Path]:
    """A file of plucked notes, and where its result goes."""
    t = np.arange(round(seconds * RATE)) / RATE
    notes = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 330, 440)) * np.exp(-4 * (t % 0.5))
    write_audio(folder / f"{name}.wav", (0.1 * notes[None]).astype(np.float32), RATE)
    return folder / f"{name}.wav", folder / f"{name}-violin.wav"


def took_s(jobs: Jobs, cluster: str | None = None) -> float:
    work = _Work("violin", TransferFlags(), MethodFlags(), {"overwrite": True, "track": None})
    begin = time.monotonic()
    for _, outcome in outcomes(work, jobs, workers=1, progress=False, cluster=cluster):
        outcome.result()
    return time.monotonic() - begin


@contextmanager
def node(log: Path, *words: str) -> Iterator[None]:
    """A node of a cluster, with all its processes."""
    with log.open("a") as out:
        process = subprocess.Popen([*RAY, *words], stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def address(log: Path) -> str:
    """Of the cluster whose first node writes this log."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if match := re.search(r"--address='(\S+)'", log.read_text()):
            return match[1]
        time.sleep(0.1)
    raise SystemExit(f"Ray does not start within {PATIENCE_S} s: {log.read_text()[-300:]}")


def on_nodes(count: int, cluster: str, short: Jobs, files: Jobs) -> list[float]:
    """Seconds of start-up and of the archive, once so many nodes are there."""
    ray.init(cluster, log_to_driver=False)
    until = time.monotonic() + PATIENCE_S
    while ray.cluster_resources().get("CPU", 0) < count:
        if time.monotonic() > until:
            raise SystemExit(f"the cluster has {ray.cluster_resources()}; expected {count} CPUs within {PATIENCE_S} s")
        time.sleep(0.1)
    times = [took_s(short[:count], cluster), took_s(files, cluster)]
    ray.shutdown()
    return times


def measured(folder: Path) -> Iterator[tuple[str, Sequence[float]]]:
    short = [music(folder, f"short-{k}", 1) for k in range(2)]
    files = [music(folder, f"song-{k}", SECONDS) for k in range(FILES)]
    yield "one process, without Ray", [took_s(short[:1]), took_s(files)]
    log = folder / "log"
    with node(log, "--head", "--port", "0", "--include-dashboard", "false"):
        cluster = address(log)
        yield "Ray, 1 worker", on_nodes(1, cluster, short, files)
        with node(log, "--address", cluster):
            yield "Ray, 2 workers", on_nodes(2, cluster, short, files)


def main(output: str | None = None) -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    rows = [["", "start-up, s", f"{FILES} files of {SECONDS} s, s", "times as fast"]]
    with tempfile.TemporaryDirectory() as folder:
        for title, (start_s, archive_s) in measured(Path(folder)):
            alone_s = float(rows[1][2]) if len(rows) > 1 else archive_s
            rows.append([title, f"{start_s:.1f}", f"{archive_s:.1f}", f"{alone_s / archive_s:.2f}"])
            print(" | ".join(rows[-1]), f"(load {os.getloadavg()[0]:.1f})", flush=True)
    if output:
        with open(output, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
