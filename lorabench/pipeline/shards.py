"""A study in shares: several processes, on machines that know nothing of each other, at work in one shared folder.

For those who have a batch queue and no cluster. Which share a training belongs to, with all that is made of it, follows
from the hash of its key alone. What all checkpoints are compared with is made by the shard that comes first. The last
one to end makes what was waiting for several, and the tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lorabench import store
from lorabench.pipeline.plan import Plan
from lorabench.records import Checkpoint, Failure, Shard, Task

FOLDER = ".shards"  # of a run's folder: who is at work, and who has ended


@dataclass(frozen=True)
class Shares:
    """Which shard each task of a plan belongs to."""

    _plan: Plan

    def is_common(self, task: Task) -> bool:
        """Whether it makes what all checkpoints are compared with: real pictures, texts, the base model's pictures."""
        return self._unit(task) is None

    def is_mine(self, task: Task) -> bool:
        return self.owner(task) == self._plan.shard.number

    def owner(self, task: Task) -> int | None:
        """The number of the shard; None of what is common."""
        unit = self._unit(task)
        return None if unit is None else self._owners[unit]

    def _unit(self, task: Task) -> str | None:
        """What stays together with a task: a training, a merge, a file of weights; by its key."""
        plan = self._plan
        if task.stage == "train":
            return self._training(task.source)
        if task.stage == "merge":
            return plan.keys.merging(plan.merging_by_id[task.source])
        checkpoint = plan.checkpoint_by_id.get(task.source)
        return None if checkpoint is None or checkpoint.is_base else self._unit_of(checkpoint)

    def _unit_of(self, checkpoint: Checkpoint) -> str:
        plan = self._plan
        merging = plan.merging_of(checkpoint)
        if merging is not None:
            return plan.keys.merging(merging)
        if checkpoint.id in plan.own_sets:
            return checkpoint.id
        return plan.keys.checkpoint(checkpoint) if checkpoint.weights else self._training(plan.run_of(checkpoint).id)

    def _training(self, id_: str) -> str:
        run = self._plan.run_by_id[id_]
        return self._plan.keys.training(run, run.config.training.milestones[-1])

    @cached_property
    def _owners(self) -> dict[str, int]:
        """Trainings, then all other units, in the order of their hashes, dealt out in turn: shares differ by one at
        most."""
        plan = self._plan
        trainings = {self._training(run.id) for run in plan.runs}
        units = trainings | {plan.keys.merging(each) for each in plan.mergings}
        units |= {self._unit_of(each) for each in plan.checkpoints if not each.is_base}
        order = sorted(units, key=lambda unit: (unit not in trainings, hashlib.sha256(unit.encode()).digest()))
        return {unit: place % plan.shard.of + 1 for place, unit in enumerate(order)}

    @cached_property
    def signature(self) -> str:
        """Of what is shared out, and among how many: what another one says of its end does not count here."""
        return store.key_of("shares", 1, [self._plan.shard.of], sorted(self._owners))


@dataclass(frozen=True)
class _Ended:
    signature: str
    failures: tuple[Failure, ...]


_ENDED = TypeAdapter(_Ended)


def begin(plan: Plan) -> None:
    """Forget that this shard ended before."""
    _file(plan, plan.shard).unlink(missing_ok=True)


def end(plan: Plan, shares: Shares, failures: Iterable[Failure]) -> None:
    """Say that this shard has done all that it could."""
    store.write_json(_file(plan, plan.shard), asdict(_Ended(shares.signature, tuple(failures))))


def ended(plan: Plan, shares: Shares) -> dict[int, tuple[Failure, ...]]:
    """The shards that have ended, with what failed in each."""
    found = {}
    for number in range(1, plan.shard.of + 1):
        try:
            said = _ENDED.validate_json(_file(plan, Shard(number, plan.shard.of)).read_bytes())
        except (OSError, ValidationError):
            continue
        if said.signature == shares.signature:
            found[number] = said.failures
    return found


def _file(plan: Plan, shard: Shard) -> Path:
    return plan.root / FOLDER / f"{shard.name}.json"
