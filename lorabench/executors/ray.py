"""Tasks on the machines of a Ray cluster: one process a GPU, each of which keeps its models loaded."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from lorabench import interrupts
from lorabench.components import Tell, Work
from lorabench.errors import UserError
from lorabench.executors import doing
from lorabench.executors.nodes import Home, Needs, Room
from lorabench.executors.ray_cluster import Cluster, Node, Place, last_line
from lorabench.records import Outcome, Task

LOOK = 2.0  # seconds between two looks at which machines there are
LISTEN = 0.5  # and between two questions to a worker how far it is
LONG = 60.0  # seconds after which it is said that something does not happen
STARTS = 3  # of a worker on a machine that fail one after the other: then it is left out


@ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={"progress": 1})
class _Doer:
    """A process on some machine that does tasks, one after the other."""

    def __init__(self, work: bytes, home: Home, threads: int, has_gpu: bool) -> None:
        home.enter()
        if not has_gpu:  # whatever the machine has: all processes draw alike
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        import torch

        if has_gpu and not torch.cuda.is_available():
            raise UserError("Ray offers a GPU there, and PyTorch sees none")
        self._set_threads = lambda: torch.set_num_threads(threads)
        self._work = pickle.loads(work).at(0)
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def do(self, task: Task) -> tuple[Exception | None, list[Any]]:
        """How it went, and what was said of it and not heard yet."""
        self._set_threads()  # of the thread that calls
        error = None
        try:
            doing.do(self._work, task, self._said.put)
        except Exception as failure:
            failure.add_note(traceback.format_exc())
            error = failure
        return error, self.heard()

    @ray.method(concurrency_group="progress")
    def heard(self) -> list[Any]:
        """What has been said since the last call."""
        said = []
        with contextlib.suppress(queue.Empty):
            while True:
                said.append(self._said.get_nowait())
        return said


@dataclass
class _Worker:
    """A doer as the driver knows it."""

    place: Place
    doer: Any
    awaited: ray.ObjectRef[Any]  # its start, then its task
    since: float = field(default_factory=time.monotonic)
    has_started: bool = False
    task: Task | None = None
    progress: ray.ObjectRef[list[Any]] | None = None

    @property
    def is_free(self) -> bool:
        return self.has_started and self.task is None

    def take(self, task: Task) -> None:
        self.task, self.awaited = task, self.doer.do.remote(task)

    def listen(self, tell: Tell) -> None:
        """Ask how far it is, or pass on what it has answered."""
        if self.progress is None:
            self.progress = self.doer.heard.remote()
        elif ray.wait([self.progress], timeout=0)[0]:
            self.hear(tell)

    def hear(self, tell: Tell) -> None:
        """Pass on the answer, if it was asked."""
        asked, self.progress = self.progress, None
        if asked is not None:
            with contextlib.suppress(RayError):  # that it died is said by its task
                for said in ray.get(asked):
                    tell(said)


class RayExecutor:
    """A worker for each place of a cluster, as it is from moment to moment.

    A worker's death loses its task, which is done again, on another machine if one is free. The second death at the
    same task ends it, a machine's death counted too: a task that fills its memory takes a machine along, then the next.
    """

    def __init__(self, work: Work, needs: Needs, room: Room, address: str, say: Callable[[str], None]) -> None:
        self._work, self._needs, self._room, self._address, self._say = work, needs, room, address, say
        self._cluster: Cluster | None = None
        self._workers: list[_Worker] = []
        self._deaths: Counter[Task] = Counter()
        self._died_on: dict[Task, Node] = {}
        self._failed_starts: Counter[Node] = Counter()
        self._looked = self._listened = 0.0
        self._idle_since: float | None = None

    def start(self) -> None:
        """Connect, and let every machine say whether it can do the work. UserError."""
        if self._cluster is None:
            self._cluster = Cluster(self._needs, self._room, self._address, self._say)
            self._sent = ray.put(pickle.dumps(self._work))
            self._looked = 0.0

    def run(self, next_task: Callable[[], Task | None], tell: Tell) -> Iterator[Outcome]:
        """Do tasks as they come; yields the outcome of each as it ends."""
        self.start()
        waiting: deque[Task] = deque()
        while True:
            busy = sum(worker.task is not None for worker in self._workers)
            while len(waiting) + busy < max(1, len(self._workers)) and (task := next_task()) is not None:
                waiting.append(task)
            if not waiting and not busy:
                break
            with interrupts.held():  # an exception of ours inside a call of Ray's would be an error of Ray's
                self._hire()
                self._hand_out(waiting)
                outcomes = self._ended(waiting, tell)
            yield from outcomes

    def close(self) -> None:
        """Stop at once: processes are ended where they are, which no artifact minds."""
        if self._cluster is not None:
            for worker in self._workers:
                self._cluster.end(worker.doer)
            self._cluster.leave()
            self._cluster = None
        self._workers = []

    def _hire(self) -> None:
        """A worker for every place that has none. UserError where no machine is left that could have one."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        taken = {(worker.place.node.id, worker.place.slot) for worker in self._workers}
        for place in self._cluster.places():
            has_room = not self._room.most or len(self._workers) < self._room.most
            if has_room and (place.node.id, place.slot) not in taken:
                told = self._sent, self._cluster.home, place.threads, place.has_gpu
                doer = _Doer.options(**place.options).remote(*told)
                self._workers.append(_Worker(place, doer, doer.heard.remote()))
        self._say_what_does_not_happen(now)
        if not self._workers and (reasons := self._cluster.refusals):
            raise UserError(f"No machine of the cluster can do the work: {' '.join(reasons)}")

    def _say_what_does_not_happen(self, now: float) -> None:
        for worker in self._workers:
            if not worker.has_started and now - worker.since > LONG:
                worker.since = float("inf")
                what = "GPU" if worker.place.has_gpu else "CPU"
                self._say(
                    f"No worker has started on {worker.place.node.name} for a minute: it is slow, or other work holds "
                    f"its {what}. Still waiting."
                )
        if self._workers:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > LONG:
            self._idle_since = float("inf")
            self._say("No machine of the cluster can work now. Waiting for one: `ray start --address=...`.")

    def _hand_out(self, waiting: deque[Task]) -> None:
        free = [worker for worker in self._workers if worker.is_free]
        while waiting and free:
            task = waiting.popleft()
            elsewhere = (worker for worker in free if worker.place.node != self._died_on.get(task))
            worker = next(elsewhere, free[0])
            free.remove(worker)
            worker.take(task)

    def _ended(self, waiting: deque[Task], tell: Tell) -> list[Outcome]:
        """The outcomes there are after a moment's waiting; lost tasks go back to `waiting`."""
        awaited = {worker.awaited: worker for worker in self._workers if not worker.is_free}
        if awaited:
            done, _ = ray.wait(list(awaited), num_returns=1, timeout=0.2)
        else:
            time.sleep(0.2)
            done = []
        if time.monotonic() - self._listened > LISTEN:
            self._listened = time.monotonic()
            for worker in self._workers:
                if worker.task is not None:
                    worker.listen(tell)
        outcomes = (self._outcome(awaited[each], waiting, tell) for each in done)
        return [outcome for outcome in outcomes if outcome is not None]

    def _outcome(self, worker: _Worker, waiting: deque[Task], tell: Tell) -> Outcome | None:
        """What came of a worker's task; None where it has only started, or died and is to be done again."""
        try:
            answer = ray.get(worker.awaited)
        except RayError as death:
            return self._lost(worker, death, waiting)
        if not worker.has_started:
            worker.has_started = True
            self._failed_starts[worker.place.node] = 0
            return None
        task, worker.task = worker.task, None
        worker.hear(tell)
        error, said = answer
        for each in said:
            tell(each)
        return Outcome(task, error)

    def _lost(self, worker: _Worker, death: RayError, waiting: deque[Task]) -> Outcome | None:
        node, task = worker.place.node, worker.task
        # With those beside it that are idle: if the machine is gone, so are they, and no task should find that out.
        gone = [each for each in self._workers if each is worker or (each.is_free and each.place.node == node)]
        for each in gone:
            self._workers.remove(each)
            self._cluster.end(each.doer)
        self._looked = 0.0  # their places are free
        if task is None:
            self._failed_starts[node] += 1
            if self._failed_starts[node] == STARTS:
                self._cluster.refuse(node, f"cannot start a worker: {last_line(death)}")
            return None
        self._deaths[task] += 1
        if self._deaths[task] == doing.DEATHS:
            return Outcome(task, doing.died_twice())
        self._died_on[task] = node
        self._say(f"{task.stage} {task.item}: its worker on {node.name} died; it is done again.")
        waiting.appendleft(task)
        return None
