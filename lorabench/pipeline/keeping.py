"""Which images stay on disk once they are measured, and which have to be drawn once more for a later question."""

from __future__ import annotations

from lorabench.pipeline.features import image_name
from lorabench.pipeline.plan import Plan
from lorabench.records import Checkpoint, PromptSet


def drop_images(plan: Plan, checkpoint: Checkpoint) -> None:
    """Remove what `images.keep` does not keep of a checkpoint that has been scored.

    Of the base model those stay that are looked at again for every checkpoint, by encoders that store no features; and
    pictures that were made elsewhere.
    """
    for prompt_set, most in kept(plan, checkpoint):
        if most < len(prompt_set.requests):
            names = [image_name(request.index) for request in prompt_set.requests[most:]]
            plan.folder.drop(plan.places.images(checkpoint, prompt_set), names)


def kept(plan: Plan, checkpoint: Checkpoint) -> list[tuple[PromptSet, int]]:
    """Each set of a checkpoint, and how many of its images stay: the first."""
    keep, sets = plan.study.images.keep, plan.sets_of(checkpoint)
    if keep == "all" or checkpoint.id in plan.own_sets:
        return [(each, len(each.requests)) for each in sets]
    most = plan.showing.per_set(checkpoint) if keep == "shown" else 0
    needed = {id(each) for each in _looked_at_fresh(plan, checkpoint)} if checkpoint.is_base else set()
    return [(each, len(each.requests) if id(each) in needed else min(most, len(each.requests))) for each in sets]


def needed_again(plan: Plan, checkpoint: Checkpoint) -> list[PromptSet]:
    """The sets of a checkpoint of which not all images were kept, though something is still to be seen in them."""
    folder = plan.folder
    partial = [each for each in plan.sets_of(checkpoint) if folder.dropped(plan.places.images(checkpoint, each))]
    if not partial:
        return []
    unseen: set[int] = set()
    for encoder in plan.measuring.encoders_where(stored=True):
        views = plan.measuring.views(encoder, checkpoint.id)
        if not all(folder.holds(plan.places.features(view), plan.keys.features(view)) for view in views):
            unseen |= {id(each) for each in plan.measuring.sets_for(encoder, checkpoint)}
    compared = (
        [each for each in plan.checkpoints if each.setting == checkpoint.setting]
        if checkpoint.is_base
        else [checkpoint]
    )
    fresh = {id(each) for each in _looked_at_fresh(plan, checkpoint)} & {id(each) for each in partial}
    # Of the base model there are none, or every task would ask for every score.
    if fresh and not all(folder.holds(plan.places.scores(each), plan.keys.scores(each)) for each in compared):
        unseen |= fresh
    return [each for each in partial if id(each) in unseen]


def _looked_at_fresh(plan: Plan, checkpoint: Checkpoint) -> list[PromptSet]:
    """The sets that some encoder looks at whenever a score is computed, because it stores no features."""
    encoders = plan.measuring.encoders_where(stored=False)
    return [each for encoder in encoders for each in plan.measuring.sets_for(encoder, checkpoint)]
