"""Which of several configs or epochs is best, and which of the others the numbers cannot tell from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from lorabench.statistics.clustered import ClusteredMean, clustered_mean, clustered_means
from lorabench.statistics.columns import CLASS, METRIC
from lorabench.statistics.errors import class_scores, with_all_classes
from lorabench.statistics.power import (
    Components,
    images_needed,
    minimum_detectable,
    seeds_needed,
    variance_components,
)
from lorabench.statistics.strata import pooled

Groupings = Callable[[pd.MultiIndex], list[np.ndarray]]
FALSE_DISCOVERIES = 0.05  # share of them among the differences that a family calls real
KINSHIP = ("config", "algorithm")  # what levels may share their luck by, fine before coarse
_NUMBERS = ["difference", "se", "low", "high", "df", "p"]
_WORTH = ["worth_of_seeds", "worth_of_classes"]  # degrees of freedom of each variance, as a multiple of a pair's alone
_POWER = ["detectable", "more_seeds", "more_images"]


def compare_with_best(
    table: pd.DataFrame, level: str, by: Sequence[str] = (), column: str = "score", power: bool = True
) -> pd.DataFrame:
    """Every value of `level` ("config", "epoch") less the best one, paired by class and seed, for each measurement.

    `table` is `normalized`, or part of it: one checkpoint a level and seed within the factors `by`. A family is all
    pairs of levels in one group of `by`, category (or "all") and measurement. A pair alone has too few seeds to say how
    it varies, so differences are taken to vary alike, as in an analysis of variance, and a nested one where `table` has
    the columns KINSHIP: configs of one algorithm may share their luck, and so do two moments of one training.
    `benchmarks/intervals.py` has what that buys and costs. q is Benjamini and Hochberg's (1995).
    Columns: by, category, METRIC, level, best, mean, difference, se, low, high (95 %, clustered by class and by seed),
    p, q, verdict ("best", "worse", "tied", "cannot be told"); unless `power` is False: detectable, the difference that
    80 % of such studies would call real in this family, the other pairs being as they are; and for those that are tied
    what it would take for theirs: more_seeds, more_images (a factor, at the least). The best is chosen by the same
    numbers, so its lead is flattered. ValueError where a level has two checkpoints of one seed.
    """
    kinship = [name for name in KINSHIP if name in table]
    factors = table[list(dict.fromkeys(["checkpoint", "seed", level, *by, *kinship]))].drop_duplicates("checkpoint")
    rows = class_scores(table, column)
    rows = with_all_classes(rows.assign(home=rows["category"])).merge(factors, on="checkpoint")
    families = rows.groupby([*by, "category", *METRIC], dropna=False, observed=True, sort=False)
    parts = [
        _family(family, level, column, power).assign(**dict(zip(families.keys, identity)))
        for identity, family in families
        if family[column].notna().any()
    ]
    numbers = ["mean", "difference", "se", "low", "high", "p", "q", "verdict", *(_POWER if power else ())]
    columns = [*families.keys, level, "best", *numbers]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def compare_files_with_best(scores: pd.DataFrame, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    """Each checkpoint less the best one on the same data, prompts and noise, for each measurement; raw values.

    A statement about these files, not about their configs: another training of the same config may do otherwise.
    `scores` has the column `blocks` (`Score.blocks`). Paired by class and block of images, intervals clustered by both
    (by blocks alone where there is one class); pooled as in `compare_with_best`, and q is Benjamini and Hochberg's over
    all pairs of files. Columns: category, METRIC, checkpoint, best, mean, difference, se, low, high, p, q, verdict.
    """
    kinship = [name for name in KINSHIP if name in scores]
    factors = scores[["checkpoint", *kinship]].drop_duplicates("checkpoint")
    known = scores.loc[scores["blocks"].map(len) > 0, ["checkpoint", *METRIC, *CLASS, "blocks"]]
    parts = []
    for identity, rows in known.groupby(METRIC, observed=True, sort=False):  # the blocks of all at once are millions
        sign = 1.0 if higher_is_better[identity[1]] else -1.0
        blocks = with_all_classes(_by_block(rows).assign(home=lambda table: table["category"]))
        # Noise is each class's own.
        seeds = blocks["home"] + "/" + blocks["class_name"] + "/" + blocks["block"].astype(str)
        blocks = blocks.assign(seed=seeds, blocks=sign * blocks["blocks"]).merge(factors, on="checkpoint")
        for category, family in blocks.groupby("category", observed=True, sort=False):
            found = _against_best(family, "checkpoint", "blocks", _one_class_too)[0]
            found[["mean", "difference"]] *= sign
            found[["low", "high"]] = found[["low", "high"]] if sign > 0 else -found[["high", "low"]].to_numpy()
            parts.append(found.assign(category=category, **dict(zip(METRIC, identity))))
    columns = [
        "category",
        *METRIC,
        "checkpoint",
        "best",
        "mean",
        "difference",
        "se",
        "low",
        "high",
        "p",
        "q",
        "verdict",
    ]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _by_block(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a checkpoint, measurement, class and block: the mean over sub-classes."""
    lengths = rows["blocks"].map(len).to_numpy()
    long = rows[["checkpoint", *METRIC, *CLASS]].iloc[np.repeat(np.arange(len(rows)), lengths)]
    numbers = np.concatenate([np.arange(length) for length in lengths])
    long = long.assign(block=numbers, blocks=np.concatenate(rows["blocks"].tolist()).astype(np.float64))
    keys = ["checkpoint", *METRIC, *CLASS, "block"]
    return long.groupby(keys, sort=False, observed=True, as_index=False)["blocks"].mean()


