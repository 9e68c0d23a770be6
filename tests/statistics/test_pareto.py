"""Membership in the Pareto front, point by point."""

import numpy as np

from lorabench.statistics.pareto import front, front_probability, pareto_front


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


def test_a_front_of_three_directions():
    points = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5], [0.5, 0.5, 0.4], [np.nan, 2, 2]])
    assert front(points).tolist() == [True, True, True, True, False, False]


def test_the_chance_of_the_front_is_sure_where_the_points_are_and_split_where_they_are_not():
    rng = np.random.default_rng(0)
    sure = np.stack([np.full((6, 3), level) for level in (2.0, 0.0)])[..., None] + np.zeros((2, 6, 3, 2))
    assert front_probability(sure, rng, draws=120).tolist() == [1, 0]
    # Two points that each win in half of the classes: either may come out first.
    wins = np.where(np.arange(6)[:, None] % 2, 1.0, 0.0) + np.zeros((6, 3))
    split = np.stack([wins, 1 - wins])[..., None]
    chance = front_probability(split, rng, draws=1000)
    assert 0.4 < chance[0] < 0.8 and chance.sum() >= 1
    split[0, :, :, 0] = np.nan
    assert front_probability(split, rng, draws=50).tolist() == [0, 1]
