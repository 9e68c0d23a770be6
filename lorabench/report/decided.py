"""What rounds of images decided: of each criterion who is best, who is told from it, after how many images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lorabench.report.points import Comparison
from lorabench.report.tables import Column
from lorabench.report.words import count, criterion_words, metric_words, prompt_words
from lorabench.statistics.columns import ALL, METRIC

# As the leaderboard has them, and as they are said here.
VERDICTS = {"best": "best", "worse": "worse", "alike": "tied", "seeds": "cannot be told", "open": "cannot be told"}
VERDICTS |= {"images": "cannot be told"}
WORDS = {
    "best": "best",
    "worse": "worse",
    "alike": "as good",
    "seeds": "takes more seeds",
    "images": "takes more images",
    "open": "cannot be told",
}


COUNTED = {  # the same of several
    "worse": "worse",
    "alike": "as good",
    "seeds": "waiting for more seeds",
    "images": "waiting for more images",
    "open": "not to be told",
}


@dataclass(frozen=True)
class Criterion:
    """What is decided of one criterion: a line of it, and a row a level, best first."""

    name: str
    judged_by: str
    told: str
    rows: list[dict[str, Any]]


def is_decided(run: Comparison) -> bool:
    """Whether the images of a run were drawn in rounds."""
    return len(run.tables.decisions) > 0


def decided_standings(run: Comparison, columns: Sequence[Column]) -> dict[tuple[Column, str], pd.DataFrame]:
    """What `leaderboard.standings` says of other runs: of all points together, with the verdicts of the rounds.

    Intervals hold at whatever moment the run had been stopped; a test at its end alone would not.
    """
    table, found = run.tables.decisions, {}
    points = _keys(run.points.table)
    for column in columns:
        rows = table[(table[METRIC].fillna("") == list(column.identity)).all(axis=1)]
        if rows.empty:
            continue
        rows = rows.assign(point=_keys(rows).map({key: point for point, key in points.items()}))
        rows = rows[rows["point"].notna()].astype({"point": int}).set_index("point")
        best = rows.index[rows["verdict"] == "best"][0]
        score = rows["score"].astype("float64")
        found[column, ALL] = pd.DataFrame(
            {"best": best, "mean": score, "difference": score - score[best], "verdict": rows["verdict"].map(VERDICTS)}
        ).assign(low=rows["low"], high=rows["high"], q=np.nan, detectable=np.nan)
    return found


def _keys(table: pd.DataFrame) -> pd.Series:
    """Config, moment and merge ratio of each row, as one text; a step counts where no epoch is known."""
    epoch, step, scale = (table[name].astype("Float64") for name in ("epoch", "step", "scale"))
    moment = epoch.astype(str).where(epoch.notna(), "step " + step.astype(str))
    return table["config"].astype(str) + " " + moment + " " + scale.fillna(1.0).astype(str)


def criteria(decisions: pd.DataFrame) -> list[Criterion]:
    """Of each criterion what the rounds decided."""
    found = []
    for identity, rows in decisions.groupby(["criterion", *METRIC], sort=False, dropna=False):
        criterion, prompts, metric, *seen = identity
        leads = rows["verdict"] == "best"
        rows = rows.assign(leads=leads).sort_values(["leads", "score"], ascending=False, kind="stable")
        judged = ", ".join(filter(None, [metric_words(metric), prompt_words(prompts), *seen]))
        found.append(
            Criterion(criterion_words(criterion), judged, _told(rows), [_row(r) for r in rows.to_dict("records")])
        )
    return found


def _told(rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    others = [f"{counts[name]} {words}" for name, words in COUNTED.items() if counts.get(name)]
    drawn = rows["images"].astype("float64")
    of_others = f"; of the others {', '.join(others)}" if others else ""
    images = f"{drawn.mean():.3g} images of a set on average, {drawn.min():.0f} to {drawn.max():.0f}"
    images = images if drawn.min() < drawn.max() else f"{count(int(drawn.max()), 'image')} of a set"
    return f"{name_of(rows.iloc[0])} leads{of_others}. {images[0].upper()}{images[1:]}."


def name_of(row: Any) -> str:
    """A level in words."""
    moment = next((f"{name} {row[name]:.0f}" for name in ("epoch", "step") if pd.notna(row[name])), "")
    ratio = f"× {row['scale']:g}" if pd.notna(row["scale"]) and row["scale"] != 1 else ""
    return ", ".join(filter(None, [str(row["config"]), moment, ratio]))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    known = pd.notna(row["low"]) and row["verdict"] != "best"
    return {
        "name": name_of(row),
        "algorithm": row["algorithm"],
        "score": f"{row['score']:.2f}" if pd.notna(row["score"]) else "–",
        "less": f"{max(row['low'], -1):+.2f} to {min(row['high'], 1):+.2f}".replace("-", "−") if known else "",
        "verdict": WORDS[row["verdict"]] + (f" (+{row['more_seeds']})" if row["verdict"] == "seeds" else ""),
        "images": int(row["images"]),
        "after": "" if pd.isna(row["decided_after"]) or row["verdict"] == "best" else int(row["decided_after"]),
    }


def summary(facts: dict[str, Any]) -> list[str]:
    """What was spent and saved, and what the verdicts are worth, a sentence each."""
    drawn, whole = facts["images"], facts["all_images"]
    saved = (
        f"Drawn in {count(facts['rounds'], 'round')}: {drawn:,} of the {whole:,} images of the whole study, "
        f"{drawn / whole:.0%}; {whole - drawn:,} were not drawn."
    )
    what = "differences called real are expected to be none"
    if facts["equivalent"]:
        what = f"differences called real, or called smaller than {facts['equivalent']:g}, are expected to be no such"
    when = "Whenever the drawing had been stopped and whatever had been drawn next"
    how = "each round is tested by it, clustered by class and by seed, at a share of the level"
    trust = f"as far as the test of a finished study holds its level: {how}"
    return [saved, f"{when}, at most {facts['rate']:.0%} of the {what}, {trust}."]
