"""What damaged input does: seeded mutations of every format and of model folders, each read in a process of its own.

    python benchmarks/fuzz.py [--cases 2000] [--seconds 3600] [--out docs/reliability/fuzz.csv]

A case is read in blocks, its levels are taken, and it is written again. It may be read or refused. It may not end in a
traceback, take over 20 s or over 1 GB, or leave a file. Prints what did, with the seed of the case.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
import tyro

import timbrel
from timbrel.audio.io import AudioWriter, open_audio, write_audio
from timbrel.audio.stereo import scan_blocks
from timbrel.errors import TimbrelError
from timbrel.systems.folder import load_system

LIMIT_S, LIMIT_BYTES = 20.0, 1_000_000_000
SUFFIXES = ("wav", "flac", "ogg", "mp3")
BY_FFMPEG = (
    "aac",
    "ac3",
    "aiff",
    "au",
    "avi",
    "caf",
    "m4a",
    "mka",
    "mov",
    "mp2",
    "opus",
    "ts",
    "tta",
    "webm",
    "wma",
    "wv",
)
OUTCOMES = ("read", "refused", "traceback", "over 20 s", "over 1 GB", "stray files")


def originals(folder: Path) -> dict[str, Path]:
    """A small recording in each format, and a model folder."""
    seconds = np.arange(66150) / 44100
    sound = 0.3 * np.sin(2 * np.pi * np.array([[220.0], [330.0]]) * seconds) * np.exp(-2 * seconds)
    made = {}
    for suffix in SUFFIXES:
        made[suffix] = folder / f"a.{suffix}"
        write_audio(made[suffix], sound.astype(np.float32), 44100)
    made["wav, floats"] = folder / "floats.wav"
    with AudioWriter(made["wav, floats"], 44100, 2, subtype="FLOAT") as writer:
        writer.write(sound.astype(np.float32))
    program = imageio_ffmpeg.get_ffmpeg_exe()
    for suffix in BY_FFMPEG:
        made[suffix] = folder / f"b.{suffix}"
        subprocess.run([program, "-v", "error", "-i", made["wav"], made[suffix]], check=True)
    made["model folder"] = folder / "model"
    shutil.copytree(Path(timbrel.__file__).parent / "pretrained" / "violin", made["model folder"])
    return made


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damaged in one to three ways."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(changed) if rng.random() < 0.5 else min(len(changed), 256)))
        size = int(rng.integers(1, 1 + max(1, len(changed) // 8)))
        way = rng.integers(7)
        if way == 0:
            for place in rng.integers(len(changed), size=rng.integers(1, 30)):
                changed[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            changed = changed[: max(1, at)]
        elif way == 2:
            changed[at : at + size] = bytes(len(changed[at : at + size]))
        elif way == 3:
            changed[at:at] = changed[at : at + size]
        elif way == 4:
            changed[at:at] = rng.bytes(size)
        elif way == 5:
            del changed[at : at + min(size, len(changed) - 1)]
        else:
            changed[at : at + 4] = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0"][rng.integers(4)]
    return bytes(changed)


def damage(original: Path, place: Path, rng: np.random.Generator) -> Path:
    """A damaged copy in the folder `place`; of a model folder, one of its files."""
    if original.is_file():
        path = place / original.name
        path.write_bytes(mutate(original.read_bytes(), rng))
        return path
    folder = shutil.copytree(original, place / "model", copy_function=os.link)
    files = [path for path in sorted(folder.iterdir()) if path.suffix != ".md"]
    path = files[rng.integers(len(files))]
    data = path.read_bytes()
    path.unlink()  # the link, not the original
    path.write_bytes(mutate(data, rng))
    return folder


def work(source: Path, out: Path) -> None:
    if source.is_dir():
        load_system(os.fspath(source))
        return
    with open_audio(source) as reader:
        scan_blocks(reader.blocks(65536), reader.sample_rate)
    with open_audio(source) as reader:
        size = {"sample_rate": reader.sample_rate, "channels": reader.channels}
        with AudioWriter(out / "out.wav", **size, metadata=reader.metadata()) as writer:
            for block in reader.blocks(65536):
                writer.write(block)


def outcome(source: Path, out: Path, log: Path) -> str:
    """Does the work in a process of its own, and says how it ended."""
    child = os.fork()
    if not child:
        os.setsid()
        code = 2
        try:
            with log.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                try:
                    work(source, out)
                    code = 0
                except TimbrelError:
                    code = 1
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(code)
    begin = time.monotonic()
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begin > LIMIT_S:
            os.killpg(child, signal.SIGKILL)
            os.wait4(child, 0)
            return "over 20 s"
        time.sleep(0.005)
    if usage.ru_maxrss * 1024 > LIMIT_BYTES:
        return "over 1 GB"
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        return "traceback"
    if {path.name for path in out.iterdir()} - ({"out.wav"} if code == 0 and not source.is_dir() else set()):
        return "stray files"
    return "refused" if code else "read"


def run(cases: int, seconds: float) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as top:
        made = originals(Path(top))
        for case in range(cases):
            if time.monotonic() - begin > seconds:
                break
            kind = list(made)[case % len(made)]
            with tempfile.TemporaryDirectory(dir=top) as folder:
                place, out = Path(folder, "in"), Path(folder, "out")
                place.mkdir()
                out.mkdir()
                source = damage(made[kind], place, np.random.default_rng([0, case]))
                result = outcome(source, out, log := Path(folder, "log"))
                counts.setdefault(kind, Counter())[result] += 1
                if result not in ("read", "refused"):
                    print(f"case {case}, {kind}: {result}\n{log.read_text(errors='replace')[-2000:]}", flush=True)
    return counts


def main(cases: int = 2000, seconds: float = 3600.0, out: Path | None = None) -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    counts = run(cases, seconds)
    total: Counter[str] = sum(counts.values(), Counter())
    rows = [[kind, count.total(), *(count[name] for name in OUTCOMES)] for kind, count in counts.items()]
    rows.append(["**all**", total.total(), *(total[name] for name in OUTCOMES)])
    file = out.open("w", newline="") if out else sys.stdout
    csv.writer(file, lineterminator="\n").writerows([["", "cases", *OUTCOMES], *rows])
    return 1 if sum(total[name] for name in OUTCOMES[2:]) else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
