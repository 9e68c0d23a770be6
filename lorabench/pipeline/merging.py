"""How a merge of a study is made, and what is known of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorabench import formats, store
from lorabench.components import Advance
from lorabench.pipeline import models
from lorabench.pipeline.places import WEIGHTS_FILE
from lorabench.pipeline.plan import Merging, Parent, Plan, drawn_as
from lorabench.records import Checkpoint, Task
from lorabench.stages.merge import Interference
from lorabench.stages.merge_files import merged_adapter
from lorabench.statistics.columns import INTERFERENCE_COLUMNS
from lorabench.statistics.dilution import MergedParent

MERGE_FILE = "merge.json"  # what compressing cost, and how each two parents agree, layer by layer


def merge_parents(plan: Plan, task: Task, advance: Advance) -> None:
    """Make the adapter of one merge."""
    since = time.perf_counter()
    merging = plan.merging_by_id[task.source]
    base = models.base_model(plan)
    trained = [plan.places.checkpoint(run, merging.milestone) for run in merging.runs]
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
    return plan.folder.intact(plan.places.checkpoint(parent.run, merging.milestone), WEIGHTS_FILE)


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


def facts(plan: Plan) -> dict[str, dict[str, Any]]:
    """What a run says of each merge: its method, and its parents with their ratios."""
    return {
        merging.name: {
            "method": merging.recipe.method,
            "parents": [f"{each.name} × {each.ratio:g}" for each in merging.parents],
        }
        for merging in plan.mergings
    }


def interference_rows(plan: Plan) -> pd.DataFrame:
    """How each two parents of every merge that is there agree, a row a weight; columns INTERFERENCE_COLUMNS."""
    rows = [
        {
            **{"config": merging.name, "seed": merging.seed, "epoch": merging.milestone.columns["epoch"]},
            **{"first": merging.parents[first].name, "second": merging.parents[second].name},
            **{name: getattr(each, name) for name in ("module", "cosine", "overlap", "chance")},
            **dict(zip(("first_strength", "second_strength"), each.strength or (np.nan, np.nan))),
        }
        for merging in plan.mergings
        for (first, second), found in interference_of(plan, merging).items()
        for each in found
    ]
    return pd.DataFrame(rows, columns=INTERFERENCE_COLUMNS)


def merged_parents(plan: Plan) -> list[MergedParent]:
    """Every merge that is drawn, with each parent that the study draws alone in the same way.

    At the merge's own scale, and where it is drawn so, at the parent's share of it.
    """
    found = []
    for checkpoint in plan.checkpoints:
        merging, floor = plan.merging_of(checkpoint), plan.floor_of(checkpoint)
        for parent in merging.parents if merging and floor else ():
            if parent.run is None or not parent.ratio:
                continue
            concepts = tuple(each.id for each in plan.training_set(parent.run).concepts if each.evaluated)
            for alone in _drawn_alone(plan, checkpoint, parent):
                found.append(
                    MergedParent(checkpoint.id, alone.id, alone.scale, floor.id, parent.name, parent.ratio, concepts)
                )
    return found


def _drawn_alone(plan: Plan, checkpoint: Checkpoint, parent: Parent) -> list[Checkpoint]:
    config = drawn_as(parent.run.config.name, checkpoint.setting)
    alike = [
        each
        for each in plan.checkpoints
        if (each.config, each.seed, each.milestone) == (config, checkpoint.seed, checkpoint.milestone)
    ]
    return [each for each in alike if each.scale in (checkpoint.scale, checkpoint.scale * parent.ratio)]
