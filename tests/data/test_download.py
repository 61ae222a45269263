"""Real downloads, by yt-dlp's generic extractor, from a server on localhost that also misbehaves."""

import csv
import io
import json
import os
import signal
import socket
import sys
import threading
import time
import unicodedata
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from timbrel.audio.io import read_audio
from timbrel.cli.main import main
from timbrel.data import download as module
from timbrel.data.download import MAX_NAME_BYTES, Row, download, read_list, safe_name
from timbrel.errors import InputError, MissingDependencyError

pytest.importorskip("yt_dlp")
RATE = 8000
real = socket.getaddrinfo


def sound(kind: str, seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(file, tone, RATE, format=kind.upper())
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    """`/WORD/NAME`: the word says how the file of that name is sent."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server: Any = self.server
        how, name = self.path.strip("/").split("?")[0].split("/")
        server.asked.append((self.path, self.headers.get("Range")))
        count = sum(path == self.path for path, _ in server.asked)
        if how == "missing" or (how == "busy" and count == 1):
            return self.send_error(404 if how == "missing" else 503)
        if how == "redirect":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.server_port}/plain/{name}")
            return self.end_headers()
        if how in ("endless", "drip"):
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if how == "endless" else "audio/wav")
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(b"<html>" if how == "endless" else server.files[name][:100])
                while True:
                    self.wfile.write(b" " * 65536 if how == "endless" else b" ")
                    time.sleep(0.0 if how == "endless" else 0.05)
            return None
        body = server.files[name]
        start = 0
        if how in ("cut-once", "ctrl-c") and (span := self.headers.get("Range")):
            start = int(span.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", {"txt": "text/plain", "rss": "text/xml"}.get(name[-3:], f"audio/{name[-3:]}"))
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        try:
            if how == "cut" or (how == "cut-once" and not start and count <= 2):  # the first one is a look
                self.wfile.write(body[: len(body) // 2])
            elif how == "stuck":
                self.wfile.write(body[:100])
                time.sleep(1.0)
            elif how == "ctrl-c" and not start and count == 2:
                self.wfile.write(body[:20_000])
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.3)
            elif how == "slow":
                for i in range(0, len(body), 4000):
                    self.wfile.write(body[i : i + 4000])
                    time.sleep(0.1)
            else:
                self.wfile.write(body[start:])
        except OSError:  # the other side has gone
            pass


@pytest.fixture(scope="module")
def files():
    return {f"a.{kind}": sound(kind) for kind in ("wav", "flac", "mp3")} | {
        "long.wav": sound("wav", 3.0),
        "named.mp3": sound("wav"),
        "notes.txt": b"no sound\n" * 100,
        "none.wav": b"",
    }


@pytest.fixture
def server(files, monkeypatch):
    """Its `url`, its `files` and what it was `asked`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "RETRY_WAIT_S", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running: Any = server
        running.daemon_threads, running.block_on_close = True, False
        running.asked, running.files = [], dict(files)
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def save(path: Path, *rows: tuple[str, str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "title", "url"), *rows])
    return path


def run(listing: Path, out: Path, **options):
    return download(
        listing, out, **{"progress": False, "timeout_s": 0.5, "retries": 1, "allow_private": True} | options
    )


def names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


# whole runs -----------------------------------------------------------------------------------------


def test_a_list_becomes_a_folder_of_mp3_by_instrument(server, tmp_path: Path):
    listing = save(
        tmp_path / "list.csv",
        ("violin", "Étude № 1", f"{server.url}/plain/a.wav"),
        ("violin", "../../a: b?", f"{server.url}/plain/a.flac"),
        ("grand piano", "One", f"{server.url}/plain/a.mp3"),
        ("grand piano", "Two", f"{server.url}/plain/named.mp3"),
    )
    report = run(listing, tmp_path / "out")
    assert (report.recordings, report.reused, report.failures) == (4, 0, ())
    recordings = ["grand piano/One.mp3", "grand piano/Two.mp3", "violin/_.._a_ b_.mp3", "violin/Étude № 1.mp3"]
    assert names(tmp_path / "out") == ["failures.csv", *recordings[:2], "sources.json", *recordings[2:]]
    for name in recordings:
        waveform, rate = read_audio(tmp_path / "out" / name)
        assert rate == RATE
        assert waveform.shape[1] == pytest.approx(RATE, abs=3000)  # an mp3 is padded
        assert np.abs(waveform).max() == pytest.approx(0.3, abs=0.05)
        assert soundfile.info(tmp_path / "out" / name).format == "MP3"
    assert not list(tmp_path.glob("*.mp3"))
    assert "4 recordings, 0 of them" in str(report)


