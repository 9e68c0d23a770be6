"""The head of the report: what was run, what came out on top, and how sure one can be of it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from lorabench.report.decided import is_decided
from lorabench.report.health import devices, failure_counts, missing_share, percentage
from lorabench.report.leaderboard import standings
from lorabench.report.points import Comparison, Means, Points
from lorabench.report.tables import DATASET, Column, RunTables
from lorabench.report.words import (
    CRITERIA_MEANING,
    algorithm_order,
    algorithm_words,
    count,
    criterion_words,
    duration,
)
from lorabench.statistics.columns import ALL, METRIC


@dataclass(frozen=True)
class Fact:
    """A tile of the header."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Winner:
    """The best of one criterion's headline column over all classes, at each config's last epoch."""

    criterion: str
    question: str
    measured_by: str
    name: str  # "" = nothing was measured
    algorithm: str
    score: str
    tied: list[str]  # configs that a test does not tell from it
    untested: int  # configs that cannot be tested against it
    worse: int
    told: str  # in a sentence, the difference that most comparisons would have told in four of five such studies


def facts(tables: RunTables, points: Points, n_categories: int) -> list[Fact]:
    """What was run, from the tables first and from `study` and `provenance` where they know more."""
    made = tables.provenance
    configs = points.table["config"].nunique()
    seeds = sorted(pd.to_numeric(tables.scores["seed"], errors="coerce").dropna().unique().tolist())
    trained = sum(point >= 0 for point in points.of_checkpoint.values())
    grid = [count(configs, "config")]
    grid += [count(len(seeds), "seed")] if seeds else []
    grid += [count(len(points.moments), "epoch")] if points.moments != ["final"] else []
    algorithms = ", ".join(algorithm_words(name) for name in algorithm_order(points.table["algorithm"].unique()))
    found = [
        Fact("Base model", _base_words(tables)),
        Fact("Grid", " × ".join(grid), f"{count(trained, 'checkpoint')}: {algorithms}"),
        _data_fact(tables, n_categories),
        Fact("Device", _device_words(tables), _time_note(tables)),
        Fact("lorabench", str(made.get("version") or "not recorded"), _code_note(made)),
    ]
    to_come = tables.study.get("still_to_come") or 0
    if to_come:
        note = "not measured when this page was made; lorabench report makes it anew"
        found.insert(2, Fact("Still to come", count(to_come, "checkpoint"), note))
    generated = tables.study.get("n_images") or int((tables.images["checkpoint"] != DATASET).sum())
    if generated:
        found.insert(3, Fact("Images", f"{generated:,}", _sampling_note(tables.study)))
    return found


def winners(run: Comparison, headlines: Sequence[Column], doubted: Collection[Column] = ()) -> list[Winner]:
    """Who leads each criterion; `doubted` are measurements that fail their audit."""
    found = []
    names, last = run.points.table["config"], run.points.last
    if is_decided(run):
        names = names + ", " + run.points.table["moment"]
    compared = standings(run, last, headlines, power=True)
    for column in headlines:
        if (column, ALL) not in run.means.score:
            continue
        standing = compared.get((column, ALL), pd.DataFrame(columns=["best", "verdict", "detectable"]))
        best = int(standing["best"].iloc[0]) if len(standing) else None
        mean, error = run.means.score[column, ALL], run.means.score_error[column, ALL]
        found.append(
            Winner(
                criterion=criterion_words(column.info.criterion),
                question=CRITERIA_MEANING.get(column.info.criterion, ""),
                measured_by=column.label + (", which fails its audit" if column in doubted else ""),
                name="" if best is None else names[best],
                algorithm="" if best is None else run.points.table["algorithm"][best],
                score="" if best is None else _with_error(mean[best], error[best]),
                tied=[names[point] for point in standing.index[standing["verdict"] == "tied"]],
                untested=int((standing["verdict"] == "cannot be told").sum()),
                worse=int((standing["verdict"] == "worse").sum()),
                told=_told(standing["detectable"]),
            )
        )
    return found


def _told(detectable: pd.Series) -> str:
    difference = detectable.astype("float64").median()
    if np.isnan(difference):
        return ""
    if difference >= 1:  # normalised scores are in [0, 1]
        return "Seeds and classes are too few: no difference would be told in four of five such studies."
    return f"A difference of {difference:.2f} would be told in four of five such studies."


def _with_error(mean: float, error: float) -> str:
    return f"{mean:.2f} ± {error:.2f}" if np.isfinite(error) else f"{mean:.2f}"


def seed_agreement(tables: RunTables, points: Points, column: Column) -> tuple[int, int, int]:
    """Pairs of configs that all seeds order the same way, pairs compared, and seeds; at last epochs, over all classes.

    A pair counts when at least two seeds scored both; equal scores are no agreement.
    """
    if tables.category_scores.empty:
        return 0, 0, 0
    rows = tables.category_scores
    last = rows["checkpoint"].map(points.of_checkpoint).isin(points.last)
    same = (rows[METRIC].fillna("") == list(column.identity)).all(axis=1)
    rows = rows[last & same & (rows["category"] == ALL)]
    wide = rows.pivot_table(index="config", columns="seed", values="score", dropna=False)
    scores = wide.to_numpy(dtype=np.float64, na_value=np.nan)
    agree = total = 0
    for first, second in itertools.combinations(scores, 2):
        signs = np.sign(first - second)
        signs = signs[~np.isnan(signs)]
        if len(signs) > 1:
            total += 1
            agree += bool(signs[0] != 0 and (signs == signs[0]).all())
    return agree, total, scores.shape[1]


