"""How a merge of a study is made, and what is known of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorabench import formats, store
from lorabench.components import Advance
from lorabench.pipeline import models
from lorabench.pipeline.places import WEIGHTS_FILE
from lorabench.pipeline.plan import Merging, Parent, Plan
from lorabench.records import Task
from lorabench.stages.merge import Interference
from lorabench.stages.merge_files import agreement, merged_adapter

MERGE_FILE = "merge.json"  # what compressing cost, and how each two parents agree, layer by layer


def merge_parents(plan: Plan, task: Task, advance: Advance) -> None:
    """Make the adapter of one merge."""
    since = time.perf_counter()
    merging = plan.merging_by_id[task.source]
    base = models.base_model(plan)
    trained = [plan.places.checkpoint(run, merging.epoch) for run in merging.runs]
    files = [_weights(plan, merging, each) for each in merging.parents]
    loaded = [formats.read_adapter(file, plan.study.unused_keys) for file in files]
    fitted = [(formats.resolve(each, base.components), parent.ratio) for each, parent in zip(loaded, merging.parents)]
    inputs = [plan.base.id, *(each.sha256 for each in merging.parents if each.weights)]
    folder, key = plan.places.merging(merging), plan.keys.merging(merging)
    with plan.folder.writing(folder, key, trained, inputs=inputs, device=plan.device, since=since) as scratch:
        found = merged_adapter(base.components, loaded, fitted, merging.recipe, scratch / WEIGHTS_FILE)
        found.save(scratch / WEIGHTS_FILE)
        pairs = [[*places, [vars(row) for row in rows]] for places, rows in found.interference.items()]
        store.write_json(scratch / MERGE_FILE, {"error": found.error, "interference": pairs})
    advance(1)


def _weights(plan: Plan, merging: Merging, parent: Parent) -> Path:
    if parent.run is None:
        return parent.weights
    return plan.folder.intact(plan.places.checkpoint(parent.run, merging.epoch), WEIGHTS_FILE)


def merged_folders(plan: Plan) -> list[Path]:
    """The merges that are there."""
    folders = (plan.places.merging(merging) for merging in plan.mergings)
    return [folder for folder in folders if plan.folder.meta(folder)]


def interference_of(plan: Plan, merging: Merging) -> Mapping[tuple[int, int], Sequence[Interference]]:
    """Of each two parents that take part, by their places among `merging.parents`; empty of a merge that is not there.

    DamagedArtifact where it is not what was written.
    """
    folder = plan.places.merging(merging)
    if plan.folder.meta(folder) is None:
        return {}
    said = store.read_json(plan.folder.intact(folder, MERGE_FILE))["interference"]
    return {(first, second): [_row(row) for row in rows] for first, second, rows in said}


def _row(said: Mapping[str, Any]) -> Interference:
    strength = said["strength"]
    return Interference(**{**said, "strength": None if strength is None else tuple(strength)})


def facts(plan: Plan) -> list[dict[str, Any]]:
    """What a run says of each merge: its parents, each with its ratio and with its checkpoint in the study's own way
    ("" of a file), and how each two agree."""
    return [_facts(plan, merging) for merging in plan.mergings]


def _facts(plan: Plan, merging: Merging) -> dict[str, Any]:
    parents = [
        {"name": each.name, "checkpoint": f"{each.run.id}-e{merging.epoch}" if each.run else "", "ratio": each.ratio}
        for each in merging.parents
    ]
    pairs = interference_of(plan, merging).items()
    return {
        "checkpoint": merging.id,
        "config": merging.name,
        "method": merging.recipe.method,
        "parents": parents,
        "agreement": [{"parents": list(places), **agreement(rows)} for places, rows in pairs],
    }
