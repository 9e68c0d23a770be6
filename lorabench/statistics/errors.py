"""Means over sub-classes, classes and seeds, and their standard errors (LyCORIS D.6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lorabench.statistics.columns import ALL, CLASS, METRIC


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """std(ddof=1) / sqrt(n) over the values that are not NaN; NaN below two of them."""
    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    return float(present.std(ddof=1) / np.sqrt(len(present))) if len(present) > 1 else float("nan")


def class_scores(table: pd.DataFrame, column: str = "score") -> pd.DataFrame:
    """Mean of `column` over the sub-classes of each class: one row a checkpoint, class and metric; NaN are skipped."""
    keys = ["checkpoint", *METRIC, *CLASS]
    return table.groupby(keys, sort=False, observed=True, as_index=False)[column].mean()


def with_all_classes(classes: pd.DataFrame) -> pd.DataFrame:
    """The rows of `classes`, and again as category "all": means over it are over classes, not over categories.

    Where a metric has rows of category "all" already, measured over everything at once, those stand alone.
    """
    own = classes["category"] == ALL
    has_own = pd.MultiIndex.from_frame(classes[METRIC]).isin(pd.MultiIndex.from_frame(classes.loc[own, METRIC]))
    return pd.concat([classes, classes[~has_own].assign(category=ALL)], ignore_index=True)


def summarise(table: pd.DataFrame, by: Sequence[str], column: str = "score") -> pd.DataFrame:
    """Mean, standard error and number of class x seed rows for each level of `by`, category (or "all") and metric.

    `table` is `normalized` (or `scores` with column="value"); `by` are factor columns, e.g. ["config", "epoch"]:
    whatever is not named, the seed for one, is averaged over. Columns: by, category, METRIC, mean, se, n.
    """
    by = list(by)
    factors = table[list(dict.fromkeys(["checkpoint", *by]))].drop_duplicates("checkpoint")
    rows = with_all_classes(class_scores(table, column)).merge(factors, on="checkpoint", suffixes=("_", ""))
    keys = [*by, "category", *METRIC]
    grouped = rows.groupby(keys, dropna=False, observed=True)[column]
    return grouped.agg(mean="mean", se="sem", n="count").reset_index()
