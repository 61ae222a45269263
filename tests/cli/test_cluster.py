"""A folder is transferred on a Ray cluster of two nodes on this machine, one of which is lost meanwhile."""

import os
import threading
import time

import numpy as np
import pytest

from timbrel.audio.io import write_audio
from timbrel.cli.main import main

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def nodes():
    """A cluster: its address, and a function that kills its second node, without a farewell."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # beside other work it would starve
    small = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    second = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield cluster.address, lambda: cluster.remove_node(second, allow_graceful=False)
    cluster.shutdown()


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


def transfer(place, model, out, *more):
    words = [
        "transfer",
        str(place / "album"),
        "--to",
        "violin",
        "--model",
        str(model),
        "--output-dir",
        str(place / out),
    ]
    return main([*words, *more])


def test_a_lost_node_costs_its_files_a_retry(nodes, album, tiny_model_folder, capsys):
    address, kill = nodes
    assert transfer(album, tiny_model_folder, "here") == 2
    capsys.readouterr()

    def kill_midway():
        until = time.monotonic() + 60
        while not list((album / "there").glob("*.wav")) and time.monotonic() < until:
            time.sleep(0.02)
        kill()

    killer = threading.Thread(target=kill_midway, daemon=True)
    killer.start()
    assert transfer(album, tiny_model_folder, "there", "--ray", address) == 2
    killer.join()
    said = capsys.readouterr()
    assert "6 of 7 done" in said.out
    assert said.out.count(" -> ") == 6
    assert "broken.wav" in said.err
    made = {path.name: path.read_bytes() for path in (album / "there").iterdir() if not path.name.startswith(".")}
    assert made == {path.name: path.read_bytes() for path in (album / "here").iterdir()}, "the same bytes"

    (album / "there" / "3-violin.wav").unlink()
    (album / "album" / "broken.wav").unlink()
    assert transfer(album, tiny_model_folder, "there", "--ray", address, "--skip-existing") == 0
    assert capsys.readouterr().out.count(" -> ") == 1, "it goes on where it was"


def test_data_is_prepared_as_on_one_machine(nodes, album):
    for out, *more in (["here"], ["there", "--ray", nodes[0]]):
        words = ["--mel.sample-rate", "16000", "--mel.n-fft", "1024", "--mel.hop-length", "256", "--mel.n-mels", "32"]
        assert main(["data", "prepare", str(album), str(album / out), *words, *more]) == 0
    contents = [
        {path.name: path.read_bytes() for path in (album / out).rglob("*") if path.suffix in (".npy", ".jsonl")}
        for out in ("here", "there")
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) >= 7, "a manifest, and a mel for each recording at least"


def test_wrong_clusters_are_said(album, tiny_model_folder, capsys, monkeypatch):
    def refuse(*_, **__):  # as it does after half a minute
        raise ConnectionError("nobody answers")

    monkeypatch.setattr("ray.init", refuse)
    assert transfer(album, tiny_model_folder, "out", "--ray", "127.0.0.1:1") == 2
    assert "there is no Ray cluster at '127.0.0.1:1' (nobody answers)" in capsys.readouterr().err
    assert main(["data", "prepare", str(album), str(album / "out"), "--workers", "2", "--ray", "auto"]) == 2
    assert "--workers and --ray are given" in capsys.readouterr().err
    assert main(["transfer", "-", "--to", "violin", "--ray", "auto"]) == 2
    assert "which a cluster cannot see" in capsys.readouterr().err
