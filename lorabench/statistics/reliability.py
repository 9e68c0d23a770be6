"""How far one training seed tells what another would have told."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd


def intraclass_correlation(values: Sequence[float] | np.ndarray, groups: Sequence[Hashable]) -> float:
    """ICC(1) of values in groups, at most 1: the share of their variance that lies between the groups.

    One-way random effects (Shrout and Fleiss, 1979, case 1); groups of different sizes count by their mean size as in
    the unbalanced analysis of variance. Negative values say that groups differ less than chance lets them. NaN for
    fewer than two groups, where no group has two values, and where all values are equal. Missing values are left out.
    """
    table = pd.DataFrame({"value": np.asarray(values, dtype=np.float64), "group": list(groups)}).dropna()
    parts = table.groupby("group")["value"]
    sizes, means = parts.count().to_numpy(dtype=np.float64), parts.mean().to_numpy()
    n, k = sizes.sum(), len(sizes)
    if k < 2 or n <= k:
        return float("nan")
    between = float((sizes * (means - table["value"].mean()) ** 2).sum() / (k - 1))
    within = float((table["value"] - parts.transform("mean")).pow(2).sum() / (n - k))
    size = (n - (sizes**2).sum() / n) / (k - 1)
    spread = between + (size - 1) * within
    return (between - within) / spread if spread > 0 else float("nan")
