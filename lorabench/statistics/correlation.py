"""How alike two measurements order the checkpoints (LyCORIS appendix E)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lorabench.statistics.columns import LEAF, METRIC

OTHER = [f"other_{name}" for name in METRIC]
MIN_PAIRS = 3  # two points always lie on a line


def leaf_correlations(normalized: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r of the scores of any two measurements over checkpoints and leaves, before any aggregation.

    Columns: METRIC, OTHER (the same of the second measurement), r in [-1, 1], n pairs of scores. Every ordered pair is
    a row. r is NaN below three pairs and where one side is constant.
    """
    scores = normalized.pivot(index=["checkpoint", *LEAF], columns=METRIC, values="score")
    present = scores.notna().to_numpy(dtype=np.float64)
    r = scores.corr(min_periods=MIN_PAIRS).to_numpy()
    names = scores.columns.to_frame(index=False)
    first, second = (each.ravel() for each in np.indices(r.shape))
    table = names.iloc[first].reset_index(drop=True)
    table[OTHER] = names.iloc[second].to_numpy()
    return table.assign(r=r.ravel().clip(-1, 1), n=(present.T @ present).ravel().astype("int64"))
