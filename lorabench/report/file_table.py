"""Adapter files one by one: where nothing can be told of configs, this file can be told from that one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lorabench.report.tables import Column, RunTables
from lorabench.report.words import algorithm_words
from lorabench.statistics.columns import ALL, METRIC


@dataclass(frozen=True)
class FileCell:
    """How a file stands to the best by one measurement, in words."""

    value: str
    less_best: str  # "" of the best
    verdict: str
    disagrees: bool  # tied, though its interval excludes 0


@dataclass(frozen=True)
class FileRow:
    """A file, and a cell a measurement: None where it was not measured."""

    name: str
    made: str
    cells: list[FileCell | None]


def file_rows(tables: RunTables, columns: Sequence[Column]) -> list[FileRow]:
    """Every file over all classes, best by the first measurement first; [] of a run whose files were not compared."""
    if tables.files.empty:
        return []
    rows = tables.files[tables.files["category"] == ALL]
    found = [_cells(rows[(rows[METRIC].fillna("") == list(column.identity)).all(axis=1)]) for column in columns]
    files = rows.drop_duplicates("checkpoint").set_index("checkpoint", drop=False).to_dict("index")
    names = list(dict.fromkeys(name for cells in found for name in cells))
    return [FileRow(name, _made(files[name]), [cells.get(name) for cells in found]) for name in names]


def decimals(rows: pd.DataFrame) -> int:
    """Two significant digits of the intervals of one measurement, or three of its values where there are none."""
    half = ((rows["high"] - rows["low"]) / 2).median()
    largest, digits = (rows["mean"].abs().max(), 3) if pd.isna(half) or half <= 0 else (half, 2)
    return max(0, digits - 1 - math.floor(math.log10(largest))) if largest > 0 else 2


def less_best(row: Mapping[str, Any], places: int) -> str:
    """Difference from the best ± half its interval; "" of the best itself."""
    if row["difference"] is None or pd.isna(row["difference"]) or row["verdict"] == "best":
        return ""
    text = f"{row['difference']:+z.{places}f}".replace("-", "−")
    half = (row["high"] - row["low"]) / 2 if row["low"] is not None else math.nan
    return f"{text} ± {half:.{places}f}" if math.isfinite(half) else text


def _cells(rows: pd.DataFrame) -> dict[str, FileCell]:
    """Of one measurement, best file first."""
    places = decimals(rows)
    lead = rows["verdict"] == "best"
    higher = rows.loc[lead, "mean"].max() >= rows["mean"].max()
    ordered = rows.sort_values("mean", ascending=not higher, kind="stable").to_dict("records")
    return {
        row["checkpoint"]: FileCell(
            f"{row['mean']:z.{places}f}".replace("-", "−"), less_best(row, places), row["verdict"], _disagrees(row)
        )
        for row in ordered
    }


def _disagrees(row: Mapping[str, Any]) -> bool:
    return row["verdict"] == "tied" and bool(row["low"] > 0 or row["high"] < 0)


def _made(row: Mapping[str, Any]) -> str:
    """What a file is of: its config where that is not its name, its seed and epoch where it says them."""
    words = [algorithm_words(row["algorithm"])]
    words += [str(row["config"])] if row["config"] != row["checkpoint"] else []
    words += [f"{name} {row[name]}" for name in ("seed", "epoch") if pd.notna(row[name])]
    words += [f"step {row['step']}"] if pd.isna(row["epoch"]) and pd.notna(row["step"]) else []
    return ", ".join(words)
