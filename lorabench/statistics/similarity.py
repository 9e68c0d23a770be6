"""Cosines, centroids and diversity of sets of feature vectors, in float64 and from sums instead of n x m matrices."""

from __future__ import annotations

import numpy as np


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows of `features` [n, d] divided by their lengths, float64.

    ValueError on an empty set, on values that are not finite and on rows of zeros, which have no direction.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"A set of feature vectors must be [n, d] with n >= 1, got shape {rows.shape}.")
    bad = int((~np.isfinite(rows).all(axis=1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(rows)} feature vectors hold values that are not finite.")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"{int((lengths == 0).sum())} of {len(rows)} feature vectors are zero and have no direction.")
    return rows / lengths


def mean_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean cosine of each row of `first` [n, d] with all of `second` [m, d]: [n], in [-1, 1].

    Their mean is LyCORIS eq. 22, which favours sets of low diversity (eq. 23).
    """
    return unit_rows(first) @ unit_rows(second).mean(axis=0)


def paired_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of row i of `first` [n, d] with row i of `second` [n, d]: [n], in [-1, 1]."""
    _check_pairs(first, second)
    return np.einsum("nd,nd->n", unit_rows(first), unit_rows(second))


def squared_centroid_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared distance between the centroids of the normalised rows, in [0, 4]; blind to the sets' diversity."""
    difference = unit_rows(first).mean(axis=0) - unit_rows(second).mean(axis=0)
    return float(difference @ difference)


def unbiased_squared_centroid_distance(first: np.ndarray, second: np.ndarray) -> float:
    """`squared_centroid_distance` less what the scatter of `first` [n, d] adds to it, tr(S) / n: as of endlessly many.

    The mean over sets of any size n >= 2 is the same; it may be below 0. Of `second` nothing is taken off. ValueError
    below two rows.
    """
    if len(first) < 2:
        raise ValueError("The scatter of images takes at least 2 of them, got 1.")
    scatter = unit_rows(first).var(axis=0, ddof=1).sum() / len(first)
    return squared_centroid_distance(first, second) - float(scatter)


def vendi_score(features: np.ndarray) -> float:
    """Effective number of different rows of `features` [n, d], in [1, n]: exp of the entropy of the eigenvalues of K/n.

    K is the linear kernel of the normalised rows, q = 1; by the package vendi-score.
    """
    from vendi_score import vendi  # scikit-learn behind it takes a second to load

    rows = unit_rows(features)
    n, d = rows.shape
    if n < d:  # as coordinates in the space that they span: the same kernel, and an n x n matrix instead of a d x d
        rows = np.linalg.qr(rows.T, mode="r").T
    # Not the package's score_X: that one ignores q and asks SciPy for a name that SciPy 2 lacks.
    return float(vendi.score_dual(rows, q=1, normalize=False))


def _check_pairs(first: np.ndarray, second: np.ndarray) -> None:
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"Rows can only be paired between sets of one shape, got {np.shape(first)} and {np.shape(second)}."
        )
