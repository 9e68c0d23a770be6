"""How a run shows itself: a bar with an ETA on a terminal and in a notebook, a line now and then in a log."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

LOG_INTERVAL = 20.0  # seconds between two lines of a log
_UNKNOWN = "-:--"

_UNITS = {"train": "steps", "generate": "images", "encode": "image sets", "score": "checkpoints"}
_UNITS |= {"verify": "MiB", "copy": "MiB", "read": "artifacts"}


class WholeRun:
    """How far a run is, by the effort of its stages, and how long it still takes at the speed that it had so far."""

    def __init__(self, efforts: Mapping[str, float]) -> None:
        self.since = time.monotonic()
        self._efforts = {stage: effort for stage, effort in efforts.items() if effort > 0}
        self.is_more_than_a_stage = len(self._efforts) > 1
        self._total = sum(self._efforts.values())
        self._done = self._each = 0.0
        self._first: tuple[float, float] | None = None  # when work began to show, and what was done then

    def enter(self, stage: str, units: int) -> None:
        """Begin a stage of so many units; of one that has to be begun again the effort is counted once."""
        self._each = self._efforts.pop(stage, 0.0) / max(1, units)

    def advance(self, units: int) -> None:
        self._done = min(self._total, self._done + units * self._each)
        if self._first is None:
            self._first = time.monotonic(), self._done

    @property
    def share(self) -> float:
        """Of the whole, in [0, 1]."""
        return self._done / self._total if self._total else 1.0

    def left(self) -> float | None:
        """Seconds; None as long as nothing can be said."""
        since, before = self._first or (0.0, 0.0)
        passed = time.monotonic() - since
        if self._first is None or self._done <= before or passed < LOG_INTERVAL / 4:
            return None
        return passed * (self._total - self._done) / (self._done - before)


class BarProgress:
    """A bar for the stage and one for the whole run, each with the time that is left; closing lines scroll above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._whole = WholeRun({})

    def begin(self, efforts: Mapping[str, float]) -> None:
        self._whole = WholeRun(efforts)

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        whole = self._whole
        whole.enter(name, units)
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self._console) as bar:
            stage = bar.add_task(name, total=units, count=f"0/{units} {_UNITS.get(name, '')}", left=_UNKNOWN)
            run = bar.add_task("whole run", total=1.0, count="", left=_UNKNOWN, visible=whole.is_more_than_a_stage)

            bar.tasks[1].start_time = whole.since

            def advance(done: int) -> None:
                whole.advance(done)
                bar.update(stage, advance=done)
                task = bar.tasks[0]
                bar.update(stage, count=f"{task.completed:.0f}/{units} {_UNITS.get(name, '')}")
                bar.update(stage, left=_UNKNOWN if task.time_remaining is None else _clock(task.time_remaining))
                rest = whole.left()
                bar.update(run, completed=whole.share, count=f"{whole.share:.0%}")
                bar.update(run, left=_UNKNOWN if rest is None else f"about {_clock(rest)}")

            yield advance

    def line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, style="dim")


class LogProgress:
    """Plain lines, at most one in 20 seconds, for logs and pipes."""

    def __init__(self) -> None:
        self._whole = WholeRun({})

    def begin(self, efforts: Mapping[str, float]) -> None:
        self._whole = WholeRun(efforts)

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        started = last = time.monotonic()
        done = 0
        first: tuple[float, int] | None = None  # when work began to show; before that, processes load their models
        self._whole.enter(name, units)

        def advance(amount: int) -> None:
            nonlocal done, last, first
            done += amount
            self._whole.advance(amount)
            now = time.monotonic()
            if first is None:
                first = now, done
            if now - last >= LOG_INTERVAL:
                last = now
                text = f"{name}: {done}/{units} {_UNITS.get(name, '')}, {_clock(now - started)} so far"
                if now - first[0] >= LOG_INTERVAL / 4 and done > first[1]:
                    left = (now - first[0]) * max(0, units - done) / (done - first[1])
                    text += f", about {_clock(left)} left{self._of_the_whole()}"
                self.line(text)

        self.line(f"{name}: {items} to do")
        yield advance
        self.line(f"{name}: finished in {_clock(time.monotonic() - started)}")

    def _of_the_whole(self) -> str:
        left = self._whole.left() if self._whole.is_more_than_a_stage else None
        return "" if left is None else f"; the whole run: {self._whole.share:.0%}, about {_clock(left)} left"

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class NoProgress:
    """Silence, for `--quiet` and for use as a library."""

    def begin(self, efforts: Mapping[str, float]) -> None:
        pass

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: None

    def line(self, text: str) -> None:
        pass


def open_progress(quiet: bool) -> BarProgress | LogProgress | NoProgress:
    """What fits where stderr goes to."""
    if quiet:
        return NoProgress()
    console = Console(stderr=True)
    is_notebook = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    return BarProgress(console) if console.is_terminal or is_notebook else LogProgress()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
