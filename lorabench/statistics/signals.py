"""What signals that cost less than pictures say of what pictures measure: rank correlations with intervals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lorabench.statistics.clustered import ClusteredMean, clustered_mean
from lorabench.statistics.columns import ALL, CLASS, LEAF, METRIC, MOMENT, with_moments
from lorabench.statistics.validation import health_of_weights, losses_by

# Among which checkpoints a correlation is: all of a concept, those of one algorithm or of one moment, the moments of
# one training.
AMONG = {"all": [], "algorithm": ["algorithm"], "moment": MOMENT, "training": ["config", "seed"]}
SIGNAL_COLUMNS = ["signal", "among", *METRIC, "r", "low", "high", "p", "n", "n_classes", "n_configs", "n_seeds"]
LEAST = 3  # checkpoints of a block: two always agree or disagree
_KEY = ["checkpoint", *LEAF]
_SURE = 1 - 1e-9  # of a correlation: Fisher's z of 1 is infinite


def signal_values(scores: pd.DataFrame, validation: pd.DataFrame, health: pd.DataFrame) -> pd.DataFrame:
    """A row a checkpoint and concept (index: checkpoint, LEAF), a column a signal; NaN where one is not known.

    What `loss_means` says, by concept; of the metrics the copy rate and every gap, named "metric, prompt type"; the
    health of all blocks together, the same for every concept. `scores`, `validation` and `health` are tables of a run.
    """
    trained = scores[(scores["algorithm"] != "none") & (scores["category"] != ALL)]
    found = trained[_KEY].drop_duplicates().set_index(_KEY)
    if len(validation):
        found = found.join(losses_by(validation, _KEY))
    copied = trained[trained["metric"].str.endswith("_gap") | (trained["metric"] == "copy_rate")]
    several = copied.groupby("metric")[["encoder", "resize"]].nunique().max(axis=1) > 1
    for (prompts, metric, encoder, resize), rows in copied.groupby(METRIC, sort=False, dropna=False):
        seen = [encoder, resize] if several[metric] else []
        name = ", ".join(filter(None, [metric, prompts, *seen]))
        found = found.join(rows.set_index(_KEY)["value"].astype("float64").rename(name))
    if len(health):
        found = found.join(health_of_weights(health), on="checkpoint")
    return found.dropna(axis=1, how="all")


def signals(normalized: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of every signal with every score, a row each: SIGNAL_COLUMNS.

    `normalized` are the scores of a run (1 = best), `values` those of `signal_values`. `r` in [-1, 1] is the mean over
    concepts, and where `among` says so over algorithms, moments or trainings, of the correlation among the checkpoints
    of each, every checkpoint with the same weight; negative where a larger number goes with worse pictures. The 95 %
    interval is clustered by class and by config (whose trainings share its luck), of whichever there are several, on
    Fisher's scale; `p` is of r = 0. A metric is not correlated with itself. NaN where nothing varies.
    """
    rows = with_moments(normalized[(normalized["algorithm"] != "none") & (normalized["category"] != ALL)])
    found = []
    for measured, of_it in rows.groupby(METRIC, sort=False, dropna=False, observed=True):
        table = of_it[[*_KEY, "algorithm", "config", "seed", *MOMENT, "score"]].merge(
            values, left_on=_KEY, right_index=True
        )
        for name in values.columns:
            if name.split(", ")[1::-1] == list(measured[:2]):
                continue
            for among, within in AMONG.items():
                told = _correlation(table[[*LEAF, *dict.fromkeys([*within, "config", "seed"]), "score", name]], within)
                found.append([name, among, *measured, *told])
    return pd.DataFrame(found, columns=SIGNAL_COLUMNS)


def _correlation(table: pd.DataFrame, within: list[str]) -> Iterator[float]:
    """r, its interval and p, and what it rests on: rows, classes, configs and seeds."""
    signal = table.columns[-1]
    rows = table[table[["score", signal]].notna().all(axis=1)]
    block = rows.groupby([*LEAF, *within], sort=False, dropna=False).ngroup()
    x, y = (_standard(rows[name].astype("float64"), block) for name in (signal, "score"))
    kept = ((x.notna() & y.notna()) & (block.groupby(block).transform("size") >= LEAST)).to_numpy()
    rows, block, x, y = rows[kept], block[kept], x[kept], y[kept]
    of_block = (x * y).groupby(block).transform("mean")
    # What each checkpoint adds to the correlation of its block: the influence function of Pearson's r, plus r.
    influence = of_block + x * y - of_block * (x**2 + y**2) / 2
    clusters = [rows[CLASS].agg("/".join, axis=1) if len(rows) else rows["config"], rows["config"]]
    several = [each.to_numpy() for each in clusters if each.nunique() > 1]
    counts = [each.nunique() for each in (*clusters, rows["seed"])]
    return iter((*_on_fishers_scale(clustered_mean(influence.to_numpy(), *several)), len(rows), *counts))


def _standard(values: pd.Series, block: pd.Series) -> pd.Series:
    """Ranks in each block, of mean 0 and variance 1; NaN where all are equal."""
    ranks = values.groupby(block).rank()
    by_block = ranks.groupby(block)
    spread = by_block.transform("std", ddof=0)
    return (ranks - by_block.transform("mean")) / spread.where(spread > 0)


def _on_fishers_scale(found: ClusteredMean) -> tuple[float, float, float, float]:
    """(r, low, high, p): the interval of r made symmetric in atanh r, so that it stays within -1 and 1."""
    r = float(np.clip(found.mean, -_SURE, _SURE))
    half = (found.high - found.mean) / (1 - r**2)
    middle = np.arctanh(r)
    return found.mean, float(np.tanh(middle - half)), float(np.tanh(middle + half)), found.p
