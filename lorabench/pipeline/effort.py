"""How much work there is, counted in passes of the U-Net over one picture: for the time that is left, never exact.

On the miniature world, with both cores busy, a pass of training took 4.6 ms and one of drawing 4.8 ms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lorabench.pipeline.integrity import costs
from lorabench.pipeline.pending import STAGES_OF_TASKS, outstanding
from lorabench.pipeline.plan import Plan
from lorabench.records import Task
from lorabench.sampler import passes

BACKWARD = 2  # a backward pass takes as long as two forward passes
VALIDATING = 1.2  # a draw, its caption read too
ENCODING = 1 / 3  # of a picture by one encoder
MERGING = 100  # a merge: 0.4 to 1.3 s on the miniature world
PROBES = 30  # pictures, whole and damaged, that an audit encodes of a concept


def effort(plan: Plan, tasks: Iterable[Task]) -> float:
    """Passes that tasks of any stage take."""
    return sum(task.units * _passes(plan, task) for task in tasks)


def left(plan: Plan) -> dict[str, float]:
    """Passes that each stage with tasks still has to do."""
    return {stage: effort(plan, outstanding(plan, stage)) for stage in STAGES_OF_TASKS}


def seconds_left(plan: Plan, remaining: dict[str, float]) -> float | None:
    """Seconds of one process for what remains of each stage, as what is finished took; None where nothing is finished.

    A stage of which nothing is finished is taken to be as fast as the others.
    """
    taken = costs(plan).groupby("stage")["seconds"].sum()
    done = {stage: all_ - remaining[stage] for stage, all_ in whole(plan).items()}
    known = [stage for stage, passes in done.items() if passes > 0 and taken.get(stage, 0.0) > 0]
    if not known:
        return None
    usual = sum(taken[stage] for stage in known) / sum(done[stage] for stage in known)
    rates = {stage: taken[stage] / done[stage] for stage in known}
    return sum(passes * rates.get(stage, usual) for stage, passes in remaining.items())


def whole(plan: Plan) -> dict[str, float]:
    """Passes of each stage from the beginning: what is left where nothing is."""
    return left(replace(plan, root=plan.root / "nothing"))


def _passes(plan: Plan, task: Task) -> float:
    """Passes of one unit of a stage's progress: a step, an image, an image set, a checkpoint, a concept."""
    images, stage = plan.study.images, task.stage
    if stage == "train":
        return plan.study.training.batch_size * (1 + BACKWARD)
    if stage == "merge":
        return MERGING
    if stage == "validate":
        return VALIDATING
    if stage == "generate":
        return passes(plan.sampling_of(plan.checkpoint_by_id[task.source]))
    if stage == "score":  # features that are not stored are encoded there
        encoders, first = plan.measuring.encoders_where(stored=False), plan.checkpoints[0]
        fresh = (each for encoder in encoders for each in plan.measuring.sets_for(encoder, first))
        return 1 + ENCODING * sum(len(each.requests) for each in fresh)
    return ENCODING * (PROBES if stage == "audit" else images.per_set)
