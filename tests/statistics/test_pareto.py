"""Membership in the Pareto front, point by point."""

import numpy as np

from lorabench.statistics.pareto import pareto_front


def test_directions_ties_and_missing_values():
    x = np.array([1.0, 2.0, 2.0, 3.0, 3.0, np.nan])
    y = np.array([3.0, 2.0, 2.0, 1.0, 0.5, 9.0])
    np.testing.assert_array_equal(pareto_front(x, y), [True, True, True, True, False, False])
    np.testing.assert_array_equal(pareto_front(x, y, x_higher=False), [True, False, False, False, False, False])
    np.testing.assert_array_equal(pareto_front(x, y, y_higher=False), [False, False, False, False, True, False])


def test_every_point_off_the_front_is_beaten_by_one_on_it():
    x, y = np.random.default_rng(0).normal(size=(2, 200))
    front = pareto_front(x, y)
    assert 0 < front.sum() < 200
    for i in np.flatnonzero(~front):
        assert any(x[j] > x[i] and y[j] > y[i] for j in np.flatnonzero(front))
