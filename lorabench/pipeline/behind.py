"""Work that goes on behind what is done next: files are written while the next pictures are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Behind:
    """Pieces of work in a thread, one after another, at most `limit` of them behind.

    An error of a piece is raised by the next call, or at the end. Leaving waits for what has been begun, so that what
    is finished is kept also where the work before it is interrupted.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._thread = ThreadPoolExecutor(1)
        self._pieces: deque[Future[None]] = deque()

    def __enter__(self) -> Behind:
        return self

    def do(self, piece: Callable[[], None]) -> None:
        while len(self._pieces) >= self._limit:
            self._pieces.popleft().result()
        self._pieces.append(self._thread.submit(piece))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            for piece in self._pieces:
                piece.result()
