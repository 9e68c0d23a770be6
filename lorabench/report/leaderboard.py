"""The leaderboard: which configs are best, and which of the others the numbers cannot tell from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorabench.report.points import Means, Points
from lorabench.report.tables import Column


@dataclass(frozen=True)
class View:
    """Points that are compared with each other: of one moment, or each config's last."""

    label: str
    points: list[int]


@dataclass(frozen=True)
class Best:
    """The points with the highest mean, and those within one standard error of the difference from it."""

    best: list[int]
    tied: list[int]


def find_views(points: Points) -> list[View]:
    """Last moments first, since a config is judged by what one would use; then each moment, then all of them."""
    if len(points.moments) <= 1:
        return [View(points.moments[0] if points.moments else "no checkpoint", points.last)]
    of_moment = [
        View(moment, points.table.index[points.table["moment"] == moment].tolist()) for moment in points.moments
    ]
    every = View("every epoch", points.table.index.tolist())
    return [View("last epoch of each config", points.last), *of_moment, every]


def find_best(mean: np.ndarray, error: np.ndarray, among: Sequence[int]) -> Best:
    """Best and tied of the points `among`: |difference| <= sqrt(se_1^2 + se_2^2), a rough guide and no test.

    The errors are taken as independent. Points without a mean take no part; without an error only equals are tied.
    """
    present = [point for point in among if np.isfinite(mean[point])]
    if not present:
        return Best([], [])
    top = max(mean[point] for point in present)
    best = [point for point in present if mean[point] == top]
    squares = np.square(np.nan_to_num(error))
    reach = {point: np.sqrt(squares[point] + squares[best[0]]) for point in present}
    return Best(best, [p for p in present if p not in best and top - mean[p] <= reach[p]])


def leaderboard_data(means: Means, columns: Sequence[Column], views: Sequence[View]) -> list[dict[str, Any]]:
    """For each view its label, points, and by column and category the best and tied points."""
    data = []
    for view in views:
        marks: dict[int, dict[str, Any]] = {}
        for (column, category), mean in means.score.items():
            found = find_best(mean, means.score_error[column, category], view.points)
            marks.setdefault(columns.index(column), {})[category] = {"best": found.best, "tied": found.tied}
        data.append({"label": view.label, "points": view.points, "marks": marks})
    return data
