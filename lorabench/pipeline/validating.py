"""What is asked of a checkpoint before any picture is drawn: its held-out loss, and the health of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lorabench.pipeline.measuring import DATASET, HELD_OUT
from lorabench.records import Checkpoint, TrainingImage
from lorabench.sampler import passes

if TYPE_CHECKING:
    from lorabench.pipeline.plan import Plan

SHARE = 0.01  # of the passes of the U-Net that drawing a checkpoint's images takes
FIVES = 5  # draws come in fives, one a band of timesteps, where there are as many
MOST = 100  # draws of a concept and side


@dataclass(frozen=True)
class Validating:
    """Which checkpoints of a plan are validated, on how many draws of what."""

    _plan: Plan

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Those whose weights are here, where it is asked for."""
        plan = self._plan
        asked = plan.study.validation.draws
        wanted = plan.dataset.held_out or asked or plan.study.explain.weights or not plan.runs
        if asked == 0 or not wanted or plan.base is None:
            return ()
        return tuple(each for each in plan.checkpoints if each.id not in plan.own_sets)

    @cached_property
    def draws(self) -> int:
        """Of each concept and side."""
        asked = self._plan.study.validation.draws
        if asked is not None:
            return asked
        plan = self._plan
        sides = sum(1 for _ in self.sides())
        drawn = sum(len(each.requests) for each in plan.prompt_sets) * passes(plan.study.sampling)
        count = min(MOST, max(1, int(SHARE * drawn / max(1, sides))))
        return count - count % FIVES if count > FIVES else count

    def sides(self) -> Iterator[tuple[str, str, tuple[TrainingImage, ...]]]:
        """(concept id, DATASET or HELD_OUT, pictures) wherever there are some."""
        measuring = self._plan.measuring
        for concept in self._plan.dataset.concepts:
            for source in (DATASET, HELD_OUT):
                pictures = measuring.pictures_of(source, concept.id)
                if pictures:
                    yield concept.id, source, pictures

    @property
    def units(self) -> int:
        """What a checkpoint's bar goes to: draws, and one for its weights."""
        return 1 + self.draws * sum(1 for _ in self.sides())
