"""Correlations of leaf scores: by hand, and where there is nothing to correlate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lorabench.statistics.correlation import leaf_correlations

IDENTITY = {"prompt_type": "train", "encoder": "e", "resize": ""}


def _scores(**columns: list[float]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"checkpoint": [f"k{i}" for i in range(len(values))], "score": values}).assign(
            category="c", class_name="n", subclass="", metric=metric, **IDENTITY
        )
        for metric, values in columns.items()
    ]
    return pd.concat(parts)


def test_r_and_n_of_every_ordered_pair():
    nan = np.nan
    table = leaf_correlations(_scores(a=[0, 1, 2, 4], b=[0, -1, -2, -4], c=[1, 0, nan, 1], d=[3, 3, 3, 3]))
    found = table.set_index(["metric", "other_metric"])
    assert len(found) == 16
    assert found.loc[("a", "a"), "r"] == 1 and found.loc[("a", "b"), "r"] == pytest.approx(-1)
    assert found.loc[("a", "c"), "n"] == 3
    assert found.loc[("a", "c"), "r"] == pytest.approx(np.corrcoef([0, 1, 4], [1, 0, 1])[0, 1])
    assert found.loc[("c", "a"), "r"] == found.loc[("a", "c"), "r"]
    assert np.isnan(found.loc[("a", "d"), "r"]) and found.loc[("a", "d"), "n"] == 4


def test_too_few_pairs_and_no_rows():
    assert leaf_correlations(_scores(a=[0, 1], b=[1, 0]))["r"].isna().all()
    assert leaf_correlations(_scores(a=[1.0]).head(0)).empty
