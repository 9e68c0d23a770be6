"""Tasks on this machine: in this process, or in a pool of processes that each keep their models loaded."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from lorabench import interrupts
from lorabench.components import Tell, Work
from lorabench.executors import doing
from lorabench.processes import leave_with
from lorabench.records import Outcome, Task


class LocalExecutor:
    """`workers` processes, or with one worker this process. Processes start with the first task and stay."""

    def __init__(self, work: Work, workers: int) -> None:
        self._work = work
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._context = multiprocessing.get_context("spawn")  # torch does not survive a fork of its threads
        with interrupts.held():  # a queue starts a process of its own
            self._progress = self._context.Queue()

    def start(self) -> None:
        """This machine is ready as it is."""

    def run(self, next_task: Callable[[], Task | None], tell: Tell) -> Iterator[Outcome]:
        """Do tasks as they come; yields the outcome of each as it ends."""
        if self._workers > 1:
            yield from self._in_pool(next_task, tell)
            return
        while (task := next_task()) is not None:
            yield self._here(task, tell)

    def close(self) -> None:
        """Stop at once: processes are ended where they are, which no artifact minds."""
        if self._pool is not None:
            processes = list((getattr(self._pool, "_processes", None) or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            for process in processes:
                process.join(timeout=1)
            self._pool = None

    def _here(self, task: Task, tell: Tell) -> Outcome:
        def watched(said: Any) -> None:
            interrupts.check()
            tell(said)

        interrupts.check()
        try:
            self._work(task, watched)
        except Exception as error:  # the pipeline tells mistakes from failures; here every task gets its turn
            return Outcome(task, error)
        return Outcome(task)

    def _in_pool(self, next_task: Callable[[], Task | None], tell: Tell) -> Iterator[Outcome]:
        waiting: deque[Task] = deque()  # taken, and not with a process yet
        suspects: deque[Task] = deque()  # were running when a process died; one of them is to blame
        running: dict[Future[None], Task] = {}
        while True:
            interrupts.check()
            while len(waiting) + len(suspects) + len(running) < self._workers and (task := next_task()) is not None:
                waiting.append(task)
            if not (waiting or suspects or running):
                break
            if suspects and not running:  # alone, so that only the one to blame dies again
                yield self._alone(suspects.popleft(), tell)
            while waiting and not suspects and len(running) < self._workers:
                future = self._submitted(waiting[0])
                if future is not None:
                    running[future] = waiting.popleft()
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            self._drain(tell)
            for future in done:
                task, error = running.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    suspects.append(task)
                else:
                    yield Outcome(task, error)
            if suspects and not running:
                self.close()
        self._drain(tell)

    def _alone(self, task: Task, tell: Tell) -> Outcome:
        """One task with nothing beside it, in a new pool."""
        future = None
        while future is None:
            future = self._submitted(task)
        while not future.done():
            interrupts.check()
            wait([future], timeout=0.2)
            self._drain(tell)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self.close()
            error = doing.died_twice()
        return Outcome(task, error)

    def _submitted(self, task: Task) -> Future[None] | None:
        """The task's future, or None if a process had died unseen: the next call finds a new pool."""
        with interrupts.held():
            try:
                return self._started_pool().submit(_do, task)
            except BrokenProcessPool:
                self.close()
                return None

    def _started_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            threads = max(1, (os.cpu_count() or 1) // self._workers)
            places = self._context.SimpleQueue()
            for place in range(self._workers):
                places.put(place)
            arguments = (self._work, self._progress, os.getpid(), threads, places)
            self._pool = ProcessPoolExecutor(self._workers, self._context, _start, arguments)
        return self._pool

    def _drain(self, tell: Tell) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                tell(self._progress.get_nowait())


# --- inside a worker process -----------------------------------------------------------------------------------------

_work: Work
_report: Tell


def _start(
    work: Work,
    progress: multiprocessing.Queue[Any],
    parent: int,
    threads: int,
    places: multiprocessing.SimpleQueue[int],
) -> None:
    """Prepare a worker, which ends when its parent does."""
    global _work, _report
    _work, _report = work.at(places.get()), progress.put
    leave_with(parent)
    import torch

    torch.set_num_threads(threads)


def _do(task: Task) -> None:
    doing.do(_work, task, _report)
