"""Pairs of levels by what the two share: one variance for each kind of pair, as in a nested analysis of variance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _Stratum:
    """The pairs of one family (of the next finer kind: of two of them); `share`, of its variance in a coarser one."""

    pairs: np.ndarray
    freedom: int
    share: float


def pooled(
    variances: np.ndarray, groups: int, first: np.ndarray, second: np.ndarray, families: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Variances of pairs [n] with the mean over all pairs of their kind in the place of each, and degrees of freedom.

    A variance is that of the mean difference of two levels (`first` and `second`, places in the labels) over `groups`
    groups. `families` are labels of the levels, fine before coarse, each fine one within one coarse one: levels of one
    family may share their luck, so pairs within one vary less than pairs across. Without families it is one kind, with
    (groups - 1) (levels - 1) degrees of freedom. A variance across is the mean square between families and what is
    left of those within; its degrees of freedom are Satterthwaite's (1946).
    """
    found, freedom = np.empty(len(variances)), np.empty(len(variances))
    within, spread = 0.0, 0.0
    for stratum in _strata(first, second, families):
        variance = variances[stratum.pairs].mean()
        between = max(variance - within, 0.0)
        own = stratum.freedom * (groups - 1)
        doubt = between**2 / own + spread
        found[stratum.pairs], freedom[stratum.pairs] = variance, variance**2 / doubt if doubt > 0 else own
        within += stratum.share * between
        spread += (stratum.share * between) ** 2 / own
    return found, freedom


def _strata(first: np.ndarray, second: np.ndarray, families: Sequence[np.ndarray]) -> Iterator[_Stratum]:
    """Finest first; a kind of family that joins no two of these levels, or of which no pair is here, is none."""
    levels = np.union1d(first, second)
    units, apart = levels, np.ones(len(first), bool)
    for labels in [*families, np.zeros(levels.max() + 1)]:
        pairs = apart & (labels[first] == labels[second])
        family = labels[levels]
        n_units, n_families = len(np.unique(units)), len(np.unique(family))
        if n_families >= n_units or not pairs.any():
            continue
        members = np.unique(np.stack([family, units]), axis=1)[0]  # the family of each unit
        share = 1 - float(np.mean(1 / np.unique(members, return_counts=True)[1]))
        yield _Stratum(pairs, n_units - n_families, share)
        units, apart = family, apart & ~pairs
