"""A Ray cluster as places to work at: its machines come and go, and only those that see what work needs count."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lorabench import interrupts
from lorabench.errors import ClusterLost, UserError
from lorabench.executors.nodes import Home, Needs, Room, lacks
from lorabench.report.words import listed

PATIENCE = 5.0  # seconds for a connection to a head
SILENCE = 20.0  # seconds without any, after which it is taken to be gone
FIRST_LOOK = 120.0  # seconds: a fresh process there loads lorabench from a disk that may be far away


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    name: str
    cores: int
    gpus: int


@dataclass(frozen=True)
class Place:
    """Room for one process."""

    node: Node
    slot: int
    threads: int
    has_gpu: bool

    @property
    def options(self) -> dict[str, Any]:
        """What Ray is told of it."""
        resources = {"num_gpus": 1, "num_cpus": 0} if self.has_gpu else {"num_cpus": self.threads}
        return {**resources, "scheduling_strategy": on(self.node)}


class _Head:
    """The process that holds a cluster together, asked by a connection: for a dead one Ray waits, and then ends this
    process without a word."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._heard = time.monotonic()
        self.is_lost = False

    def answers(self) -> bool:
        """ClusterLost after SILENCE without an answer."""
        if _reachable(self._address) is None:
            self._heard = time.monotonic()
            return True
        self.is_lost = time.monotonic() - self._heard > SILENCE
        if self.is_lost:
            raise ClusterLost(
                f"The head of the Ray cluster, {self._address}, does not answer any more. What was finished is kept; "
                "start Ray and run the same command again to go on."
            )
        return False


