"""Processes give answers in order and are gone when the call is, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lorabench.errors import UserError
from lorabench.executors.local import LocalExecutor
from lorabench.processes import map_in_processes
from lorabench.records import Task

# No guard of the main module: a user's script has none either.
SCRIPT = """
import os, sys, time
from pathlib import Path
from lorabench.processes import map_in_processes

def note_and_sleep(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

print("begin", flush=True)
map_in_processes(lambda number, work=note_and_sleep: work(number), range(4), 2)
"""


def _squared(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 3))
    return number**2, os.getpid()


def _dies(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _listen() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests in the background are told to ignore it


def _is_alive(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def _gone_within(seconds: float, processes: list[int]) -> bool:
    end = time.monotonic() + seconds
    while any(map(_is_alive, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _started(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A script that works in two processes, and these."""
    (folder / "pids").mkdir()
    command = [sys.executable, "-c", SCRIPT, str(folder / "pids")]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    script = subprocess.Popen(command, start_new_session=True, preexec_fn=_listen, **streams)
    end = time.monotonic() + 60
    while len(found := [int(each.name) for each in (folder / "pids").iterdir()]) < 2:
        assert script.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    return script, found


IN_A_DESTRUCTOR = """
import os, signal, time
from lorabench import __main__, interrupts

class Rude:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

def work():
    Rude()
    time.sleep(60)

interrupts.listen()
work()
"""


def test_an_interrupt_in_a_destructor_is_no_traceback():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR], capture_output=True, text=True, preexec_fn=_listen, timeout=30
    )
    assert done.returncode == 130 and "Traceback" not in done.stderr and "Interrupted. What" in done.stderr


def test_answers_come_in_order_from_other_processes_that_are_gone_then():
    answers = map_in_processes(_squared, list(range(12)), 2)
    assert [number for number, _ in answers] == [number**2 for number in range(12)]
    processes = {process for _, process in answers}
    assert os.getpid() not in processes and _gone_within(1, list(processes))


def test_a_process_that_dies_is_a_sentence():
    with pytest.raises(UserError, match="A process that did part of the work died"):
        map_in_processes(_dies, [1, 2], 2)


def test_interrupt_ends_the_call_at_once_and_the_processes_say_nothing(tmp_path):
    script, processes = _started(tmp_path)
    begin = time.monotonic()
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does
    _, said = script.communicate(timeout=20)
    assert time.monotonic() - begin < 5 and script.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")
    assert _gone_within(1, processes)


def test_interrupt_while_processes_start_is_not_lost(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for delay in (0.0, 0.02, 0.1, 0.3):
        script = subprocess.Popen(command, start_new_session=True, preexec_fn=_listen, **streams)
        assert script.stdout is not None and script.stdout.readline() == "begin\n"
        time.sleep(delay)
        os.killpg(script.pid, signal.SIGINT)
        _, said = script.communicate(timeout=20)
        assert script.returncode == -signal.SIGINT and said.count("Traceback") == 1, (delay, said)


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    script, processes = _started(tmp_path)
    script.kill()
    script.communicate(timeout=20)
    assert _gone_within(5, processes)


@dataclass(frozen=True)
class Placed:
    """Work that says in which of the processes it is done, and that waits until all of them have some."""

    folder: Path
    place: int = -1

    def __call__(self, task: Task, tell) -> None:
        (self.folder / f"{self.place} {task.source}").touch()
        while len({file.name.split()[0] for file in self.folder.iterdir()}) < 2:
            time.sleep(0.01)
        tell(self.place)

    def at(self, place: int) -> Placed:
        return replace(self, place=place)


def test_each_process_of_the_executor_has_a_place_of_its_own(tmp_path):
    """So each of several GPUs has one."""
    tasks = iter([Task("train", str(number), 1) for number in range(4)])
    executor = LocalExecutor(Placed(tmp_path), 2)
    try:
        outcomes = list(executor.run(lambda: next(tasks, None), lambda _: None))
    finally:
        executor.close()
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert {file.name.split()[0] for file in tmp_path.iterdir()} == {"0", "1"}
