"""Similarities and the Vendi score against their definitions, and eq. 23."""

import numpy as np
import pytest

from lorabench.statistics.similarity import (
    mean_cosines,
    paired_cosines,
    squared_centroid_distance,
    unit_rows,
    vendi_score,
)


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(1, 1, (7, 12)).astype(np.float32), rng.normal(0, 2, (5, 12)).astype(np.float32)


def test_mean_cosine_is_the_mean_over_all_pairs(sets):
    first, second = (rows.astype(np.float64) for rows in sets)
    pairs = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a in first for b in second]
    assert mean_cosines(*sets).mean() == pytest.approx(np.mean(pairs), abs=1e-14)  # both are float64 sums of 35 terms


def test_equation_23_links_similarity_distance_and_variances(sets):
    variances = sum(unit_rows(rows).var(axis=0).sum() for rows in sets)
    assert 1 - mean_cosines(*sets).mean() == pytest.approx(
        (squared_centroid_distance(*sets) + variances) / 2, abs=1e-14
    )


def test_paired_cosine_pairs_rows(sets):
    first = sets[0][:5]
    assert paired_cosines(first, 3 * first).mean() == pytest.approx(1)
    assert paired_cosines(first, -first).mean() == pytest.approx(-1)
    with pytest.raises(ValueError, match="one shape"):
        paired_cosines(*sets)


@pytest.mark.parametrize("shape", [(6, 20), (40, 8), (1, 5)])
def test_vendi_is_the_exponential_of_the_entropy_of_the_kernel_s_eigenvalues(shape):
    rows = np.random.default_rng(1).normal(0.5, 1, shape)
    kernel = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in rows] for a in rows])
    eigenvalues = np.linalg.eigvalsh(kernel / len(rows))
    eigenvalues = eigenvalues[eigenvalues > 1e-12]  # zeros, give or take rounding: 0 log 0 = 0
    assert vendi_score(rows) == pytest.approx(np.exp(-np.sum(eigenvalues * np.log(eigenvalues))), rel=1e-9)


def test_vendi_of_equal_rows_is_1_and_of_orthogonal_rows_n():
    assert vendi_score(np.tile([[1.0, 2.0, 3.0]], (9, 1))) == pytest.approx(1)
    assert vendi_score(np.diag([1.0, 5.0, 0.1, 2.0])) == pytest.approx(4)
    assert vendi_score(np.repeat(np.eye(3), 10, axis=0)) == pytest.approx(3)


def test_order_and_scale_of_rows_do_not_matter(sets):
    shuffled = np.random.default_rng(2).permutation(sets[0]) * 1e-30  # squares of these vanish in float32
    for function in (lambda *two: mean_cosines(*two).mean(), squared_centroid_distance):
        assert function(shuffled, sets[1]) == pytest.approx(function(*sets), abs=1e-7)  # float32 rounding of the scale
    assert vendi_score(shuffled) == pytest.approx(vendi_score(sets[0]), rel=1e-6)


@pytest.mark.parametrize(
    "rows, words",
    [
        (np.zeros((0, 3)), "n >= 1"),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), "1 of 2 feature vectors hold values that are not finite"),
        (np.array([[0.0, 0.0], [1.0, 2.0]]), "1 of 2 feature vectors are zero"),
    ],
)
def test_sets_without_a_meaning_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        mean_cosines(rows, np.ones((1, rows.shape[1])))
