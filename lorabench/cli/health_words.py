"""The health of weights in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lorabench.cli.cells import wrapped
from lorabench.cli.output import table
from lorabench.report.words import number

_TITLES = {
    "spectral_norm": "spectral norm",
    "stable_rank": "stable rank",
    "first_direction": "first direction",
    "relative_norm": "|dW| / |W0|",
}
_SHOWN = 12


def blocks(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line a block."""
    if len(rows) > 1:
        yield ""
        yield table([{"block": row["block"], "matrices": row["matrices"], **_cells(row)} for row in rows])


def compared(found: Mapping[str, Any]) -> Iterator[str]:
    """A line a file, then what is unlike the others."""
    yield table([{"file": row["checkpoint"], **_cells(row)} for row in found["files"]])
    yield ""
    yield from unlike(found["unlike"])
    for message in found["refused"].values():
        yield from wrapped(f"Left out: {message}")


def unlike(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each block of a file that is unlike those of the others."""
    for row in rows[:_SHOWN]:
        what = f"{row['checkpoint']}: {_TITLES[row['measure']]} of {row['block']} is {number(row['value'])}"
        yield from wrapped(f"{what}, that of the others {number(row['usual'])} (median).", "  ")
    if len(rows) > _SHOWN:
        yield f"and {len(rows) - _SHOWN} more (all of them with --json)"


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {title: "" if row[name] is None else number(row[name]) for name, title in _TITLES.items()}
