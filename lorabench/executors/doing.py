"""What all executors that work in other processes share: how a task is done there, and one that kills."""

from __future__ import annotations

from lorabench.components import Tell, Work
from lorabench.errors import DamagedArtifact, UserError
from lorabench.records import Task

DEATHS = 2  # of processes that did a task: then it is given up


def do(work: Work, task: Task, tell: Tell) -> None:
    """Do a task; what it raises survives the way to another process."""
    try:
        work(task, tell)
    except (UserError, DamagedArtifact, OSError):
        raise  # the pipeline tells these apart
    except Exception as error:
        # Some libraries' exceptions do not survive the way between processes, and would take the process with them.
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def died_twice() -> RuntimeError:
    """The error of a task at which a process died, and at the second attempt another."""
    return RuntimeError("the process doing it died twice; out of memory is the usual reason")
