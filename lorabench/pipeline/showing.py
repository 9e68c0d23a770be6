"""How many pictures of a checkpoint a page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lorabench.records import Checkpoint

if TYPE_CHECKING:
    from lorabench.pipeline.plan import Plan

MOST = 6_000  # a page has room for fewer


@dataclass(frozen=True)
class Showing:
    """The pictures that get a thumbnail."""

    _plan: Plan

    def per_set(self, checkpoint: Checkpoint) -> int:
        """How many pictures of each of a checkpoint's sets.

        Where a page could not hold them all: first fewer of each set, then those of one training seed, then of last
        moments only, the order in which `report.gallery` gives them up.
        """
        return self._per_set.get(checkpoint.id, 0)

    @cached_property
    def _per_set(self) -> Mapping[str, int]:  # every checkpoint asks, and the answer takes all of them
        every, asked = self._plan.checkpoints, self._plan.study.images.thumbnails
        first = min((each.seed for each in every if each.seed is not None), default=None)
        one_seed = [each for each in every if each.seed in (None, first)]
        for kept in (every, one_seed, _last(one_seed)):
            width = min(asked, MOST // max(1, sum(len(self._plan.sets_of(each)) for each in kept)))
            if width:
                break
        return {each.id: width or min(asked, 1) for each in kept}


def _last(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Those of each config that nothing came after."""
    moment = {each.id: (each.epoch or 0, each.step or 0) for each in checkpoints}
    newest: dict[str, tuple[int, int]] = {}
    for each in checkpoints:
        newest[each.config] = max(newest.get(each.config, (0, 0)), moment[each.id])
    return [each for each in checkpoints if moment[each.id] == newest[each.config]]
