"""Which points no other point beats in both of two directions."""

from __future__ import annotations

import numpy as np


def pareto_front(x: np.ndarray, y: np.ndarray, x_higher: bool = True, y_higher: bool = True) -> np.ndarray:
    """Membership of each point [n] in the Pareto front: none other is at least as good in both and better in one.

    Equal points are in or out together; a point with a NaN is out.
    """
    x = np.asarray(x, dtype=np.float64) * (1 if x_higher else -1)
    y = np.asarray(y, dtype=np.float64) * (1 if y_higher else -1)
    as_good = (x[:, None] >= x) & (y[:, None] >= y)  # [i, j]: i is at least as good as j
    better = (x[:, None] > x) | (y[:, None] > y)
    return ~(as_good & better).any(axis=0) & ~np.isnan(x) & ~np.isnan(y)
