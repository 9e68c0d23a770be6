"""Distances against their definitions over all pairs, and scipy's matrix square root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from lorabench.statistics.distances import frechet_distance, mean_squared_distances, paired_squared_distances


def _set(seed: int, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(seed, 1, (n, d)) @ rng.normal(0, 1, (d, d))).astype(np.float32)


def test_mean_squared_distance_is_the_mean_over_all_pairs():
    first, second = _set(1, 6, 9), _set(2, 4, 9)
    expected = cdist(first.astype(np.float64), second.astype(np.float64), "sqeuclidean").mean()
    assert mean_squared_distances(first, second).mean() == pytest.approx(expected, rel=1e-12)


def test_paired_squared_distance_pairs_rows():
    first, second = _set(1, 4, 9), _set(2, 4, 9)
    expected = np.diag(cdist(first.astype(np.float64), second.astype(np.float64), "sqeuclidean")).mean()
    assert paired_squared_distances(first, second).mean() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="one shape"):
        paired_squared_distances(first, second[:3])


def test_distances_far_from_zero_keep_their_digits():
    """A sum of squares minus a squared mean would lose everything at this offset."""
    near = np.array([[1e6, 0.0], [1e6 + 1, 0.0]])
    assert mean_squared_distances(near, near).mean() == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("n, m", [(60, 40), (4, 30), (5, 5)])  # d = 8: regular, one singular, both singular
def test_frechet_distance_agrees_with_the_matrix_square_root(n, m):
    first, second = _set(1, n, 8).astype(np.float64), _set(2, m, 8).astype(np.float64)
    s1, s2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    shift = first.mean(axis=0) - second.mean(axis=0)
    expected = shift @ shift + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    # sqrtm of a singular product is good to the root of the machine precision only.
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-10 if n > 8 else 1e-5)


def test_frechet_distance_of_a_set_to_itself_is_zero_and_of_one_image_refused():
    rows = _set(3, 20, 6)
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="at least 2 images"):
        frechet_distance(rows[:1], rows)


@pytest.mark.parametrize("distance", [mean_squared_distances, paired_squared_distances, frechet_distance])
def test_values_that_are_not_finite_are_refused(distance):
    rows = _set(4, 3, 5)
    broken = rows.copy()
    broken[1, 2] = np.inf
    with pytest.raises(ValueError, match="not finite"), np.errstate(invalid="ignore"):
        distance(rows, broken)
