"""Tasks on this machine: in this process, or in a pool of processes that each keep their models loaded."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from lorabench.components import Advance, Work
from lorabench.records import Outcome, Task

ATTEMPTS = 2  # a process that dies (out of memory, say) takes its task with it; the task gets one more try


class LocalExecutor:
    """`workers` processes, or with one worker this process. Processes start with the first task and stay."""

    def __init__(self, work: Work, workers: int) -> None:
        self._work = work
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._context = multiprocessing.get_context("spawn")  # torch does not survive a fork of its threads
        self._progress = self._context.Queue()

    def run(self, tasks: Sequence[Task], advance: Advance) -> Iterator[Outcome]:
        """Do all tasks; yields the outcome of each as it ends."""
        if self._workers == 1:
            yield from (self._here(task, advance) for task in tasks)
        else:
            yield from self._in_pool(tasks, advance)

    def close(self) -> None:
        """Stop at once: processes are ended where they are, which no artifact minds."""
        if self._pool is not None:
            processes = list((getattr(self._pool, "_processes", None) or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            self._pool = None

    def _here(self, task: Task, advance: Advance) -> Outcome:
        try:
            self._work(task, advance)
        except Exception as error:  # the pipeline tells mistakes from failures; here every task gets its turn
            return Outcome(task, error)
        return Outcome(task)

    def _in_pool(self, tasks: Sequence[Task], advance: Advance) -> Iterator[Outcome]:
        waiting = deque(tasks)
        tries: dict[Task, int] = {}
        running: dict[Future[None], Task] = {}
        while waiting or running:
            while waiting and len(running) < self._workers:
                task = waiting.popleft()
                tries[task] = tries.get(task, 0) + 1
                running[self._started_pool().submit(_do, task)] = task
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            self._drain(advance)
            for future in done:
                task, error = running.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    self._pool = None
                    if tries[task] < ATTEMPTS:
                        waiting.append(task)
                        continue
                    error = RuntimeError("the process doing it died twice; out of memory is the usual reason")
                yield Outcome(task, error)
        self._drain(advance)

    def _started_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            threads = max(1, (os.cpu_count() or 1) // self._workers)
            arguments = (self._work, self._progress, os.getpid(), threads)
            self._pool = ProcessPoolExecutor(self._workers, self._context, _start, arguments)
        return self._pool

    def _drain(self, advance: Advance) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                advance(self._progress.get_nowait())


# --- inside a worker process -----------------------------------------------------------------------------------------

_work: Work
_report: Advance


def _start(work: Work, progress: multiprocessing.Queue[int], parent: int, threads: int) -> None:
    """Prepare a worker: Ctrl-C is the parent's business, and without a parent there is nothing left to do."""
    global _work, _report
    _work, _report = work, progress.put
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def _leave_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)  # no clean-up: the folder belongs to the next run now


def _do(task: Task) -> None:
    _work(task, _report)
