"""What a merge leaves of each parent: the parent's own concepts, in the merge and in the parent alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from lorabench.statistics.clustered import clustered_mean
from lorabench.statistics.columns import ALL, CLASS, LEAF, METRIC
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

DILUTION_COLUMNS = [
    *("config", "epoch", "scale", "parent", "ratio", "alone_scale", *CLASS, *METRIC, "n_classes", "n_seeds"),
    *("floor", "alone", "mean", "difference", "low", "high", "p", "q", "verdict"),
]
_GROUP = ["config", "epoch", "scale", "parent", "ratio", "alone_scale"]


@dataclass(frozen=True)
class MergedParent:
    """A merge and one of its parents, drawn alike; checkpoints by their ids."""

    checkpoint: str
    alone: str  # the parent
    alone_scale: float  # at which it is drawn alone
    floor: str  # the base model
    parent: str
    ratio: float  # in the merge
    concepts: tuple[str, ...]  # ids of those that the parent was trained on


def dilution(
    scores: pd.DataFrame, parents: Sequence[MergedParent], higher_is_better: Mapping[str, bool]
) -> pd.DataFrame:
    """The merge less the parent alone on the parent's own concepts, with the same prompts and noise; raw values.

    Paired by class and seed. The classes are what the parent knows, not a sample of others like them, so the 95 %
    interval is Student's over the training seeds' means. A row for each class, and one for all that the parent knows
    (category "all"). q is Benjamini and Hochberg's over all parents and merges of one measurement, once for the rows of
    all classes and once for single ones; verdicts are "worse", "better", "tied" and, without an interval, "cannot be
    told". Columns: DILUTION_COLUMNS, `mean` is the merge's, `floor` the base model's, NaN where it was not measured.
    """
    values = _by_class_and_seed(scores, parents)
    found = []
    for identity, rows in values.groupby([*_GROUP, *METRIC], sort=False, dropna=False, observed=True):
        named = dict(zip([*_GROUP, *METRIC], identity))
        found.append(named | {"category": ALL, "class_name": ""} | _compared(rows))
        for (category, class_name), of_class in rows.groupby(CLASS, sort=False, observed=True):
            found.append(named | {"category": category, "class_name": class_name} | _compared(of_class))
    table = pd.DataFrame(found, columns=DILUTION_COLUMNS)
    return _judged(table, higher_is_better) if len(table) else table


def _by_class_and_seed(scores: pd.DataFrame, parents: Sequence[MergedParent]) -> pd.DataFrame:
    """A row a merge, parent, measurement, class and seed: the values floor, alone and mean, each over sub-classes."""
    asked = pd.DataFrame([{**vars(each), "concepts": list(each.concepts)} for each in parents])
    if asked.empty:
        return pd.DataFrame(columns=[*_GROUP, *METRIC, *CLASS, "seed", "floor", "alone", "mean"])
    named = scores["checkpoint"].isin({*asked["checkpoint"], *asked["alone"], *asked["floor"]})
    known = scores.loc[named & (scores["class_name"] != ""), ["checkpoint", *LEAF, *METRIC, "value"]]
    leaves = known[LEAF].drop_duplicates()
    leaves = leaves.assign(concept=["/".join(filter(None, leaf)) for leaf in leaves.itertuples(index=False)])
    known = known.merge(leaves, on=LEAF)
    asked = asked.explode("concepts").rename(columns={"concepts": "concept", "alone": "alone_id", "floor": "floor_id"})
    factors = scores[["checkpoint", "config", "seed", "epoch", "scale"]].drop_duplicates("checkpoint")
    rows = known.rename(columns={"value": "mean"}).merge(asked, on=["checkpoint", "concept"])
    rows = rows.merge(factors, on="checkpoint")
    for name, how in (("alone", "inner"), ("floor", "left")):
        other = known[["checkpoint", "concept", *METRIC, "value"]]
        other = other.rename(columns={"checkpoint": f"{name}_id", "value": name})
        rows = rows.merge(other, on=[f"{name}_id", "concept", *METRIC], how=how)
    rows = rows.dropna(subset=["alone", "mean"])
    keys = [*_GROUP, *METRIC, *CLASS, "seed"]
    return rows.groupby(keys, sort=False, dropna=False, observed=True, as_index=False)[
        ["floor", "alone", "mean"]
    ].mean()


def _compared(rows: pd.DataFrame) -> dict[str, float]:
    """Over the classes that every seed has."""
    values = rows.pivot(index="seed", columns=CLASS, values=["floor", "alone", "mean"])
    known = values[["alone", "mean"]].notna().all().unstack(0).all(axis=1)
    kept = known.index[known]
    of_seed = {name: values[name][kept].mean(axis=1) for name in ("floor", "alone", "mean")}
    found = clustered_mean(of_seed["mean"] - of_seed["alone"], values.index)
    counts = {"n_classes": len(kept), "n_seeds": len(values)}
    means = {name: each.mean() for name, each in of_seed.items()}
    return counts | means | {"difference": found.mean, "low": found.low, "high": found.high, "p": found.p}


def _judged(table: pd.DataFrame, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    """With q and verdict."""
    q = pd.Series(np.nan, table.index)
    for _, p in table["p"].dropna().groupby([*(table[name] for name in METRIC), table["category"] == ALL]):
        q[p.index] = false_discovery_control(p)
    gain = table["difference"] * np.where(table["metric"].map(dict(higher_is_better)), 1, -1)
    verdict = np.where(
        q.isna(), "cannot be told", np.where(q > FALSE_DISCOVERIES, "tied", np.where(gain > 0, "better", "worse"))
    )
    return table.assign(q=q, verdict=verdict)
