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


def anchored_scores(
    values: np.ndarray, population: np.ndarray, higher_is_better: np.ndarray, anchors: pd.DataFrame, own: np.ndarray
) -> np.ndarray:
    """Share of the anchors of its population that each value beats, equals counting half, [n], in [0, 1].

    As `population_scores`, but no value meets another one of `values`: scores do not move when there are more of them.
    `anchors` has the columns population and value; `own` [n] says which values are among the anchors themselves, where
    they do not meet themselves. NaN for NaN, and where there is no anchor to meet.
    """
    frozen = {key: np.sort(rows.dropna()) for key, rows in anchors.groupby("population")["value"]}
    scores = np.full(len(values), np.nan)
    for key, places in pd.Series(range(len(values))).groupby(np.asarray(population)):
        met, chosen = frozen.get(key, np.empty(0)), places.to_numpy()
        below = np.searchsorted(met, values[chosen], "left")
        equal = np.searchsorted(met, values[chosen], "right") - below
        count = len(met) - own[chosen]
        share = np.divide(below + (equal - own[chosen]) / 2, count, out=np.full(len(chosen), np.nan), where=count > 0)
        scores[chosen] = np.where(higher_is_better[chosen], share, 1 - share)
    return np.where(np.isnan(values), np.nan, scores)
