"""The queue of work."""

import threading
import time

import pytest

from timbrel.errors import InputError, warn
from timbrel.web import jobs as module
from timbrel.web.jobs import Jobs, Stopped


def end(steps):
    """All that a job tells, and its result."""
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as stop:
            return told, stop.value


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "TICK_S", 0.01)


def test_the_result_comes_after_the_progress_and_warnings_stay_with_their_job():
    jobs, go = Jobs(1), threading.Event()

    def work(job):
        job.begin(1, 2, "second half")
        job.progress(5, 10)
        go.wait(5)
        warn("a little softer")
        return job.warnings

    steps = jobs.run("me", work)
    while (status := next(steps)).share is None:
        pass
    assert (status.share, status.note, status.place) == (0.75, "second half", 0)
    go.set()
    assert end(steps)[1] == ["a little softer"]


def test_jobs_wait_in_the_order_in_which_they_came_and_stop_where_they_are():
    jobs, ended = Jobs(1), []

    def endless(job):
        try:
            while True:
                job.progress(1, 2)
                time.sleep(0.005)
        finally:
            ended.append(job.owner)

    first, second, third = (jobs.run(name, endless) for name in ("one", "two", "three"))
    while next(first).share is None:
        pass
    assert [next(second).place, next(third).place] == [1, 2]
    jobs.stop("two")
    with pytest.raises(Stopped):
        end(second)
    assert next(third).place == 1
    first.close()
    while next(third).place:
        pass
    jobs.stop("three")
    with pytest.raises(Stopped):
        end(third)
    assert ended == ["one", "three"]


def test_an_owner_is_busy_until_its_last_job_ends():
    jobs, go = Jobs(2), threading.Event()
    first, second = jobs.run("one a", lambda job: go.wait(5)), jobs.run("one b", lambda job: None)
    next(first)
    end(second)
    assert jobs.busy("one ")
    assert not jobs.busy("one b")
    go.set()
    end(first)
    assert not jobs.busy("one ")


def test_there_is_an_end_to_the_queue(monkeypatch):
    monkeypatch.setattr(module, "MOST_JOBS", 1)
    jobs, go = Jobs(1), threading.Event()
    first = jobs.run("one", lambda job: go.wait(5))
    next(first)
    with pytest.raises(InputError, match="1 jobs are running or waiting; expected fewer than 1"):
        next(jobs.run("two", lambda job: None))
    go.set()
    assert end(first)[1]


def test_the_time_left_is_that_of_the_share_so_far(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    job = module.Job("me")
    job.progress(0, 10)
    now[0] += 6
    job.progress(6, 10)
    assert job.status(0).left_s == pytest.approx(4)


def test_errors_are_those_of_the_work():
    with pytest.raises(ZeroDivisionError):
        end(Jobs(1).run("me", lambda job: 1 / 0))
