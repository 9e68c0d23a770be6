"""What a stage still has to do, and what it cannot do because its inputs are not there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lorabench.pipeline.auditing import is_audited
from lorabench.pipeline.plan import DATASET, TEXTS, Plan, TrainingRun
from lorabench.pipeline.tasks import missing_milestones, missing_sets
from lorabench.records import Checkpoint, Milestone, Task


def outstanding(plan: Plan, stage: str) -> list[Task]:
    """All that a stage still has to do, whether or not its inputs are there yet."""
    return list(_OUTSTANDING[stage](plan))


def obstacle(plan: Plan, task: Task) -> str:
    """Why a task cannot be done because its inputs are not there; "" if it can."""
    checkpoint = plan.checkpoint_by_id.get(task.source)
    if task.stage == "merge":
        merging = plan.merging_by_id[task.source]
        return next(filter(None, (_not_trained(plan, each, merging.milestone) for each in merging.runs)), "")
    if task.stage in ("validate", "generate") and checkpoint:
        return _no_weights(plan, checkpoint)
    if task.stage == "encode" and checkpoint:
        return _no_images(plan, checkpoint)
    if task.stage == "score" and checkpoint:
        floor = [each.id for each in plan.measuring.compared_with(checkpoint)[1:]]
        sources = (*floor, *plan.measuring.real, TEXTS, checkpoint.id)
        return next(filter(None, (_no_features(plan, source) for source in sources)), "")
    return ""


def training_steps(plan: Plan, run: TrainingRun, milestone: Milestone) -> int:
    """Steps to a milestone, for a bar: buckets whose last batch is not full add a few to an epoch."""
    return milestone.step(math.ceil(plan.training_set(run).samples / run.config.training.batch_size))


def _training(plan: Plan) -> Iterator[Task]:
    for each in plan.runs:
        milestones = missing_milestones(plan, each)
        if milestones:
            yield Task("train", each.id, training_steps(plan, each, milestones[-1]))


def _merging(plan: Plan) -> Iterator[Task]:
    for each in plan.mergings:
        if not plan.folder.holds(plan.places.merging(each), plan.keys.merging(each)):
            yield Task("merge", each.id, 1)


def _validation(plan: Plan) -> Iterator[Task]:
    for each in plan.validating.checkpoints:
        if not plan.folder.holds(plan.places.validation(each), plan.keys.validation(each)):
            yield Task("validate", each.id, plan.validating.units)


def _images(plan: Plan) -> Iterator[Task]:
    for checkpoint in plan.checkpoints:
        units = sum(len(prompt_set.requests) for prompt_set in missing_sets(plan, checkpoint))
        if units:
            yield Task("generate", checkpoint.id, units)


def _features(plan: Plan) -> Iterator[Task]:
    for encoder in plan.measuring.encoders_where(stored=True):
        for source in plan.measuring.sources:
            for view in plan.measuring.views(encoder, source):
                if plan.folder.holds(plan.places.features(view), plan.keys.features(view)):
                    continue
                yield Task("encode", source, _sets_seen(plan, source, encoder), encoder, view.resize)


def _sets_seen(plan: Plan, source: str, encoder: str) -> int:
    checkpoint = plan.checkpoint_by_id.get(source)
    if checkpoint:
        return len(plan.measuring.sets_for(encoder, checkpoint))
    return 1 if source == TEXTS else len({each.concept_id for each in plan.measuring.pictures_of(source)})


def _scores(plan: Plan) -> Iterator[Task]:
    for checkpoint in plan.checkpoints:
        if not plan.folder.holds(plan.places.scores(checkpoint), plan.keys.scores(checkpoint)):
            yield Task("score", checkpoint.id, 1)


def _audit(plan: Plan) -> Iterator[Task]:
    for encoder in plan.encoder_ids if plan.dataset.images else ():
        if not is_audited(plan, encoder):
            yield Task("audit", DATASET, len(plan.measuring.concepts), encoder)


def _no_weights(plan: Plan, checkpoint: Checkpoint) -> str:
    if plan.places.weights(checkpoint) is None:
        return ""
    merging = plan.merging_of(checkpoint)
    if merging is None:
        return _not_trained(plan, plan.run_of(checkpoint), checkpoint.milestone)
    done = plan.folder.holds(plan.places.merging(merging), plan.keys.merging(merging))
    return "" if done else "it has not been merged: run `lorabench train` first, or see its failure"


def _not_trained(plan: Plan, run: TrainingRun, milestone: Milestone) -> str:
    done = plan.folder.holds(plan.places.checkpoint(run, milestone), plan.keys.training(run, milestone))
    words = f"{run.id} has not been trained to {milestone}: run `lorabench train` first, or see its failure"
    return "" if done else words


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


_OUTSTANDING: dict[str, Callable[[Plan], Iterator[Task]]] = {
    "train": _training,
    "merge": _merging,
    "validate": _validation,
    "generate": _images,
    "encode": _features,
    "score": _scores,
    "audit": _audit,
}
STAGES_OF_TASKS = tuple(_OUTSTANDING)
