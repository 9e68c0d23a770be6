"""The work of a run: it skips what is complete, does the rest, and tells failed from skipped from interrupted."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from lorabench import store
from lorabench.components import Executor, Work
from lorabench.errors import DISK_FULL, DamagedArtifact, DiskFull, UserError
from lorabench.pipeline import integrity, replacing, shards, tables
from lorabench.pipeline.effort import effort
from lorabench.pipeline.flow import Flow
from lorabench.pipeline.models import check_inputs
from lorabench.pipeline.pending import outstanding
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.tasks import execute
from lorabench.records import Failure, Outcome, Shard, Task

Stage = Literal["train", "merge", "validate", "generate", "encode", "score", "audit", "rank", "explain", "report"]
STAGES: tuple[Stage, ...] = get_args(Stage)
TABLE_STAGES: tuple[Stage, ...] = ("rank", "explain", "report")


Step = tuple[str, int]  # units of a stage that are done


class Progress(Protocol):
    """Shows how work goes; on a terminal, in a log, or not at all."""

    def work(
        self, items: Mapping[str, int], units: Mapping[str, int], efforts: Mapping[str, float]
    ) -> AbstractContextManager[Callable[[Step], None]]:
        """Open a bar for each of some stages that go side by side; yields the function that moves them.

        Of each stage: how many tasks, how many units of progress, and what they weigh beside each other.
        """
        ...

    def stage(self, name: str, items: int, units: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open the bar of a stage of so many units; yields the function that moves it."""
        ...

    def line(self, text: str) -> None:
        """A closing line: an artifact is done, or why it is not."""
        ...


@dataclass
class Result:
    """What came of a run."""

    done: dict[str, int] = field(default_factory=dict)  # stage -> artifacts made
    failures: list[Failure] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)  # what lay in the folder and could not be used, in sentences
    report_is_stale: bool = False  # the page is there, but not of what is there now
    waits_for: tuple[int, ...] = ()  # shards that still have something to do, before there are tables

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


def run(
    plan: Plan,
    stages: Sequence[Stage],
    open_executor: Callable[[Work], Executor],
    progress: Progress,
    refused: Sequence[Failure] = (),
    verify: bool = False,
    replace: bool = False,
) -> Result:
    """Bring the results of a study up to date: artifacts in the order of their inputs, then tables and page.

    `refused` are inputs that were left out before; they are listed first. A task that fails leaves the rest running;
    what depends on it is skipped and both are listed in the result. A full disk ends the run: nothing after it could
    be kept. What is damaged counts as missing and is made again; with `verify` every file is read for it, else those
    whose size or times changed and those that are needed. An interrupt passes through after the processes are stopped.
    UserError before any work where the executor can do none, where the folder is another study's, or where finished
    checkpoints or images would be replaced, or images drawn again that were not kept, and `replace` does not say so.
    Where another run is at work there, tables and page alone are made of what it has finished; FolderInUse if anything
    else is asked for. LeaseLost where another run may have taken over the folder, because this one was suspended.
    Of a plan with a shard only that share is done, beside the others; tables and page are made by the last one to end.
    """
    working = [stage for stage in stages if stage not in TABLE_STAGES]
    replacing.require_own_folder(plan.root, [plan.study.name])
    with plan.folder.at_rest():
        if not replace:
            replacing.require_consent(plan, stages)
        has_work = any(effort(plan, outstanding(plan, stage)) for stage in working)
    if has_work:
        plan = check_inputs(plan)
    for remark in plan.remarks:
        progress.line(remark)
    with contextlib.ExitStack() as held:
        lease = None
        try:
            lease = held.enter_context(plan.folder.locked(progress.line))
        except store.FolderInUse:
            if working:
                raise
            progress.line(f"Another run is at work in {plan.root}: tables and page are made of what it has finished.")
        executor = open_executor(_Execute(plan, tuple(working)))
        held.callback(executor.close)
        if has_work:
            executor.start()
        if verify:
            _verify(plan, progress)
        going = _Run(plan, stages, executor, progress, Result(failures=list(refused)), lease)
        if plan.shard:
            going.share(working)
            return going.result
        held.enter_context(plan.folder.at_rest())
        replaced = replacing.finished(plan, stages)
        going.say_faults(STAGES)
        if replaced:
            with plan.folder.astir():
                replacing.set_aside(plan, replaced)
        while not (going.work(working) and going.update_tables()):
            going.start_again()
        # Beside a run at work every page is, a moment later.
        going.result.report_is_stale = lease is not None and tables.report_is_stale(plan)
    return going.result


