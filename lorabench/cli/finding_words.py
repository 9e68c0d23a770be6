"""Findings in words for a terminal: claims, what was learnt, which metrics to trust, two runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lorabench.api.comparing import Comparison
from lorabench.cli.cells import blocks, ends, interval, share, two, without_empty, wrapped
from lorabench.cli.output import rows_of, table
from lorabench.report.cards import LIMITS, WORDS
from lorabench.report.words import category_words


def claims(found: pd.DataFrame) -> Iterator[str]:
    """A table a study."""
    for study, rows in found.groupby("study", sort=False):
        yield f"study {study}"
        yield table(
            [
                {"claim": row["claim"], "statement": row["statement"], "expected": row["expected"]}
                | {"effect": interval(row["effect"], row["low"], row["high"])}
                | {"bootstrap": ends(row["bootstrap_low"], row["bootstrap_high"]), "verdict": row["verdict"]}
                for row in rows_of(rows)
            ]
        )
        yield ""
    yield from wrapped(
        "Effect: difference of normalised scores, or a correlation, ± its 95 % interval, clustered by class and "
        "training. Bootstrap: the same interval without a distribution, too short for a handful of classes."
    )


def identified(found: pd.DataFrame) -> Iterator[str]:
    """A table a study."""
    for study, rows in found.groupby("study", sort=False):
        yield f"study {study}: identification, trigger prompts, last epoch of each config"
        yield table(
            [
                {"config": row["config"], "epoch": row["epoch"], "category": category_words(row["category"])}
                | {"named right": share(row["right"], row["images"]), "share": two(row["share"])}
                | {"95 %": f"{two(row['low'])} to {two(row['high'])}"}
                for row in rows_of(rows)
            ]
        )
    yield from wrapped("95 %: Wilson's interval of the share, which speaks of these prompts.")


def audit(found: pd.DataFrame) -> Iterator[str]:
    """A line a metric and encoder: those prompt types together of which the same is known."""
    told = found.assign(why=[why(row) for row in rows_of(found)])
    lines = []
    for _, rows in told.groupby(["metric", "encoder", "resize", "verdict", "why"], sort=False):
        row = rows.iloc[0]
        lines.append(
            {"metric": row["metric"], "encoder": row["encoder"], "prompts": ", ".join(rows["prompt_type"])}
            | {"verdict": row["verdict"], "why": row["why"]}
        )
    yield table(lines)
    yield ""
    yield from wrapped(
        "Real images stand for generated ones: as they are, damaged, one again and again, and those of another "
        "concept. Limits are rules of thumb, no tests."
    )


def why(row: Mapping[str, Any]) -> str:
    """What a measurement fails, with its numbers; what it passed, where it fails nothing."""
    numbers = {name: row[name] for name in (*LIMITS, "copies", "real", "floor", "ceiling")}
    if row["failed"]:
        return "; ".join(f"{WORDS[name]}: {_FAILS[name].format(**_rounded(numbers))}" for name in row["failed"])
    known = [f"{name} {numbers[name]:.2f}" for name in LIMITS if numbers[name] is not None]
    if row["verdict"] == "passes what is known" and row["identity"] is None:
        known.append("no other concept of its category to be told from")
    if row["criterion"] == "diversity" and row["copies"] is not None:
        known.insert(0, f"copies {row['copies']:.3g}, real images {row['real']:.3g}")
    return ", ".join(known) or "nothing is known of it"


_FAILS = {name: f"{{{name}}}, at least {limit:g}" for name, limit in LIMITS.items()} | {
    "copies": "{copies}, real images {real}",
    "range": "base model {floor}, real images {ceiling}",
}


def _rounded(numbers: Mapping[str, float | None]) -> dict[str, str]:
    return {name: "" if value is None else f"{value:.3g}" for name, value in numbers.items()}


def comparison(found: Comparison) -> Iterator[str]:
    """What differs between two runs, then a block a criterion."""
    if len(found.differs):
        yield "What differs"
        names = {"what": "what", "first": "first run", "second": "second run"}
        yield table([{names[name]: value for name, value in row.items()} for row in rows_of(found.differs)])
    else:
        yield "Nothing that the runs say of themselves differs."
    for heading, block in blocks(found.configs, moment=False):
        yield ""
        yield heading
        yield table(
            without_empty(
                [
                    {"config": row["config"], "epoch": row["epoch"], "first": f"{row['first']:.4g}"}
                    | {"second": f"{row['second']:.4g}", "less first": _raw_interval(row), "verdict": row["verdict"]}
                    for row in rows_of(block)
                ]
            )
        )
    yield ""
    yield from wrapped(
        "Raw values. Less first: the second run less the first ± its 95 % interval, paired by class and training seed, "
        "clustered by both. Better and worse: the interval excludes 0."
    )


def _raw_interval(row: Mapping[str, Any]) -> str:
    middle = f"{row['difference']:+.3g}".replace("-", "−")
    return middle if row["low"] is None else f"{middle} ± {(row['high'] - row['low']) / 2:.3g}"
