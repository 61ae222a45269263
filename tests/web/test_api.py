"""The interface for programs, and what it refuses."""

import json
import sys
import time

import pytest
import soundfile

from tests.web.conftest import PATIENCE_S, serving
from timbrel.cli.main import main

httpx = pytest.importorskip("httpx", reason="gradio is not installed: pip install 'timbrel[web]'")

UPLOADED = {"meta": {"_type": "gradio.FileData"}}


def call(server, name, **values):
    """As curl does it: the event that a call ends with."""
    return outcome(server, name, begin(server, name, **values))


def begin(server, name, **values):
    return httpx.post(f"{server.url}/gradio_api/call/v2/{name}", json=values, timeout=60).json()["event_id"]


def outcome(server, name, event):
    """Without the heartbeats, that come before what is late."""
    said = httpx.get(f"{server.url}/gradio_api/call/{name}/{event}", timeout=60).text
    return "\n\n".join(one for one in said.split("\n\n") if not one.startswith("event: heartbeat"))


def uploaded(server, clip):
    with clip.open("rb") as file:
        [path] = httpx.post(f"{server.url}/gradio_api/upload", files={"files": file}, timeout=60).json()
    return {"path": path, **UPLOADED}


@pytest.fixture
def song(server, clips):
    return uploaded(server, clips.song)


def test_a_result_drops_back_onto_its_track(server, clips):
    client = pytest.importorskip("gradio_client")
    made = client.Client(server.url, verbose=False).predict(
        client.handle_file(clips.stereo_rate), sound="violin", seed=3, api_name="/transfer"
    )
    source, result = soundfile.info(clips.stereo_rate), soundfile.info(made)
    assert (result.frames, result.samplerate, result.subtype) == (source.frames, source.samplerate, source.subtype)
    assert made.endswith("track-violin.wav")


def test_curl_uploads_calls_and_fetches(server, song):
    said = call(server, "transfer", music=song, sound="violin")
    assert said.startswith("event: complete")
    [made] = json.loads(said.split("data: ")[1])
    assert httpx.get(made["url"]).content[:4] == b"RIFF"
    assert "piano" in call(server, "instruments")


def test_a_call_is_stopped(server, clips):
    long = {"music": uploaded(server, clips.long), "sound": "violin", "strength": 0.5}
    running, waiting = begin(server, "transfer", **long), begin(server, "transfer", **long)
    for event in (waiting, running):
        assert json.loads(call(server, "stop", event_id=event).split("data: ")[1]) == [True]
        assert outcome(server, "transfer", event).startswith('event: error\ndata: {"error": "stopped"')
    assert json.loads(call(server, "stop", event_id=running).split("data: ")[1]) == [False], "it has ended"


def test_gradios_client_stops_a_call(server, clips):
    client = pytest.importorskip("gradio_client")
    calls = client.Client(server.url, verbose=False)
    job = calls.submit(client.handle_file(clips.long), sound="piano", api_name="/transfer")
    late = time.monotonic() + PATIENCE_S
    while not job.communicator.event_id or job.status().code.value != "PROCESSING":
        assert not job.done()
        assert time.monotonic() < late
        time.sleep(0.05)
    assert job.cancel()
    after = call(server, "transfer", music=uploaded(server, clips.song), sound="violin")
    assert after.startswith("event: complete")
    assert not list((server.home / "cache").rglob("long-piano.wav")), "on the one processor it would have ended before"


@pytest.mark.parametrize("meta", [{}, UPLOADED])
@pytest.mark.parametrize("place", ["music", "clip"])
def test_no_path_of_a_client_is_opened(server, clips, song, meta, place):
    wrong = {"path": str(clips.song), **meta}
    given = {"music": wrong, "sound": "violin"} if place == "music" else {"music": song, "clip": wrong}
    said = call(server, "transfer", **given)
    assert said.startswith("event: error")


def test_a_sound_is_a_name_and_no_path(server, clips, song):
    for sound in (str(clips.song), song["path"]):
        assert "is no instrument" in call(server, "transfer", music=song, sound=sound)
    assert "did you mean" in call(server, "transfer", music=song, sound="voilin")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"transpose": "abc"}, "transpose is 'abc'; expected -36 to 36, or 'auto'"),
        ({"sound": 5}, "sound is 5; expected the name of an instrument"),
        ({"music": None}, "None is no upload"),
        ({"seed": "x"}, "seed is 'x'; expected a whole number"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(server, song, wrong, message):
    said = call(server, "transfer", **{"music": song, "sound": "violin", **wrong})
    assert json.loads(said.split("data: ")[1])["error"].startswith(message)


def test_nothing_is_fetched_from_elsewhere(server, clips):
    address = f"{server.url}/favicon.ico".replace("127.0.0.1", "localhost")
    for meta in ({}, UPLOADED):
        said = call(server, "transfer", music={"path": address, **meta}, sound="violin")
        assert said.startswith("event: error")
        assert ("is an address; expected an upload" if meta else "is no upload") in said
    assert httpx.get(f"{server.url}/gradio_api/file={address}").status_code == 403
    assert httpx.get(f"{server.url}/gradio_api/file={clips.song}").status_code == 403
    assert httpx.get(server.url, headers={"Host": "elsewhere.example"}).status_code == 400
    assert "default-src 'self'" in httpx.get(server.url, timeout=60).headers["content-security-policy"]


@pytest.mark.parametrize("flags", [["--host", "0.0.0.0"], ["--share"]])
def test_others_are_let_in_by_a_password_only(flags, capsys, monkeypatch):
    monkeypatch.delenv("TIMBREL_PASSWORD", raising=False)
    assert main(["web", *flags]) == 2
    assert "there is no password" in capsys.readouterr().err


def test_a_password_lets_in_and_nothing_else_does(tmp_path):
    with serving(tmp_path, "--api-only", TIMBREL_PASSWORD="open sesame") as url, httpx.Client(timeout=60) as client:
        address = f"{url}/gradio_api/call/instruments"
        assert client.post(address, json={"data": []}).status_code == 401
        wrong = client.post(f"{url}/login", data={"username": "timbrel", "password": "open barley"})
        assert (wrong.status_code, client.post(address, json={"data": []}).status_code) == (400, 401)
        right = client.post(f"{url}/login", data={"username": "timbrel", "password": "open sesame"})
        assert (right.status_code, client.post(address, json={"data": []}).status_code) == (200, 200)


def test_a_server_that_does_not_start_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["web", "--no-browser"]) == 2
    assert "gradio is not installed" in capsys.readouterr().err
    assert list((tmp_path / "timbrel" / "web").iterdir()) == []
