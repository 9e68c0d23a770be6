"""Who is at work in a folder: a file that its holder renews, so that it also holds between machines that share a disk.

A holder that died is known at once on its own machine, by process and start time, and elsewhere by its silence. The
library measures that with the waiting machine's own clock, so clocks that differ end no lease.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from lorabench.errors import LeaseLost

LIFE = 60.0  # seconds without a sign of life, after which others may take over
HEARTBEAT = 2.0  # seconds between two signs of life
SLACK = 5.0  # seconds that a taking over may take


class Lease:
    """A lease that is held until the end of its block."""

    def __init__(self, lock: SoftFileLease) -> None:
        self._lock = lock

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self._lock.release()

    def check(self) -> None:
        """LeaseLost where another process may have taken over, because this one was still for too long."""
        if self._lock.compromise is not None:
            raise LeaseLost(
                f"This run gave no sign of life for a minute (it was suspended, or the disk of {self._lock.lock_file} "
                "did not answer), and another may be at work there now. It ends here; what was finished is kept: run "
                "the same command again to go on."
            )


def taken(file: Path, say: Callable[[str], None], in_use: Callable[[str], Exception]) -> Lease:
    """The lease that `file` is, against all processes of all machines that share its disk.

    Where somebody holds it, wait for a sign of life: with one, raise `in_use(who it is)`; without, take over. `say`
    gets a sentence where that takes a while. OSError.
    """
    lock = _lease(file)
    for wait in _looks(file, lock, say):
        try:
            lock.acquire(timeout=0)
            break
        except (Timeout, LeaseSettingsMismatch):
            if wait is None:
                raise in_use(holder(lock)) from None
            time.sleep(wait)
    return Lease(lock)


def waited_for(file: Path) -> Lease:
    """The lease that `file` is, when whoever holds it has let it go, or died. OSError."""
    lock = _lease(file)
    lock.acquire(timeout=-1, poll_interval=0.1)
    return Lease(lock)


def free(file: Path) -> Lease | None:
    """The lease that `file` is, if nobody holds it now. OSError."""
    lock = _lease(file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, LeaseSettingsMismatch):
        return None
    return Lease(lock)


def holder(lock: SoftFileLease) -> str:
    """Who holds it, as a person can find them."""
    owner = lock.owner
    if owner is None:
        return f"nobody knows who; remove {lock.lock_file} if none is"
    return f"process {owner.pid} on {owner.hostname.partition('?')[0]}"


def _lease(file: Path) -> SoftFileLease:
    return SoftFileLease(file, lease_duration=LIFE, heartbeat_interval=HEARTBEAT, thread_local=False)


def _looks(file: Path, lock: SoftFileLease, say: Callable[[str], None]) -> Iterator[float | None]:
    """Seconds to wait after each look at a lease that is held; None after the last one."""
    begun, first = time.monotonic(), _sign_of_life(file)
    said = False
    yield 0.1
    while time.monotonic() - begun < LIFE + SLACK:
        if _sign_of_life(file) != first:
            break
        if not said and time.monotonic() - begun > 2 * HEARTBEAT:
            said = True
            until = datetime.now().astimezone() + timedelta(seconds=LIFE - 2 * HEARTBEAT)
            say(
                f"{file.parent} is held by {holder(lock)}, of which nothing is heard. If that stays so until "
                f"{until:%H:%M:%S}, this run takes over."
            )
        yield 0.2
    yield None


def _sign_of_life(file: Path) -> tuple[int, int] | None:
    """When it was renewed last; asked of the open file, since network file systems answer for names from memory."""
    try:
        with file.open("rb") as opened:
            state = os.fstat(opened.fileno())
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns
