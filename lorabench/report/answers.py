"""The answer first: which epoch and merge ratio of each config to take, how near it comes, and whether it copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lorabench.report.cards import WORDS, Card
from lorabench.report.points import Comparison
from lorabench.report.tables import Column, first_column
from lorabench.report.words import number
from lorabench.statistics.columns import ALL, METRIC

COPIES = ("copy_rate", "train")
STANDING = ["config", "epoch", "step", "scale", "n_seeds", "mean", "difference", "low", "high", "q", "verdict"]


@dataclass(frozen=True)
class Choice:
    """Which of a config's moments and merge ratios is best by one measurement, in words."""

    config: str
    best: str  # "epoch 4, × 0.8"; "" where it has but one
    value: str
    tied: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    between: str = ""  # "71 %" of the way from floor to ceiling
    floor: str = ""  # of a config that is drawn otherwise than the study itself: the base model drawn so
    copies: str = ""  # of its images, at that moment


@dataclass(frozen=True)
class Answer:
    """What one criterion says of every config."""

    column: Column
    floor: str  # the base model's value; "" where it is not known
    ceiling: str  # that of real images
    fails_audit: str  # what the measurement fails, if anything
    choices: tuple[Choice, ...]

    def of(self, config: str) -> Choice | None:
        return next((choice for choice in self.choices if choice.config == config), None)


def choices(run: Comparison, columns: Sequence[Column], category: str = ALL) -> pd.DataFrame:
    """The rows of `tables.choices` of some measurements, with criterion, direction, floor and ceiling (raw values).

    The floor is the base model, the ceiling real images.
    """
    table, parts = run.tables.choices, []
    for column in columns if len(table) else ():
        rows = table[(table["category"] == category) & (table[METRIC].fillna("") == list(column.identity)).all(axis=1)]
        info = {"criterion": column.info.criterion, "higher_is_better": column.info.higher_is_better}
        # A config is drawn in one way, so all of its points have one floor.
        floors = dict(zip(run.points.table["config"], run.means.floor.get((column, category), ())))
        marks = {"floor": rows["config"].map(floors), "ceiling": run.means.real.get((column, category))}
        parts.append(rows.assign(**info, **marks))
    names = ["study", "criterion", *METRIC, "category", "higher_is_better", *STANDING, "floor", "ceiling"]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)
    return found[names].astype({"floor": "float64", "ceiling": "float64"})


def answers(run: Comparison, columns: Sequence[Column], cards: Sequence[Card]) -> list[Answer]:
    """An answer a measurement over all classes; [] of a run whose files were not compared."""
    copies, failed = _copies(run), {card.column: "; ".join(WORDS[name] for name in card.failures) for card in cards}
    found = []
    for column in columns:
        rows = choices(run, [column])
        of_fidelity = copies if column.info.criterion == "fidelity" else {}
        if len(rows):
            floor = run.means.base.get((column, ALL))
            parts = tuple(_choice(each, of_fidelity, floor) for _, each in rows.groupby("config", sort=False))
            marks = (_known(floor), _known(rows["ceiling"].iloc[0]))
            found.append(Answer(column, *marks, failed.get(column, ""), parts))
    return found


def is_several(found: Sequence[Answer]) -> bool:
    """Whether any config has two moments or merge ratios to choose from."""
    return any(choice.best for answer in found for choice in answer.choices)


def _choice(rows: pd.DataFrame, copies: Mapping[tuple[Any, ...], float], floor: float) -> Choice:
    """Of one config and measurement; `floor` is the base model as the study itself draws it."""
    ratios = rows["scale"].nunique() > 1
    named = {each: tuple(moment_words(row, ratios) for row in _rows(rows, each)) for each in _VERDICTS}
    best = (_rows(rows, "best") or rows.to_dict("records"))[0]
    rate = copies.get(_point(best))
    return Choice(
        config=str(best["config"]),
        best=moment_words(best, ratios) if len(rows) > 1 else "",
        value=number(best["mean"]),
        tied=named["tied"],
        worse=named["worse"],
        untold=named["cannot be told"],
        between=_between(best),
        floor="" if best["floor"] == floor else _known(best["floor"]),
        copies="" if rate is None else _percent(rate),
    )


_VERDICTS = ("tied", "worse", "cannot be told")


def _rows(rows: pd.DataFrame, verdict: str) -> list[dict[str, Any]]:
    return rows[rows["verdict"] == verdict].to_dict("records")


def moment_words(row: Mapping[str, Any], ratios: bool) -> str:
    """ "epoch 4", "step 300, × 0.8"; "" of a file that says nothing of it."""
    moment = next((f"{name} {row[name]:g}" for name in ("epoch", "step") if pd.notna(row[name])), "")
    ratio = f"× {row['scale']:g}" if ratios else ""
    return ", ".join(part for part in (moment, ratio) if part)


def _between(row: Mapping[str, Any]) -> str:
    """How far a value is on the way from the base model's to that of real images, where that way leads upwards."""
    way, sign = row["ceiling"] - row["floor"], 1 if row["higher_is_better"] else -1
    return _percent((row["mean"] - row["floor"]) / way) if sign * way > 0 else ""


def _percent(share: float) -> str:
    return f"{share:z.0%}".replace("%", " %").replace("-", "−")


def _known(value: float) -> str:
    return number(value) if pd.notna(value) else ""


def _copies(run: Comparison) -> dict[tuple[Any, ...], float]:
    """Share of a config's images that copy a training picture, by point; {} where it was not measured."""
    column = first_column(run.columns, *COPIES)
    rows = choices(run, [column]).to_dict("records") if column else []
    return {_point(row): row["mean"] for row in rows}


def _point(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(None if pd.isna(row[name]) else row[name] for name in ("config", "epoch", "step", "scale"))
