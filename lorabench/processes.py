"""One function on many things in several processes or threads; processes that end with the one that started them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from loky import ProcessPoolExecutor

from lorabench import interrupts
from lorabench.errors import UserError

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


def map_in_processes(work: Callable[[Thing], Answer], things: Sequence[Thing], processes: int) -> list[Answer]:
    """`work` of each of `things`, in their order; the processes end with the call, however it ends.

    UserError where a process dies.
    """
    with interrupts.held():
        # Of our own, not joblib's, whose processes stay for the next call and are shared with the user's.
        pool = ProcessPoolExecutor(processes, initializer=leave_with, initargs=(os.getpid(),))
    try:
        with interrupts.held():
            futures = [pool.submit(work, thing) for thing in things]
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise UserError(
            f"A process that did part of the work died ({error.__class__.__name__}); out of memory is the usual "
            "reason: close other programs and run the same command again."
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def map_in_threads(work: Callable[[Thing], Answer], things: Sequence[Thing], threads: int) -> list[Answer]:
    """`work` of each of `things`, in their order: for work that lets go of the interpreter, as PIL and files do."""
    if threads < 2 or len(things) < 2:
        return [work(thing) for thing in things]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, things))


def leave_with(parent: int) -> None:
    """In a worker process: Ctrl-C is the parent's business, and when it ends, however, this process does soon after."""
    interrupts.leave_to_parent()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)  # no clean-up: what the parent worked on belongs to the next run now
