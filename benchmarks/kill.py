"""What a killed command leaves: SIGKILL, SIGTERM and SIGINT at random moments of transfer, prepare, synth, train and
download, and then the same command again.

    python benchmarks/kill.py [--moments 20] [--seconds 7200] [--out docs/reliability/kill.csv]

After the signal each finished file is whole, and no process goes on. The same command then ends with the same bytes as
one that was never stopped, and leaves no temporary file. `--out` is written after each signal, and what it counts
already is not done again. `synth` needs TiMidity++ and the soundfonts.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from timbrel.audio.io import write_audio
from timbrel.data.prepare import prepare

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OUTCOMES = ("runs", "killed", "half-written", "left running", "other bytes", "stray files")
GRACE_S = 30.0


@dataclass(frozen=True)
class Command:
    """Words after `timbrel`, with OUT for its folder; and which files of the folder are its results."""

    words: list[str]
    results: tuple[str, ...]


class Slow(BaseHTTPRequestHandler):
    """Sends the server's files, a quarter at a time."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server: Any = self.server
        body = server.files[self.path]
        self.send_response(200)
        self.send_header("Content-Type", "audio/wav")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            for start in range(0, len(body), len(body) // 4):
                self.wfile.write(body[start : start + len(body) // 4])
                time.sleep(0.2)


def song(seconds: float, hz: float) -> np.ndarray:
    time_s = np.arange(round(seconds * 44100)) / 44100
    return (0.2 * np.sin(2 * np.pi * hz * time_s) * np.exp(-3 * (time_s % 0.5)))[None].astype(np.float32)


def commands(top: Path) -> dict[str, Command]:
    """Small work of each kind, some seconds long."""
    write_audio(top / "song.wav", song(30, 330), 44100)
    for number, hz in enumerate((220, 262, 330, 392, 440, 523)):
        path = top / "recordings" / ("oboe" if number % 2 else "harp") / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, song(8, hz), 44100)
    prepare(top / "recordings", top / "data", workers=1, progress=False)
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    server.files = {f"/{path.name}": path.read_bytes() for path in (top / "recordings").rglob("*.wav")}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = [f"oboe,{name[1:-4]},http://127.0.0.1:{server.server_port}{name}" for name in sorted(server.files)[:3]]
    (top / "list.csv").write_text("\n".join(["label,title,url", *rows]))
    network = ["--steps", "30", "--batch-size", "2", "--frames", "64", "--width", "8"]
    marks = ["--checkpoint-every-s", "0.5", "--validate-every", "15", "--log-every", "5"]
    groups = ["--num-groups", "2", "--num-others", "0", "--degraded-per-group", "0", "--composed-share", "1"]
    return {
        "transfer": Command(["transfer", f"{top}/song.wav", "--to", "violin", "-o", "OUT/result.wav"], ("result.wav",)),
        "data prepare": Command(
            ["data", "prepare", f"{top}/recordings", "OUT", "--workers", "2"], ("mels/*.npy", "manifest.jsonl")
        ),
        "data synth": Command(
            ["data", "synth", "OUT", *groups, "--mel.n-mels", "64", "--workers", "2"], ("mels/*.npy",)
        ),
        "train": Command(
            ["train", "autoencoder", "tiny", "--data", f"{top}/data", "--out", "OUT", *network, *marks],
            ("model/*.safetensors",),
        ),
        "data download": Command(
            ["data", "download", f"{top}/list.csv", "OUT", "--allow-private"], ("*/*.mp3", "sources.json")
        ),
    }


def start(command: Command, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    words = [word.replace("OUT", str(out)) for word in command.words]
    return subprocess.Popen(
        [sys.executable, "-m", "timbrel", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def results(command: Command, out: Path) -> dict[str, bytes]:
    paths = [path for pattern in command.results for path in out.glob(pattern)]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths if not path.name.startswith(".")}


def is_left_running(session: int) -> bool:
    """Whether a process of the session is there after a while."""
    end = time.monotonic() + GRACE_S
    while _living(session):
        if time.monotonic() > end:
            return True
        time.sleep(0.2)
    return False


def _living(session: int) -> bool:
    states = subprocess.run(["ps", "-o", "stat=", "-s", str(session)], capture_output=True, check=False).stdout.split()
    return any(not state.startswith(b"Z") for state in states)


def trial(
    command: Command, number: signal.Signals, share: float, times: list[float], whole: dict[str, bytes], out: Path
) -> set[str]:
    """What was wrong after a signal at a share of what the command takes; and "killed", if the signal came in time.

    `times` has what it took so far. The machine may have become faster: then it is done again, a few times at most.
    """
    wrong = set()
    for _ in range(4):
        shutil.rmtree(out, ignore_errors=True)
        started, process = time.monotonic(), start(command, out)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=share * times[-1])
        if process.poll() is None:
            wrong.add("killed")
            process.send_signal(number)
            process.communicate()
            break
        times.append(time.monotonic() - started)
    if is_left_running(process.pid):
        wrong.add("left running")
    found = results(command, out)
    if {name for name in found if found[name] != whole.get(name)} - {"manifest.jsonl"}:  # which grows line by line
        wrong.add("half-written")
    start(command, out).communicate()
    if results(command, out) != whole:
        wrong.add("other bytes")
    if any(path.name.startswith(".timbrel-") for path in out.rglob("*")):
        wrong.add("stray files")
    return wrong


Counts = dict[tuple[str, str], Counter[str]]  # of a command and a signal


def read_counts(path: Path) -> Counts:
    with path.open(newline="") as file:
        rows = [(row.pop("command"), row.pop("signal"), row) for row in csv.DictReader(file)]
    return {(name, number): Counter({kind: int(count) for kind, count in row.items()}) for name, number, row in rows}


def write_counts(path: Path, counts: Counts) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["command", "signal", *OUTCOMES])
        writer.writerows([*key, *(count[kind] for kind in OUTCOMES)] for key, count in counts.items())


def main(moments: int = 20, seconds: float = 7200.0, out: Path = Path("kill.csv")) -> int:
    end = time.monotonic() + seconds
    counts = defaultdict(Counter, read_counts(out) if out.exists() else {})
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        made = commands(top)
        wholes: dict[str, dict[str, bytes]] = {}
        times: dict[str, list[float]] = {}
        for name, command in made.items():
            started = time.monotonic()
            process = start(command, top / name)
            said = process.communicate()[1].decode(errors="replace")
            wholes[name], times[name] = results(command, top / name), [time.monotonic() - started]
            if process.returncode or not wholes[name]:
                raise SystemExit(f"{name} fails: {said}")
        for moment, number, (place, (name, command)) in product(range(moments), SIGNALS, enumerate(made.items())):
            count = counts[name, number.name]
            if count["runs"] > moment:
                continue
            if time.monotonic() > end:
                break
            share = np.random.default_rng([moment, number, place]).uniform(0.05, 0.95)
            wrong = trial(command, number, share, times[name], wholes[name], top / "out")
            count.update(wrong | {"runs"})
            write_counts(out, counts)
            if wrong - {"killed"}:
                print(f"{name}, {number.name}, moment {moment}: {', '.join(sorted(wrong))}", flush=True)
    return 1 if any(count[kind] for count in counts.values() for kind in OUTCOMES[2:]) else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
