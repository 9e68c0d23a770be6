"""This file against that one on the run's own data: what can be said where each config was trained once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorabench.api.choosing import judged_by
from lorabench.api.findings import by_study, table_of
from lorabench.api.measurements import AS_REPORTED, CRITERION, Ranked, Selection, ranked_studies, rows_of
from lorabench.errors import UserError
from lorabench.statistics.columns import METRIC
from lorabench.statistics.errors import summarise

_NAMED = ["study", *CRITERION, "stands_in_for", "fails_audit", "higher_is_better", "category"]
_FILE = ["checkpoint", "config", "seed", "epoch", "step"]
_STANDING = ["mean", "difference", "low", "high", "q", "verdict"]


def files(run: Path, selection: Selection = AS_REPORTED) -> pd.DataFrame:
    """Every adapter file by each criterion, best first: its raw value, and its difference from the best one.

    Paired by class, prompt and noise, intervals clustered by class and block of images: about these files on this data,
    not about other trainings of their configs. Of a criterion whose sets have too few images to be divided there are
    values alone, and nothing can be told. UserError for a run whose files were not compared, and for what it has not
    measured.
    """
    if not (run / "files.parquet").exists():
        raise UserError(f"{run} says nothing of its files one by one: run the study again with this folder as --out.")
    compared, scores = table_of(run, "files"), dict(by_study(table_of(run, "scores")))
    parts = []
    for each in ranked_studies(run, selection):
        rows = compared[compared["study"] == each.study]
        parts.append(_compared(rows, scores[each.study], each, selection.category))
    return pd.concat(parts, ignore_index=True)


def _compared(rows: pd.DataFrame, scores: pd.DataFrame, ranked: Ranked, category: str) -> pd.DataFrame:
    rows = rows_of(rows[rows["category"] == category], ranked.columns)
    rows = rows.assign(**rows[METRIC].fillna(""))
    lead = rows["verdict"] == "best"
    rows[["difference", "low", "high", "q"]] = rows[["difference", "low", "high", "q"]].mask(lead)
    rows = pd.concat([rows, _only_values(rows, scores, ranked, category)], ignore_index=True)
    found = rows.merge(judged_by(ranked).drop(columns="study"), on=METRIC)
    order = {column.info.criterion: place for place, column in enumerate(ranked.columns)}
    sign = found["higher_is_better"].map({True: 1, False: -1})
    found = found.assign(place=found["criterion"].map(order), rank=-sign * found["mean"])
    found = found.sort_values(["place", "rank"], kind="stable")
    return found[[*_NAMED, *_FILE, *_STANDING]]


def _only_values(rows: pd.DataFrame, scores: pd.DataFrame, ranked: Ranked, category: str) -> pd.DataFrame:
    """Raw means of the files by measurements that could not be compared image by image."""
    told = set(rows[METRIC].itertuples(index=False, name=None))
    others = [column for column in ranked.columns if column.identity not in told]
    values = rows_of(scores[scores["algorithm"] != "none"], others)
    values = values.assign(**values[METRIC].fillna(""))
    means = summarise(values, ["study", *_FILE], column="value")
    means = means[(means["category"] == category) & means["mean"].notna()]
    return means.assign(verdict="cannot be told")[["study", *METRIC, "category", *_FILE, "mean", "verdict"]]
