"""The order of a run's tasks: each as soon as what it is made from is there.

So the first checkpoints are drawn, looked at and scored while others are trained, and no process waits for the end of
a stage.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

from lorabench.pipeline.pending import STAGES_OF_TASKS, obstacle, outstanding
from lorabench.pipeline.plan import TEXTS, Plan, TrainingRun
from lorabench.pipeline.tasks import missing_milestones
from lorabench.records import Failure, Task

_Place = tuple[int, int, int]


class Flow:
    """What stages of a plan still have to do, handed out task by task.

    A task waits for those that make its inputs; when all of them have ended, well or not, it is handed out, or is
    `blocked` because an input is not there.
    """

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[str],
        without: Collection[Task] = (),
        takes: Callable[[Task], bool] = lambda task: True,
    ) -> None:
        self._plan = plan
        every = (task for stage in stages for task in outstanding(plan, stage))
        self.tasks = [task for task in every if task not in without and takes(task)]
        self.blocked: list[Failure] = []
        self._waiting: dict[Task, set[Task]] = {}
        self._makes: dict[Task, list[Task]] = defaultdict(list)
        self._ready: list[tuple[_Place, int, Task]] = []
        self._turn = itertools.count()  # of two at one place the one that was possible first
        makers = _Makers(self.tasks)
        for task in self.tasks:
            needs = set(makers.of(plan, task))
            self._waiting[task] = needs
            for each in needs:
                self._makes[each].append(task)
        place_of = _Places(plan)
        self._order = {task: place_of(task) for task in self.tasks}
        for task in [task for task, needs in self._waiting.items() if not needs]:
            self._release(task)

    def next(self) -> Task | None:
        """The task to do now; None while all that is left waits for others, or at the end."""
        return heapq.heappop(self._ready)[-1] if self._ready else None

    def ended(self, task: Task) -> None:
        """A task has come to its end, well or not: what waited for it may be possible now."""
        for other in self._makes.pop(task, ()):
            self._waiting[other].discard(task)
            if not self._waiting[other]:
                self._release(other)

    def _release(self, task: Task) -> None:
        del self._waiting[task]
        reason = obstacle(self._plan, task)
        if reason:
            self.blocked.append(Failure(task.stage, task.item, "skipped", reason))
            self.ended(task)
        else:
            heapq.heappush(self._ready, (self._order[task], next(self._turn), task))


class _Makers:
    """Which of some tasks make the inputs of a task."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._by_stage: dict[tuple[str, str], list[Task]] = defaultdict(list)
        for task in tasks:
            self._by_stage[task.stage, task.source].append(task)

    def of(self, plan: Plan, task: Task) -> Iterator[Task]:
        checkpoint = plan.checkpoint_by_id.get(task.source)
        if task.stage == "merge":
            for run in plan.merging_by_id[task.source].runs:
                yield from self._by_stage["train", run.id]
        elif task.stage in ("validate", "generate") and checkpoint and plan.places.weights(checkpoint):
            merging = plan.merging_of(checkpoint)
            yield from self._by_stage[("merge", merging.id) if merging else ("train", plan.run_of(checkpoint).id)]
        elif task.stage == "encode" and checkpoint:
            yield from self._by_stage["generate", checkpoint.id]
        elif task.stage == "score" and checkpoint:
            compared = [each.id for each in plan.measuring.compared_with(checkpoint)]
            for source in (*compared, *plan.measuring.real, TEXTS):
                yield from self._by_stage["encode", source]
                yield from self._by_stage["generate", source]


def _turns(plan: Plan) -> dict[str, int]:
    """The order of trainings: first those that are over, then the longest of what is left, so that several processes
    end together."""
    left = {run.id: _left(plan, run) for run in plan.runs}
    order = sorted(left, key=lambda run: (left[run] > 0, -left[run]))
    return {run: turn for turn, run in enumerate(order)}


def _left(plan: Plan, run: TrainingRun) -> int:
    """Epochs, or steps, as the study counts them."""
    missing = missing_milestones(plan, run)
    saved = (milestone.number for milestone in run.config.training.milestones if missing and milestone < missing[0])
    return missing[-1].number - max(saved, default=0) if missing else 0


class _Places:
    """What is done first: what all are compared with, then training by training all that is made of it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._turns = _turns(plan)
        self._position = {id_: number for number, id_ in enumerate(plan.checkpoint_by_id)}

    def __call__(self, task: Task) -> _Place:
        plan, stage = self._plan, STAGES_OF_TASKS.index(task.stage)
        if task.stage == "train":
            return 1 + self._turns[task.source], 0, stage
        if task.stage == "merge":
            return self._after(plan.merging_by_id[task.source].runs), 0, stage
        checkpoint = plan.checkpoint_by_id.get(task.source)
        if checkpoint is None or checkpoint.is_base:
            return 0, 0, stage
        position = self._position[checkpoint.id]
        return (self._after(plan.runs_of(checkpoint)) if plan.runs else 1 + position), position, stage

    def _after(self, runs: Sequence[TrainingRun]) -> int:
        return 1 + max(self._turns[run.id] for run in runs)
