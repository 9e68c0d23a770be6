"""Two finished runs side by side: what they say differently of themselves, and their configs' raw values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lorabench.api.measurements import identity
from lorabench.errors import UserError
from lorabench.pipeline.plan import BASE_CHECKPOINT
from lorabench.report.runs import read_run
from lorabench.report.tables import DATASET, Column, RunTables, find_columns, headline_columns
from lorabench.statistics.columns import ALL, LEAF, METRIC
from lorabench.statistics.comparisons import paired_mean
from lorabench.statistics.errors import class_scores, with_all_classes


@dataclass(frozen=True)
class Comparison:
    """Two runs: what they say differently of themselves, and their configs' raw values side by side.

    `differs`: what, first, second (as text; "" = not said). `configs`: a row a measurement, config and epoch, the base
    model too: CRITERION, category, n_classes, config, epoch, first, second, difference (second less first), low, high
    (95 %), verdict ("better", "worse", "no difference", "cannot be told").
    """

    differs: pd.DataFrame
    configs: pd.DataFrame


def compare(first: Path, second: Path, category: str = ALL) -> Comparison:
    """Raw values of the second run less those of the first, of every config and epoch that both have.

    Of each criterion's headline measurement, paired by class and training seed. UserError where nothing can be paired,
    or a measurement was not made in the same way.
    """
    runs = [read_run(folder) for folder in (first, second)]
    differs = _differing(*runs)
    columns = headline_columns([each for each in find_columns(runs[0]) if each in find_columns(runs[1])])
    rows = [row for column in columns for row in _compared(column, runs, category, differs)]
    if not rows:
        raise UserError(f"{first} and {second} share no measured config, epoch and category '{category}'.")
    table = pd.DataFrame(rows).astype({"epoch": "Int64"})
    return Comparison(differs, table.assign(study=runs[1].study["name"], category=category))


def _differing(first: RunTables, second: RunTables) -> pd.DataFrame:
    """Settings, data, versions and configs that are not the same."""
    said = [_said(run) for run in (first, second)]
    rows = [
        {"what": what, "first": said[0].get(what, ""), "second": said[1].get(what, "")}
        for what in dict.fromkeys([*said[0], *said[1]])
        if said[0].get(what) != said[1].get(what)
    ]
    return pd.DataFrame(rows, columns=["what", "first", "second"])


def _said(run: RunTables) -> dict[str, str]:
    """What a run says of itself, by dotted names; what says only when and where it ran is left out."""
    made = {name: run.provenance.get(name) for name in ("version", "git_commit", "git_dirty", "python", "packages")}
    study = {key: value for key, value in run.study.items() if key not in _NO_SETTINGS}
    found = _flat("", study | made | {"device": run.provenance.get("device")})
    leaves = run.scores[LEAF].fillna("").drop_duplicates().itertuples(index=False)
    found["concepts"] = ", ".join(sorted("/".join(filter(None, leaf)) for leaf in leaves))
    found["configs"] = ", ".join(sorted(set(run.scores["config"]) - {DATASET, BASE_CHECKPOINT}))
    return found


_NO_SETTINGS = ("description", "n_checkpoints", "n_configs", "n_images", "still_to_come", "assumptions")


def _flat(prefix: str, value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {
            name: text
            for key, item in value.items()
            for name, text in _flat(f"{prefix}.{key}" if prefix else str(key), item).items()
        }
    if isinstance(value, list | tuple):
        return {prefix: ", ".join(map(str, value))}
    return {} if value is None or value == "" else {prefix: str(value)}


def _compared(column: Column, runs: Sequence[RunTables], category: str, differs: pd.DataFrame) -> list[dict[str, Any]]:
    tables = [_of_column(run.scores, column) for run in runs]
    _check_alike(column, tables, differs)
    sides = [_classes(table, category) for table in tables]
    both = sides[0].merge(sides[1], on=["config", "epoch", "seed", "home", "class_name"], suffixes=("_a", "_b"))
    rows = []
    for (config, epoch), group in both.groupby(["config", "epoch"], sort=False, dropna=False):
        wide = group.set_index(["home", "class_name", "seed"])
        found = paired_mean(wide["value_b"] - wide["value_a"])
        rows.append(
            identity(column)
            | {"n_classes": len(group[["home", "class_name"]].drop_duplicates())}
            | {"config": config, "epoch": None if epoch < 0 else int(epoch)}
            | {"first": wide["value_a"].mean(), "second": wide["value_b"].mean()}
            | {"difference": found.mean, "low": found.low, "high": found.high}
            | {"verdict": _verdict(found.low, found.high, column.info.higher_is_better)}
        )
    return rows


def _of_column(scores: pd.DataFrame, column: Column) -> pd.DataFrame:
    identity = pd.MultiIndex.from_frame(scores[METRIC].fillna(""))
    # Of several merge ratios the trained one: others have no partner.
    return scores[identity.isin([column.identity]) & (scores["scale"].fillna(1.0) == 1.0)]


def _check_alike(column: Column, tables: Sequence[pd.DataFrame], differs: pd.DataFrame) -> None:
    if any("metric_id" not in table for table in tables):
        raise UserError("Scores without metric_id say not how they were measured, so they cannot be compared.")
    pairs = [table[[*LEAF, "metric_id"]].drop_duplicates() for table in tables]
    both = pairs[0].merge(pairs[1], on=LEAF, suffixes=("_a", "_b"))
    if (both["metric_id_a"] != both["metric_id_b"]).any():
        why = differs[differs["what"].str.match(_MEASURING)]
        named = "; ".join(f"{row.what} ({_short(row.first)} and {_short(row.second)})" for row in why.itertuples())
        raise UserError(
            f"{column.label} was not measured in the same way in both runs: metric, encoder, data, prompts, sampling "
            "and (for preservation) base model have to be the same."
            + (f" They differ in {named}." if named else " What they say of themselves does not show in what.")
        )


_MEASURING = r"base_id|dataset|encoders\.|images\.|concepts"


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


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
