"""One server and one browser for all tests of the page."""

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

RATE = 16000
START_S = 300  # on a slow machine
PATIENCE_S = 150


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Recordings: short ones, a long one, and one that is broken."""
    folder = tmp_path_factory.mktemp("clips")

    def tones(name, seconds, hertz, rate=RATE):
        time = np.arange(round(seconds * rate)) / rate
        wave = 0.3 * np.sin(2 * np.pi * hertz * time) * np.exp(-3 * (time % 0.5))
        soundfile.write(folder / name, wave, rate, subtype="PCM_16")
        return folder / name

    (folder / "broken.wav").write_bytes(b"RIFF0000WAVEfmt and no more")
    return SimpleNamespace(
        song=tones("song.wav", 1.5, 440),
        other=tones("other tune.wav", 1.2, 330),
        stereo_rate=tones("track.wav", 1.3, 392, 48000),
        long=tones("long.wav", 120, 440),
        endless=tones("endless.wav", 300, 440, 8000),
        broken=folder / "broken.wav",
    )


@contextmanager
def serving(home, *words, **variables):
    """A server of its own on one processor, so that jobs wait for each other; its address."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'timbrel[web]'")
    places = {"XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")}
    code = f"""
import os, sys
from timbrel.cli.main import main
os.sched_setaffinity(0, {{max(os.sched_getaffinity(0))}})
sys.exit(main({["web", "--no-browser", "--port", "0", *map(str, words)]}))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | places | variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    late = threading.Timer(START_S, process.kill)
    late.start()
    try:
        found = re.match(r"(http://127\.0\.0\.1:\d+)", process.stdout.readline())
        late.cancel()
        assert found, f"the server ended before it began, or took more than {START_S} s"
        yield found[1]
        process.terminate()
        assert process.wait(60) == 143
    finally:
        late.cancel()
        process.kill()
    assert not list((home / "cache").rglob("*.wav")), "its files are left behind"


@pytest.fixture(scope="session")
def server(tmp_path_factory, tiny_model_folder):
    home = tmp_path_factory.mktemp("home")
    with serving(home, "--model", tiny_model_folder, "--most-minutes", "4") as url:
        yield SimpleNamespace(url=url, home=home, model=tiny_model_folder)


@pytest.fixture
def visit(server, browser):
    """Makes pages of visitors, each with a window of its own; no page may ask another machine for anything."""
    contexts, hosts, errors = [], set(), []

    def visit(width=1200):
        contexts.append(browser.new_context(accept_downloads=True, viewport={"width": width, "height": 800}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "//" in request.url else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.url)
        page.get_by_role("tab", name="Transfer").wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert {host for host in hosts if host} <= {server.url.removeprefix("http://")}
    assert not errors