def _family(rows: pd.DataFrame, level: str, column: str, power: bool) -> pd.DataFrame:
    """All levels of one family against its best."""
    table, wide, best, families = _against_best(rows, level, column, _groupings)
    return table.join(_power(wide, best, table, families)) if power else table


def _against_best(
    rows: pd.DataFrame, level: str, column: str, groupings: Groupings
) -> tuple[pd.DataFrame, pd.DataFrame, int, list[np.ndarray]]:
    """(a row a level, the values by class, seed and level, the best's place, the families of the levels)."""
    # A class is named with its category, since "all" may hold two of one name.
    wide = rows.pivot(index=["home", "class_name", "seed"], columns=level, values=column).dropna(axis=1, how="all")
    means = wide.mean()
    best = int(means.to_numpy().argmax())
    families = _kin(rows, level, wide.columns)
    table = _less(best, _pairs(wide, families, groupings), len(means))
    verdict = np.where(
        np.isnan(table["q"]), "cannot be told", np.where(table["q"] <= FALSE_DISCOVERIES, "worse", "tied")
    )
    verdict[best] = "best"
    table |= {"mean": means.to_numpy(), "verdict": verdict, level: wide.columns, "best": wide.columns[best]}
    return pd.DataFrame(table), wide, best, families


def _kin(rows: pd.DataFrame, level: str, levels: pd.Index) -> list[np.ndarray]:
    """Labels of the families that `levels` belong to, a kind each; what varies within a level makes no family."""
    place, found_levels = pd.factorize(rows[level], use_na_sentinel=False)
    first = np.unique(place, return_index=True)[1]
    found = []
    for name in KINSHIP:
        if name in rows:
            labels = pd.factorize(rows[name], use_na_sentinel=False)[0]
            of_level = labels[first]
            if np.array_equal(of_level[place], labels):
                found.append(of_level[found_levels.get_indexer(levels)])
    return found


def _pairs(wide: pd.DataFrame, families: Sequence[np.ndarray], groupings: Groupings) -> dict[str, np.ndarray]:
    """All pairs of columns, `first` less `second` (places): the family, for the same numbers say which is best.

    Arrays of one entry a pair, not a table: a report compares hundreds of families, and tables take longer to make than
    all of these numbers.
    """
    first, second = np.triu_indices(wide.shape[1], 1)
    values = wide.to_numpy(np.float64)
    pairs = {name: np.full(len(first), np.nan) for name in (*_NUMBERS, *_WORTH, "q", "level")}
    # Pairs that miss the same rows are one calculation: nearly always all of them.
    lacking = np.isnan(values)
    either = lacking[:, first] | lacking[:, second] if lacking.any() else np.zeros((1, len(first)), bool)
    missing = pd.factorize(pd.Series([each.tobytes() for each in either.T], dtype=object))[0]
    for pattern in np.unique(missing):
        chosen = np.flatnonzero(missing == pattern)
        present = ~(lacking[:, first[chosen[0]]] | lacking[:, second[chosen[0]]])
        differences = values[np.ix_(present, first[chosen])]
        differences -= values[np.ix_(present, second[chosen])]
        pool = partial(pooled, first=first[chosen], second=second[chosen], families=families)
        found = clustered_means(differences, *groupings(wide.index[present]), pool=pool)
        for name, each in zip(_NUMBERS, (found.mean, found.se, found.low, found.high, found.df, found.p)):
            pairs[name][chosen] = each
        for name, freedom, groups in zip(_WORTH, found.freedom, found.clusters):
            pairs[name][chosen] = freedom / max(groups - 1, 1)
    known = ~np.isnan(pairs["p"])
    if known.any():
        pairs["q"][known] = false_discovery_control(pairs["p"][known])
        pairs["level"][known] = discovery_levels(pairs["p"][known])
    return {"first": first, "second": second, **pairs}


