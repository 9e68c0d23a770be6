"""This file against that one on the run's own data: what can be said where each config was trained once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorabench.api.choosing import judged_by
from lorabench.api.findings import table_of
from lorabench.api.measurements import AS_REPORTED, CRITERION, Ranked, Selection, ranked_studies, rows_of
from lorabench.errors import UserError
from lorabench.statistics.columns import METRIC

_NAMED = ["study", *CRITERION, "stands_in_for", "category"]
_STANDING = ["mean", "difference", "low", "high", "q", "verdict"]


def files(run: Path, selection: Selection = AS_REPORTED) -> pd.DataFrame:
    """Every adapter file by each criterion, best first: its raw value, and its difference from the best one.

    Paired by class, prompt and noise, intervals clustered by class and block of images: about these files on this data,
    not about other trainings of their configs. UserError for a run whose files were not compared, and for what it has
    not measured.
    """
    if not (run / "files.parquet").exists():
        raise UserError(f"{run} says nothing of its files one by one: run the study again with this folder as --out.")
    compared = table_of(run, "files")
    parts = [
        _compared(compared[compared["study"] == each.study], each, selection) for each in ranked_studies(run, selection)
    ]
    return pd.concat(parts, ignore_index=True)


def _compared(rows: pd.DataFrame, ranked: Ranked, selection: Selection) -> pd.DataFrame:
    rows = rows_of(rows[rows["category"] == selection.category], ranked.columns)
    found = rows.assign(**rows[METRIC].fillna("")).merge(judged_by(ranked).drop(columns="study"), on=METRIC)
    lead = found["verdict"] == "best"
    found[["difference", "low", "high", "q"]] = found[["difference", "low", "high", "q"]].mask(lead)
    better = {column.identity: column.info.higher_is_better for column in ranked.columns}
    sign = found[METRIC].apply(lambda row: 1 if better[tuple(row)] else -1, axis=1)
    order = {column.info.criterion: place for place, column in enumerate(ranked.columns)}
    found = found.assign(place=found["criterion"].map(order), rank=-sign * found["mean"])
    found = found.sort_values(["place", "rank"], kind="stable")
    return found[[*_NAMED, "checkpoint", "config", "seed", "epoch", *_STANDING]]
