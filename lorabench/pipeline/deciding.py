"""What a plan's checkpoints measure part by part, from their features: what decisions are made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lorabench.pipeline.features import FeatureReader
from lorabench.pipeline.measuring import MetricRequest
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.tasks import measured
from lorabench.records import Checkpoint
from lorabench.stages.score import MetricChoice, measured_parts
from lorabench.statistics.decisions import Parts

LEVEL = ["config", "epoch", "step", "scale"]  # what the trainings of a config with several seeds have in common


def levels_of(checkpoints: Sequence[Checkpoint]) -> pd.DataFrame:
    """A row a checkpoint: its level (number), what that is called, algorithm and seed."""
    table = pd.DataFrame([{**vars(each), "checkpoint": each.id} for each in checkpoints])
    level = pd.factorize(table[LEVEL].astype(str).agg(" ".join, axis=1))[0]
    return table.assign(level=level)[["checkpoint", "level", "algorithm", "seed", *LEVEL]]


def parts_of(plan: Plan, request: MetricRequest, prompt_type: str, checkpoints: Sequence[Checkpoint]) -> Parts:
    """What a measurement says of the checkpoints' images, part by part, from features that are there."""
    table, metric = levels_of(checkpoints), plan.measuring.metric(request.metric)
    choice, sign = MetricChoice(metric, request.encoder, request.resize), 1 if metric.higher_is_better else -1
    found = {}
    for checkpoint in checkpoints:
        reader = FeatureReader(plan, checkpoint)
        for leaf in measured(plan, checkpoint)[0]:
            if leaf.prompt_type == prompt_type:
                found[leaf.concept.id, checkpoint.id] = measured_parts(choice, leaf, reader)
    concepts = {each.id: each for each in plan.dataset.concepts}
    leaves = list(dict.fromkeys(leaf for (leaf, _), parts in found.items() if len(parts)))
    seeds = sorted(set(table["seed"]))
    shape = (len(leaves), table["level"].max() + 1, len(seeds), max(map(len, found.values()), default=0))
    values = np.full(shape, np.nan)
    for row in table.itertuples():
        for place, leaf in enumerate(leaves):
            parts = found.get((leaf, row.checkpoint), ())
            values[place, row.level, seeds.index(row.seed), : len(parts)] = sign * np.asarray(parts)
    first = table.drop_duplicates("level").sort_values("level")
    families = [labels for labels in (pd.factorize(first[name])[0] for name in ("config", "algorithm"))]
    named = [
        {name: getattr(concepts[leaf], name) for name in ("category", "class_name", "subclass")} for leaf in leaves
    ]
    return Parts(values, pd.DataFrame(named), seeds, families)
