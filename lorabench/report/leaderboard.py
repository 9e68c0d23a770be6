"""The leaderboard: which configs are best, and which of the others the numbers cannot tell from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lorabench.report.decided import decided_standings, is_decided
from lorabench.report.points import Comparison
from lorabench.report.tables import Column
from lorabench.statistics.columns import CLASS, measurements
from lorabench.statistics.comparisons import KINSHIP, compare_with_best


@dataclass(frozen=True)
class View:
    """Points that are compared with each other: of one moment, or each config's last."""

    label: str
    points: list[int]


def find_views(run: Comparison) -> list[View]:
    """Last moments first, since a config is judged by what one would use; then each moment, then all of them.

    Rounds of images decide among all, so there is no other view of those.
    """
    points = run.points
    if is_decided(run):
        return [View(f"every {points.unit}", points.table.index.tolist())]
    if len(points.moments) <= 1:
        return [View(points.moments[0] if points.moments else "no checkpoint", points.last)]
    of_moment = [
        View(moment, points.table.index[points.table["moment"] == moment].tolist()) for moment in points.moments
    ]
    every = View(f"every {points.unit}", points.table.index.tolist())
    return [View(f"last {points.unit} of each config", points.last), *of_moment, every]


def standings(
    run: Comparison, among: Sequence[int], columns: Sequence[Column], power: bool = False
) -> dict[tuple[Column, str], pd.DataFrame]:
    """(column, category) -> the rows of `compare_with_best` for the points `among`, by point.

    A point of which one seed has two checkpoints cannot be paired and takes no part. Of images that were drawn in
    rounds there is what the rounds decided, of all points.
    """
    if is_decided(run):
        return decided_standings(run, columns)
    table = run.tables.normalized
    points = table["checkpoint"].map(run.points.of_checkpoint)
    checkpoints = table[["checkpoint", "seed"]].assign(point=points)[points.isin(among)].drop_duplicates("checkpoint")
    twice = checkpoints.loc[checkpoints.duplicated(["point", "seed"]), "point"]
    among = sorted(set(among) - set(twice))
    of_identity = {column.identity: column for column in columns}
    found = {}
    for identity, rows in measurements(table, _COMPARED):
        if identity in of_identity:  # one at a time: all at once are a million rows
            rows = rows.assign(point=points[rows.index])
            answer = compare_with_best(rows[rows["point"].isin(among)], "point", power=power)
            for category, group in answer.groupby("category", sort=False):
                found[of_identity[identity], category] = group.set_index("point")
    return found


_COMPARED = ["checkpoint", "seed", *KINSHIP, *CLASS, "score"]


def leaderboard_data(run: Comparison, views: Sequence[View]) -> list[dict[str, Any]]:
    """For each view its label, points, and by column and category how they stand to the best: verdict, interval, q."""
    data = []
    for view in views:
        marks: dict[int, dict[str, Any]] = {}
        for (column, category), found in standings(run, view.points, run.columns).items():
            marks.setdefault(run.columns.index(column), {})[category] = {
                "best": int(found["best"].iloc[0]),
                "points": found.index.tolist(),
                "verdict": found["verdict"].tolist(),
                **{name: [_short(value) for value in found[name]] for name in ("difference", "low", "high", "q")},
            }
        data.append({"label": view.label, "points": view.points, "marks": marks})
    return data


def _short(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 3)
