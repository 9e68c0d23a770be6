"""Two machines of a Ray cluster on this one, as `ray start` makes them, and their deaths."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from command_line import OFFLINE, environment

RAY = Path(sys.executable).with_name("ray")
USUAL = ("--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", "100000000", "--disable-usage-stats")
# Without network, and with the modules of tests.
ENVIRONMENT = environment() | {"PYTHONPATH": f"{OFFLINE}{os.pathsep}{OFFLINE.parent}"}
STARTED = "Ray runtime started"


class Node:
    """`ray start --block`, and all processes that come of it. Returns at once; see `wait`."""

    def __init__(self, *words: str) -> None:
        command = [str(RAY), "start", "--block", "--node-ip-address", "127.0.0.1", *USUAL, *words]
        self._said = tempfile.NamedTemporaryFile("r")
        with open(self._said.name, "w") as out:
            self._process = subprocess.Popen(command, env=ENVIRONMENT, stdout=out, stderr=subprocess.STDOUT)

    def wait(self) -> Node:
        """Until it is part of its cluster."""
        end = time.monotonic() + 180
        while STARTED not in (said := Path(self._said.name).read_text()):
            assert self._process.poll() is None and time.monotonic() < end, said
            time.sleep(0.1)
        return self

    def busy(self) -> list[psutil.Process]:
        """The processes that do a task now."""
        return [each for each in self._family() if _title(each).startswith("ray::_Doer.do")]

    def kill(self) -> None:
        """Every process of it, as a power cut does it."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Cluster:
    """A head and further nodes."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        head = ("--head", "--include-dashboard=false", "--include-log-monitor=false", "--temp-dir", str(folder))
        self.nodes = [Node(*head, "--port", self.address.rpartition(":")[2]).wait()]

    def grow(self) -> Node:
        """Another node."""
        self.nodes.append(Node("--address", self.address, "--include-log-monitor=false").wait())
        return self.nodes[-1]

    def end(self) -> None:
        for node in reversed(self.nodes):
            node.kill()


@contextlib.contextmanager
def cluster(nodes: int = 2) -> Iterator[Cluster]:
    """A cluster of that many nodes with a core each, which is gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the paths of sockets have to be short
    made = Cluster(folder)
    try:
        for _ in range(nodes - 1):
            made.grow()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
