"""The one pool of processes, here or on a cluster: a job in each, outcomes as they come.

A worker ends when its parent ends, even where the parent was killed. A terminal's signals, such as Ctrl-C, reach the
parent alone. The parent then sends its workers SIGTERM, which a worker gets as an exception, so that it cleans up.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from timbrel.errors import MissingDependencyError, TimbrelError

Job = TypeVar("Job")
Answer = TypeVar("Answer")
Outcomes = Generator[tuple[Job, Future[Answer]]]
GRACE_S = 5.0  # for a worker to clean up
RETRIES = 3  # of a job whose process or node is lost


def processors() -> int:
    """How many this process may use: a container or `taskset` may give fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def share_processors() -> None:
    """Lets a torch that is imported later use as many threads as processors are idle; `OMP_NUM_THREADS` comes first.

    The threads of one program work in step: where others have the processors, all wait for the last, several times as
    long as one thread would take.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        os.environ["OMP_NUM_THREADS"] = str(max(1, processors() - round(busy)))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def outcomes(
    work: Callable[[Job], Answer],
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    progress: bool = True,
    name: str | None = None,
    unit: str = "job",
    size: Callable[[Job], int] = lambda job: 1,
    done: int = 0,
    cluster: str | None = None,
) -> Outcomes[Job, Answer]:
    """Does `work` for every job, and yields jobs with their outcomes as they end.

    Args:
        work: a function that another process can import. Jobs and answers can be pickled.
        workers: processes, each with one torch thread; 1 is this process, None as many as there are processors.
        progress: a bar on stderr, called `name`, if stderr is a terminal.
        unit, size: what the bar counts ("B" with prefixes), and how many units a job has.
        done: units that were done before.
        cluster: the address of a Ray cluster, or "auto" for the one that this machine belongs to, which does the work
            in place of this machine's processes. A job whose node is lost is done again on another. A connection to Ray
            that the program has opened already is used in its place, and stays open.

    Raises:
        TimbrelError: a worker died; there is no such cluster.
        MissingDependencyError: a cluster is given, and the extra [ray] is not installed.
    """
    from tqdm import tqdm

    workers = min(workers or processors(), max(len(jobs), 1))
    if cluster is not None:
        results = _on_cluster(work, jobs, cluster)
    else:
        results = _here(work, jobs) if workers == 1 else _in_workers(work, jobs, workers)
    total = done + sum(map(size, jobs))
    hidden = None if progress else True
    with (
        closing(results),
        tqdm(desc=name, total=total, initial=done, unit=unit, unit_scale=unit == "B", disable=hidden) as bar,
    ):
        for job, outcome in results:
            bar.update(size(job))
            yield job, outcome


def answers(work: Callable[[Job], Answer], jobs: Sequence[Job], **options: Any) -> Iterator[Answer]:
    """The answers of `outcomes`; the first job that fails ends them with its error."""
    with closing(outcomes(work, jobs, **options)) as results:
        for _, outcome in results:
            yield outcome.result()


def _here(work: Callable[[Job], Answer], jobs: Sequence[Job]) -> Outcomes[Job, Answer]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in jobs:
            outcome: Future[Answer] = Future()
            try:
                outcome.set_result(work(job))
            except Exception as error:
                outcome.set_exception(error)
            yield job, outcome
    finally:
        torch.set_num_threads(threads)


def _in_workers(work: Callable[[Job], Answer], jobs: Sequence[Job], workers: int) -> Outcomes[Job, Answer]:
    context, waiting = multiprocessing.get_context("spawn"), deque(jobs)
    processes: list[BaseProcess] = []
    busy: dict[Any, Job] = {}  # a worker's connection -> what it does
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            processes.append(context.Process(target=_serve, args=(theirs, work), daemon=True))
            with _terminal_signals_blocked():  # in the worker too, which inherits the mask
                processes[-1].start()
            theirs.close()
            busy[ours] = waiting.popleft()
            ours.send(busy[ours])
        while busy:
            for connection in cast("list[Any]", wait(list(busy))):
                job, outcome = busy.pop(connection), Future[Answer]()
                answer, error = connection.recv()
                if error is None:
                    outcome.set_result(answer)
                else:
                    outcome.set_exception(error)
                if waiting:
                    busy[connection] = waiting.popleft()
                    connection.send(busy[connection])
                yield job, outcome
    except (EOFError, ConnectionError) as error:
        raise TimbrelError(
            f"one of {workers} workers died, as for want of memory; what is finished is kept: run again with fewer "
            "(workers=1)"
        ) from error
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(GRACE_S)
            process.kill()
            process.join()


def _on_cluster(work: Callable[[Job], Answer], jobs: Sequence[Job], address: str) -> Outcomes[Job, Answer]:
    """As tasks of a Ray cluster, which has one process a processor and gives it task after task: what `work` keeps in
    memory, such as a model, is loaded once in each. Ray does a task of a lost process or node again."""
    ray, is_ours = _ray(address)
    lost = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)
    do, shared = ray.remote(num_cpus=1, max_retries=RETRIES)(_attempt), ray.put(work)
    waiting, running = deque(jobs), dict[Any, Job]()
    try:
        while waiting or running:
            room = 2 * int(ray.cluster_resources().get("CPU", 1))  # as many again: none waits for its next job
            while waiting and len(running) < room:
                job = waiting.popleft()
                running[do.remote(shared, job)] = job
            ((task,), _), outcome = ray.wait(list(running)), Future[Answer]()
            try:
                answer, error = ray.get(task)
            except ray.exceptions.RayError as failure:
                what = f"its worker was lost {RETRIES + 1} times" if isinstance(failure, lost) else "the cluster failed"
                reason = textwrap.shorten(str(failure), 300)
                answer, error = None, TimbrelError(f"{what} ({type(failure).__name__}: {reason})")
            if error is None:
                outcome.set_result(answer)
            else:
                outcome.set_exception(error)
            yield running.pop(task), outcome
    finally:
        if is_ours:
            ray.shutdown()


def _ray(address: str) -> tuple[Any, bool]:
    """The package ray, connected to a cluster; whether the connection was made here, and not by who calls timbrel."""
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(f"a cluster needs ray ({error}): pip install 'timbrel[ray]'") from error
    if ray.is_initialized():
        return ray, False
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise TimbrelError(
            f"there is no Ray cluster at {address!r} ({error}); `ray start --head` makes one on this machine"
        ) from error
    return ray, True


def _attempt(work: Callable[[Any], Any], job: Any) -> tuple[Any, Exception | None]:
    try:
        return work(job), None
    except Exception as error:
        return None, _portable(error)


@contextmanager
def _terminal_signals_blocked() -> Iterator[None]:
    """Holds back the signals of a terminal: Ctrl-C, and the hang-up at its end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """The loop of a worker: receives jobs, sends answers or errors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # for a torch that is imported later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with suppress(EOFError, ConnectionError):  # the parent has ended
        while True:
            job = connection.recv()
            try:
                connection.send((work(job), None))
            except Exception as error:
                connection.send((None, _portable(error)))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which comes while the process is ending


def _stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one does not disturb the cleaning up
    sys.exit(0)


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; a TimbrelError in its place if it cannot be pickled."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return TimbrelError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)
