"""Names of columns that the tables of a run share, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

FACTORS = [
    *("study", "base", "checkpoint", "config", "algorithm", "trained_layers", "lr", "dim", "alpha", "factor"),
    *("seed", "epoch", "step", "scale"),
]
# Whole numbers, some of 63 bits: as float64, which pandas makes of a column with gaps, they would be others.
INTEGERS = frozenset(
    {
        "dim",
        "factor",
        "seed",
        "epoch",
        "step",
        "n_images",
        "n_classes",
        "n_seeds",
        "n_rows",
        "index",
        "noise_seed",
        "bytes",
        "band",
        "draws",
        "matrices",
        "decided_after",
        "more_seeds",
    }
    | {"process_memory_bytes", "device_memory_bytes"}
)
LARGEST = 2**63 - 1  # that Int64 holds; ComfyUI's seeds have 64 bits
EXACT = 2**53  # the largest whole number up to which float64 holds all of them
MOMENT = ["epoch", "step"]  # of a training; `with_moments` has a step where no epoch is known
CAPTIONS = "captions"  # a factor too, in tables of studies that vary how training images are described
METRIC = ["prompt_type", "metric", "encoder", "resize"]  # two values compare only where all four agree
CLASS = ["category", "class_name"]
LEAF = [*CLASS, "subclass"]
# Means over the steps since the row before: the loss, the learning rate, the norm of the gradient before it is clipped.
LOSS_COLUMNS = ["config", "seed", "step", "loss", "rate", "grad_norm"]
NORM_COLUMNS = ["config", "seed", "step", "part", "norm"]  # of the update of a part of the base model
VALIDATION_COLUMNS = [*CLASS, "subclass", "pictures", "band", "loss", "draws"]  # behind FACTORS
HEALTH_COLUMNS = ["block", "matrices", "spectral_norm", "stable_rank", "first_direction", "relative_norm"]  # likewise
COLLAPSED_COLUMNS = [*CLASS, "subclass", "prompt_type", "index", "kind", "prompt"]  # likewise
DECISION_COLUMNS = [
    *("criterion", *METRIC, "config", "algorithm", "epoch", "step", "scale", "verdict", "score"),
    *("low", "high", "images", "decided_after", "more_seeds"),
]
PROBE_COLUMNS = ["metric", "encoder", "resize", *LEAF, "probe", "value"]
INTERFERENCE_COLUMNS = [
    *("config", "seed", "epoch", "first", "second", "module"),
    *("cosine", "overlap", "chance", "first_strength", "second_strength"),
]
ALL = "all"  # the category that stands for every class of a study; metrics of scope "checkpoint" have no other


# What tables, and what is worked out from them, call something else than a person's own factor.
RESERVED = frozenset(
    {*FACTORS, *LEAF, *METRIC, *LOSS_COLUMNS, *NORM_COLUMNS, *PROBE_COLUMNS, *INTEGERS, ALL}
    | {*VALIDATION_COLUMNS, *HEALTH_COLUMNS, *COLLAPSED_COLUMNS, *DECISION_COLUMNS}
    | {"score", "reason", "metric_id", "population", "blocks", "factor_name", "factor_value", "shap", "capacity"}
    | {"device_name", "device_energy_joules"}
    | {"lr_level", "best", "mean", "difference", "se", "df", "low", "high", "p", "q", "verdict", "criterion", "judges"}
    | {"concept", "prompt", "file", "thumbnail", "stage", "item", "seconds", "device", "status", "message", "home"}
    | {"r2_train", "rmse_train", "r2_cv", "rmse_cv", "point", "place", "age", "moment", "block", "block_id", "n", "id"}
)


def measurements(table: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """What each measurement is called (METRIC), and its rows with METRIC and some columns, one after the other."""
    rows = table[list(columns)]
    places = table[METRIC].fillna("").groupby(METRIC, sort=False, observed=True).indices
    for identity, of_it in places.items():
        yield identity, rows.iloc[of_it].assign(**dict(zip(METRIC, identity)))


def own_factors(table: pd.DataFrame) -> list[str]:
    """The factors that a person named: the columns of scores, raw, normalised or by category, that are none of ours."""
    return [name for name in table if name not in RESERVED]


def factor_columns(table: pd.DataFrame) -> list[str]:
    """The factor columns of a table of scores: FACTORS, and those that are somebody's own."""
    return [*FACTORS, *own_factors(table)]


def with_moments(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `step` only where no epoch is known, and `age`, which orders the moments of a training.

    Ages are epochs where all rows with a moment have one, else steps where all have those. Where neither is so they are
    whatever each row has, and nobody knows whether epoch 20 or step 300 is the later.
    """
    epoch, step = (table[name].astype("Float64") for name in MOMENT)
    moments = epoch.notna() | step.notna()
    age = epoch.fillna(step)
    if epoch[moments].isna().any() and step[moments].notna().all():
        # Seeds of one epoch are one moment, whatever their steps.
        age = step.groupby([table["config"], age], dropna=False, observed=True).transform("max")
    return table.assign(step=table["step"].mask(table["epoch"].notna()), age=age)


def with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every column of INTEGERS as Int64. ValueError, naming the column, for fractions."""
    return table.assign(**{name: whole(table[name]) for name in table if name in INTEGERS})


def whole(column: pd.Series) -> pd.Series:
    """The column as Int64 with gaps, or UInt64 where other programs' seeds need it. ValueError for fractions.

    Gaps too are numbers that float64 can only have rounded.
    """
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object:
        column = column.convert_dtypes()
    if pd.api.types.is_float_dtype(column):
        column = column.astype("Float64")
        column = column.mask((column.abs() > EXACT).fillna(False))
        if ((column % 1).fillna(0) != 0).any():
            raise ValueError(f"'{column.name}' holds fractions")
    known = column.dropna()
    return column.astype("UInt64" if len(known) and known.max() > LARGEST else "Int64")