class Cluster:
    """A connection to a cluster. UserError where there is none, or where a machine of it cannot do the work."""

    def __init__(self, needs: Needs, room: Room, address: str, say: Callable[[str], None]) -> None:
        self._needs, self._room, self._say, self._address = needs, room, say, address
        self._is_ours = _connected(address)
        self._head = _Head(address if ":" in address else ray.get_runtime_context().gcs_address)
        self.home = Home.here(needs.folder)
        self._looks: dict[str, ray.ObjectRef[str]] = {}  # by node: what it lacks
        self._refused: dict[str, str] = {}
        try:
            nodes = self._alive()
            self._with_gpus = room.uses_gpus(any(node.gpus for node in nodes))
            self._require_room(nodes)
            self._look_around()
        except BaseException:
            self.leave()  # a connection that is left open ends this process when the cluster ends
            raise

    def places(self) -> list[Place]:
        """Room for processes now: the first of every machine, then the second of every machine, and so on.

        ClusterLost where the head has not answered for a while.
        """
        found: list[Place] = []
        for node in self._alive():
            if node.id not in self._refused and self._is_admitted(node):
                found += self._places_on(node)
        return sorted(found, key=lambda place: place.slot)

    def refuse(self, node: Node, reason: str) -> None:
        """Use a machine no more."""
        self._refused[node.id] = f"{node.name} {reason}."
        self._say(f"Machine {node.name} is left out: it {reason}.")

    @property
    def refusals(self) -> list[str]:
        """Of the machines that are there, why each is left out; [] while one of them may work."""
        said = [self._refused.get(node.id) for node in self._alive() if self._processes(node)]
        return [] if None in said else [each for each in said if each]

    def end(self, actor: Any) -> None:
        """End a process at once, if the head is there to do it."""
        if not self._head.is_lost:
            with contextlib.suppress(RayError, ValueError):
                ray.kill(actor, no_restart=True)

    def leave(self) -> None:
        self.home.leave()
        if self._is_ours and not self._head.is_lost:
            ray.shutdown()

    def _processes(self, node: Node) -> int:
        return self._room.processes(node.cores, node.gpus, self._with_gpus)

    def _alive(self) -> list[Node]:
        if not self._head.answers():  # Ray would wait for it
            return []
        return [
            Node(each["NodeID"], _name(each), int(has.get("CPU", 0)), int(has.get("GPU", 0)))
            for each in sorted(ray.nodes(), key=lambda each: each["NodeID"])
            if each["Alive"] and (has := each["Resources"])
        ]

    def _places_on(self, node: Node) -> list[Place]:
        count = self._processes(node)
        threads = max(1, node.cores // count) if count else 1
        return [Place(node, slot, threads, self._with_gpus) for slot in range(count)]

    def _require_room(self, nodes: list[Node]) -> None:
        if not any(map(self._processes, nodes)):
            what = "GPU" if self._with_gpus else "CPU"
            raise UserError(
                f"No machine of the Ray cluster '{self._address}' offers a {what} ({len(nodes)} there): start one with "
                "`ray start --address=...`" + (", or use --device cpu." if self._with_gpus else ".")
            )

    def _look_around(self) -> None:
        """Let every machine say whether it can work. UserError with a sentence for each that cannot."""
        able = [node for node in self._alive() if self._processes(node)]
        for node in able:
            self._ask(node)
        pending = [self._looks[node.id] for node in able]
        end = time.monotonic() + FIRST_LOOK
        while pending and time.monotonic() < end:
            with interrupts.held():
                pending = ray.wait(pending, num_returns=len(pending), timeout=0.5)[1]
        answers = {node.name: self._answer(node) for node in able}
        faults = [f"{name} {fault}" for name, fault in answers.items() if fault]
        if faults:
            raise UserError(f"Not every machine can do the work: {listed(faults)}.")

    def _ask(self, node: Node) -> None:
        look = ray.remote(lacks).options(num_cpus=0, max_retries=0, scheduling_strategy=on(node))
        self._looks[node.id] = look.remote(self._needs, self.home)

    def _answer(self, node: Node) -> str | None:
        """What a machine lacks, "" = nothing; None as long as it does not say."""
        look = self._looks[node.id]
        if not ray.wait([look], timeout=0)[0]:
            return None
        try:
            return ray.get(look)
        except RayTaskError as error:
            return f"cannot run lorabench: {last_line(error)}"
        except RayError:  # it died over it: it is asked again, if it comes back
            del self._looks[node.id]
            return None

    def _is_admitted(self, node: Node) -> bool:
        """Has it been looked at, and lacks nothing? One that joins while work is done is asked, and may be left out."""
        if not self._processes(node):
            return False
        if node.id not in self._looks:
            self._ask(node)
        fault = self._answer(node)
        if fault:
            self.refuse(node, fault)
        return fault == ""


def on(node: Node) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def last_line(error: BaseException) -> str:
    """What an error of Ray's comes to: it tells the whole story before."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _name(node: dict[str, Any]) -> str:
    host, address = node.get("NodeManagerHostname") or "", node["NodeManagerAddress"]
    return f"{host} ({address})" if host and host != address else address


def _connected(address: str) -> bool:
    """Connect to a cluster; False where this program is connected already. UserError."""
    if ray.is_initialized():
        return False
    if address.startswith("ray://"):
        raise UserError(
            f"'{address}' is a Ray client's address: run this on a machine of the cluster, with --address auto or "
            "HOST:PORT of its head."
        )
    _require_answer(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    _silence()
    extra = {"include_dashboard": False} if address == "local" else {}
    handlers = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    try:
        with interrupts.held():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **extra)
    except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
        ray.shutdown()
        if "ersion mismatch" in str(error):
            raise UserError(
                f"The Ray cluster '{address}' was started with another Python or Ray; all machines need the same. "
                f"{' '.join(str(error).split())}"
            ) from error
        raise _no_answer(address, _first_sentence(error)) from error
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray has its own way to end at SIGTERM
    return True


def _silence() -> None:
    """Let nobody be told that this runs, and keep what Ray says of dying machines off stdout, where results are."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    worker = sys.modules["ray._private.worker"]
    worker.print_to_stdstream = lambda *_, **__: None  # there is no public switch for it


def _require_answer(address: str) -> None:
    """Ask a HOST:PORT whether anybody is there at all: Ray itself asks for minutes. UserError."""
    error = _reachable(address)
    if error is not None:
        raise _no_answer(address, getattr(error, "strerror", None) or str(error)) from error


def _reachable(address: str) -> Exception | None:
    """Why nobody takes a connection to HOST:PORT; None where somebody does, and for other words."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
        except (OSError, OverflowError) as error:
            return error
    return None


def _no_answer(address: str, reason: str) -> UserError:
    return UserError(
        f"No Ray cluster answers at '{address}' ({reason}). Start one with `ray start --head`, or name HOST:PORT of "
        "its head with --address, on a machine that is part of it."
    )


def _first_sentence(error: BaseException) -> str:
    return " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
