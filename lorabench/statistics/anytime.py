"""Comparisons that may be looked at after every round of images, and stopped at any moment for any reason.

A round is a longer prefix of the same paired images. Each has its clustered test and interval, at a share of the level
that it was given beforehand; the shares add up to 1. So all intervals of a difference hold together as often as a
single one would (a confidence sequence: Darling & Robbins 1967, here by the union of planned looks), and the smallest
p-value so far, each divided by its round's share, is a p-value at whatever moment one looks ("always valid": Johari,
Pekelis & Walsh 2015). Nothing is asked of what decided which images are drawn next: had all been drawn, all rounds
together would still have kept the level. Benjamini and Hochberg's rule on them is that of `comparisons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit
from scipy.stats import false_discovery_control

from lorabench.statistics.clustered import CONFIDENCE
from lorabench.statistics.comparisons import FALSE_DISCOVERIES, differences


@dataclass(frozen=True)
class Evidence:
    """What the rounds so far say of all ordered pairs of levels, arrays [levels, levels], first less second.

    `worse`: p-values of the first not being worse; `apart`: of the two differing by `margin` or more (None: nobody
    named one); `low`, `high`: the interval of the last round that had both, one of those that hold together.
    """

    worse: np.ndarray
    apart: np.ndarray
    low: np.ndarray
    high: np.ndarray
    margin: float | None

    @classmethod
    def none(cls, levels: int, margin: float | None = None) -> Evidence:
        ones, unknown = np.ones((levels, levels)), np.full((levels, levels), np.nan)
        return cls(ones, ones, unknown, unknown, margin)

    def after(self, values: pd.DataFrame, families: Sequence[np.ndarray], share: float) -> Evidence:
        """With one more round, whose share of the level is `share`.

        `values` are scores by home, class_name and seed (rows) and level (columns), NaN of those that were not drawn;
        `families` as in `comparisons`.
        """
        first, second, difference, se, df = differences(values, families)
        worse, apart, low, high = (each.copy() for each in (self.worse, self.apart, self.low, self.high))
        half = stdtrit(df, 1 - share * (1 - CONFIDENCE) / 2) * se
        for pair, less in (((first, second), difference), ((second, first), -difference)):
            _lower(worse, pair, _not_below(less, se, df) / share)
            if self.margin is not None:
                outside = [_not_below(sign * less - self.margin, se, df) for sign in (1, -1)]
                _lower(apart, pair, np.maximum(*outside) / share)
            low[pair], high[pair] = less - half, less + half
        return Evidence(worse, apart, low, high, self.margin)

    def discoveries(self, rate: float = FALSE_DISCOVERIES) -> tuple[np.ndarray, np.ndarray]:
        """(the first is worse than the second, the two differ by less than the margin), bool [levels, levels] each.

        One family: all that could have been said of any pair.
        """
        ordered = ~np.eye(len(self.worse), dtype=bool)
        upper = np.triu(ordered) & (self.margin is not None)
        p = np.concatenate([self.worse[ordered], self.apart[upper]])
        found = false_discovery_control(p) <= rate if len(p) else p.astype(bool)
        worse, alike = np.zeros_like(ordered), np.zeros_like(ordered)
        worse[ordered], alike[upper] = found[: ordered.sum()], found[ordered.sum() :]
        return worse, alike | alike.T


def _not_below(difference: np.ndarray, se: np.ndarray, df: np.ndarray) -> np.ndarray:
    """One-sided p-values of differences that are 0 or more; NaN where nothing can be told."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(se > 0, stdtr(df, difference / se), np.nan)


def _lower(kept: np.ndarray, pair: tuple[np.ndarray, np.ndarray], p: np.ndarray) -> None:
    kept[pair] = np.fmin(kept[pair], np.minimum(p, 1.0))