def differences(values: pd.DataFrame, families: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """(first, second, difference, se, df) of all pairs of columns, by their places: first less second.

    `values` have a row a home, class_name and seed; clustered and pooled as in `compare_with_best`. NaN of columns of
    which nothing is known.
    """
    known = values.notna().any().to_numpy().nonzero()[0]
    pairs = _pairs(values.iloc[:, known], [labels[known] for labels in families], _groupings)
    return known[pairs["first"]], known[pairs["second"]], pairs["difference"], pairs["se"], pairs["df"]


def _less(best: int, pairs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Each of `count` columns less the best, by place; of the best itself the difference alone, 0."""
    after, before = pairs["second"] == best, pairs["first"] == best
    places = np.concatenate([pairs["first"][after], pairs["second"][before]])
    turned = pairs | {"difference": -pairs["difference"], "low": -pairs["high"], "high": -pairs["low"]}
    found = {}
    for name in (*_NUMBERS, *_WORTH, "q", "level"):
        found[name] = np.full(count, np.nan)
        found[name][places] = np.concatenate([pairs[name][after], turned[name][before]])
    found["difference"][best] = 0.0
    return found


def discovery_levels(p: np.ndarray) -> np.ndarray:
    """The level that each of the p-values [m] has to reach to be a discovery, the others being as they are.

    By Benjamini and Hochberg's step-up rule: of R discoveries, if that one were 0, it is R / m of the rate.
    """
    order = np.argsort(p, kind="stable")
    limits = FALSE_DISCOVERIES * np.arange(1, len(p) + 1) / len(p)
    sorted_p = p[order]
    found = int((np.flatnonzero(sorted_p <= limits) + 1).max(initial=1))
    # With a larger one at 0, each of the smaller ones would be a rank further and face that rank's limit.
    moved = np.where(sorted_p[:-1] <= limits[1:], np.arange(2, len(p) + 1), 1)
    counts = np.maximum(found, np.maximum.accumulate(np.concatenate([[1], moved])))
    levels = np.empty(len(p))
    levels[order] = FALSE_DISCOVERIES * counts / len(p)
    return levels


def _power(wide: pd.DataFrame, best: int, table: pd.DataFrame, families: Sequence[np.ndarray]) -> pd.DataFrame:
    """What each difference from the best would have to be to be found, and what it would take to find those tied."""
    places = [place for place in range(wide.shape[1]) if place != best]
    squares = [(wide.iloc[:, place] - wide.iloc[:, best]).unstack("seed") for place in places]
    found = pd.Series([variance_components(square.to_numpy()) for square in squares], places, dtype=object).dropna()
    shared = np.sum([labels == labels[best] for labels in families], axis=0) * np.ones(wide.shape[1])
    answers = {name: np.full(len(table), np.nan) for name in _POWER}  # cells of a table take longer than all the rest
    for place, row in table[table["level"].notna() & (table["se"] > 0)].iterrows():
        answers["detectable"][place] = minimum_detectable(row["se"], row["df"], row["level"])
        # As in the test, differences from one's kin, and from the others, are taken to vary alike.
        alike = found[shared[found.index] == shared[place]]
        if row["verdict"] == "tied" and len(alike):
            parts = Components(*np.mean([[each.classes, each.seeds, each.rest] for each in alike], axis=0))
            n_classes, n_seeds = squares[0].shape
            worth = (row["worth_of_classes"], row["worth_of_seeds"])
            asked = (row["difference"], parts, n_classes, n_seeds, row["level"], worth)
            seeds, images = seeds_needed(*asked), images_needed(*asked)
            answers["more_seeds"][place] = seeds - n_seeds if seeds else np.nan
            answers["more_images"][place] = images or np.nan
    return pd.DataFrame(answers, table.index)


def what_it_takes(
    values: pd.DataFrame, best: int, families: Sequence[np.ndarray], level: float, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(times the images at the least, further seeds) with which a difference from `best` would be found, by column.

    `values` as in `differences`, `asked` are places of columns; NaN of the others, and where nothing would do. A
    difference counts as found where its two-sided p-value is `level` at most. Asked of a difference two standard errors
    larger than the one that was seen, which a few images may have come to by luck.
    """
    known = values.notna().any().to_numpy().nonzero()[0]
    labels = [each[known] for each in families]
    place = int(np.searchsorted(known, best))
    table = pd.DataFrame(_less(place, _pairs(values.iloc[:, known], labels, _groupings), len(known)))
    table["level"] = np.where(np.isin(known, asked), level, np.nan)
    table["verdict"] = "tied"
    away = 2 * table["se"]
    table["difference"] -= away.where(table["difference"] <= 0, -away)
    answers = _power(values.iloc[:, known].set_axis(range(len(known)), axis=1), place, table, labels)
    images, seeds = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    images[known], seeds[known] = answers["more_images"], answers["more_seeds"]
    return images, seeds


def paired_mean(differences: pd.Series) -> ClusteredMean:
    """Mean of differences indexed by home (category), class_name and seed, with its interval.

    Clustered by class and by seed; of a category that was measured as a whole there are no classes to vary."""
    return clustered_mean(differences.to_numpy(), *_groupings(differences.index))


def _groupings(index: pd.MultiIndex) -> list[np.ndarray]:
    groupings = [index.get_level_values("seed").to_numpy()]
    if not (index.get_level_values("class_name") == "").all():
        home, name = (index.codes[index.names.index(each)].astype(np.int64) for each in ("home", "class_name"))
        groupings.append(home * (name.max() + 1) + name)
    return groupings


def _one_class_too(index: pd.MultiIndex) -> list[np.ndarray]:
    """A single class says nothing of others, but its images do of themselves."""
    groupings = _groupings(index)
    return groupings[:1] if len(set(groupings[-1])) == 1 else groupings
