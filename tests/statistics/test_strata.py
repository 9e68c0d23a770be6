"""Pooled variances of pairs: against an analysis of variance, and nested families with planted variances."""

from __future__ import annotations

import numpy as np
import pytest

from lorabench.statistics.strata import pooled

FIRST, SECOND = np.triu_indices(12, 1)
EPOCHS, CONFIGS = np.arange(12) // 2, np.arange(12) // 4  # two moments a config, two configs an algorithm


def variances(values: np.ndarray) -> np.ndarray:
    """Of the mean difference of each pair of rows of `values` [levels, groups]."""
    return (values[FIRST] - values[SECOND]).var(axis=1, ddof=1) / values.shape[1]


def test_one_kind_of_pairs_is_a_two_way_analysis_of_variance():
    values = np.random.default_rng(0).normal(size=(12, 5))
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    mean_square = np.square(rest).sum() / (11 * 4)
    alone, everybody = np.arange(12), np.zeros(12)
    for families in ([], [alone], [everybody], [alone, everybody]):
        found, freedom = pooled(variances(values), 5, FIRST, SECOND, families)
        assert found == pytest.approx(2 * mean_square / 5) and freedom == pytest.approx(44)


def test_each_kind_of_pair_has_the_variance_that_was_planted_and_its_degrees_of_freedom():
    rng, groups = np.random.default_rng(1), 3
    means, freedoms = [], []
    for _ in range(2000):
        luck = rng.normal(size=(12, groups)) + 2 * rng.normal(size=(6, groups))[EPOCHS]
        luck += 3 * rng.normal(size=(3, groups))[CONFIGS]
        found, freedom = pooled(variances(luck), groups, FIRST, SECOND, [EPOCHS, CONFIGS])
        means.append(found[[0, 1, 4]])  # one config; one algorithm; two algorithms
        freedoms.append(freedom[[0, 1, 4]])
    means = np.array(means)
    assert means.mean(0) == pytest.approx(np.array([2, 2 * 5, 2 * 14]) / groups, rel=0.06)
    # A variance of f degrees of freedom varies by 2 / f of its square: Satterthwaite's are near on the whole.
    wanted = 2 * means.mean(0) ** 2 / means.var(0)
    assert np.mean(freedoms, axis=0) == pytest.approx(wanted, rel=0.15)
    assert (np.diff(wanted) < 0).all()


def test_a_kind_without_pairs_is_none():
    star = FIRST == 0  # of level 0 to each other one: no pair is within the family that it is not of
    other = np.array([0] + 11 * [1])
    found, freedom = pooled(np.arange(11.0), 4, FIRST[star], SECOND[star], [other])
    assert found == pytest.approx(5) and freedom == pytest.approx(33)
