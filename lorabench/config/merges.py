"""The merges of a study, checked against its grid."""

from __future__ import annotations

from collections.abc import Sequence

from lorabench.config.reading import is_path
from lorabench.config.schema import Merge, Study
from lorabench.config.sweeps import Way, ways, ways_of
from lorabench.errors import UserError, unknown
from lorabench.records import TrainConfig


def checked_merges(study: Study, configs: Sequence[TrainConfig]) -> tuple[Merge, ...]:
    """The study's merges with their epochs; `configs` are all of the grid.

    UserError for a name that is taken, for an unknown parent, for files alone, which have no seeds to compare by, and
    for an epoch of which no checkpoint is kept.
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
        found.append(merge.model_copy(update={"epochs": _epochs(study, merge, place)}))
    return tuple(found)


def merge_drawings(study: Study, configs: Sequence[TrainConfig]) -> list[tuple[Merge, int, Way]]:
    """Each merge of a seed at its epochs, in each way in which it is drawn, once."""
    every = ways(study)
    return [
        (merge, epoch, way)
        for merge in checked_merges(study, configs)
        for epoch in merge.epochs
        for way in ways_of(every, merge.name, epoch)
    ]


def _epochs(study: Study, merge: Merge, place: str) -> tuple[int, ...]:
    kept = sorted(study.training.checkpoint_epochs)
    lacking = [epoch for epoch in merge.epochs if epoch not in kept]
    if lacking:
        have = ", ".join(map(str, kept))
        raise UserError(f"No checkpoint is of epoch {lacking[0]} ({place}.epochs). Epochs: {have}.")
    return merge.epochs or (kept[-1],)
