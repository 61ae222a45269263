"""Files are whole or not there, whatever ends the process that writes them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from timbrel import files
from timbrel.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def child(code: str, *args: object) -> subprocess.Popen[str]:
    """Python code in another process that says when it is ready."""
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


HALF_WRITTEN = """
import sys, time
from timbrel import files
with files.whole(sys.argv[1] + "/a.txt") as path, files.temporary_folder(sys.argv[1]) as folder:
    path.write_text("half")
    (folder / "part").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_file_is_written_and_replaced(tmp_path):
    for text in ("old", "new ö"):
        files.write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == text
    assert names(tmp_path) == ["a.txt"]


def fail(path: Path, error: type[BaseException]) -> None:
    path.write_text("half")
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_of_what_fails(tmp_path, error):
    files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), files.whole(tmp_path / "a.txt") as path:
        fail(path, error)
    with pytest.raises(error), files.temporary_folder(tmp_path) as folder:
        fail(folder / "part", error)
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_meanwhile_stays(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    files.write_text(tmp_path / "new.txt", "new", overwrite=False)
    assert (tmp_path / "new.txt").read_text() == "new"
    writing = files.whole(tmp_path / "a.txt", overwrite=False)
    writing.__enter__().write_text("ours")
    (tmp_path / "a.txt").write_text("theirs")
    with pytest.raises(InputError, match="exists; name another file"):
        writing.__exit__(None, None, None)
    assert (tmp_path / "a.txt").read_text() == "theirs"
    assert names(tmp_path) == ["a.txt", "new.txt"]


@pytest.mark.parametrize("links", [True, False])
def test_a_link_to_nothing_is_a_file_that_exists(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    (tmp_path / "a.txt").symlink_to(tmp_path / "nowhere")
    assert files.exists(tmp_path / "a.txt")
    with pytest.raises(InputError, match="exists"):
        files.write_text(tmp_path / "a.txt", "ours", overwrite=False)
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("old", "new"):
        with files.whole_folder(tmp_path / "model") as folder:
            (folder / f"{text}.txt").write_text(text)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["new.txt"]
    with pytest.raises(ValueError), files.whole_folder(tmp_path / "model") as folder:  # noqa: PT011
        fail(folder / "half.txt", ValueError)
    assert names(tmp_path / "model") == ["new.txt"]


@pytest.mark.skipif(os.name == "nt", reason="there one cannot ask whether a process lives")
def test_what_a_killed_process_left_goes_with_the_next_write_and_what_a_living_one_writes_stays(tmp_path):
    killed, living = child(HALF_WRITTEN, tmp_path), child(HALF_WRITTEN, tmp_path)
    try:
        killed.kill()
        killed.wait(30)
        assert len(names(tmp_path)) == 4
        (tmp_path / ".timbrel-theirs").write_text("of another program")
        files.write_text(tmp_path / "b.txt", "new")
        left = set(names(tmp_path)) - {"b.txt", ".timbrel-theirs"}
        assert len(left) == 2
        assert all(f"-{living.pid}-" in name for name in left)
    finally:
        living.kill()
        living.wait(30)


def test_a_read_and_a_write_under_a_lock_lose_nothing(tmp_path):
    code = """
import sys
from timbrel import files
print("ready", flush=True)
for _ in range(50):
    with files.lock(sys.argv[1]):
        with open(sys.argv[1]) as file:
            number = int(file.read())
        files.write_text(sys.argv[1], str(number + 1))
"""
    (tmp_path / "count").write_text("0")
    processes = [child(code, tmp_path / "count") for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert (tmp_path / "count").read_text() == "100"


def test_a_lock_ends_with_its_process(tmp_path):
    code = """
import sys, time
from timbrel import files
with files.lock(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""
    holder = child(code, tmp_path / "sub" / "a")
    holder.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    holder.wait(30)
    start = time.monotonic()
    with files.lock(tmp_path / "sub" / "a"):
        assert time.monotonic() - start < 10


def test_a_claim_without_hard_links_is_given_up_when_the_file_cannot_take_its_name(tmp_path, monkeypatch):
    def fail(*names):
        raise OSError("not here")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="not here"):
        files.write_text(tmp_path / "result.txt", "words")
    assert not list(tmp_path.iterdir())


def test_a_claimed_folder_has_one_run(tmp_path):
    pytest.importorskip("fcntl")
    with files.claimed(tmp_path / "run"):
        (tmp_path / "run" / "row.json").touch()
        with pytest.raises(InputError, match="another run works in"), files.claimed(tmp_path / "run"):
            pass
    with files.claimed(tmp_path / "run"), files.claimed(tmp_path / "other"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(InputError, match="is a file"), files.claimed(tmp_path / "run" / "row.json"):
        pass
