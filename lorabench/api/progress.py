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
_UNITS = {
    "train": "steps",
    "merge": "merges",
    "validate": "draws",
    "generate": "images",
    "encode": "image sets",
    "score": "checkpoints",
}
_UNITS |= {"verify": "MiB", "copy": "MiB", "read": "artifacts"}


class WholeRun:
    """How far a run is, by the effort of its stages, and how long it still takes at the speed that it had so far."""

    def __init__(self, efforts: Mapping[str, float], units: Mapping[str, int]) -> None:
        self.since = time.monotonic()
        self.units = units
        self.done = dict.fromkeys(units, 0)
        self._each = {stage: efforts[stage] / max(1, units[stage]) for stage in units}
        self._total = sum(efforts.values())
        self._first: tuple[float, float] | None = None  # when work began to show, and what was done then

    def advance(self, stage: str, units: int) -> None:
        self.done[stage] += units
        if self._first is None:
            self._first = time.monotonic(), self._passes

    @property
    def _passes(self) -> float:
        return min(self._total, sum(self.done[stage] * each for stage, each in self._each.items()))

    @property
    def share(self) -> float:
        """Of the whole, in [0, 1]."""
        return self._passes / self._total if self._total else 1.0

    def left(self) -> float | None:
        """Seconds; None as long as nothing can be said."""
        since, before = self._first or (0.0, 0.0)
        passed, done = time.monotonic() - since, self._passes
        if self._first is None or done <= before or passed < LOG_INTERVAL / 4:
            return None
        return passed * (self._total - done) / (done - before)

    def words(self, stage: str) -> str:
        return f"{self.done[stage]}/{self.units[stage]} {_UNITS.get(stage, '')}".rstrip()


class _OneStage:
    """A stage by itself is work that has no other."""

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        with self.work({name: items}, {name: units}, {name: 1.0}) as advance:
            yield lambda done: advance((name, done))


class BarProgress(_OneStage):
    """A bar a stage and one for the whole run, each with the time that is left; closing lines scroll above."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def work(
        self, items: Mapping[str, int], units: Mapping[str, int], efforts: Mapping[str, float]
    ) -> Iterator[Callable[[tuple[str, int]], None]]:
        whole = WholeRun(efforts, units)
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self._console) as bar:
            bars = {name: bar.add_task(name, total=units[name], count=whole.words(name), left="") for name in units}
            last = bar.add_task("whole run", total=1.0, count="", left="left -:--", visible=len(bars) > 1)
            bar.tasks[-1].start_time = whole.since

            def advance(step: tuple[str, int]) -> None:
                stage, done = step
                whole.advance(stage, done)
                bar.update(bars[stage], advance=done, count=whole.words(stage))
                rest = whole.left()
                words = "left -:--" if rest is None else f"left about {_clock(rest)}"
                bar.update(last, completed=whole.share, count=f"{whole.share:.0%}", left=words)
                if len(bars) == 1:
                    bar.update(bars[stage], left=words)

            yield advance

    def line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, style="dim")


class LogProgress(_OneStage):
    """Plain lines, at most one in 20 seconds, for logs and pipes."""

    @contextmanager
    def work(
        self, items: Mapping[str, int], units: Mapping[str, int], efforts: Mapping[str, float]
    ) -> Iterator[Callable[[tuple[str, int]], None]]:
        whole, last = WholeRun(efforts, units), time.monotonic()

        def advance(step: tuple[str, int]) -> None:
            nonlocal last
            whole.advance(*step)
            now = time.monotonic()
            if now - last >= LOG_INTERVAL:
                last = now
                under_way = [
                    f"{stage}: {whole.words(stage)}" for stage in units if 0 < whole.done[stage] < units[stage]
                ]
                rest = whole.left()
                left = "" if rest is None else f", about {_clock(rest)} left"
                self.line(f"{'; '.join(under_way)}; {whole.share:.0%} after {_clock(now - whole.since)}{left}")

        self.line(f"to do: {', '.join(f'{name} {number}' for name, number in items.items())}")
        yield advance
        self.line(f"{', '.join(units)}: finished in {_clock(time.monotonic() - whole.since)}")

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class NoProgress:
    """Silence, for `--quiet` and for use as a library."""

    @contextmanager
    def stage(self, name: str, items: int, units: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: None

    @contextmanager
    def work(
        self, items: Mapping[str, int], units: Mapping[str, int], efforts: Mapping[str, float]
    ) -> Iterator[Callable[[tuple[str, int]], None]]:
        yield lambda step: None

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
