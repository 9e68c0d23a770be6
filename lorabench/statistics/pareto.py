"""Which points no other point beats in all of several directions, and how sure that is."""

from __future__ import annotations

import numpy as np

DRAWS = 1000
_AT_ONCE = 50  # draws; bounds the memory


def pareto_front(x: np.ndarray, y: np.ndarray, x_higher: bool = True, y_higher: bool = True) -> np.ndarray:
    """Membership of each point [n] in the Pareto front of two directions: see `front`."""
    x = np.asarray(x, dtype=np.float64) * (1 if x_higher else -1)
    y = np.asarray(y, dtype=np.float64) * (1 if y_higher else -1)
    return front(np.stack([x, y], axis=-1))


def front(values: np.ndarray) -> np.ndarray:
    """Membership [..., n] of points `values` [..., n, k], more is better: no other is as good in all and better in one.

    Equal points are in or out together; a point with a NaN is out.
    """
    first, second = values[..., :, None, :], values[..., None, :, :]  # [i, j]: does i beat j?
    beats = (first >= second).all(axis=-1) & (first > second).any(axis=-1)
    return ~beats.any(axis=-2) & ~np.isnan(values).any(axis=-1)


def front_probability(scores: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Share [n] of bootstrap samples in which each point is on the front of its means; `scores` [n, classes, seeds, k].

    Classes and training seeds are drawn with replacement, for all points alike, so that comparisons stay paired. NaN
    are skipped; a point without any value in one of the k directions is never on the front.
    """
    n_classes, n_seeds = scores.shape[1:3]
    there = ~np.isnan(scores)
    filled = np.where(there, scores, 0.0)
    hits = np.zeros(len(scores))
    for start in range(0, draws, _AT_ONCE):
        size = min(_AT_ONCE, draws - start)
        classes = rng.multinomial(n_classes, np.full(n_classes, 1 / n_classes), size)
        seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size)
        total, count = (
            np.einsum("bc,bs,ncsk->bnk", classes, seeds, each.astype(np.float64), optimize=True)
            for each in (filled, there)
        )
        means = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        hits += front(means).sum(axis=0)
    return hits / draws
