"""Euclidean and Frechet distances between sets of feature vectors, accumulated in float64.

Style vectors are long (610,304 numbers an image for VGG-19), so the Euclidean ones never hold a float64 copy of a set.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Distance = TypeVar("Distance", float, np.ndarray)


def paired_squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared distance between row i of `first` and row i of `second`, both [n, d]: [n]."""
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"Rows can only be paired between sets of one shape, got {np.shape(first)} and {np.shape(second)}."
        )
    _check_set(first)
    return _finite(np.array([_squared_norm(a, b) for a, b in zip(first, second)]))


def mean_squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean squared distance of each row of `first` [n, d] to all of `second` [m, d]: [n], |x - mu2|^2 + var2."""
    _check_set(first)
    _check_set(second)
    centre = second.mean(axis=0, dtype=np.float64)
    spread = np.mean([_squared_norm(row, centre) for row in second])
    return _finite(np.array([_squared_norm(row, centre) for row in first]) + spread)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Frechet distance between Gaussians fitted to `first` [n, d] and `second` [m, d] (Dowson & Landau, 1982).

    Covariances divide by n - 1. With n <= d they are singular: the distance is still defined, and exact here, but it is
    biased upwards, so that only distances of equal n and m compare. ValueError below two rows.
    """
    for rows in (first, second):
        _check_set(rows)
        if len(rows) < 2:
            raise ValueError("A Frechet distance needs at least 2 images on each side, got 1.")
    shift = _squared_norm(first.mean(axis=0, dtype=np.float64), second.mean(axis=0, dtype=np.float64))
    factor_1, factor_2 = _covariance_factor(first), _covariance_factor(second)
    # With S = F'F, trace sqrt(S1 S2) is the sum of the singular values of F1 F2': no square root of a singular matrix.
    overlap = np.linalg.svd(factor_1 @ factor_2.T, compute_uv=False).sum()
    distance = shift + np.square(factor_1).sum() + np.square(factor_2).sum() - 2 * overlap
    return _finite(max(float(distance), 0.0))  # rounding may leave -1e-15 between equal sets


def _covariance_factor(rows: np.ndarray) -> np.ndarray:
    """F [min(n, d), d] with F'F = the covariance of `rows` [n, d]."""
    centred = np.asarray(rows, dtype=np.float64)
    centred = (centred - centred.mean(axis=0)) / np.sqrt(len(rows) - 1)
    if not np.isfinite(centred).all():
        raise ValueError("Feature vectors hold values that are not finite.")
    return centred if len(rows) <= rows.shape[1] else np.linalg.qr(centred, mode="r")


def _squared_norm(first: np.ndarray, second: np.ndarray) -> float:
    difference = np.subtract(first, second, dtype=np.float64)
    return float(difference @ difference)


def _check_set(rows: np.ndarray) -> None:
    if np.ndim(rows) != 2 or len(rows) == 0:
        raise ValueError(f"A set of feature vectors must be [n, d] with n >= 1, got shape {np.shape(rows)}.")


def _finite(distance: Distance) -> Distance:
    if not np.isfinite(distance).all():
        raise ValueError("Feature vectors hold values that are not finite.")
    return distance
