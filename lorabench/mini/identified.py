"""How many images of adapters a classifier with decoys names right: learnt, or only coloured alike."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from scipy.stats import binomtest

from lorabench.statistics.columns import MOMENT, with_moments

_COLUMNS = ["config", "algorithm", *MOMENT, "category", "right", "images", "share", "low", "high"]


def identified(scores: pd.DataFrame, prompt_type: str = "trigger", epochs: Sequence[int] = ()) -> pd.DataFrame:
    """Of the scores of a run, one row a config, epoch and category: all seeds and leaves pooled.

    Of the last epoch of each config, or of `epochs`; the base model, which has none, stands beside them.
    Columns: config, algorithm, epoch, step (where no epoch is known), category, right (images named right), images,
    share, and the 95 % interval of the share after Wilson (low, high). Images of one leaf share their prompts, so the
    interval speaks of these prompts.
    """
    rows = scores[(scores["metric"] == "identification") & (scores["prompt_type"] == prompt_type)].dropna(
        subset=["value"]
    )
    rows = with_moments(rows)
    last = rows.groupby("config")["age"].transform("max")
    wanted = rows["age"].isna() | (rows["epoch"].isin(epochs) if epochs else rows["age"] == last)
    rows = rows[wanted.fillna(False).astype(bool)]
    rows = rows.assign(right=(rows["value"] * rows["n_images"]).round().astype(int), images=rows["n_images"])
    keys = ["config", "algorithm", *MOMENT, "category"]
    table = rows.groupby(keys, dropna=False, sort=False)[["right", "images"]].sum().reset_index()
    intervals = [binomtest(r, n).proportion_ci(method="wilson") for r, n in zip(table["right"], table["images"])]
    table["share"] = table["right"] / table["images"]
    table["low"] = [interval.low for interval in intervals]
    table["high"] = [interval.high for interval in intervals]
    return table[_COLUMNS]
