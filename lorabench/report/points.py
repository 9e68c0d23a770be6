"""Points: what the report compares. One point = one config at one moment of its training, over all its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lorabench.report.tables import BASE, DATASET, Column, RunTables, find_columns
from lorabench.report.words import algorithm_order
from lorabench.statistics.columns import CLASS, FACTORS, METRIC, with_moments
from lorabench.statistics.errors import summarise

BASE_POINT = -1
REAL_POINT = -2  # of the data set's own images, whose means stand beside those of all points
FIRST_FLOOR = -3  # and below: the base model in the other ways in which a study draws


@dataclass(frozen=True)
class Points:
    """`table` has a row a point (index 0..n-1: config, algorithm, ..., age, moment), `of_checkpoint` its number.

    `moment` is in words ("epoch 10", "final", "epoch 10, scale 0.5"); `age` orders moments of a config. `last` holds
    each config's last point. The base model is BASE_POINT in `of_checkpoint` and has no row; drawn in another way it is
    FIRST_FLOOR or below. `floors` has the number of the base model that each point is measured against.
    """

    table: pd.DataFrame
    of_checkpoint: dict[str, int]
    moments: list[str]
    last: list[int]
    floors: list[int]
    along: list[str]  # "epoch" or "step": what ages are; both where no one of them orders all points

    @property
    def unit(self) -> str:
        """What one of the moments is called."""
        return self.along[0] if len(self.along) == 1 else "moment"


def find_points(tables: RunTables) -> Points:
    """Number the points of a run by algorithm, config and age."""
    parts = [frame[FACTORS] for frame in (tables.scores, tables.images) if len(frame)]
    parts = parts or [tables.scores[FACTORS]]
    # Missing numbers are pd.NA in one table and NaN in another; as float they group.
    factors = pd.concat([part.drop_duplicates("checkpoint").astype(object) for part in parts])
    factors = factors.drop_duplicates("checkpoint")
    for name in ("lr", "dim", "alpha", "factor", "seed", "epoch", "step", "scale"):
        factors[name] = pd.to_numeric(factors[name], errors="coerce").astype("float64")
    base = factors["algorithm"] == BASE
    trained = factors[~base & (factors["checkpoint"] != DATASET)].copy()
    trained["age"] = with_moments(trained)["age"].astype("float64")
    trained["moment"] = _moments(trained)
    places = {name: place for place, name in enumerate(algorithm_order(trained["algorithm"]))}
    trained["place"] = trained["algorithm"].map(places)
    trained = trained.sort_values(["place", "config", "age", "scale"], kind="stable")
    table = trained.drop_duplicates(["config", "moment"]).reset_index(drop=True)
    numbers = {key: number for number, key in enumerate(zip(table["config"], table["moment"]))}
    keys = zip(trained["checkpoint"], trained["config"], trained["moment"])
    of_checkpoint = {checkpoint: numbers[config, moment] for checkpoint, config, moment in keys}
    floors = factors[base & (factors["checkpoint"] != DATASET)]
    # As the study itself draws it, which comes first; its other ways are what their checkpoints are measured against.
    own = floors.groupby("study", dropna=False)["config"].transform("first")
    of_checkpoint |= dict.fromkeys(floors.loc[floors["config"] == own, "checkpoint"], BASE_POINT)
    others, ways = floors[floors["config"] != own], {}
    for checkpoint, config, first in zip(others["checkpoint"], others["config"], own[others.index]):
        of_checkpoint[checkpoint] = ways.setdefault(config.removeprefix(first), FIRST_FLOOR - len(ways))
    by_age = table.sort_values(["age", "scale"], kind="stable")["moment"]
    moments = list(dict.fromkeys(by_age))
    return Points(
        table, of_checkpoint, moments, _last(table), [_floor(name, ways) for name in table["config"]], _along(table)
    )


def _floor(config: str, ways: Mapping[str, int]) -> int:
    """The base model drawn as a config is: it ends in the same words."""
    way = max((way for way in ways if config.endswith(way)), key=len, default=None)
    return BASE_POINT if way is None else ways[way]


def _moments(trained: pd.DataFrame) -> list[str]:
    several_scales = trained["scale"].nunique() > 1
    words = []
    for epoch, step, scale in zip(trained["epoch"], trained["step"], trained["scale"]):
        moment = f"epoch {epoch:g}" if np.isfinite(epoch) else f"step {step:g}" if np.isfinite(step) else "final"
        words.append(f"{moment}, scale {scale:g}" if several_scales else moment)
    return words


def _along(table: pd.DataFrame) -> list[str]:
    dated = table[table["age"].notna()]
    fitting = [name for name in ("epoch", "step") if (dated[name] == dated["age"]).all()]
    return fitting[:1] or ["epoch", "step"]


def _last(table: pd.DataFrame) -> list[int]:
    """Of each config the oldest point; of several merge ratios the one nearest 1."""
    distance = (table["scale"] - 1).abs()
    ordered = table.assign(distance=-distance).sort_values(["age", "distance"], kind="stable", na_position="first")
    return sorted(ordered.groupby("config", sort=False).tail(1).index.tolist())


@dataclass(frozen=True)
class Means:
    """Means over class x seed rows: float64 arrays by (column, category), one entry a point, NaN where missing."""

    score: dict[tuple[Column, str], np.ndarray]
    score_error: dict[tuple[Column, str], np.ndarray]
    raw: dict[tuple[Column, str], np.ndarray]
    raw_error: dict[tuple[Column, str], np.ndarray]
    n: dict[tuple[Column, str], np.ndarray]
    base: dict[tuple[Column, str], float]  # the base model's raw value: the floor
    floor: dict[tuple[Column, str], np.ndarray]  # that of the base model drawn as each point is
    real: dict[tuple[Column, str], float]  # that of real images among themselves: the ceiling
    categories: list[str]


def find_means(tables: RunTables, points: Points, columns: Sequence[Column]) -> Means:
    """Normalised scores and raw values of every point, and raw values of the base model."""
    scores = _summary(tables.normalized, points, "score")
    values = _summary(tables.scores, points, "value")
    named = dict.fromkeys(tables.scores["category"])
    named.pop("all", None)
    categories = ["all", *named]
    means = Means({}, {}, {}, {}, {}, {}, {}, {}, categories)
    for column in columns:
        for category in categories:
            key = (category, *column.identity)
            if key in values:
                raw = values[key]
                means.raw[column, category] = _spread(raw, "mean", len(points.table))
                means.raw_error[column, category] = _spread(raw, "se", len(points.table))
                means.base[column, category] = float(raw["mean"].get(BASE_POINT, np.nan))
                means.floor[column, category] = raw["mean"].reindex(points.floors).to_numpy(dtype=np.float64)
                means.real[column, category] = float(raw["mean"].get(REAL_POINT, np.nan))
                score = scores.get(key)
                means.score[column, category] = _spread(score, "mean", len(points.table))
                means.score_error[column, category] = _spread(score, "se", len(points.table))
                means.n[column, category] = _spread(score, "n", len(points.table))
    return means


def _summary(table: pd.DataFrame, points: Points, column: str) -> dict[tuple, pd.DataFrame]:
    """Mean, se and n by point, for each (category, *METRIC)."""
    if table.empty:
        return {}
    table = table[["checkpoint", *CLASS, *METRIC, column]]
    numbered = table.assign(point=table["checkpoint"].map({**points.of_checkpoint, DATASET: REAL_POINT}))
    numbered[METRIC] = numbered[METRIC].fillna("")
    summary = summarise(numbered, ["point"], column).set_index("point")
    return dict(list(summary.groupby(["category", *METRIC])))


def _spread(summary: pd.DataFrame | None, name: str, n_points: int) -> np.ndarray:
    if summary is None:
        return np.full(n_points, np.nan)
    return summary[name].reindex(range(n_points)).to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class Comparison:
    """A run ready to be drawn: its tables, measurements, points and their means."""

    tables: RunTables
    columns: list[Column]
    points: Points
    means: Means


def compare(tables: RunTables) -> Comparison:
    """UserError if `scores` holds a metric that `tables.metrics` does not describe."""
    columns, points = find_columns(tables), find_points(tables)
    return Comparison(tables, columns, points, find_means(tables, points, columns))