def test_the_rate_is_192_kbit_s(server, tmp_path: Path):
    tone = 0.1 * np.random.default_rng(0).standard_normal(44100 * 2)
    file = io.BytesIO()
    soundfile.write(file, tone, 44100, format="WAV")
    server.files["cd.wav"] = file.getvalue()
    run(save(tmp_path / "list.csv", ("harp", "x", f"{server.url}/plain/cd.wav")), tmp_path / "out")
    assert (tmp_path / "out" / "harp" / "x.mp3").stat().st_size * 8 / 2 == pytest.approx(192_000, rel=0.05)


def test_nothing_is_fetched_twice_or_overwritten_and_names_stay(server, tmp_path: Path):
    a, b, c = (f"{server.url}/plain/a.wav?{i}" for i in range(3))
    (tmp_path / "out" / "harp").mkdir(parents=True)
    (tmp_path / "out" / "harp" / "Mine.mp3").write_text("from elsewhere")
    listing = save(tmp_path / "list.csv", ("harp", "One", a), ("harp", "one", b), ("harp", "Mine", c))
    report = run(listing, tmp_path / "out")
    assert (report.recordings, report.reused) == (3, 1)
    assert (tmp_path / "out" / "harp" / "Mine.mp3").read_text() == "from elsewhere"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp3")}
    assert sorted(path.stem for path in before) == ["Mine", "One", "one (2)"]

    server.asked.clear()
    new = f"{server.url}/plain/a.flac"
    rows = ("Harp", "ONE", new), ("harp", "one", b), ("harp", "Another title", a), ("harp", "again", b)
    report = run(save(listing, *rows), tmp_path / "out")
    assert (report.recordings, report.reused) == (3, 2)
    assert {path for path, _ in server.asked} == {"/plain/a.flac"}
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert (tmp_path / "out" / "harp" / "ONE (3).mp3").exists()
    assert json.loads((tmp_path / "out" / "sources.json").read_text()) == {
        "harp/One.mp3": a,
        "harp/one (2).mp3": b,
        "harp/Mine.mp3": c,
        "harp/ONE (3).mp3": new,
    }


def test_an_address_that_was_put_right_takes_the_name(server, tmp_path: Path):
    listing = save(tmp_path / "list.csv", ("harp", "One", f"{server.url}/missing/a.wav"))
    assert run(listing, tmp_path / "out").failures
    assert not run(save(listing, ("harp", "One", f"{server.url}/plain/a.wav")), tmp_path / "out").failures
    assert (tmp_path / "out" / "harp" / "One.mp3").exists()


def test_what_fails_is_reported_and_the_rest_goes_on(server, tmp_path: Path, capsys):
    item = f"<item><title>x</title><link>{server.url}/plain/a.wav</link></item>"
    server.files["two.rss"] = f"<rss><channel><title>t</title>{item * 2}</channel></rss>".encode()
    server.files["one.rss"] = f"<rss><channel><title>t</title>{item}</channel></rss>".encode()
    bad = {
        "missing/a.wav": "404",
        "cut/a.wav": "bytes read",
        "stuck/a.wav": "timed out",
        "plain/none.wav": "data blocks",
        "plain/notes.txt": "no recording that can be read",
        "plain/two.rss": "list of several",
    }
    rows = [("violin", f'{i}, "of"\n{len(bad)}', f"{server.url}/{path}") for i, path in enumerate(bad)]
    rows += [("violin", "fine", f"{server.url}/slow/a.wav"), ("violin", "feed", f"{server.url}/plain/one.rss")]
    rows += [("violin", "refused", "http://127.0.0.1:1/a.wav")]
    listing, out = save(tmp_path / "list.csv", *rows), tmp_path / "out"
    assert (
        main(["data", "download", str(listing), str(out), "--retries", "1", "--timeout-s", "0.4", "--allow-private"])
        == 2
    )
    said = capsys.readouterr()
    assert not said.out
    assert "2 recordings" in said.err
    assert "Traceback" not in said.err
    with (out / "failures.csv").open(newline="") as file:
        failures = {row["url"]: row["reason"] for row in csv.DictReader(file)}
    assert len(failures) == len(bad) + 1
    for path, reason in bad.items():
        assert reason in failures[f"{server.url}/{path}"]
        assert failures[f"{server.url}/{path}"] in said.err
    assert "refused" in failures["http://127.0.0.1:1/a.wav"]
    assert [name for name in names(out) if name.endswith(".mp3")] == ["violin/feed.mp3", "violin/fine.mp3"]

    def asked(path: str) -> int:
        return sum(f"/{path}" == found for found, _ in server.asked)

    assert asked("missing/a.wav") == 1  # in vain: not again
    assert asked("cut/a.wav") > 2
    assert read_list(out / "failures.csv") == [r for r in read_list(listing) if r.title not in ("fine", "feed")]


