"""Means of values that share classes and training runs, with intervals that know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
Pool = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class ClusteredMean:
    """A mean with its standard error and interval; NaN where it cannot be told. `n` values in `clusters` groups.

    `df` are the degrees of freedom of interval and p, which is two-sided, for a mean of 0.
    """

    mean: float
    se: float
    low: float
    high: float
    p: float
    df: float
    n: int
    clusters: tuple[int, ...]


def clustered_mean(values: np.ndarray, *clusters: np.ndarray) -> ClusteredMean:
    """Mean of `values` [n] that are alike within each of the groupings `clusters` (arrays of n labels, crossed).

    Variances are those of Cameron, Gelbach & Miller (2011, section 2.2) with G / (G - 1), at least that of any single
    grouping; the 95 % interval is Student's with Satterthwaite's (1946) degrees of freedom, the groupings' variances
    taken as independent: a grouping of few groups costs no more than its share of the variance. One of equal sizes
    is the t interval of the group means. NaN values are skipped; no interval below two groups. How often such intervals
    hold the truth: `benchmarks/intervals.py`.
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    found = clustered_means(values[present, None], *(np.asarray(each)[present] for each in clusters))
    numbers = [float(each[0]) for each in (found.mean, found.se, found.low, found.high, found.p, found.df)]
    return ClusteredMean(*numbers, found.n, found.clusters)


@dataclass(frozen=True)
class ClusteredMeans:
    """`ClusteredMean` of many columns: arrays of one entry a column. `freedom`: that of each grouping's variance."""

    mean: np.ndarray
    se: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    df: np.ndarray
    n: int
    clusters: tuple[int, ...]
    freedom: tuple[np.ndarray, ...]


def clustered_means(values: np.ndarray, *clusters: np.ndarray, pool: Pool | None = None) -> ClusteredMeans:
    """`clustered_mean` of each column of `values` [n, k], which has no missing value.

    `pool` says of which columns the variances are alike: from a variance a column over so many groups it makes the one
    to use and its degrees of freedom.
    """
    labels = [pd.factorize(np.asarray(each))[0] for each in clusters]
    counts = tuple(int(each.max()) + 1 if len(each) else 0 for each in labels)
    unknown = np.full(values.shape[1], np.nan)
    mean = values.mean(0) if len(values) else unknown
    if not counts or min(counts) < 2:
        return ClusteredMeans(mean, *[unknown] * 5, len(values), counts, (unknown,) * len(counts))
    residuals = values - mean
    single = [_variance(residuals, [each]) for each in labels]
    crossed = sum(
        (-1) ** (size + 1) * _variance(residuals, list(chosen))
        for size in range(1, len(labels) + 1)
        for chosen in combinations(labels, size)
    )
    freedom = [np.full(values.shape[1], count - 1.0) for count in counts]
    if pool is not None:
        single, freedom = map(list, zip(*[pool(each, count) for each, count in zip(single, counts)]))
        crossed, _ = pool(crossed, len(values))
    variance = np.maximum.reduce([*single, crossed])
    se, df = np.sqrt(variance), _satterthwaite(variance, single, freedom)
    half = stdtrit(df, (1 + CONFIDENCE) / 2) * se
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(se > 0, 2 * stdtr(df, -np.abs(mean) / se), mean == 0)
    return ClusteredMeans(mean, se, mean - half, mean + half, p, df, len(values), counts, tuple(freedom))


def bootstrap_interval(
    values: np.ndarray, *clusters: np.ndarray, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean, every grouping's groups drawn with replacement on their own (Owen 2007).

    A check on `clustered_mean` that assumes no distribution: too short for a handful of groups, where the t interval
    is to be read. NaN below two groups of any grouping; NaN values are skipped.
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    values = values[present]
    labels = [pd.factorize(np.asarray(each)[present])[0] for each in clusters]
    counts = [int(each.max()) + 1 if len(each) else 0 for each in labels]
    if not counts or min(counts) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    weights = np.ones((draws, len(values)))
    for each, count in zip(labels, counts):
        weights *= rng.multinomial(count, np.full(count, 1 / count), draws)[:, each]
    total = weights.sum(axis=1)
    means = (weights @ values)[total > 0] / total[total > 0]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _satterthwaite(variance: np.ndarray, parts: Sequence[np.ndarray], freedom: Sequence[np.ndarray]) -> np.ndarray:
    """Degrees of freedom of variances made of `parts` with `freedom` each; at least the fewest of them."""
    spread = sum(part**2 / each for part, each in zip(parts, freedom))
    fewest = np.minimum.reduce(freedom)
    return np.maximum(np.divide(variance**2, spread, out=fewest.copy(), where=spread > 0), fewest)


def _variance(residuals: np.ndarray, labels: list[np.ndarray]) -> np.ndarray:
    """Of the means, with residuals [n, k] summed over the groups in which all of `labels` agree."""
    group = labels[0]
    for each in labels[1:]:
        group = pd.factorize(group * (each.max() + 1) + each)[0]
    groups = int(group.max()) + 1
    if groups < 2:
        return np.zeros(residuals.shape[1])
    is_single = groups == len(residuals)  # a row each, and no product of the square of their number
    sums = residuals if is_single else np.equal.outer(np.arange(groups), group).astype(np.float64) @ residuals
    return (sums**2).sum(0) / len(residuals) ** 2 * groups / (groups - 1)