def _verify(plan: Plan, progress: Progress) -> None:
    """Read every file of every artifact, so that their faults say what size and times do not show."""
    sizes = integrity.stored(plan)
    with progress.stage("verify", len(sizes), sum(sizes.values()) >> 20) as advance:
        for folder, size in sizes.items():
            plan.folder.verify(folder)
            advance(size >> 20)


class _Run:
    """A run under way. Each step says whether it found the artifacts as they were written."""

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[Stage],
        executor: Executor,
        progress: Progress,
        result: Result,
        lease: store.Lease | None = None,
    ) -> None:
        self.result = result
        self._plan, self._stages, self._executor, self._progress = plan, stages, executor, progress
        self._lease = lease  # None beside a run that is at work in the folder
        self._is_alone = lease is not None
        self._mended: set[Path] = set()  # once is the disk's fault, twice is nothing that a run can mend
        self._damaged: list[DamagedArtifact] = []
        self._failed: set[Task] = set()  # a task that failed gets no second turn
        self._blocked: list[Failure] = []

    def share(self, stages: Sequence[Stage]) -> None:
        """Do one shard's share of what stages have to do, beside others; the last to end makes what was waiting for
        several of them, and the tables."""
        plan, shares = self._plan, shards.Shares(self._plan)
        self._progress.line(f"This is shard {plan.shard} of {plan.root}.")
        shards.begin(plan)
        with plan.folder.shards_locked("common", waits=False) as is_first:
            if is_first:
                self._all_of(stages, shares.is_common)
        if not is_first:  # another shard is at it: what can do without comes first
            self._all_of(stages, shares.is_mine)
            with plan.folder.shards_locked("common"):
                self._all_of(stages, shares.is_common)
        self._all_of(stages, shares.is_mine)
        with plan.folder.shards_locked("closing"):
            shards.end(plan, shares, self.result.failures)
            others = shards.ended(plan, shares)
            failed = {(each.stage, each.item) for failures in others.values() for each in failures}
            every = [task for stage in stages for task in outstanding(plan, stage)]
            self._failed |= {task for task in every if (task.stage, task.item) in failed}
            blocked = self._all_of(stages, lambda task: shares.owner(task) in (None, *others))
            left = {shares.owner(task) for stage in stages for task in outstanding(plan, stage)} - {None, *others}
            self.result.waits_for = tuple(sorted(left))
            if left:
                words = ", ".join(str(Shard(number, plan.shard.of)) for number in self.result.waits_for)
                self._progress.line(f"Left to the other shards ({words}); the last one to end makes the tables.")
                return
            others.pop(plan.shard.number)
            elsewhere = [each for failures in others.values() for each in failures]
            # Files that were refused are said by each shard.
            self.result.failures = list(dict.fromkeys([*self.result.failures, *elsewhere, *blocked]))
            while not self.update_tables():
                self.start_again()
                self._all_of(stages, lambda task: True)

    def _all_of(self, stages: Sequence[Stage], takes: Callable[[Task], bool]) -> list[Failure]:
        """Do all tasks of some kind that can be done; answers with those that cannot, since their inputs lack."""
        with self._plan.folder.at_rest():
            while not self.work(stages, takes):
                self.start_again()
        return self._blocked

    def work(self, stages: Sequence[Stage], takes: Callable[[Task], bool] | None = None) -> bool:
        """Do what stages still have to do, or those of their tasks that it takes."""
        self.say_faults(stages)
        flow = Flow(self._plan, stages, self._failed, takes or (lambda task: True))
        self.result.done = {stage: self.result.done.get(stage, 0) for stage in stages} | self.result.done
        if flow.tasks:
            by_stage = {stage: [task for task in flow.tasks if task.stage == stage] for stage in stages}
            by_stage = {stage: tasks for stage, tasks in by_stage.items() if tasks}
            items = {stage: len(tasks) for stage, tasks in by_stage.items()}
            units = {stage: sum(task.units for task in tasks) for stage, tasks in by_stage.items()}
            efforts = {stage: effort(self._plan, tasks) for stage, tasks in by_stage.items()}
            with self._progress.work(items, units, efforts) as advance, self._plan.folder.astir():
                for outcome in self._executor.run(flow.next, lambda step: self._tell(step, advance)):
                    self._took(outcome)
                    flow.ended(outcome.task)
        self._blocked = sorted(flow.blocked, key=lambda failure: STAGES.index(failure.stage))
        self.result.failures += [] if takes else self._blocked
        return not self._damaged

    def _tell(self, step: Step, advance: Callable[[Step], None]) -> None:
        self._require_lease()
        advance(step)

    def _require_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _took(self, outcome: Outcome) -> None:
        self._require_lease()
        task, error = outcome.task, outcome.error
        if error is None:
            self.result.done[task.stage] += 1
            self._progress.line(f"{task.stage} {task.item}: done")
        elif isinstance(error, DamagedArtifact) and error.folder not in self._mended:
            self._damaged.append(error)
        else:
            self._fail(task, error)

    def update_tables(self) -> bool:
        """Bring tables and report up to date, without worker processes beside them."""
        self._executor.close()
        try:
            tell = self._progress.line, self._say_damage
            with self._plan.folder.tables_locked():
                written = tables.update(self._plan, self._stages, self.result.failures, *tell, self._is_alone)
            self.result.done |= {stage: self.result.done.get(stage, 0) + n for stage, n in written.items()}
        except DamagedArtifact as error:
            if not self._is_alone:  # the run at work there names it and makes it again
                raise UserError(
                    f"{error.folder} cannot be read: {error.reason}. Try again when the run is over."
                ) from error
            if error.folder in self._mended:
                raise UserError(_message(error)) from error
            self._damaged.append(error)
            return False
        except OSError as error:
            stop_if_disk_is_full(error, self._plan)
            raise
        return True

    def start_again(self) -> None:
        """Remove what was found damaged; what could not be done without it gets another turn, what failed does not."""
        for error in self._damaged:
            if error.folder not in self._mended:
                self._mended.add(error.folder)
                stage = integrity.maker_of(self._plan, error.folder)
                self._say(integrity.Fault(stage, self._plan.folder.name(error.folder), error.reason))
                self._plan.folder.discard(error.folder)
        self._damaged = []
        self.result.failures = [failure for failure in self.result.failures if failure.status == "failed"]

    def say_faults(self, stages: Sequence[Stage]) -> None:
        """A line for what lies in the folder and counts as missing, once each."""
        for fault in integrity.faults(self._plan, stages):
            self._say(fault)

    def _say(self, fault: integrity.Fault) -> None:
        command = "train" if fault.stage == "merge" else fault.stage  # `lorabench merge` is of files
        mended = "It is made again." if fault.stage in self._stages else f"`lorabench {command}` makes it again."
        self._say_damage(f"{fault.name} counts as missing: {fault.reason}. {mended}")

    def _say_damage(self, text: str) -> None:
        if text not in self.result.damage:
            self.result.damage.append(text)
            self._progress.line(text)

    def _fail(self, task: Task, error: BaseException) -> None:
        stop_if_disk_is_full(error, self._plan)
        self._failed.add(task)
        message = _message(error)
        self.result.failures.append(Failure(task.stage, task.item, "failed", message))
        self._progress.line(f"{task.stage} {task.item}: failed. {message}")
        if not isinstance(error, UserError | DamagedArtifact):
            _keep_traceback(self._plan, task, error)


