"""What a killed command leaves: SIGKILL, SIGTERM and SIGINT at random moments of transfer, prepare, synth, train and
download, and then the same command again.

    python benchmarks/kill.py [--moments 20] [--seconds 7200] [--out docs/reliability/kill.csv]

After the signal each finished file is whole, and no process goes on. The same command then ends with the same bytes as
one that was never stopped, and leaves no temporary file. `synth` needs TiMidity++ and the soundfonts.
"""

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from timbrel.audio.io import write_audio
from timbrel.data.prepare import prepare

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OUTCOMES = ("killed", "half-written", "left running", "other bytes", "stray files")
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
    rows = [f"oboe,{name[1:-4]},http://127.0.0.1:{server.server_port}{name}" for name in sorted(server.files)]
    (top / "list.csv").write_text("\n".join(["label,title,url", *rows]))
    model = ["--steps", "12", "--batch-size", "2", "--frames", "64", "--checkpoint-every-s", "0.5", "--log-every", "4"]
    training = ["train", "autoencoder", "default", "--data", f"{top}/data", "--out", "OUT", "--validate-every", "6"]
    return {
        "transfer": Command(["transfer", f"{top}/song.wav", "--to", "violin", "-o", "OUT/result.wav"], ("result.wav",)),
        "data prepare": Command(
            ["data", "prepare", f"{top}/recordings", "OUT", "--workers", "2"], ("mels/*.npy", "manifest.jsonl")
        ),
        "data synth": Command(
            ["data", "synth", "OUT", "--num-groups", "3", "--workers", "2", "--composed-share", "1"], ("mels/*.npy",)
        ),
        "train": Command([*training, *model], ("model/*.safetensors",)),
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


def trial(command: Command, number: signal.Signals, moment_s: float, whole: dict[str, bytes], out: Path) -> set[str]:
    """What was wrong after a signal at a moment; and "killed", if the signal came in time."""
    wrong = set()
    process = start(command, out)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=moment_s)
    if process.poll() is None:
        wrong.add("killed")
        process.send_signal(number)
        process.communicate()
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


def main() -> int:
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=7200.0)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    begin, rng = time.monotonic(), np.random.default_rng(0)
    counts: dict[tuple[str, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        made = commands(top)
        wholes, times = {}, {}
        for name, command in made.items():
            out, started = top / name, time.monotonic()
            process = start(command, out)
            said = process.communicate()[1].decode(errors="replace")
            wholes[name], times[name] = results(command, out), time.monotonic() - started
            if process.returncode or not wholes[name]:
                raise SystemExit(f"{name} fails: {said}")
        for moment, number, (name, command) in product(range(wanted.moments), SIGNALS, made.items()):
            if time.monotonic() - begin > wanted.seconds:
                break
            wrong = trial(command, number, rng.uniform(0.05, 0.95) * times[name], wholes[name], top / "out")
            count = counts.setdefault((name, number.name), Counter())
            count.update(wrong | {"runs"})
            if wrong - {"killed"}:
                print(f"{name}, {number.name}, moment {moment}: {', '.join(sorted(wrong))}", flush=True)
            shutil.rmtree(top / "out")
    rows = [[*key, count["runs"], *(count[kind] for kind in OUTCOMES)] for key, count in counts.items()]
    file = wanted.out.open("w", newline="") if wanted.out else sys.stdout
    csv.writer(file, lineterminator="\n").writerows([["command", "signal", "runs", *OUTCOMES], *rows])
    return 1 if any(count[kind] for count in counts.values() for kind in OUTCOMES[1:]) else 0


if __name__ == "__main__":
    sys.exit(main())
