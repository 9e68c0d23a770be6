"""This file against that one on the same data: paired by image, and nothing said of other trainings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lorabench.statistics.columns import METRIC
from lorabench.statistics.comparisons import compare_files_with_best

HIGHER = {"likeness": True, "loss": False}


def scores(values: dict[str, np.ndarray], metric: str = "likeness") -> pd.DataFrame:
    """Rows of `values`: file -> [classes, blocks]."""
    measured = dict(zip(METRIC, ("trigger", metric, "dinov2", "")))
    return pd.DataFrame(
        {"checkpoint": file, "config": file, "algorithm": "lora", "category": "toys", "class_name": str(place)}
        | {"subclass": "", "blocks": tuple(row), **measured}
        for file, blocks in values.items()
        for place, row in enumerate(blocks)
    )


def of_toys(values: dict[str, np.ndarray], metric: str = "likeness") -> pd.DataFrame:
    return compare_files_with_best(scores(values, metric), HIGHER).query("category == 'toys'").set_index("checkpoint")


def test_two_files_on_one_class_are_a_paired_t_test_over_blocks():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1, 10))  # the same noise: it cancels
    values = {"a": shared + 0.1 * rng.normal(size=(1, 10)), "b": shared + 0.3 + 0.1 * rng.normal(size=(1, 10))}
    found = of_toys(values)
    expected = stats.ttest_rel(values["a"][0], values["b"][0])
    assert found.loc["a", "p"] == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert found.loc["a", ["low", "high"]].tolist() == pytest.approx([low, high])
    assert found["verdict"].to_dict() == {"a": "worse", "b": "best"}


def test_lower_is_better_turns_the_verdict_and_not_the_numbers():
    rng = np.random.default_rng(1)
    values = {"a": rng.normal(size=(3, 8)), "b": rng.normal(5, size=(3, 8))}
    found = of_toys(values, "loss")
    assert found.loc["a", "verdict"] == "best" and found.loc["b", "verdict"] == "worse"
    assert found.loc["b", "mean"] == pytest.approx(values["b"].mean())
    assert 0 < found.loc["b", "low"] < found.loc["b", "difference"] < found.loc["b", "high"]


@pytest.mark.parametrize(("classes", "luck"), [(1, 0.0), (3, 1.0), (8, 1.0)])
def test_equal_files_are_rarely_told_apart_and_intervals_hold_the_truth(classes, luck):
    rng, count = np.random.default_rng(2), 120
    draws = []
    for draw in range(count):  # a measurement each: those are families of their own
        blocks = {name: rng.normal(size=(classes, 10)) + luck * rng.normal(size=(classes, 1)) for name in "abcd"}
        draws.append(scores(blocks).assign(encoder=str(draw)))
    drawn = pd.concat(draws, ignore_index=True)
    four = compare_files_with_best(drawn, HIGHER).query("category == 'toys'")
    two = compare_files_with_best(drawn[drawn["checkpoint"].isin(["a", "b"])], HIGHER)
    called = four["verdict"].eq("worse").groupby(four["encoder"]).any()
    pairs = two.query("category == 'toys' and verdict != 'best'")
    held = pairs["low"].le(0) & pairs["high"].ge(0)
    assert len(called) == len(held) == count
    assert called.mean() <= 0.11 and held.mean() >= 0.89  # 5 % and 95 %, to three errors of 120 draws


def test_two_classes_say_little_of_others():
    rng = np.random.default_rng(3)
    blocks = {"a": rng.normal(size=(2, 10)) * 0.01 + [[0.0], [3.0]], "b": rng.normal(size=(2, 10)) * 0.01}
    assert of_toys(blocks).loc["b", "verdict"] == "tied"  # better on one class, equal on the other
