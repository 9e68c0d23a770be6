"""What merges leave of their parents, and where two parents stand in each other's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lorabench.report.tables import Column, RunTables
from lorabench.report.words import category_words, rounded
from lorabench.statistics.columns import ALL, METRIC

_PLACES = ("merge", "epoch", "scale", "parent", "ratio", "alone_scale", "n_classes", "n_seeds", "verdict")
_NUMBERS = ("floor", "alone", "mean", "difference", "low", "high", "q")
_MEASURES = ("cosine", "overlap", "chance", "first_strength", "second_strength")


def merge_data(tables: RunTables, columns: Sequence[Column]) -> dict[str, Any] | None:
    """For the page: `rows`, a merge and parent each by one measurement; `concepts`, of what; `layers`, by two parents.

    None of a run without merges.
    """
    if tables.merges.empty and tables.interference.empty:
        return None
    numbers = {column.identity: place for place, column in enumerate(columns)}
    rows = tables.merges.rename(columns={"config": "merge"})
    made = list(dict.fromkeys(rows["merge"]))
    rows = rows.sort_values(["epoch", "scale"], kind="stable")
    rows = rows.sort_values("merge", key=lambda names: names.map(made.index), kind="stable")
    concepts = rows[["category", "class_name"]].drop_duplicates().itertuples(index=False)
    names = {(each.category, each.class_name): _concept_words(each.category, each.class_name) for each in concepts}
    return {
        "made": _made(tables.scores),
        "concepts": list(dict.fromkeys(names.values())),
        "rows": [
            {
                **{name: _plain(row[name]) for name in _PLACES},
                **{name: rounded([row[name]])[0] for name in _NUMBERS},
                "kept": kept(row, columns[numbers[identity]].info.higher_is_better),
                "concept": names[row["category"], row["class_name"]],
                "column": numbers[identity],
            }
            for row in rows.to_dict("records")
            if (identity := tuple(row[name] for name in METRIC)) in numbers
        ],
        "layers": _layers(tables.interference),
    }


def kept(row: Mapping[str, Any], higher_is_better: bool) -> float | None:
    """The share of the parent's way from the base model that the merge goes.

    None where the parent goes no way upwards, or so short a one that the merge is far off it on either side.
    """
    way, sign = row["alone"] - row["floor"], 1 if higher_is_better else -1
    share = (row["mean"] - row["floor"]) / way if sign * way > 0 else np.nan
    return rounded([share])[0] if abs(share) <= _FARTHEST else None


_FARTHEST = 2.0


def _concept_words(category: str, class_name: str) -> str:
    return "All that a parent knows" if category == ALL else f"{class_name} ({category_words(category).lower()})"


def _made(scores: pd.DataFrame) -> dict[str, str]:
    """How each merge was made, in words."""
    if not {"merge", "ratios"} <= set(scores):
        return {}
    rows = scores[["config", "merge", "ratios"]].dropna().drop_duplicates("config")
    return {row.config: f"{row.merge}, {row.ratios}" for row in rows.itertuples(index=False)}


def _layers(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each merge's pairs the mean over seeds, at the last epoch, layer by layer."""
    found = []
    for (config, first, second), rows in table.groupby(["config", "first", "second"], sort=False):
        last = rows[rows["epoch"] == rows["epoch"].max()]
        means = last.groupby("module", sort=False)[list(_MEASURES)].mean()
        numbers = {name: rounded(means[name]) for name in _MEASURES}
        found.append({"merge": config, "first": first, "second": second, "modules": list(means.index), **numbers})
    return found


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
