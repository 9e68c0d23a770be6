"""Ctrl-C, and what schedulers and closing terminals send: a run ends tidily, whatever it is doing at that moment."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IMPATIENT = 1.0  # seconds after which a second signal ends the process at once; before, it came with the first
PATIENCE = 4.0  # seconds from the signal to the end, whatever libraries wait for or swallow
WORDS = "Interrupted. What was finished is kept; run the same command again to go on."

_received: int | None = None
_since = 0.0
_held = 0
_said = False


class Interrupted(BaseException):
    """Raised where the main thread is when a signal comes, and again by `check` should somebody have swallowed it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def listen() -> None:
    """Answer the signals from here on, except those that were told to be ignored (`nohup`)."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _receive)
    sys.unraisablehook = _unraisable


def check() -> None:
    """Raise Interrupted if a signal has come; long work asks now and then."""
    if _received is not None and not _held:
        raise Interrupted(_received)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Inside, signals wait. Processes that are started inside are born deaf to them, until `leave_to_parent`."""
    global _held
    from multiprocessing import resource_tracker

    _held += 1
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    resource_tracker.ensure_running()  # a process too, which must outlive a closing terminal
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # Python 3.11 has just forgotten what was blocked
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _held -= 1
    check()


def leave_to_parent() -> None:
    """In a worker process: Ctrl-C is its parent's business; the other signals end it as they end any process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stop_listening() -> None:
    """The work is done: what comes now must not disturb the clean-up of libraries."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def leave(number: int) -> NoReturn:
    """Say so and exit with the code that a shell gives to a process that the signal ended."""
    stop_listening()
    _say()
    sys.exit(128 + number)


def _say() -> None:
    global _said
    if not _said:
        _said = True
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, f"{WORDS}\n".encode())


def _end_soon(number: int) -> None:
    time.sleep(PATIENCE)
    _say()
    os._exit(128 + number)  # artifacts are whole or not there, and workers end with their parent


def _unraisable(swallowed: sys.UnraisableHookArgs) -> None:
    """Python prints what is raised in a destructor, and goes on; an interrupt is raised again elsewhere."""
    if not issubclass(swallowed.exc_type, Interrupted):
        sys.__unraisablehook__(swallowed)


def _receive(number: int, frame: object) -> None:
    global _received, _since
    if _received is None:
        _received, _since = number, time.monotonic()
        # Not by `threading`, whose locks the interrupted code may hold.
        _thread.start_new_thread(_end_soon, (number,))
        check()
    elif time.monotonic() - _since > IMPATIENT:
        os._exit(128 + number)
