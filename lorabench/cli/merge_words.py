"""What merging leaves, in words for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from lorabench.cli.cells import wrapped
from lorabench.report.words import metric_words, number, prompt_words

_SHOWN = 8  # merges and parents


def lines(rows: pd.DataFrame) -> Iterator[str]:
    """A line a merge and parent; none without merges."""
    if rows.empty:
        return
    first = rows.iloc[0]
    what = f"{metric_words(first['metric'])}, {prompt_words(first['prompt_type'])}"
    yield from wrapped(
        f"What merging leaves of what each parent knows ({what}; parent alone → merge, with its 95 % interval):"
    )
    for row in rows.head(_SHOWN).to_dict("records"):
        yield from wrapped(f"  {_line(row)}", "  ")
    more = len(rows) - _SHOWN
    yield from [f"  and {more} more (on the page)"] if more > 0 else []
    yield ""


def _line(row: dict[str, Any]) -> str:
    half = (row["high"] - row["low"]) / 2
    difference = number(row["difference"], 2) + (f" ± {number(half, 2)}" if math.isfinite(half) else "")
    share = (
        f", {row['kept']:.0%} of its way from the base model".replace("%", " %") if math.isfinite(row["kept"]) else ""
    )
    moment = f", epoch {row['epoch']}" if pd.notna(row["epoch"]) else ""
    values = f"{number(row['alone'])} → {number(row['mean'])} ({difference})"
    return f"{row['config']}{moment}, {row['parent']}: {values}{share}"
