"""Rank-based normalisation within populations (LyCORIS D.6)."""

from __future__ import annotations

import numpy as np
import pandas as pd


def population_scores(values: np.ndarray, population: np.ndarray, higher_is_better: np.ndarray) -> np.ndarray:
    """Normalised score of each value among those of its population: best 1, worst 0, ties share their mean, [n].

    `population` [n] are integer labels, `higher_is_better` [n] is boolean and constant within a population. The score
    is (rank - 1) / (n - 1) with n the values that are there: NaN stays NaN and counts for nothing. A value alone in its
    population has no rank: NaN.
    """
    oriented = np.where(higher_is_better, values, np.negative(values)).astype(np.float64)
    grouped = pd.Series(oriented).groupby(np.asarray(population))
    others = grouped.transform("count").to_numpy(dtype=np.float64) - 1
    scores = np.full(len(oriented), np.nan)
    np.divide(grouped.rank(method="average").to_numpy() - 1, others, out=scores, where=others > 0)
    return scores