@dataclass(frozen=True)
class _Execute:
    """`execute` bound to a plan, as a value that travels to other processes."""

    plan: Plan
    stages: tuple[str, ...]  # of the run

    def __call__(self, task: Task, advance: Callable[[Step], None]) -> None:
        execute(self.plan, task, lambda units: advance((task.stage, units)), self.stages)

    def at(self, place: int) -> _Execute:
        return _Execute(self.plan.on(place), self.stages)


def stop_if_disk_is_full(error: BaseException, plan: Plan) -> None:
    """DiskFull, a sentence, where that is what the system said."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise DiskFull(
            f"No space left on the disk of {plan.root}. What was finished is kept; free some space and run the same "
            "command again to go on."
        ) from error


def _message(error: BaseException) -> str:
    if isinstance(error, DamagedArtifact):
        return f"{error.folder} is damaged again, right after it was made: {error.reason}. The disk may be failing."
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, UserError | RuntimeError) else f"{type(error).__name__}: {text}"


def _keep_traceback(plan: Plan, task: Task, error: BaseException) -> None:
    """The whole story of an unexpected failure, for whoever mends it; the terminal shows one sentence."""
    folder = plan.folder.path("logs")
    folder.mkdir(exist_ok=True)
    file = folder / f"{store.safe_name(f'{task.stage} {task.item}')}.txt"
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
