"""Normalised scores against scipy's ranks, and what ranks promise."""

import numpy as np
import pytest
from scipy.stats import rankdata

from lorabench.statistics.ranks import population_scores


def test_scores_agree_with_scipy_population_by_population():
    rng = np.random.default_rng(0)
    population = rng.integers(0, 7, 300)
    higher = population % 2 == 0
    values = rng.integers(0, 12, 300).astype(float)  # many ties
    scores = population_scores(values, population, higher)
    for label in range(7):
        mine = population == label
        ranks = rankdata(values[mine] if label % 2 == 0 else -values[mine], method="average")
        np.testing.assert_allclose(scores[mine], (ranks - 1) / (mine.sum() - 1), rtol=1e-15)


def test_missing_values_are_skipped_and_do_not_count():
    scores = population_scores(np.array([3.0, np.nan, 1.0, 2.0]), np.zeros(4, dtype=int), np.ones(4, dtype=bool))
    np.testing.assert_array_equal(scores, [1.0, np.nan, 0.0, 0.5])


def test_a_value_alone_in_its_population_has_no_score():
    scores = population_scores(np.array([3.0, 1.0, np.nan]), np.array([0, 1, 1]), np.ones(3, dtype=bool))
    assert np.isnan(scores).all()


@pytest.mark.parametrize("change", [np.exp, lambda x: 3 * x - 7, np.cbrt])
def test_monotone_maps_change_no_score(change):
    values = np.random.default_rng(1).normal(size=50)
    population, higher = np.arange(50) % 3, np.zeros(50, dtype=bool)
    np.testing.assert_array_equal(
        population_scores(values, population, higher), population_scores(change(values), population, higher)
    )
