"""Scores in, normalised scores and their means per category out (LyCORIS D.6)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lorabench.components import UserError, unknown
from lorabench.statistics.columns import LEAF, METRIC, factor_columns
from lorabench.statistics.errors import class_scores, with_all_classes
from lorabench.statistics.ranks import anchored_scores, population_scores


@dataclass(frozen=True)
class Ranked:
    """Two tables: a row a leaf (`normalized`), and a row a category (`category_scores`)."""

    normalized: pd.DataFrame
    category_scores: pd.DataFrame


def rank(scores: pd.DataFrame, higher_is_better: Mapping[str, bool], anchors: pd.DataFrame | None = None) -> Ranked:
    """Normalised scores in [0, 1] (1 = best) of all checkpoints but the base model, per leaf and per category.

    `higher_is_better` maps metric names to directions. Missing values are skipped and stay NaN. UserError for a metric
    without a direction, and where a checkpoint has two values of one leaf and metric.

    With `anchors`, the scores of a frozen population, each checkpoint is placed among those instead: its score does not
    depend on the other checkpoints of `scores`. UserError unless they hold every measurement with its `metric_id`.
    """
    normalized = _of_adapters(scores)
    better = _directions(normalized["metric"], higher_is_better)
    leaf = normalized.groupby([*LEAF, *METRIC], sort=False, observed=True, dropna=False).ngroup().to_numpy()
    _check_unique(normalized, leaf)
    if anchors is None:
        normalized["score"] = population_scores(normalized["value"].to_numpy(dtype=np.float64), leaf, better)
        populations = _populations(normalized)
    else:
        frozen = _of_adapters(anchors)
        check_metric_ids(normalized, frozen)
        normalized["score"] = _scores_among(normalized, frozen, better)
        populations = _populations(frozen)
    normalized = normalized.merge(populations, on=METRIC, how="left")
    return Ranked(normalized, _category_scores(normalized, populations))


def _of_adapters(scores: pd.DataFrame) -> pd.DataFrame:
    """All rows but the base model's; a part that a metric lacks (encoder, resizing) is "", for groups skip nulls."""
    rows = scores[scores["algorithm"] != "none"].reset_index(drop=True)
    return rows.assign(**rows[METRIC].fillna(""))


def check_metric_ids(rows: pd.DataFrame, anchors: pd.DataFrame) -> None:
    """UserError where a number of `rows` and one of `anchors` would not mean the same, or there is none to compare."""
    if any("metric_id" not in table or table["metric_id"].fillna("").eq("").any() for table in (anchors, rows)):
        raise UserError("Scores without metric_id say not how they were measured, so nothing can be anchored to them.")
    if anchors["value"].isna().all():
        raise UserError("The anchors hold no value, so nothing can be placed among them.")
    keys = [*LEAF, *METRIC, "metric_id"]
    known = pd.MultiIndex.from_frame(anchors[keys].drop_duplicates())
    wanted = rows[keys].drop_duplicates()
    other = wanted[~pd.MultiIndex.from_frame(wanted).isin(known)]
    if len(other):
        name = ", ".join(part for part in other.iloc[0, :-1].fillna("") if part)
        raise UserError(
            f"The anchors did not measure {name} in the same way: metric, encoder, data, prompts, sampling and (for "
            "preservation) base model have to be the same. Leave out the anchors, or take some that were measured so."
        )


def _scores_among(rows: pd.DataFrame, anchors: pd.DataFrame, better: np.ndarray) -> np.ndarray:
    both = pd.concat([rows, anchors], ignore_index=True)
    leaf = both.groupby([*LEAF, *METRIC], sort=False, observed=True, dropna=False).ngroup().to_numpy()
    values = both["value"].to_numpy(dtype=np.float64)
    n = len(rows)
    frozen = pd.DataFrame({"population": leaf[n:], "value": values[n:]})
    own = rows["checkpoint"].isin(anchors["checkpoint"]).to_numpy()
    return anchored_scores(values[:n], leaf[:n], better, frozen, own)


def _directions(metrics: pd.Series, higher_is_better: Mapping[str, bool]) -> np.ndarray:
    codes, names = pd.factorize(metrics)
    for name in names:
        if name not in higher_is_better:
            raise UserError(unknown("metric", name, sorted(higher_is_better), "scores, column metric"))
    return np.array([higher_is_better[name] for name in names], dtype=bool)[codes]


def _check_unique(rows: pd.DataFrame, leaf: np.ndarray) -> None:
    checkpoint, names = pd.factorize(rows["checkpoint"])
    pairs = np.sort(leaf * len(names) + checkpoint)
    repeated = np.flatnonzero(pairs[1:] == pairs[:-1])
    if len(repeated):
        name = names[pairs[repeated[0]] % len(names)]
        raise UserError(f"Checkpoint '{name}' has two values of one leaf and metric; a rank needs one of each.")


def _populations(normalized: pd.DataFrame) -> pd.DataFrame:
    """METRIC -> id of the population: a hash of what was measured and of the checkpoints it was measured on."""
    members = normalized[[*METRIC, "checkpoint"]].drop_duplicates()
    rows = []
    for identity, group in members.groupby(METRIC, sort=False, observed=True):
        text = "\n".join([*identity, "", *sorted(group["checkpoint"])])
        rows.append([*identity, hashlib.sha256(text.encode()).hexdigest()[:12]])
    return pd.DataFrame(rows, columns=[*METRIC, "population"], dtype="str")


def _category_scores(normalized: pd.DataFrame, populations: pd.DataFrame) -> pd.DataFrame:
    """Means over sub-classes, then over classes; category "all" is the mean over classes, not over categories."""
    keys = ["checkpoint", "category", *METRIC]
    classes = with_all_classes(class_scores(normalized))
    categories = classes.groupby(keys, sort=False, observed=True)["score"].agg(["mean", "count"]).reset_index()
    table = categories.rename(columns={"mean": "score", "count": "n_classes"})
    factors = factor_columns(normalized)
    table = table.merge(normalized[factors].drop_duplicates("checkpoint"), on="checkpoint")
    table = table.merge(populations, on=METRIC)
    return table[[*factors, "category", *METRIC, "score", "n_classes", "population"]]
