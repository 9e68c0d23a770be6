"""Diversities of features, and ratios of classes to their data set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lorabench.statistics.diversity import diversities, diversity_ratios


def test_equal_rows_have_no_diversity_and_orthogonal_ones_all_of_it():
    same, different = diversities(np.ones((4, 3))), diversities(np.eye(4))
    assert [same[name] for name in ("vendi", "intra_dissimilarity", "variance")] == pytest.approx([1, 0, 0], abs=1e-9)
    assert different["vendi"] == pytest.approx(4) and different["intra_dissimilarity"] == pytest.approx(0.75)


def test_intra_dissimilarity_is_the_variance_of_the_normalised_rows():
    rows = np.random.default_rng(0).normal(size=(30, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert diversities(rows)["intra_dissimilarity"] == pytest.approx(diversities(unit)["variance"])


def test_ratios_are_of_the_largest_allowed_sizes_and_of_sets_without_sets():
    sets = [("", 1000, 10.0), ("", 10000, 99.0), ("a", 300, 8.0), ("a/x", 100, 2.0), ("a/x", 60, 1.0), ("a/y", 50, 5.0),
            ("b", 51, 4.0)]  # fmt: skip
    table = pd.DataFrame(sets, columns=["set", "n_images", "value"]).assign(metric="m", encoder="e", resize="")
    found = diversity_ratios(table).set_index("class_name")
    assert found["ratio"].to_dict() == {"a/x": 0.2, "b": 0.4} and found["whole"].tolist() == [10, 10]
    assert diversity_ratios(table, "a").set_index("class_name")["ratio"].to_dict() == {"a/x": 0.25}
    assert diversity_ratios(table[table["set"] != ""]).empty
    constant = table.assign(value=table["value"].where(table["set"] != "", 0.0))
    assert diversity_ratios(constant)["ratio"].isna().all()
