"""Which of several configs or epochs is best, and which of the others the numbers cannot tell from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from lorabench.statistics.clustered import ClusteredMean, clustered_mean
from lorabench.statistics.columns import METRIC
from lorabench.statistics.errors import class_scores, with_all_classes
from lorabench.statistics.power import (
    images_needed,
    minimum_detectable,
    seeds_needed,
    variance_components,
)

FALSE_DISCOVERIES = 0.05  # share of them among the differences that a family calls real


def compare_with_best(table: pd.DataFrame, level: str, by: Sequence[str] = (), column: str = "score") -> pd.DataFrame:
    """Every value of `level` ("config", "epoch") less the best one, paired by class and seed, for each measurement.

    `table` is `normalized`, or part of it: one checkpoint a level and seed within the factors `by`. A family is all
    pairs of levels in one group of `by`, category (or "all") and measurement; q is Benjamini and Hochberg's (1995).
    Columns: by, category, METRIC, level, best, mean, difference, se, low, high (95 %, clustered by class and by seed),
    p, q, verdict ("best", "worse", "tied", "cannot be told"); detectable, the difference found in 80 % of such studies;
    and for those that are tied what it would take: more_seeds, more_images (a factor, at the least). The best is chosen
    by the same numbers, so its lead is flattered. ValueError where a level has two checkpoints of one seed.
    """
    factors = table[list(dict.fromkeys(["checkpoint", "seed", level, *by]))].drop_duplicates("checkpoint")
    rows = class_scores(table, column)
    rows = with_all_classes(rows.assign(home=rows["category"])).merge(factors, on="checkpoint")
    families = rows.groupby([*by, "category", *METRIC], dropna=False, observed=True, sort=False)
    parts = [
        _family(family, level, column).assign(**dict(zip(families.keys, identity)))
        for identity, family in families
        if family[column].notna().any()
    ]
    numbers = ["mean", "difference", "se", "low", "high", "p", "q", "verdict"]
    columns = [*families.keys, level, "best", *numbers, "detectable", "more_seeds", "more_images"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _family(rows: pd.DataFrame, level: str, column: str) -> pd.DataFrame:
    """All levels of one family against its best."""
    # A class is named with its category, since "all" may hold two of one name.
    wide = rows.pivot(index=["home", "class_name", "seed"], columns=level, values=column).dropna(axis=1, how="all")
    means = wide.mean()
    best = means.idxmax()
    table = pd.DataFrame([_compared(wide[name] - wide[best]) for name in wide.columns], index=wide.columns)
    table.loc[best, ["p", "detectable"]] = np.nan
    q = _false_discovery_rates(wide)
    table = table.assign(mean=means, best=best, q=[q.get(frozenset((name, best)), np.nan) for name in wide.columns])
    verdict = np.where(table["q"].isna(), "cannot be told", np.where(table["q"] <= FALSE_DISCOVERIES, "worse", "tied"))
    table["verdict"] = np.where(table.index == best, "best", verdict)
    tied = table["verdict"] == "tied"
    table[["more_seeds", "more_images"]] = table[["more_seeds", "more_images"]].where(tied)
    return table.reset_index()


def _false_discovery_rates(wide: pd.DataFrame) -> dict[frozenset, float]:
    """q of every pair of columns: over all pairs, because which of them is the best is read off the same numbers."""
    p = {frozenset(pair): paired_mean(wide[pair[0]] - wide[pair[1]]).p for pair in combinations(wide.columns, 2)}
    p = {pair: value for pair, value in p.items() if not np.isnan(value)}
    return dict(zip(p, false_discovery_control(list(p.values())))) if p else {}


def _compared(differences: pd.Series) -> dict[str, float]:
    """Mean difference over (home, class_name, seed), and what it would take to tell it from none."""
    found = paired_mean(differences)
    answer = {"difference": found.mean, "se": found.se, "low": found.low, "high": found.high, "p": found.p}
    square = differences.unstack("seed")
    parts = variance_components(square.to_numpy())
    seeds = parts and seeds_needed(found.mean, parts, len(square))
    images = parts and images_needed(found.mean, parts, *square.shape)
    more_seeds = max(seeds - square.shape[1], 0) if seeds else np.nan
    detectable = minimum_detectable(found.se, found.df)
    return answer | {"detectable": detectable, "more_seeds": more_seeds, "more_images": images or np.nan}


def paired_mean(differences: pd.Series) -> ClusteredMean:
    """Mean of differences indexed by home (category), class_name and seed, with its interval.

    Clustered by class and by seed; of a category that was measured as a whole there are no classes to vary."""
    index = differences.index
    groupings = [index.get_level_values("seed").to_numpy()]
    if not (index.get_level_values("class_name") == "").all():
        groupings.append((index.get_level_values("home") + "/" + index.get_level_values("class_name")).to_numpy())
    return clustered_mean(differences.to_numpy(), *groupings)
