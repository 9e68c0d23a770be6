"""Standard errors against scipy, and what is averaged over what."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

from lorabench.statistics.errors import standard_error, summarise


def test_standard_error_agrees_with_scipy_and_skips_missing_values():
    values = np.array([1.0, 4.0, np.nan, 2.0])
    assert standard_error(values) == pytest.approx(sem(values, nan_policy="omit"))
    assert np.isnan(standard_error([1.0, np.nan]))


def _leaves() -> pd.DataFrame:
    """Two seeds of one config; class a has two sub-classes, b is in its category too, c in another."""
    leaves = [("one", "a", "x"), ("one", "a", "y"), ("one", "b", ""), ("two", "c", "")]
    scores = {23: [0.0, 1.0, 0.1, 0.3], 24: [0.2, np.nan, 0.3, 0.9]}
    metric = {"prompt_type": "train", "metric": "vendi", "encoder": "dinov2", "resize": ""}
    return pd.DataFrame(
        {"checkpoint": f"k-{seed}", "config": "k", "seed": seed, "category": c, "class_name": n, "subclass": s} | metric
        | {"score": value}
        for seed, values in scores.items()
        for (c, n, s), value in zip(leaves, values)
    )  # fmt: skip


def test_summarise_pools_class_by_seed_rows():
    table = summarise(_leaves(), by=["config"]).set_index("category")
    one = [0.5, 0.1, 0.2, 0.3]  # class a is the mean of its sub-classes, of the one that is there for seed 24
    assert table.loc["one", ["mean", "n"]].tolist() == pytest.approx([0.275, 4])
    assert table.loc["one", "se"] == pytest.approx(sem(one))
    assert table.loc["all", "mean"] == pytest.approx(np.mean([*one, 0.3, 0.9]))  # over classes, not over categories
    assert table.loc["two", "n"] == 2


def test_summarise_by_seed_keeps_seeds_apart():
    table = summarise(_leaves(), by=["config", "seed"]).set_index(["seed", "category"])
    assert table.loc[(24, "one"), "mean"] == pytest.approx(0.25)
    assert np.isnan(table.loc[(24, "two"), "se"])


def test_rows_of_scope_checkpoint_are_counted_once():
    pooled = _leaves().query("class_name == 'c'").assign(category="all", class_name="")
    table = summarise(pooled, by=["config"])
    assert table["category"].tolist() == ["all"]
    assert table["n"].tolist() == [2]
