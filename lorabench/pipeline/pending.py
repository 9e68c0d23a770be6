"""What a stage still has to do, and what it cannot do because its inputs are not there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lorabench.pipeline.auditing import is_audited
from lorabench.pipeline.plan import DATASET, TEXTS, Plan, TrainingRun
from lorabench.pipeline.tasks import missing_epochs, missing_sets
from lorabench.records import Checkpoint, Failure, Task

Pending = Iterator[tuple[Task, str]]  # a task, and "" or why it cannot be done


def pending(plan: Plan, stage: str) -> tuple[list[Task], list[Failure]]:
    """The tasks a stage still has to do, and those it cannot do because their inputs are not there."""
    ready, skipped = [], []
    for task, obstacle in _PENDING[stage](plan):
        if obstacle:
            skipped.append(Failure(stage, task.item, "skipped", obstacle))
        else:
            ready.append(task)
    return ready, skipped


def outstanding(plan: Plan, stage: str) -> list[Task]:
    """All that a stage still has to do, whether or not its inputs are there yet."""
    return [task for task, _ in _PENDING[stage](plan)]


def training_steps(plan: Plan, run: TrainingRun, epochs: int) -> int:
    """Steps to an epoch, for a bar: buckets whose last batch is not full add a few."""
    samples = sum(image.repeats for image in plan.dataset.images)
    return math.ceil(samples / run.config.training.batch_size) * epochs


def _pending_training(plan: Plan) -> Pending:
    for each in plan.runs:
        epochs = missing_epochs(plan, each)
        if epochs:
            yield Task("train", each.id, training_steps(plan, each, epochs[-1])), ""


def _pending_images(plan: Plan) -> Pending:
    for checkpoint in plan.checkpoints:
        units = sum(len(prompt_set.requests) for prompt_set in missing_sets(plan, checkpoint))
        if units:
            yield Task("generate", checkpoint.id, units), _no_weights(plan, checkpoint)


def _pending_features(plan: Plan) -> Pending:
    for encoder in plan.measuring.encoders_where(stored=True):
        for source in plan.measuring.sources:
            for view in plan.measuring.views(encoder, source):
                if plan.folder.holds(plan.places.features(view), plan.keys.features(view)):
                    continue
                counts = {TEXTS: 1, DATASET: len(plan.measuring.concepts)}
                checkpoint = plan.checkpoint_by_id.get(source)
                units = len(plan.measuring.sets_for(encoder, checkpoint)) if checkpoint else counts[source]
                obstacle = _no_images(plan, checkpoint) if checkpoint else ""
                yield Task("encode", source, units, encoder, view.resize), obstacle


def _pending_scores(plan: Plan) -> Pending:
    base = [plan.base_checkpoint.id] if plan.base_checkpoint else []
    obstacle = next(filter(None, (_no_features(plan, source) for source in (*base, DATASET, TEXTS))), "")
    for checkpoint in plan.checkpoints:
        if not plan.folder.holds(plan.places.scores(checkpoint), plan.keys.scores(checkpoint)):
            yield Task("score", checkpoint.id, 1), obstacle or _no_features(plan, checkpoint.id)


def _pending_audit(plan: Plan) -> Pending:
    for encoder in plan.encoder_ids if plan.dataset.images else ():
        if not is_audited(plan, encoder):
            yield Task("audit", DATASET, len(plan.measuring.concepts), encoder), ""


def _no_weights(plan: Plan, checkpoint: Checkpoint) -> str:
    if plan.places.weights(checkpoint) is None:
        return ""
    run, epoch = plan.run_of(checkpoint), checkpoint.epoch or 0
    done = plan.folder.holds(plan.places.checkpoint(run, epoch), plan.keys.training(run, epoch))
    return "" if done else f"it has not been trained to epoch {epoch}: run `lorabench train` first, or see its failure"


def _no_images(plan: Plan, checkpoint: Checkpoint) -> str:
    return "its images are not there: run `lorabench generate` first, or see its failure" * bool(
        missing_sets(plan, checkpoint)
    )


def _no_features(plan: Plan, source: str) -> str:
    for encoder in plan.measuring.encoders_where(stored=True):
        for view in plan.measuring.views(encoder, source):
            if not plan.folder.holds(plan.places.features(view), plan.keys.features(view)):
                return (
                    f"features of {source} ({encoder}) are not there: run `lorabench encode` first, or see its failure"
                )
    checkpoint = plan.checkpoint_by_id.get(source)
    return _no_images(plan, checkpoint) if checkpoint else ""


_PENDING: dict[str, Callable[[Plan], Pending]] = {
    "train": _pending_training,
    "generate": _pending_images,
    "encode": _pending_features,
    "score": _pending_scores,
    "audit": _pending_audit,
}
STAGES_OF_TASKS = tuple(_PENDING)