def test_a_busy_server_is_asked_again(server, tmp_path: Path):
    listing = save(tmp_path / "list.csv", ("harp", "x", f"{server.url}/busy/a.wav"))
    assert run(listing, tmp_path / "out", retries=0).failures
    server.asked.clear()
    assert not run(listing, tmp_path / "out", retries=1).failures


def test_what_was_cut_goes_on_where_it_stopped(server, tmp_path: Path):
    url, out = f"{server.url}/cut-once/a.wav", tmp_path / "out"
    listing = save(tmp_path / "list.csv", ("harp", "x", url))
    assert run(listing, out, retries=0).failures
    assert [path for path in names(out) if "harp" in path] == []
    (part,) = (out / ".partial").rglob("*.part")
    size = part.stat().st_size
    assert 0 < size <= len(server.files["a.wav"]) // 2
    assert not run(listing, out, retries=0).failures
    assert server.asked[-1] == ("/cut-once/a.wav", f"bytes={size}-")
    assert read_audio(out / "harp" / "x.mp3")[0].shape[1] >= RATE
    assert not (out / ".partial").exists()


def test_ctrl_c_leaves_no_half_file_and_the_next_run_goes_on(server, tmp_path: Path, capsys):
    listing, out = save(tmp_path / "list.csv", ("harp", "x", f"{server.url}/ctrl-c/long.wav")), tmp_path / "out"
    assert main(["data", "download", str(listing), str(out), "--allow-private"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not list(out.rglob("*.mp3"))
    (part,) = out.rglob("*.part")
    size = part.stat().st_size
    assert run(listing, out).recordings == 1
    assert server.asked[-1] == ("/ctrl-c/long.wav", f"bytes={size}-")
    assert read_audio(out / "harp" / "x.mp3")[0].shape[1] >= 3 * RATE


def test_an_endless_page_and_a_slow_server_come_to_an_end(server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PAGE_BYTES", 500_000)
    rows = [("violin", "Page", f"{server.url}/endless/a.html"), ("violin", "Drip", f"{server.url}/drip/a.wav")]
    begin = time.monotonic()
    report = run(
        save(tmp_path / "list.csv", *rows, ("violin", "One", f"{server.url}/plain/a.wav")), tmp_path, limit_s=3
    )
    assert time.monotonic() - begin < 60
    reasons = {row.title: reason for row, reason in report.failures}
    assert "the page has over 0.5 MB" in reasons["Page"]
    assert "it takes too long" in reasons["Drip"]
    assert report.recordings == 1


def test_private_addresses_are_for_those_who_ask(server, tmp_path: Path):
    listing = save(tmp_path / "list.csv", ("violin", "One", f"{server.url}/plain/a.wav"))
    report = run(listing, tmp_path / "out", allow_private=False)
    [(_, reason)] = report.failures
    assert "127.0.0.1 is an address of this machine" in reason
    assert not server.asked
    with module._addresses(False), pytest.raises(OSError, match="--allow-private"):
        socket.create_connection(("localhost", server.server_port), timeout=5)
    socket.create_connection(("localhost", server.server_port), timeout=5).close()


def test_a_redirection_reaches_no_private_address(server, tmp_path: Path, monkeypatch):
    """Of an address that is taken for a public one."""
    monkeypatch.setattr(module, "ip_address", lambda text: SimpleNamespace(is_global=text == "127.0.0.1"))
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **_: real(host, *rest) if host == "127.0.0.1" else [(*[0] * 4, ("::1",))],
    )
    listing = save(tmp_path / "list.csv", ("violin", "One", f"{server.url}/redirect/a.wav"))
    [(_, reason)] = run(listing, tmp_path / "out", allow_private=False).failures
    assert "localhost is an address of this machine" in reason
    assert {path for path, _ in server.asked} == {"/redirect/a.wav"}


def test_a_play_list_that_was_fetched_names_nothing_that_is_read(server, tmp_path: Path):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(sound("wav"))
    server.files["list.mp3"] = f"ffconcat version 1.0\nfile {secret}\n".encode()
    listing = save(tmp_path / "list.csv", ("violin", "One", f"{server.url}/plain/list.mp3"))
    report = run(listing, tmp_path / "out")
    assert len(report.failures) == 1
    assert not list((tmp_path / "out").rglob("*.mp3"))


@pytest.mark.parametrize(
    "name", ["../up.mp3", "/abs.mp3", "violin/../../up.mp3", "violin/a.wav", "violin", "a/b/c.mp3"]
)
def test_sources_that_name_another_place_are_refused(tmp_path: Path, name):
    (tmp_path / "sources.json").write_text(json.dumps({name: "http://example.org/a"}))
    listing = save(tmp_path / "list.csv", ("violin", "One", "http://example.org/a"))
    with pytest.raises(InputError, match="it has the name"):
        run(listing, tmp_path)
    assert not list(tmp_path.parent.glob("up*"))


def test_many_rows_of_one_title_are_planned_at_once(tmp_path: Path):
    rows = [Row("violin", "Air", f"http://example.org/{number}") for number in range(10_000)]
    begin = time.process_time()
    plan = module._plan(rows, tmp_path)
    assert time.process_time() - begin < 10
    assert len(plan) == 10_000
    assert list(plan)[9_999] == "violin/Air (10000).mp3"


def test_no_cell_of_the_failures_is_a_formula(tmp_path: Path):
    rows = [(Row("=1+1", "@x", "http://example.org/a"), "-no"), (Row("'quoted", "b", "http://example.org/b"), "why")]
    (tmp_path / "failures.csv").write_text(module._failure_list(rows))
    for cells in csv.reader((tmp_path / "failures.csv").open()):
        assert not any(cell.startswith(tuple("=+-@")) for cell in cells)
    assert read_list(tmp_path / "failures.csv") == [row for row, _ in rows]


def test_the_rate_limit_holds(server, tmp_path: Path):
    listing = save(tmp_path / "list.csv", ("harp", "x", f"{server.url}/plain/a.wav"))
    begin = time.monotonic()
    run(listing, tmp_path / "out", rate_limit_kb_s=20)
    assert time.monotonic() - begin > 0.7 * len(server.files["a.wav"]) / 20_000


def test_an_odd_folder_name_is_taken_as_it_is(server, tmp_path: Path):
    listing = save(tmp_path / "list.csv", ("harp", "100 %(id)s $HOME", f"{server.url}/plain/a.wav"))
    out = tmp_path / "50 %(title)s ö"
    assert not run(listing, out).failures
    assert (out / "harp" / "100 %(id)s $HOME.mp3").exists()
    with pytest.raises(InputError, match="variable"):
        run(listing, tmp_path / "a$HOME")


# what is refused before any work --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, has no column label nor title nor url"),
        ("label;title;url\na;b;http://x/y\n", "no column label"),
        ("label,title\na,b\n", "no column url"),
        ("label,title,url\n", "lists no recording"),
        ("label,title,url\n\n,,\n", "lists no recording"),
        ("label,title,url\nharp,x,http://x/y\n , x,http://x/y\n", "line 3 has no label"),
        ("label,title,url\nharp,x\n", "line 2 has no url"),
        ("label,title,url\nharp,x,file:///etc/passwd\n", "line 2 has the url 'file:///etc/passwd'"),
        ("label,title,url\nharp,x,ftp://x/y\n", "line 2"),
        ("label,title,url\nharp,x,https://\n", "line 2"),
        ("label,title,url\nharp,x,http://x:99999/\n", "line 2"),
        ("label,title,url\nharp,x,http://[::1/\n", "line 2"),
        ("label,title,url\nharp,a title, with a comma,http://x/y\n", "needs quotes"),
        ('label,title,url\nharp,"x,http://x/y\n', "is no CSV"),
        ("label,title,url\n" + "harp,x,\n" * 12, "and 2 more"),
    ],
)
def test_a_bad_list_is_refused(text: str, said: str, tmp_path: Path, capsys):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=r"list\.csv") as error:
        read_list(tmp_path / "list.csv")
    assert said in str(error.value)
    assert main(["data", "download", str(tmp_path / "list.csv"), str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    assert said in capsys.readouterr().err


def test_a_list_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "list.csv").write_text("label,title,url\nharp,ü,http://x/y\n", encoding="utf-16")
    for path in (tmp_path / "list.csv", tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(InputError, match="UTF-8"):
            read_list(path)


def test_other_columns_case_and_a_bom_do_not_matter(tmp_path: Path):
    text = '\ufeffURL, Title ,notes,LABEL\r\n http://x/y ,"a, b",?,harp\r\n\r\nhttps://x/z,,,harp,more\r\n'
    (tmp_path / "list.csv").write_bytes(text.encode())
    assert read_list(tmp_path / "list.csv") == [Row("harp", "a, b", "http://x/y"), Row("harp", "", "https://x/z")]


@pytest.mark.parametrize(
    "options", [{"retries": -1}, {"rate_limit_kb_s": 0}, {"pause_s": -1}, {"timeout_s": 0}, {"pause_s": float("nan")}]
)
def test_values_out_of_range_are_refused(options, tmp_path: Path):
    with pytest.raises(InputError, match=next(iter(options))):
        run(save(tmp_path / "list.csv", ("harp", "x", "http://127.0.0.1:1/x")), tmp_path / "out", **options)


def test_broken_sources_are_refused(tmp_path: Path):
    (tmp_path / "sources.json").write_text("[1]")
    with pytest.raises(InputError, match=r"sources\.json is broken"):
        run(save(tmp_path / "list.csv", ("harp", "x", "http://127.0.0.1:1/x")), tmp_path)


def test_without_yt_dlp_it_says_so(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(MissingDependencyError, match=r"timbrel\[data\]"):
        run(save(tmp_path / "list.csv", ("harp", "x", "http://127.0.0.1:1/x")), tmp_path / "out")


# names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Cello Suite No. 1", "Cello Suite No. 1"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "untitled"),
        ("/", "_"),
        ("C:\\music\\x", "C__music_x"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("nul\0 and \x1b[31mred\x7f", "nul and [31mred"),
        ("a\tb\r\nc \u2028 d", "a b c d"),
        (" . .hidden. . ", "hidden"),
        ("ends with dots...", "ends with dots"),
        ("", "untitled"),
        ("\u200d\u200b\ufeff ", "untitled"),
        ("CON", "_CON"),
        ("con.tar.gz", "_con.tar.gz"),
        ("Lpt9 .x", "_Lpt9 .x"),
        ("COM¹", "_COM¹"),
        ("conin$", "_conin$"),
        ("Console", "Console"),
        ("COM10", "COM10"),
        ("e\u0301tude", "étude"),
        ("サンプル 音楽 🎻", "サンプル 音楽 🎻"),
        ("\u202egnp.exe", "gnp.exe"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("lone \ud800 half", "lone half"),
        ("-rf ~", "-rf ~"),
    ],
)
def test_titles_become_safe_names(text: str, name: str):
    assert safe_name(text) == name
    assert safe_name(name) == name


@pytest.mark.parametrize("letter", ["x", "é", "音", "🎻", "e\u0301\u0323", ". ", "a."])
def test_long_names_are_cut_at_whole_characters(letter: str):
    name = safe_name("a" + letter * 1000)
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert name == safe_name(name) == name.rstrip(" .") == unicodedata.normalize("NFC", name)
    if len(letter) == 1:
        assert len(name.encode()) > MAX_NAME_BYTES - 4
        assert set(name) == {"a", letter}


def test_any_text_becomes_a_name_that_a_file_can_have(tmp_path: Path):
    rng = np.random.default_rng(0)
    odd = [*"/\\\0. \n:é音<", "..", "CON", "nul", "\u0301", "\u0338", "\u202e", "\ud800"]
    for _ in range(500):
        name = safe_name("".join(rng.choice(odd, rng.integers(0, 80))))
        assert name == safe_name(name)
        assert not set(name) & set('/\\\0<>:"|?*\n')
        assert name == os.path.basename(name) == name.strip(" .") != ""
        assert len(f"{name} (100).mp3.partial".encode()) <= 255
        (tmp_path / f"{name}.mp3").touch()


def test_titles_that_are_alike_are_told_apart(tmp_path: Path):
    titles = ["Song", "SONG", "so/ng", "so_ng", "x" * 300, "x" * 400, "Straße", "STRASSE", "e\u0301", "É", "Song (2)"]
    rows = [Row("harp", title, f"http://x/{i}") for i, title in enumerate(titles)]
    plan = module._plan(rows, tmp_path)
    stems = [Path(file).stem for file in plan]
    assert len({stem.casefold() for stem in stems}) == len(titles)
    assert stems[:4] == ["Song", "SONG (2)", "so_ng", "so_ng (2)"]
    assert stems[-1] == "Song (2) (2)"
    assert all(len(stem.encode()) <= MAX_NAME_BYTES for stem in stems)
    again = module._plan([Row("harp", "song", "http://x/new"), *reversed(rows)], tmp_path)
    assert {file: row for file, row in again.items() if row in rows} == plan
    assert "harp/song (3).mp3" in again
