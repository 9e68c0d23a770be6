"""What the tables of a run hold, column by column: a file that says otherwise is no such table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api import types
from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from lorabench import values
from lorabench.errors import UserError
from lorabench.statistics.columns import (
    COLLAPSED_COLUMNS,
    DECISION_COLUMNS,
    FACTORS,
    HEALTH_COLUMNS,
    INTEGERS,
    INTERFERENCE_COLUMNS,
    LEAF,
    METRIC,
    NORM_COLUMNS,
    PROBE_COLUMNS,
    VALIDATION_COLUMNS,
    with_whole_numbers,
)
from lorabench.statistics.dilution import DILUTION_COLUMNS
from lorabench.statistics.moments import CHOICE_COLUMNS

_MEASURED = (*FACTORS, *LEAF, *METRIC)
NEEDED: dict[str, tuple[str, ...]] = {
    "scores": (*_MEASURED, "value"),
    "normalized": (*_MEASURED, "score"),
    "category_scores": (*FACTORS, "category", *METRIC, "score"),
    "attributions": ("checkpoint", "category", *METRIC, "factor_name", "factor_value", "shap"),
    "explanations": ("category", *METRIC, "reason"),
    "images": (*FACTORS, *LEAF, "prompt_type"),
    "costs": ("stage", "item", "seconds", "bytes", "device"),
    "losses": ("config", "seed", "step", "loss"),  # the others came later
    "norms": tuple(NORM_COLUMNS),
    "validation": (*FACTORS, *VALIDATION_COLUMNS),
    "health": (*FACTORS, *HEALTH_COLUMNS),
    "collapsed": (*FACTORS, *COLLAPSED_COLUMNS),
    "failures": ("stage", "item", "status", "message"),
    "probes": tuple(PROBE_COLUMNS),
    "choices": ("study", *CHOICE_COLUMNS),
    "merges": ("study", *DILUTION_COLUMNS),
    "decisions": ("study", *DECISION_COLUMNS),
    "interference": tuple(INTERFERENCE_COLUMNS),
    "files": (*FACTORS, "category", *METRIC, "best", "mean", "difference", "low", "high", "p", "q", "verdict"),
}
_NUMBERS = INTEGERS | {
    *("lr", "alpha", "scale", "value", "score", "shap", "seconds", "mean", "difference", "low", "high", "p", "q"),
    *(
        "loss",
        "rate",
        "grad_norm",
        "norm",
        "spectral_norm",
        "stable_rank",
        "first_direction",
        "relative_norm",
        "r2_train",
        "rmse_train",
        "r2_cv",
        "rmse_cv",
        "ratio",
        "alone_scale",
        "floor",
        "alone",
    ),
    *("cosine", "overlap", "chance", "first_strength", "second_strength"),
}
_TEXTS = {
    *("study", "base", "checkpoint", "config", "algorithm", "trained_layers", "captions", *LEAF, *METRIC, "metric_id"),
    *("reason", "population", "factor_name", "factor_value", "concept", "prompt", "stage", "item", "device", "probe"),
    *(
        "status",
        "message",
        "file",
        "best",
        "verdict",
        "parent",
        "first",
        "second",
        "module",
        "part",
        "pictures",
        "block",
        "kind",
    ),
}


class _MetricFacts(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    name: str
    criterion: str
    higher_is_better: bool
    description: str | None = ""
    encoders: list[str] | None = None


class _StudyFacts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    study: dict[str, JsonValue]
    metrics: list[_MetricFacts]
    provenance: dict[str, JsonValue]


_FACTS = TypeAdapter(dict[str, _StudyFacts])


def checked_facts(file: Path) -> dict[str, dict[str, Any]]:
    """What study.json says, by study. UserError if it cannot be read, or says something else."""
    try:
        facts = _FACTS.validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise UserError(values.sentence(error.errors()[0], file, list(_StudyFacts.model_fields))) from error
    if not facts:
        raise UserError(f"{file} names no study.")
    return {name: each.model_dump() for name, each in facts.items()}


def checked_table(table: pd.DataFrame, kind: str, file: Path) -> pd.DataFrame:
    """The table, if it is one of that kind. UserError naming a column that is missing or holds something else.

    An empty table needs no columns, but for `scores` and `normalized`.
    """
    needed = NEEDED.get(kind, ()) if len(table) or kind in ("scores", "normalized") else ()
    missing = [name for name in needed if name not in table]
    if missing:
        raise UserError(f"{file} is no table of {kind}: it lacks the columns {', '.join(missing)}.")
    if not table.columns.is_unique:
        raise UserError(f"{file} is no table of {kind}: two of its columns have one name.")
    categorical = [name for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)]
    table = table.astype({name: table[name].dtype.categories.dtype for name in categorical}).reset_index(drop=True)
    for name in table:
        if name in _NUMBERS and not _holds_numbers(table[name]):
            raise UserError(f"{file} is no table of {kind}: its column '{name}' holds something else than numbers.")
        if name in _TEXTS and types.infer_dtype(table[name], skipna=True) not in ("string", "empty"):
            raise UserError(f"{file} is no table of {kind}: its column '{name}' holds something else than text.")
    try:
        table = with_whole_numbers(table)
    except ValueError as error:
        raise UserError(f"{file} is no table of {kind}: its column {error}, not whole numbers.") from error
    for name in ("checkpoint", "metric"):
        if name in needed and table[name].isna().any():
            raise UserError(f"{file} is no table of {kind}: its column '{name}' has gaps.")
    # "" is what a leaf or a measurement has where nothing is to say, and other tools write it as missing.
    return table.fillna({name: "" for name in (*LEAF, *METRIC) if name in table})


def _holds_numbers(column: pd.Series) -> bool:
    if types.infer_dtype(column, skipna=True) == "empty":
        return True
    return types.is_numeric_dtype(column) and not (types.is_bool_dtype(column) or types.is_complex_dtype(column))
