"""How a run shows itself: a bar with an ETA on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_INTERVAL = 20.0  # seconds between two lines of a log

_UNITS = {"train": "steps", "generate": "images", "encode": "image sets", "score": "checkpoints"}
_UNITS |= {"verify": "MiB", "read": "artifacts"}


class TerminalProgress:
    """One bar a stage, with the time that is left; closing lines scroll above it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn(_UNITS.get(name, "")),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task(name, total=units)
            yield lambda done: bar.update(task, advance=done)

    def line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, style="dim")


class LogProgress:
    """Plain lines, at most one in 20 seconds, for logs and pipes."""

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        started = last = time.monotonic()
        done = 0
        first: tuple[float, int] | None = None  # when work began to show; before that, processes load their models

        def advance(amount: int) -> None:
            nonlocal done, last, first
            done += amount
            now = time.monotonic()
            if first is None:
                first = now, done
            if now - last >= LOG_INTERVAL:
                last = now
                text = f"{name}: {done}/{units} {_UNITS.get(name, '')}, {_clock(now - started)} so far"
                if now - first[0] >= LOG_INTERVAL / 4 and done > first[1]:
                    left = (now - first[0]) * max(0, units - done) / (done - first[1])
                    text += f", about {_clock(left)} left"
                self.line(text)

        self.line(f"{name}: {items} to do")
        yield advance
        self.line(f"{name}: finished in {_clock(time.monotonic() - started)}")

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class NoProgress:
    """Silence, for `--quiet` and for use as a library."""

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: None

    def line(self, text: str) -> None:
        pass


def open_progress(quiet: bool) -> TerminalProgress | LogProgress | NoProgress:
    """What fits where stderr goes to."""
    if quiet:
        return NoProgress()
    console = Console(stderr=True)
    return TerminalProgress(console) if console.is_terminal else LogProgress()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
