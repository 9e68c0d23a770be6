"""What a machine of a cluster has to see before it works, and how many processes it has room for."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lorabench.errors import UserError

LATE = 10.0  # seconds that a shared folder may take to show a file to other machines
ENVIRONMENT = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME")  # where weights and pictures are sought


@dataclass(frozen=True)
class Room:
    """How much of a machine a process takes: a GPU, or without any a core for small models and else all cores."""

    device: str  # auto: GPUs if there are any; cpu; cuda
    most: int  # processes; 0 = as many as there is room for
    is_small: bool

    def uses_gpus(self, there_are_some: bool) -> bool:
        return self.device == "cuda" or (self.device == "auto" and there_are_some)

    def processes(self, cores: int, gpus: int, with_gpus: bool) -> int:
        """How many a machine has room for."""
        return gpus if with_gpus else cores if self.is_small else min(cores, 1)


@dataclass(frozen=True)
class Needs:
    """What work needs to see where it is done."""

    folder: Path  # of the results, shared by all
    inputs: tuple[Path, ...]
    prepare: Callable[[], object] | None = None  # makes on each machine what is not shared


@dataclass(frozen=True)
class Home:
    """The process that hands out the work, as others find their way back to it."""

    token: Path  # a file in the folder of the results that says `text`
    text: str
    folder: Path  # in which it runs: paths may begin there
    version: str
    environment: dict[str, str]

    @classmethod
    def here(cls, results: Path) -> Home:
        """Writes the token. OSError."""
        text = uuid.uuid4().hex
        token = results / ".tmp" / f"seen-by-all-{text}"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text(text)
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        return cls(token, text, Path.cwd(), _version(), environment)

    def enter(self) -> None:
        """In another process: be where it is. What the machine says of itself goes first."""
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)

    def leave(self) -> None:
        self.token.unlink(missing_ok=True)


def lacks(needs: Needs, home: Home) -> str:
    """What is wrong with the machine on which this is called, as the end of a sentence about it; "" = nothing."""
    home.enter()
    if _version() != home.version:
        return f"has lorabench {_version()}, not {home.version}: install the same version everywhere"
    if not _seen(home):
        return f"does not see {needs.folder}: put the results on a folder that all machines share, with --out"
    try:
        (own := home.token.with_name(f"{home.token.name}-{uuid.uuid4().hex}")).touch()
        own.unlink()
    except OSError as error:
        return f"cannot write to {needs.folder}: {error.strerror}"
    try:
        if needs.prepare is not None:
            needs.prepare()
    except UserError as error:
        return f"says: {error}"
    missing = [path for path in needs.inputs if not path.exists()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return f"does not see {missing[0].absolute()}{more}: it has to lie there on every machine"
    return ""


def require_ray() -> None:
    """UserError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError('Many machines need Ray, which is not installed: pip install "lorabench[ray]", on all of them.')


def _seen(home: Home) -> bool:
    end = time.monotonic() + LATE
    while True:
        with contextlib.suppress(OSError):
            if home.token.read_text() == home.text:
                return True
        if time.monotonic() > end:
            return False
        time.sleep(0.2)


def _version() -> str:
    return importlib.metadata.version("lorabench")
