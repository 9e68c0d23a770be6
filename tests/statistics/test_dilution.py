"""What a merge leaves of its parents: pairs by class and seed, on the parent's own concepts alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lorabench.statistics.dilution import DILUTION_COLUMNS, MergedParent, dilution

SEEDS = (1, 2, 3, 4)
MEASURED = {"prompt_type": "train", "encoder": "e", "resize": ""}


def scores(values: dict[str, dict[str, list[float]]], metric: str = "up") -> pd.DataFrame:
    """checkpoint name -> concept -> a value a seed; the base model's holds for all."""
    rows = []
    for name, of in values.items():
        for concept, by_seed in of.items():
            category, class_name, *subclass = concept.split("/")
            for seed, value in zip((None,) if name == "base" else SEEDS, by_seed):
                place = {"checkpoint": name if seed is None else f"{name}-s{seed}", "config": name, "seed": seed}
                leaf = {"category": category, "class_name": class_name, "subclass": "".join(subclass)}
                epoch = None if seed is None else 12
                rows.append(
                    {**place, "epoch": epoch, "scale": 1.0, **leaf, **MEASURED, "metric": metric, "value": value}
                )
    return pd.DataFrame(rows)


def parents(parent: str, *concepts: str, merge: str = "both", ratio: float = 1.0) -> list[MergedParent]:
    return [
        MergedParent(f"{merge}-s{seed}", f"{parent}-s{seed}", 1.0, "base", parent, ratio, concepts) for seed in SEEDS
    ]


def test_one_class_is_a_paired_t_test_over_seeds():
    random = np.random.default_rng(0)
    alone = random.normal(0.8, 0.1, 4)
    merged = alone - random.normal(0.3, 0.05, 4)
    table = scores({"base": {"toys/octo": [0.2]}, "a": {"toys/octo": alone}, "both": {"toys/octo": merged}})
    found = dilution(table, parents("a", "toys/octo"), {"up": True}).query("category == 'all'").iloc[0]
    expected = stats.ttest_rel(merged, alone)
    interval = expected.confidence_interval(0.95)
    assert found["difference"] == pytest.approx(np.mean(merged - alone)) and found["floor"] == 0.2
    assert (found["low"], found["high"], found["p"]) == pytest.approx((interval.low, interval.high, expected.pvalue))
    assert (found["n_classes"], found["n_seeds"], found["verdict"]) == (1, 4, "worse")
    lower = dilution(table, parents("a", "toys/octo"), {"up": False})
    assert set(lower["verdict"]) == {"better"}  # of what is the better the lower


def test_only_what_the_parent_knows_counts_and_sub_classes_make_their_class():
    flat = [0.5] * 4
    values = {
        "base": {"toys/octo": [0.1], "girls/mika/red": [0.1], "girls/mika/blue": [0.3], "styles/neon": [0.9]},
        "a": {"toys/octo": [0.6] * 4, "girls/mika/red": [0.8] * 4, "girls/mika/blue": [0.6] * 4, "styles/neon": flat},
        "both": {"toys/octo": flat, "girls/mika/red": flat, "girls/mika/blue": flat, "styles/neon": [0.0] * 4},
    }
    own = ("toys/octo", "girls/mika/red", "girls/mika/blue")
    found = dilution(scores(values), parents("a", *own), {"up": True}).set_index(["category", "class_name"])
    assert list(found.index) == [("all", ""), ("toys", "octo"), ("girls", "mika")]
    assert found["difference"].tolist() == pytest.approx([-0.15, -0.1, -0.2])
    assert found.loc[("girls", "mika"), "floor"] == pytest.approx(0.2)


def test_a_single_seed_and_missing_values_are_no_verdict():
    values = {"a": {"toys/octo": [0.8, np.nan]}, "both": {"toys/octo": [0.5, 0.4]}}
    (row,) = (
        dilution(scores(values), parents("a", "toys/octo"), {"up": True}).query("category == 'all'").to_dict("records")
    )
    assert row["difference"] == pytest.approx(-0.3) and row["n_seeds"] == 1
    assert np.isnan(row["low"]) and np.isnan(row["floor"]) and row["verdict"] == "cannot be told"


def test_of_many_merges_without_loss_few_are_called_worse():
    random = np.random.default_rng(1)
    names = [f"m{k}" for k in range(200)]
    values = {"a": {"toys/octo": random.normal(size=4)}}
    values |= {name: {"toys/octo": values["a"]["toys/octo"] + random.normal(size=4)} for name in names}
    asked = [each for name in names for each in parents("a", "toys/octo", merge=name)]
    found = dilution(scores(values), asked, {"up": True}).query("category == 'all'")
    assert (found["p"] <= 0.05).sum() > 2 and (found["verdict"] != "tied").sum() <= 2


def test_no_merge_is_no_row():
    assert list(dilution(scores({"a": {"toys/octo": [0.8]}}), [], {"up": True})) == DILUTION_COLUMNS
