"""Which epoch of a config to take, and at which merge ratio: its own files against each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lorabench.statistics.columns import LEAF, METRIC
from lorabench.statistics.comparisons import compare_files_with_best

POINT = ["epoch", "step", "scale"]
CHOICE_COLUMNS = [
    *("config", *POINT, "n_seeds", "category", *METRIC),
    *("mean", "difference", "low", "high", "p", "q", "verdict"),
]


def compare_moments_with_best(scores: pd.DataFrame, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    """Every moment and merge ratio of a config less its best one, on the same prompts and noise; raw values.

    `scores` as for `compare_files_with_best`, whose test this is with the files of several seeds averaged, block by
    block; seeds count that have all moments of their config, if there are such. A family is a config: nothing is said
    of one against another, nor of what another training of it would do. Columns: CHOICE_COLUMNS.
    """
    parts = [_compared(rows, higher_is_better) for _, rows in scores.groupby("config", sort=False, observed=True)]
    found = [part for part in parts if len(part)]
    return pd.concat(found, ignore_index=True)[CHOICE_COLUMNS] if found else pd.DataFrame(columns=CHOICE_COLUMNS)


def _compared(rows: pd.DataFrame, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    numbers = rows.groupby(POINT, dropna=False, sort=True).ngroup()
    rows = _of_whole_seeds(rows.assign(checkpoint=numbers.astype(str)))
    points = rows[["checkpoint", "config", *POINT]].drop_duplicates("checkpoint")
    points = points.assign(n_seeds=points["checkpoint"].map(rows.groupby("checkpoint")["seed"].nunique(dropna=False)))
    leaf = ["checkpoint", *METRIC, *LEAF]
    blocks = rows.groupby(leaf, sort=False, observed=True)["blocks"].agg(_mean_blocks).reset_index()
    return points.merge(compare_files_with_best(blocks, higher_is_better), on="checkpoint")


def _of_whole_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of those seeds that have every moment; all rows where none has."""
    moments = rows.groupby("seed", dropna=False)["checkpoint"].transform("nunique")
    whole = moments == rows["checkpoint"].nunique()
    return rows[whole] if whole.any() else rows


def _mean_blocks(blocks: pd.Series) -> tuple[float, ...]:
    """Of sets that are divided alike; () of others, which do not pair."""
    lengths = {len(each) for each in blocks}
    return tuple(np.mean(list(blocks), axis=0)) if len(lengths) == 1 and lengths != {0} else ()