def certainty(tables: RunTables, points: Points, means: Means, headlines: Sequence[Column]) -> list[str]:
    """Sentences on how far the numbers carry."""
    n_trained = sum(point >= 0 for point in points.of_checkpoint.values())
    sentences = [
        "Normalised scores are the share of the checkpoints of a frozen population that one beats, from 0 to 1. They "
        f"compare with those of any run that was ranked among the same: {PurePath(tables.study['anchors']).name}."
        if tables.study.get("anchors")
        else f"Normalised scores are ranks among the {count(n_trained, 'checkpoint')} of this run, from 0 (last) to 1 "
        "(first). They say nothing about checkpoints of another run."
    ]
    agreements = [(column, *seed_agreement(tables, points, column)) for column in headlines]
    counted = [(column, agree, total, seeds) for column, agree, total, seeds in agreements if total]
    if counted:
        parts = [f"{agree} of {total} on {column.label}" for column, agree, total, _ in counted]
        sentences.append(
            f"Pairs of configs that {_all_of(counted[0][3])} training seeds put in the same order: {'; '.join(parts)}. "
            "These seeds do not settle the order of the others, and of those that they agree on some are luck as well."
        )
    else:
        sentences.append("No config was trained with two seeds: luck and the effect of a config cannot be told apart.")
    rows = [n for (_, category), values in means.n.items() if category == ALL for n in values[values > 0]]
    if rows:
        most, fewest = int(max(rows)), int(min(rows))
        span = f"{most}" if most == fewest else f"{fewest} to {most}"
        sentences.append(
            f"± is one standard error over class × seed rows ({span} of them for all classes). Rows of one class "
            "resemble each other, so it is a rough guide and no test."
        )
    sentences.append(_gaps(tables))
    return sentences


def _all_of(n: int) -> str:
    return "both" if n == 2 else f"all {n}"


def _gaps(tables: RunTables) -> str:
    missing, total = missing_share(tables.scores)
    counts = failure_counts(tables.failures)
    tasks = ", ".join(f"{n} {kind}" for kind, n in counts.items()) if counts else "none failed"
    values = (
        f"{missing:,} of {total:,} values ({percentage(missing, total)}) are missing" if missing else "none is missing"
    )
    return f"Values: {values}. Tasks: {tasks}. A missing value takes no part in any mean; it is never a zero."


def _base_words(tables: RunTables) -> str:
    names = tables.scores["base"].dropna().unique().tolist()
    base = str(tables.study.get("base") or (", ".join(map(str, names)) if names else "not recorded"))
    # Of a folder the end says which one it is; the settings at the end of the page have the whole path.
    return "…/" + "/".join(PurePath(base).parts[-2:]) if PurePath(base).is_absolute() else base


def _data_fact(tables: RunTables, n_categories: int) -> Fact:
    """Other people's tables may hold means of categories only, and no class by name."""
    named = tables.scores.loc[tables.scores["class_name"].fillna("") != "", ["category", "class_name"]]
    classes, categories = len(named.drop_duplicates()), count(n_categories, "category", "categories")
    name = f"; {tables.study['dataset']}" if tables.study.get("dataset") else ""
    if not classes:
        return Fact("Data", categories, f"means over classes that are not named{name}")
    return Fact("Data", count(classes, "class", "classes"), f"in {categories}{name}")


def _device_words(tables: RunTables) -> str:
    """What the work was done on; without costs, what made the tables."""
    used = sorted(set(devices(tables.costs))) if len(tables.costs) else []
    return ", ".join(used) or str(tables.provenance.get("device") or "not recorded")


def _time_note(tables: RunTables) -> str:
    seconds = pd.to_numeric(tables.costs["seconds"], errors="coerce").sum() if len(tables.costs) else 0.0
    return f"{duration(float(seconds))} of work in all" if seconds > 0 else ""


def _code_note(made: Mapping[str, Any]) -> str:
    commit = str(made.get("git_commit") or "")[:10]
    dirty = " with local changes" if made.get("git_dirty") else ""
    day = str(made.get("started") or "")[:10]
    return ", ".join(part for part in (f"commit {commit}{dirty}" if commit else "", day) if part)


def _sampling_note(study: Mapping[str, Any]) -> str:
    settings = study.get("images") or study.get("prompts") or {}
    if not isinstance(settings, Mapping):
        return ""
    known = {"steps": "steps", "guidance": "guidance", "size": "pixels"}
    return ", ".join(f"{settings[key]} {word}" for key, word in known.items() if key in settings)
