"""What the explanation stage found, as beeswarms: a row a factor, a dot a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from lorabench.report.tables import Column, RunTables
from lorabench.report.words import algorithm_order, algorithm_words, factor_words
from lorabench.statistics.columns import METRIC

Trust = Literal["good", "low", "none", "unknown"]
MOST_LEVELS = 12  # numbers of more values than this are measured rather than chosen: ranges of them are the levels
RANGES = 5  # of equally many checkpoints
LOW_R2 = 0.3  # below it, held-out configs are hardly predicted


@dataclass(frozen=True)
class Factor:
    """A factor and its levels in their order; `level_of` maps a checkpoint to the number of its level."""

    name: str
    label: str
    is_numeric: bool
    levels: list[str]
    level_of: dict[str, int]


def find_factors(attributions: pd.DataFrame) -> list[Factor]:
    """The factors of the run, categorical ones first."""
    factors = []
    for name, rows in attributions.groupby("factor_name", sort=False):
        values = rows.drop_duplicates("checkpoint").set_index("checkpoint")["factor_value"].fillna("").astype(str)
        known = [value for value in values.unique() if value]
        numbers = pd.to_numeric(pd.Series(known, dtype=object), errors="coerce")
        is_numeric = len(known) > 0 and bool(numbers.notna().all())
        if is_numeric and len(known) > MOST_LEVELS:
            values = _ranges(pd.to_numeric(values, errors="coerce"))
            known = [value for value in values.unique() if value]
        order = sorted(known, key=_least) if is_numeric else algorithm_order(known)
        levels = order + ([""] if (values == "").any() else [])
        level_of = {checkpoint: levels.index(value) for checkpoint, value in values.items()}
        factors.append(Factor(str(name), factor_words(str(name)), is_numeric, levels, level_of))
    return sorted(factors, key=lambda factor: factor.is_numeric)


def _ranges(numbers: pd.Series) -> pd.Series:
    """Each number as the fifth it lies in, written "least to largest"; "" where it is not known."""
    fifths = pd.qcut(numbers, RANGES, labels=False, duplicates="drop")
    ends = numbers.groupby(fifths).agg(["min", "max"]).map("{:.3g}".format).agg(_TO.join, axis=1)
    return fifths.map(ends).fillna("")


_TO = " to "


def _least(level: str) -> float:
    return float(level.partition(_TO)[0])


def level_label(factor: Factor, level: str) -> str:
    if level == "":
        return "not known"
    if factor.is_numeric:
        return _TO.join(f"{float(end):g}" for end in level.split(_TO))
    return algorithm_words(level) if factor.name == "algorithm" else level


def trust(r2_cv: float) -> Trust:
    """How far a model is to be believed about configs it has not seen, from its cross-validated R2."""
    if not np.isfinite(r2_cv):
        return "unknown"
    return "good" if r2_cv >= LOW_R2 else "low" if r2_cv > 0 else "none"


TRUST_WORDS: dict[Trust, str] = {
    "good": "Configs held out of the fit are predicted well enough to read these effects as more than a description.",
    "low": "Low: configs held out of the fit are hardly predicted. Read this as a description of these checkpoints.",
    "none": "Held-out configs are predicted worse than by their mean. Do not generalise from this picture.",
    "unknown": "Not cross-validated, so nothing is known about configs outside this grid.",
}


def beeswarm_data(tables: RunTables, columns: Sequence[Column]) -> dict[str, Any]:
    """Factors, checkpoints and, by column and category, SHAP values (in units of 1e-4) and the quality of the fit."""
    attributions = tables.attributions
    if attributions.empty and tables.explanations.empty:
        return {"factors": [], "checkpoints": [], "targets": []}
    factors = find_factors(attributions) if len(attributions) else []
    checkpoints = attributions.drop_duplicates("checkpoint") if len(attributions) else attributions
    names = checkpoints["checkpoint"].tolist() if len(attributions) else []
    values = _shap_values(attributions, factors, names)
    numbers = {column.identity: number for number, column in enumerate(columns)}
    targets = []
    for row in tables.explanations.fillna({name: "" for name in METRIC}).to_dict("records"):
        identity = tuple(row[name] for name in METRIC)
        if identity not in numbers:
            continue
        fit = {name: _finite(row.get(name)) for name in ("r2_train", "rmse_train", "r2_cv", "rmse_cv")}
        verdict = trust(float("nan") if fit["r2_cv"] is None else fit["r2_cv"])
        targets.append(
            {
                "column": numbers[identity],
                "category": row["category"],
                "n": int(row["n_rows"]),
                "reason": row.get("reason") or "",
                "trust": verdict,
                "verdict": TRUST_WORDS[verdict],
                "shap": values.get((row["category"], *identity)),
                **fit,
            }
        )
    return {
        "factors": [_factor_data(factor, names) for factor in factors],
        "checkpoints": [_checkpoint_words(row) for row in checkpoints.to_dict("records")] if names else [],
        "targets": targets,
    }


def _shap_values(attributions: pd.DataFrame, factors: Sequence[Factor], names: Sequence[str]) -> dict[tuple, list]:
    """(category, *METRIC) -> for each factor a list over checkpoints: round(1e4 * shap), None where there is none."""
    if attributions.empty:
        return {}
    found = {}
    table = attributions.fillna({name: "" for name in METRIC})
    for key, rows in table.groupby(["category", *METRIC], sort=False):
        wide = rows.pivot(index="checkpoint", columns="factor_name", values="shap").reindex(names)
        found[key] = [
            [None if np.isnan(value) else round(1e4 * value) for value in wide[factor.name].astype("float64")]
            if factor.name in wide
            else None
            for factor in factors
        ]
    return found


def _factor_data(factor: Factor, names: Sequence[str]) -> dict[str, Any]:
    return {
        "name": factor.name,
        "label": factor.label,
        "numeric": factor.is_numeric,
        "keys": factor.levels,
        "levels": [level_label(factor, level) for level in factor.levels],
        "level": [factor.level_of.get(name) for name in names],
    }


def _checkpoint_words(row: dict[str, Any]) -> str:
    parts = [str(row["config"])]
    parts += [f"{name} {row[name]}" for name in ("seed", "epoch") if pd.notna(row.get(name))]
    parts += [f"step {row['step']}"] if pd.isna(row.get("epoch")) and pd.notna(row.get("step")) else []
    return ", ".join(parts)


def _finite(value: Any) -> float | None:
    return round(float(value), 4) if value is not None and np.isfinite(value) else None
