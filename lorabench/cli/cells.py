"""Numbers and names as a terminal shows them: rounded, named once, folded to its width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lorabench.api.measurements import CRITERION
from lorabench.cli.output import rows_of, width
from lorabench.report.words import category_words, count, criterion_words, metric_words, prompt_words
from lorabench.statistics.columns import ALL, MOMENT
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

_MOST_DIGITS = 6  # of a q


def blocks(found: pd.DataFrame, moment: bool = True) -> Iterator[tuple[str, pd.DataFrame]]:
    """(heading, rows) of each study and criterion: what is the same in all rows is said once."""
    several = found["study"].nunique() > 1
    for _, block in found.groupby(["study", *CRITERION], sort=False, observed=True):
        row = rows_of(block.head(1))[0]
        parts = [measurement(row)]
        when = {moment_words(each) for each in rows_of(block)} if moment else set()
        if len(when) == 1 and "" not in when:
            parts += when
        elif len(when - {""}) > 1 and block["config"].is_unique:
            parts.append(f"last {_unit(when)} of each config")
        parts.append(scope(row))
        name = f"study {row['study']}: " if several else ""
        heading = f"{name}{criterion_words(row['criterion'])}: {'; '.join(parts)}"
        yield "\n".join([*wrapped(heading, "  "), *doubt(row)]), block


def _unit(moments: set[str]) -> str:
    kinds = {words.split()[0] for words in moments if words}
    return kinds.pop() if len(kinds) == 1 else "moment"


def doubt(row: Mapping[str, Any]) -> list[str]:
    """A line or two where what a criterion is judged by fails its audit."""
    failed = row.get("fails_audit")
    words = f'Not to be leaned on: this measurement fails its audit here ({failed}; see the report, "Audit").'
    return wrapped(words) if failed else []


def scope(row: Mapping[str, Any]) -> str:
    """The classes that a score is a mean over; whole categories of other people's tables name none."""
    n = count(row["n_classes"], "class", "classes") if row["n_classes"] else ""
    if row["category"] != ALL:
        return category_words(row["category"]).lower() + (f", {n}" if n else "")
    return n or "all classes"


def measurement(row: Mapping[str, Any]) -> str:
    seen = " ".join(part for part in (row["encoder"], row["resize"]) if part)
    words = ", ".join(part for part in (metric_words(row["metric"]), prompt_words(row["prompt_type"]), seen) if part)
    stands_in = row.get("stands_in_for")
    return f"{words} (instead of {stands_in.replace('_', ' ')}, which this study has not)" if stands_in else words


def without_empty(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Without columns in which nothing stands."""
    kept = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)] if rows else []
    return [{name: row[name] for name in kept} for row in rows]


def wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width(), subsequent_indent=indent * 2, break_on_hyphens=False, drop_whitespace=True)


def direction(row: Mapping[str, Any]) -> str:
    return "higher is better" if row["higher_is_better"] else "lower is better"


def raw(value: float, places: int) -> str:
    return f"{value:z.{places}f}".replace("-", "−")


def two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def interval(middle: float | None, low: float | None, high: float | None) -> str:
    """A difference ± half its interval, which lies evenly around it."""
    if middle is None:
        return ""
    return signed(middle) if low is None or high is None else f"{signed(middle)} ± {(high - low) / 2:.2f}"


def ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def q(value: float | None) -> str:
    """With as many digits as it takes to see on which side of the limit it lies."""
    if value is None or value < 0.01:
        return "" if value is None else "<0.01"
    digits = 2
    while digits < _MOST_DIGITS and (round(value, digits) <= FALSE_DISCOVERIES) != (value <= FALSE_DISCOVERIES):
        digits += 1
    return f"{value:.{digits}f}"


def excludes_zero(row: Mapping[str, Any]) -> bool:
    return row["low"] is not None and (row["low"] > 0 or row["high"] < 0)


def verdict(row: Mapping[str, Any]) -> str:
    """With a mark where an interval that excludes 0 may be taken for another verdict: see `disagreement`."""
    return row["verdict"] + ("*" if row["verdict"] == "tied" and excludes_zero(row) else "")


def disagreement(block: pd.DataFrame) -> list[str]:
    """Why a difference whose interval excludes 0 may be called tied."""
    if not any(verdict(row).endswith("*") for row in rows_of(block)):
        return []
    pairs = len(block) * (len(block) - 1) // 2
    return wrapped(
        "* Its interval excludes 0, and yet it is tied: the interval is of this pair alone, the verdict of all "
        f"{pairs} pairs together (q)."
    )


def share(right: float | None, images: float | None) -> str:
    return "" if right is None or images is None else f"{right:.0f} of {images:.0f}"


def size(mib: float | None) -> str:
    return "" if mib is None else f"{mib:.3g}"


def span(values: pd.Series) -> str:
    known = values.dropna()
    low, high = (f"{known.min():.2f}", f"{known.max():.2f}") if len(known) else ("", "")
    return low if low == high else f"{low} to {high}"


def moment(row: Mapping[str, Any]) -> str:
    return ", ".join(word for word in (row["config"], moment_words(row)) if word)


def moment_words(row: Mapping[str, Any]) -> str:
    """ "epoch 10", "step 300"; "" where neither is known."""
    return next((f"{name} {row[name]}" for name in MOMENT if row.get(name) is not None), "")


def moment_cells(row: Mapping[str, Any]) -> dict[str, object]:
    """Cells of the columns epoch and step, for `without_empty`."""
    return {name: row.get(name) for name in MOMENT}
