"""The pool, with processes that really end. Run as a script, this file is a parent that ends while its workers work."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from timbrel import files, parallel
from timbrel.errors import InputError, TimbrelError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
SOON_S = 60  # on a busy machine; else a second


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Workers import this file by its name in pytest."""
    monkeypatch.syspath_prepend(Path(__file__).parents[__name__.count(".")])


def call(job: Callable[[], object]) -> object:
    return job()


def fail() -> None:
    raise InputError("three is no number here")


def fail_oddly() -> None:
    class OddError(Exception):  # which cannot be pickled
        pass

    raise OddError("odd")


def num_threads() -> tuple[int, int]:
    import torch

    return os.getpid(), torch.get_num_threads()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_for_long(folder: Path, number: int) -> None:
    with files.whole(folder / f"{number}.txt") as path:
        path.write_text("half")
        (folder / f"pid-{os.getpid()}").touch()
        time.sleep(300)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("NodeDiedError", r"its worker was lost 4 times \(NodeDiedError: .*the power went"),
        ("ObjectLostError", r"the cluster failed \(ObjectLostError: .*the power went"),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_cluster_says_why_it_failed_and_closes_what_it_opened(monkeypatch, kind, message, is_open):
    ray = pytest.importorskip("ray")
    failure = type(
        kind, (getattr(ray.exceptions, kind),), {"__init__": lambda self: None, "__str__": lambda _: "the power went"}
    )
    closed: list[bool] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: is_open)
    monkeypatch.setattr(ray, "init", lambda *_, **__: None)
    monkeypatch.setattr(ray, "shutdown", lambda: closed.append(True))
    monkeypatch.setattr(ray, "put", lambda work: work)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda do: SimpleNamespace(remote=lambda *_: "task"))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1})
    monkeypatch.setattr(ray, "wait", lambda tasks: (tasks, []))

    def get(task):
        raise failure

    monkeypatch.setattr(ray, "get", get)
    ((_, outcome),) = parallel.outcomes(call, [fail], cluster="auto", progress=False)
    with pytest.raises(TimbrelError, match=message):
        outcome.result()
    assert closed == ([] if is_open else [True])


@pytest.mark.parametrize("workers", [1, 2])
def test_outcomes_come_with_their_jobs_and_a_failure_is_its_job_s_alone(workers):
    jobs: Any = [*(partial(pow, number, 2) for number in range(5)), fail, fail_oddly, num_threads]
    made: Any = dict(parallel.outcomes(call, jobs, workers=workers, progress=False))
    assert made.keys() == set(jobs)
    assert [made[job].result() for job in jobs[:5]] == [0, 1, 4, 9, 16]
    with pytest.raises(InputError, match="three is no number here"):
        made[fail].result()
    with pytest.raises(Exception, match="odd"):
        made[fail_oddly].result()
    pid, threads = made[num_threads].result()
    assert threads == 1
    assert (pid == os.getpid()) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_end_with_the_first_failure(workers):
    with pytest.raises(InputError, match="three is no number here"):
        list(parallel.answers(call, [fail, fail], workers=workers, progress=False))


def test_no_job_has_no_answer():
    assert list(parallel.answers(call, [], workers=2, progress=False)) == []


def test_a_worker_that_dies_ends_the_pool():
    with pytest.raises(TimbrelError, match="one of 2 workers died, as for want of memory"):
        list(parallel.answers(call, [die, die], workers=2, progress=False))


def test_who_stops_asking_ends_the_workers(tmp_path):
    jobs: Any = [partial(write_for_long, tmp_path, 0), partial(wait_until, partial(alive, tmp_path))]
    made: Any = parallel.answers(call, jobs, workers=2, progress=False)
    assert next(made)
    made.close()
    assert not alive(tmp_path)


def alive(folder: Path) -> list[int]:
    """The workers that have begun, and live."""
    return [pid for path in folder.glob("pid-*") if lives(pid := int(path.name.partition("-")[2]))]


def lives(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def wait_until(true: Callable[[], object]) -> object:
    stop = time.monotonic() + SOON_S
    while not true() and time.monotonic() < stop:
        time.sleep(0.05)
    return true()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_workers_end_with_their_parent_and_clean_up(tmp_path, number):
    parent = subprocess.Popen(
        [sys.executable, __file__, tmp_path], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert wait_until(lambda: len(alive(tmp_path)) == 2)
    if number != signal.SIGINT:
        parent.send_signal(number)
    if number != signal.SIGKILL:
        os.killpg(parent.pid, number)  # as a terminal does, or `timeout` after the first
    _, said = parent.communicate(timeout=SOON_S)
    assert parent.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert wait_until(lambda: not alive(tmp_path))
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"pid"}
    assert said == ("" if number == signal.SIGKILL else "timbrel: interrupted; nothing is left half-written\n")


if __name__ == "__main__":
    from timbrel.cli import main

    def run() -> None:
        jobs = [partial(write_for_long, Path(sys.argv[1]), number) for number in range(2)]
        list(parallel.answers(call, jobs, workers=2, progress=False))

    main.VERBS = {"run": run}
    sys.exit(main.main(["run"]))


@pytest.mark.parametrize(("load", "threads"), [(0.1, 8), (2.6, 5), (20.0, 1)])
def test_threads_are_as_many_as_processors_are_idle(monkeypatch, load, threads):
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is as before at the end
        monkeypatch.delenv(name)
    monkeypatch.setattr(parallel, "processors", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0), raising=False)
    parallel.share_processors()
    assert os.environ["OMP_NUM_THREADS"] == str(threads)
    parallel.share_processors()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    parallel.share_processors()
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_processors_are_those_of_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert parallel.processors() == 2
