"""The merges of a study, checked against its grid."""

from __future__ import annotations

from collections.abc import Sequence

from lorabench.config.reading import is_path
from lorabench.config.schema import Merge, Study
from lorabench.config.sweeps import Way, ways, ways_of
from lorabench.errors import UserError, unknown
from lorabench.records import Milestone, TrainConfig


def checked_merges(study: Study, configs: Sequence[TrainConfig]) -> tuple[Merge, ...]:
    """The study's merges, each at its milestones; `configs` are all of the grid.

    UserError for a name that is taken, for an unknown parent, for files alone, which have no seeds to compare by, and
    for a milestone of which no checkpoint is kept.
    """
    names = [each.name for each in configs]
    found: list[Merge] = []
    for index, merge in enumerate(study.merge):
        place = f"study '{study.name}', merge[{index}]"
        taken = "a config" if merge.name in names else "another merge" * (merge.name in {each.name for each in found})
        if taken:
            raise UserError(f"A merge cannot be called '{merge.name}': {taken} is called so ({place}.name).")
        for parent in merge.parents:
            if not is_path(parent) and parent not in names:
                raise UserError(unknown("config", parent, names, f"{place}.parents; or an adapter file"))
        if all(map(is_path, merge.parents)):
            raise UserError(
                f"All parents of merge '{merge.name}' are files ({place}.parents): `lorabench merge` merges them, and "
                "`lorabench evaluate` compares what comes of it."
            )
        found.append(merge.model_copy(update=_milestones(study, merge, place)))
    return tuple(found)


def merge_drawings(study: Study, configs: Sequence[TrainConfig]) -> list[tuple[Merge, Milestone, Way]]:
    """Each merge of a seed at its milestones, in each way in which it is drawn, once."""
    every = ways(study)
    return [
        (merge, milestone, way)
        for merge in checked_merges(study, configs)
        for milestone in merge.milestones
        for way in ways_of(every, merge.name, milestone)
    ]


def _milestones(study: Study, merge: Merge, place: str) -> dict[str, tuple[int, ...]]:
    kept = study.training.milestones
    lacking = [milestone for milestone in merge.milestones if milestone not in kept]
    if lacking:
        raise UserError(no_checkpoint(lacking[0], kept, place))
    chosen = merge.milestones or kept[-1:]
    key = key_of(chosen[0])
    return {key: tuple(milestone.number for milestone in chosen)}


def key_of(milestone: Milestone) -> str:
    """The key of a study that chooses such milestones."""
    return "checkpoint_steps" if milestone.by_step else "epochs"


def no_checkpoint(milestone: Milestone, kept: Sequence[Milestone], place: str) -> str:
    """A sentence that says which milestones there are."""
    have = ", ".join(str(each.number) for each in kept)
    unit = "Steps" if kept and kept[0].by_step else "Epochs"
    return f"No checkpoint is of {milestone} ({place}.{key_of(milestone)}). {unit}: {have}."
