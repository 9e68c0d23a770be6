"""What signals foretell, in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lorabench.cli.cells import measurement, signed, wrapped
from lorabench.cli.output import rows_of, table
from lorabench.report.words import count, signal_words
from lorabench.statistics.columns import METRIC
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

_AMONG = {
    "all": "all checkpoints",
    "algorithm": "of one algorithm",
    "moment": "of one epoch",
    "training": "of one training",
}


def signals(found: pd.DataFrame) -> Iterator[str]:
    """A table a study and measurement: a row a signal, a column a way to choose."""
    several = found["study"].nunique() > 1
    for (study, *_), rows in found.groupby(["study", *METRIC], sort=False, dropna=False):
        yield (f"study {study}: " if several else "") + measurement(rows_of(rows.head(1))[0])
        yield table([_line(signal, of_it) for signal, of_it in rows.groupby("signal", sort=False)])
        yield ""
    least = found[["n_classes", "n_configs", "n_seeds"]].max().astype(int)
    rests = (
        f"{count(least['n_classes'], 'class', 'classes')}, {count(least['n_configs'], 'config')} and "
        f"{count(least['n_seeds'], 'seed')}"
    )
    yield from wrapped(
        "Spearman's correlation of the number with the score, within each concept: negative where a larger number goes "
        f"with worse pictures; in brackets the 95 % interval, over {rests}. * told from 0 at 5 % false discoveries, "
        "all lines together. Of one training: does the signal say which moment to keep?"
    )


def _line(signal: str, rows: pd.DataFrame) -> dict[str, object]:
    cells = {row["among"]: _cell(row) for row in rows_of(rows)}
    return {"signal": signal_words(signal)} | {words: cells.get(name, "") for name, words in _AMONG.items()}


def _cell(row: Mapping[str, Any]) -> str:
    if row["r"] is None:
        return ""
    mark = "*" if row["q"] is not None and row["q"] <= FALSE_DISCOVERIES else ""
    interval = "" if row["low"] is None else f" ({signed(row['low'])} to {signed(row['high'])})"
    return f"{signed(row['r'])}{mark}{interval}"
