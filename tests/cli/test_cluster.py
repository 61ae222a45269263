"""A folder is transferred on a Ray cluster of two nodes on this machine, one of which is lost meanwhile."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from timbrel.audio.io import write_audio
from timbrel.cli.main import main
from timbrel.data.render import LIBRARIES

pytest.importorskip("ray")
PATIENCE_S = 60  # of each of some eight commands
TWO_NODES = """
import sys, time, ray
ray.init(sys.argv[1])
while ray.cluster_resources().get("CPU", 0) < 2:
    time.sleep(0.1)
ray.get([ray.remote(lambda k: k).remote(k) for k in range(4)])
"""


def end(node):
    """SIGKILL for all processes of a node: it cannot say farewell."""
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """A cluster: its address, and a function that kills its second node."""
    log = tmp_path_factory.mktemp("cluster") / "log"
    # A worker that is polite to the rest of the machine would starve beside the other tests.
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}

    def start(*words):
        command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block", *words]
        small = ["--num-cpus", "1", "--object-store-memory", str(80 << 20), "--disable-usage-stats"]
        with log.open("a") as out:
            return subprocess.Popen(
                command + small,
                env=environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def address():
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and started[0].poll() is None:
            if found := re.search(r"--address='(\S+)'", log.read_text()):
                return found[1]
            time.sleep(0.1)
        pytest.skip(f"Ray does not start on this machine within {PATIENCE_S} s: {log.read_text()[-500:]}")

    started = [start("--head", "--port", "0", "--include-dashboard", "false")]
    try:
        head = address()
        started.append(start("--address", head))
        said = bounded([sys.executable, "-c", TWO_NODES, head], env=environment)
        if said.returncode:
            pytest.skip(f"Ray does no task on this machine: {said.stderr[-500:]}")
        yield head, lambda: end(started[1])
    finally:
        for node in reversed(started):
            end(node)


def bounded(command, **options):
    """Runs a command, which has to end. Where that on a cluster does not, as in some sandboxes, the test is skipped."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **options,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        end(process)
        without_end = f"no end after {PATIENCE_S} s of {command}"
        if "--ray" in command or TWO_NODES in command:
            pytest.skip(f"Ray does not get on: {without_end}")
        pytest.fail(without_end)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def timbrel(*words):
    """The command in a process of its own."""
    return bounded([sys.executable, "-m", "timbrel", *map(str, words)], env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture
def album(tmp_path):
    """Six recordings of some length, a broken one, and the tiny model's folder beside them."""
    rng = np.random.default_rng(0)
    (tmp_path / "album").mkdir()
    for k in range(6):
        tone = np.sin(2 * np.pi * 220 * 2 ** (k / 2) * np.arange(16000 * 8) / 16000)
        waveform = (0.3 * tone + rng.uniform(-0.1, 0.1, (1, len(tone)))).astype(np.float32)
        write_audio(tmp_path / "album" / f"{k}.wav", waveform, 16000)
    (tmp_path / "album" / "broken.wav").write_bytes(b"RIFF no sound")
    return tmp_path


def words(place, model, out, *more):
    """The command that transfers the album into a folder beside it."""
    return ["transfer", place / "album", "--to", "violin", "--model", model, "--output-dir", place / out, *more]


@pytest.mark.cluster
def test_a_lost_node_costs_its_files_a_retry(nodes, album, tiny_model_folder):
    address, kill = nodes
    assert timbrel(*words(album, tiny_model_folder, "here")).returncode == 2

    def kill_midway():
        until = time.monotonic() + PATIENCE_S
        while not list((album / "there").glob("*.wav")) and time.monotonic() < until:
            time.sleep(0.02)
        kill()

    killer = threading.Thread(target=kill_midway, daemon=True)
    killer.start()
    said = timbrel(*words(album, tiny_model_folder, "there", "--ray", address))
    killer.join()
    assert said.returncode == 2
    assert "6 of 7 done" in said.stdout
    assert said.stdout.count(" -> ") == 6
    assert "broken.wav" in said.stderr
    made = {path.name: path.read_bytes() for path in (album / "there").iterdir() if not path.name.startswith(".")}
    assert made == {path.name: path.read_bytes() for path in (album / "here").iterdir()}, "the same bytes"

    (album / "there" / "3-violin.wav").unlink()
    (album / "album" / "broken.wav").unlink()
    said = timbrel(*words(album, tiny_model_folder, "there", "--ray", address, "--skip-existing"))
    assert (said.returncode, said.stdout.count(" -> ")) == (0, 1), "it goes on where it was"


@pytest.mark.cluster
def test_data_is_prepared_as_on_one_machine(nodes, album):
    mel = ["--mel.sample-rate", 16000, "--mel.n-fft", 1024, "--mel.hop-length", 256, "--mel.n-mels", 32]
    for out, *more in (["here"], ["there", "--ray", nodes[0]]):
        assert timbrel("data", "prepare", album, album / out, *mel, *more).returncode == 0
    assert contents(album / "here") == contents(album / "there")
    assert len(contents(album / "here")) >= 7, "a manifest, and a mel for each recording at least"


@pytest.mark.cluster
def test_data_is_rendered_as_on_one_machine(nodes, tmp_path):
    if shutil.which("timidity") is None or LIBRARIES["timgm6mb"].path is None:
        pytest.skip("TiMidity++ or its library is not installed: apt-get install timidity timgm6mb-soundfont")
    small = ["--num-groups", 2, "--duration-s", 6, "--libraries", "timgm6mb", "--num-others", 0, "--composed-share", 1]
    small += ["--composers", "--mel.sample-rate", 8000, "--mel.n-fft", 512, "--mel.hop-length", 256, "--mel.n-mels", 16]
    for out, *more in (["here", "--workers", 1], ["there", "--ray", nodes[0]]):
        said = timbrel("data", "synth", tmp_path / out, *small, *more)
        assert said.stdout == f"{tmp_path / out}: 12 recordings\n", said.stderr
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert len(contents(tmp_path / "here")) == 13, "a manifest, and 12 mels"


def contents(store):
    """Bytes of a store's manifest and mels, by name."""
    return {path.name: path.read_bytes() for path in store.rglob("*") if path.suffix in (".npy", ".jsonl")}


def test_wrong_clusters_are_said(album, tiny_model_folder, capsys, monkeypatch):
    def refuse(*_, **__):  # as it does after half a minute
        raise ConnectionError("nobody answers")

    monkeypatch.setattr("ray.init", refuse)
    assert main(list(map(str, words(album, tiny_model_folder, "out", "--ray", "127.0.0.1:1")))) == 2
    assert "there is no Ray cluster at '127.0.0.1:1' (nobody answers)" in capsys.readouterr().err
    assert main(["data", "prepare", str(album), str(album / "out"), "--workers", "2", "--ray", "auto"]) == 2
    assert "--workers and --ray are given" in capsys.readouterr().err
    assert main(["transfer", "-", "--to", "violin", "--ray", "auto"]) == 2
    assert "which a cluster cannot see" in capsys.readouterr().err
