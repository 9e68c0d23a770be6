"""Intervals of means of values that share classes and training runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lorabench.statistics.clustered import bootstrap_interval, clustered_mean


def test_a_clustered_mean_of_equal_groups_is_the_t_interval_of_their_means():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(6), 5)
    values = rng.normal(size=6)[groups] + 0.1 * rng.normal(size=30)
    means = values.reshape(6, 5).mean(1)
    test = ttest_1samp(means, 0)
    expected = test.confidence_interval()
    found = clustered_mean(values, groups)
    assert (found.mean, found.low, found.high) == pytest.approx((means.mean(), expected.low, expected.high))
    assert (found.df, found.p) == pytest.approx((5, test.pvalue))
    # A second grouping that explains nothing cannot make the interval shorter.
    crossed = clustered_mean(values, groups, np.tile(np.arange(5), 6))
    assert crossed.se >= found.se - 1e-12 and crossed.clusters == (6, 5)
    assert np.isnan(clustered_mean(values, np.zeros(30)).low)


def test_two_way_intervals_cover_as_often_as_they_say():
    rng, inside = np.random.default_rng(2), 0
    rows, columns = (grid.ravel() for grid in np.meshgrid(np.arange(10), np.arange(12), indexing="ij"))
    for _ in range(400):
        values = rng.normal(size=10)[rows] + rng.normal(size=12)[columns] + rng.normal(size=120)
        found = clustered_mean(values, rows, columns)
        inside += found.low <= 0 <= found.high
    assert 0.90 <= inside / 400 <= 0.99


def test_a_grouping_of_few_groups_costs_its_share_of_the_variance():
    rng = np.random.default_rng(3)
    rows, columns = (grid.ravel() for grid in np.meshgrid(np.arange(28), np.arange(3), indexing="ij"))
    by_row = clustered_mean(rng.normal(size=28)[rows] + 0.01 * rng.normal(size=84), rows, columns)
    assert by_row.df > 25  # three columns that hardly differ
    by_column = clustered_mean(rng.normal(size=3)[columns] + 0.01 * rng.normal(size=84), rows, columns)
    assert by_column.df == pytest.approx(2, abs=0.01)


def test_equal_values_have_no_error_and_nothing_has_no_mean():
    same = clustered_mean(np.full(6, 0.5), np.arange(6) % 3, np.arange(6) % 2)
    assert (same.se, same.low, same.high, same.p) == (0, 0.5, 0.5, 0)
    assert clustered_mean(np.zeros(6), np.arange(6) % 3).p == 1
    empty = clustered_mean(np.full(3, np.nan), np.arange(3))
    assert np.isnan(empty.mean) and np.isnan(empty.low) and empty.n == 0


def test_the_bootstrap_agrees_with_the_t_interval_where_groups_are_many():
    rng = np.random.default_rng(4)
    rows, columns = (grid.ravel() for grid in np.meshgrid(np.arange(60), np.arange(50), indexing="ij"))
    values = 1 + rng.normal(size=60)[rows] + rng.normal(size=50)[columns] + rng.normal(size=3000)
    found, (low, high) = clustered_mean(values, rows, columns), bootstrap_interval(values, rows, columns)
    assert low < found.mean < high
    # Quantiles of 2,000 draws are known to some 5 % of the width; the bootstrap counts the noise twice or thrice.
    assert high - low == pytest.approx(found.high - found.low, rel=0.15)
    assert bootstrap_interval(values, rows, columns) == (low, high)  # the same draws again
    assert np.isnan(bootstrap_interval(values, np.zeros(3000))).all()
