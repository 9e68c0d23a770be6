"""What can be done with the folders of finished runs: compare two, take the tables elsewhere, draw the figures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lorabench import store
from lorabench.errors import UserError
from lorabench.report.figures import write_figures
from lorabench.report.runs import read_part, read_run
from lorabench.report.tables import TABLES, Column, RunTables, find_columns, headline_columns
from lorabench.statistics.columns import ALL, LEAF, METRIC
from lorabench.statistics.comparisons import paired_mean
from lorabench.statistics.errors import class_scores, with_all_classes


def compare(first: Path, second: Path, category: str = ALL) -> list[dict[str, Any]]:
    """Raw values of the second run less those of the first, of every config and epoch that both have.

    One row a headline measurement and checkpoint kind (config, epoch; the base model too), paired by class and training
    seed. UserError where nothing can be paired, or a measurement was not made in the same way.
    """
    runs = [read_run(folder) for folder in (first, second)]
    columns = headline_columns([each for each in find_columns(runs[0]) if each in find_columns(runs[1])])
    rows = [row for column in columns for row in _compared(column, runs, category)]
    if not rows:
        raise UserError(f"{first} and {second} share no measured config, epoch and category '{category}'.")
    return rows


def _compared(column: Column, runs: list[RunTables], category: str) -> list[dict[str, Any]]:
    tables = [_of_column(run.scores, column) for run in runs]
    _check_alike(column, tables)
    sides = [_classes(table, category) for table in tables]
    both = sides[0].merge(sides[1], on=["config", "epoch", "seed", "home", "class_name"], suffixes=("_a", "_b"))
    rows = []
    for (config, epoch), group in both.groupby(["config", "epoch"], sort=False, dropna=False):
        wide = group.set_index(["home", "class_name", "seed"])
        found = paired_mean(wide["value_b"] - wide["value_a"])
        rows.append(
            {"criterion": column.info.criterion, "measurement": column.label, "config": config, "epoch": _plain(epoch)}
            | {"first": _rounded(wide["value_a"].mean()), "second": _rounded(wide["value_b"].mean())}
            | {"difference": _rounded(found.mean), "low": _rounded(found.low), "high": _rounded(found.high)}
            | {"verdict": _verdict(found.low, found.high, column.info.higher_is_better)}
        )
    return rows


def _of_column(scores: pd.DataFrame, column: Column) -> pd.DataFrame:
    identity = pd.MultiIndex.from_frame(scores[METRIC].fillna(""))
    # Of several merge ratios the trained one: others have no partner.
    return scores[identity.isin([column.identity]) & (scores["scale"].fillna(1.0) == 1.0)]


def _check_alike(column: Column, tables: list[pd.DataFrame]) -> None:
    if any("metric_id" not in table for table in tables):
        raise UserError("Scores without metric_id say not how they were measured, so they cannot be compared.")
    pairs = [table[[*LEAF, "metric_id"]].drop_duplicates() for table in tables]
    both = pairs[0].merge(pairs[1], on=LEAF, suffixes=("_a", "_b"))
    if (both["metric_id_a"] != both["metric_id_b"]).any():
        raise UserError(
            f"{column.label} was not measured in the same way in both runs: metric, encoder, data, prompts, sampling "
            "and (for preservation) base model have to be the same."
        )


def _classes(table: pd.DataFrame, category: str) -> pd.DataFrame:
    """Mean raw value of each class: config, epoch, seed, home, class_name, value."""
    rows = class_scores(table, "value")
    rows = with_all_classes(rows.assign(home=rows["category"])).query("category == @category")
    factors = table[["checkpoint", "config", "epoch", "seed"]].drop_duplicates("checkpoint")
    factors = factors.astype({"epoch": "Float64", "seed": "Float64"}).fillna({"epoch": -1, "seed": -1})
    return rows.merge(factors, on="checkpoint").dropna(subset="value")


def _verdict(low: float, high: float, higher_is_better: bool) -> str:
    if low > 0 or high < 0:
        return "better" if (low > 0) == higher_is_better else "worse"
    if low == high == 0:
        return "no difference"
    return "cannot be told"


def _plain(epoch: float) -> int | None:
    return None if epoch < 0 else int(epoch)


def _rounded(value: float) -> float | None:
    return None if pd.isna(value) else float(f"{value:.4g}")


def export(run: Path, out: Path, kind: Literal["csv", "parquet", "json"]) -> list[Path]:
    """Write every table of a run as csv, parquet or json (records) into a folder; thumbnails only as parquet.

    UserError for a folder that exists, and for one without a finished run.
    """
    read_run(run)
    names = [name for name in TABLES if (run / f"{name}.parquet").exists()]
    with store.whole_folder(out) as folder:
        for name in names:
            source, target = run / f"{name}.parquet", folder / f"{name}.{kind}"
            if kind == "parquet":
                shutil.copyfile(source, target)
                continue
            table = read_part(source).drop(columns="thumbnail", errors="ignore")
            if kind == "csv":
                table.to_csv(target, index=False)
            else:
                table.to_json(target, orient="records", indent=1)
    return [out / f"{name}.{kind}" for name in names]


def figures(run: Path, out: Path | None, study: str | None) -> list[Path]:
    """Draw every figure that a run has numbers for, as SVG and PNG; by default into `figures` beside its tables."""
    return write_figures(read_run(run, study), out or run / "figures")
