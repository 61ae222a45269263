"""Long work of several visitors: so much at once as there are processors, first come first served."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from timbrel.errors import InputError, TimbrelError
from timbrel.pipelines.settings import Progress

Result = TypeVar("Result")
TICK_S = 0.25
MOST_JOBS = 32  # running and waiting
_here = threading.local()


class Stopped(TimbrelError):  # noqa: N818 - it was wished for
    """The visitor stopped the work."""


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes:
        place: how many jobs are before it in the queue, and one; 0 where it runs.
        share: of the work that is done, in [0, 1]; None where it is not known.
        left_s: the time that the rest is expected to take.
        note: what it does now.
    """

    place: int = 0
    share: float | None = None
    left_s: float | None = None
    note: str = ""


@dataclass
class Job:
    """One piece of work: what it is told and what it tells. `progress` is what pipelines call."""

    owner: str
    stop: threading.Event = field(default_factory=threading.Event)
    warnings: list[str] = field(default_factory=list)
    note: str = ""
    part: int = 0
    parts: int = 1
    _begin_s: float = 0.0
    _share: float | None = None

    def begin(self, part: int, parts: int, note: str) -> None:
        """The next of several equal parts begins."""
        self.part, self.parts, self.note = part, parts, note
        self.check()

    def check(self) -> None:
        """Raises Stopped if the visitor wants the work to end."""
        if self.stop.is_set():
            raise Stopped("stopped")

    @property
    def progress(self) -> Progress:
        def update(done_s: float, total_s: float | None) -> None:
            self.check()
            self._begin_s = self._begin_s or time.monotonic()
            self._share = (self.part + min(1.0, done_s / total_s)) / self.parts if total_s else None

        return update

    def status(self, place: int) -> Status:
        share = self._share
        took_s = time.monotonic() - self._begin_s
        left_s = took_s * (1 - share) / share if share and share > 0.02 and took_s > 1 else None
        return Status(place, share, left_s, self.note)


class Jobs:
    """Runs work in threads.

    Args:
        at_once: how many jobs run at the same time, each on one processor.
    """

    def __init__(self, at_once: int) -> None:
        self._pool = ThreadPoolExecutor(at_once, "job", torch.set_num_threads, (1,))
        self._futures: dict[Future[Any], Job] = {}  # in the order in which they came
        self._coming = threading.Lock()
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _keep_warning

    def run(self, owner: str, work: Callable[[Job], Result]) -> Generator[Status, None, Result]:
        """Yields how far the work is, and returns its result. To close the generator stops the work.

        Raises:
            InputError: too many jobs wait. Stopped: see `stop`. What the work raises.
        """
        job, future = self._submit(owner, work)
        try:
            while not future.done():
                yield job.status(self._place(future))
                wait([future], TICK_S)
            return future.result()
        except CancelledError as error:
            raise Stopped("stopped") from error
        finally:
            job.stop.set()
            future.cancel()

    async def outcome(self, owner: str, work: Callable[[Job], Result]) -> Result:
        """The result of the work, for a coroutine. To cancel that stops the work; errors as `run`."""
        job, future = self._submit(owner, work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if job.stop.is_set():
                raise Stopped("stopped") from None
            raise
        finally:
            job.stop.set()

    def stop(self, owner: str) -> bool:
        """Ends the jobs whose owner begins so: what waits at once, what runs at its next progress. Whether any did."""
        ended = self._of(owner)
        for future, job in ended:
            job.stop.set()
            future.cancel()
        return bool(ended)

    def busy(self, owner: str) -> bool:
        """Whether a job whose owner begins so is running or waiting."""
        return bool(self._of(owner))

    def _of(self, owner: str) -> list[tuple[Future[Any], Job]]:
        jobs = list(self._futures.items())
        return [(future, job) for future, job in jobs if job.owner.startswith(owner) and not future.done()]

    def _submit(self, owner: str, work: Callable[[Job], Result]) -> tuple[Job, Future[Result]]:
        job = Job(owner)
        with self._coming:
            if (count := len(self._futures)) >= MOST_JOBS:
                raise InputError(
                    f"{count} jobs are running or waiting; expected fewer than {MOST_JOBS}: try again later"
                )
            future = self._pool.submit(_done, work, job)
            self._futures[future] = job
        future.add_done_callback(lambda ended: self._futures.pop(ended, None))
        return job, future

    def _place(self, future: Future[Any]) -> int:
        if future.running() or future.done():
            return 0
        waiting = [other for other in list(self._futures) if not (other.running() or other.done())]
        return waiting.index(future) + 1 if future in waiting else 0


def _done(work: Callable[[Job], Result], job: Job) -> Result:
    _here.job = job
    job.check()
    return work(job)


def _keep_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """What the API warns of belongs to the job whose thread it comes from."""
    job: Job | None = getattr(_here, "job", None)
    if job is not None and str(message) not in job.warnings:
        job.warnings.append(str(message))
