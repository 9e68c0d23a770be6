"""The stages in order: each skips what is complete, does the rest, and tells failed from skipped from interrupted."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from lorabench import store
from lorabench.components import Executor, Work
from lorabench.errors import DISK_FULL, DiskFull, UserError
from lorabench.pipeline import tables
from lorabench.pipeline.auditing import is_audited
from lorabench.pipeline.features import features_key
from lorabench.pipeline.models import check_inputs
from lorabench.pipeline.plan import DATASET, TEXTS, Plan, TrainingRun
from lorabench.pipeline.tasks import execute, missing_epochs, missing_sets
from lorabench.records import Checkpoint, Failure, Task

Stage = Literal["train", "generate", "encode", "score", "audit", "rank", "explain", "report"]
STAGES: tuple[Stage, ...] = get_args(Stage)
TABLE_STAGES: tuple[Stage, ...] = ("rank", "explain", "report")


class Progress(Protocol):
    """Shows how a stage goes; on a terminal, in a log, or not at all."""

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

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


def run(
    plan: Plan,
    stages: Sequence[Stage],
    open_executor: Callable[[Work], Executor],
    progress: Progress,
    refused: Sequence[Failure] = (),
) -> Result:
    """Bring the results of a study up to date, stage by stage.

    `refused` are inputs that were left out before; they are listed first. A task that fails leaves the rest running;
    what depends on it is skipped and both are listed in the result. A full disk ends the run: nothing after it could
    be kept. KeyboardInterrupt passes through after the processes are stopped.
    """
    result = Result(failures=list(refused))
    working = [stage for stage in stages if stage not in TABLE_STAGES]
    if any(any(pending(plan, stage)) for stage in working):
        check_inputs(plan)
    with plan.folder.locked():
        executor = open_executor(_Execute(plan))
        try:
            for stage in working:
                _run_stage(plan, stage, executor, progress, result)
        finally:
            executor.close()
        try:
            result.done |= tables.update(plan, stages, result.failures, progress.line)
        except OSError as error:
            _stop_if_disk_is_full(error, plan)
            raise
    return result


@dataclass(frozen=True)
class _Execute:
    """`execute` bound to a plan, as a value that travels to other processes."""

    plan: Plan

    def __call__(self, task: Task, advance: Callable[[int], None]) -> None:
        execute(self.plan, task, advance)


def pending(plan: Plan, stage: Stage) -> tuple[list[Task], list[Failure]]:
    """The tasks a stage still has to do, and those it cannot do because their inputs are not there."""
    ready, skipped = [], []
    for task, obstacle in _PENDING[stage](plan):
        if obstacle:
            skipped.append(Failure(stage, task.item, "skipped", obstacle))
        else:
            ready.append(task)
    return ready, skipped


def _run_stage(plan: Plan, stage: Stage, executor: Executor, progress: Progress, result: Result) -> None:
    ready, skipped = pending(plan, stage)
    result.failures += skipped
    result.done[stage] = 0
    if not ready:
        return
    with progress.stage(stage, len(ready), sum(task.units for task in ready)) as advance:
        for outcome in executor.run(ready, advance):
            if outcome.error is None:
                result.done[stage] += 1
                progress.line(f"{stage} {outcome.task.item}: done")
                continue
            _stop_if_disk_is_full(outcome.error, plan)
            message = _message(outcome.error)
            result.failures.append(Failure(stage, outcome.task.item, "failed", message))
            progress.line(f"{stage} {outcome.task.item}: failed. {message}")
            if not isinstance(outcome.error, UserError):
                _keep_traceback(plan, outcome.task, outcome.error)


def _stop_if_disk_is_full(error: BaseException, plan: Plan) -> None:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise DiskFull(
            f"No space left on the disk of {plan.root}. What was finished is kept; free some space and run the same "
            "command again to go on."
        ) from error


def _message(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, UserError | RuntimeError) else f"{type(error).__name__}: {text}"


def _keep_traceback(plan: Plan, task: Task, error: BaseException) -> None:
    """The whole story of an unexpected failure, for whoever mends it; the terminal shows one sentence."""
    folder = plan.folder.path("logs")
    folder.mkdir(exist_ok=True)
    file = folder / f"{store.safe_name(f'{task.stage} {task.item}')}.txt"
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")


# --- what is pending: (task, "" or why it cannot be done) ------------------------------------------------------------

Pending = Iterator[tuple[Task, str]]


def _pending_training(plan: Plan) -> Pending:
    samples = sum(image.repeats for image in plan.dataset.images)
    for each in plan.runs:
        epochs = missing_epochs(plan, each)
        if epochs:
            # For the bar: buckets whose last batch is not full add a few steps to an epoch.
            yield Task("train", each.id, math.ceil(samples / each.config.batch_size) * epochs[-1]), ""


def _pending_images(plan: Plan) -> Pending:
    for checkpoint in plan.checkpoints:
        units = sum(len(prompt_set.requests) for prompt_set in missing_sets(plan, checkpoint))
        if units:
            yield Task("generate", checkpoint.id, units), _no_weights(plan, checkpoint)


def _pending_features(plan: Plan) -> Pending:
    for encoder in plan.encoders_where(stored=True):
        sources = [DATASET, *([TEXTS] if plan.encoder_spec(encoder).reads_text else [])]
        for source in (*sources, *plan.checkpoint_by_id):
            if store.is_complete(plan.features_folder(source, encoder), features_key(plan, source, encoder)):
                continue
            counts = {TEXTS: 1, DATASET: len(plan.measured_concepts)}
            units = counts.get(source, len(plan.sets_for(encoder)))
            checkpoint = plan.checkpoint_by_id.get(source)
            yield Task("encode", f"{source}|{encoder}", units), _no_images(plan, checkpoint) if checkpoint else ""


def _pending_scores(plan: Plan) -> Pending:
    obstacle = _no_features(plan, plan.checkpoints[0].id) or _no_features(plan, DATASET) or _no_features(plan, TEXTS)
    for checkpoint in plan.checkpoints:
        if not store.is_complete(plan.scores_folder(checkpoint), plan.scores_key(checkpoint)):
            yield Task("score", checkpoint.id, 1), obstacle or _no_features(plan, checkpoint.id)


def _pending_audit(plan: Plan) -> Pending:
    for encoder in plan.encoder_ids:
        if not is_audited(plan, encoder):
            yield Task("audit", encoder, len(plan.measured_concepts)), ""


def _no_weights(plan: Plan, checkpoint: Checkpoint) -> str:
    if checkpoint.is_base or checkpoint.weights is not None:
        return ""
    each: TrainingRun = plan.run_by_id[f"{checkpoint.config}-s{checkpoint.seed}"]
    epoch = checkpoint.epoch or 0
    done = store.is_complete(plan.checkpoint_folder(each, epoch), plan.training_key(each, epoch))
    return "" if done else f"it has not been trained to epoch {epoch}: run `lorabench train` first, or see its failure"


def _no_images(plan: Plan, checkpoint: Checkpoint) -> str:
    return "its images are not there: run `lorabench generate` first, or see its failure" * bool(
        missing_sets(plan, checkpoint)
    )


def _no_features(plan: Plan, source: str) -> str:
    for encoder in plan.encoders_where(stored=True):
        if source == TEXTS and not plan.encoder_spec(encoder).reads_text:
            continue
        if not store.is_complete(plan.features_folder(source, encoder), features_key(plan, source, encoder)):
            return f"features of {source} ({encoder}) are not there: run `lorabench encode` first, or see its failure"
    checkpoint = plan.checkpoint_by_id.get(source)
    return _no_images(plan, checkpoint) if checkpoint else ""


_PENDING: dict[str, Callable[[Plan], Pending]] = {
    "train": _pending_training,
    "generate": _pending_images,
    "encode": _pending_features,
    "score": _pending_scores,
    "audit": _pending_audit,
}
