"""What the merges of a run leave of their parents, by the first measurement of fidelity."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorabench.report import runs
from lorabench.report.merges import kept
from lorabench.report.tables import columns_of, headline_columns, metric_infos
from lorabench.statistics.columns import ALL, METRIC


def merge_losses(root: Path) -> pd.DataFrame:
    """A row a merge and parent, drawn alike, over all that the parent knows; columns of `merges.parquet`, and kept.

    `kept` is the share of the parent's way from the base model, NaN where there is none. Empty of a run without merges.
    """
    tables = runs.read_run(root, only=("merges",))
    rows = tables.merges[(tables.merges["category"] == ALL) & (tables.merges["alone_scale"] == tables.merges["scale"])]
    if rows.empty:
        return rows.assign(kept=pd.Series(dtype=float))
    column = headline_columns(columns_of(rows, metric_infos(tables.metrics)))[0]
    rows = rows[(rows[METRIC].fillna("") == list(column.identity)).all(axis=1)]
    shares = [kept(row, column.info.higher_is_better) for row in rows.to_dict("records")]
    return rows.assign(kept=pd.array(shares, dtype="Float64").to_numpy("float64", na_value=float("nan")))
