"""Names of columns that the tables of a run share, in their order."""

from __future__ import annotations

import pandas as pd

FACTORS = [
    *("study", "base", "checkpoint", "config", "algorithm", "trained_layers", "lr", "dim", "alpha", "factor"),
    *("seed", "epoch", "step", "scale"),
]
# Whole numbers, some of 63 bits: as float64, which pandas makes of a column with gaps, they would be others.
INTEGERS = frozenset(
    {"dim", "factor", "seed", "epoch", "step", "n_images", "n_classes", "n_rows", "index", "noise_seed", "bytes"}
    | {"process_memory_bytes", "device_memory_bytes"}
)
EXACT = 2**53  # the largest whole number up to which float64 holds all of them
CAPTIONS = "captions"  # a factor too, in tables of studies that vary how training images are described
METRIC = ["prompt_type", "metric", "encoder", "resize"]  # two values compare only where all four agree
CLASS = ["category", "class_name"]
LEAF = [*CLASS, "subclass"]
LOSS_COLUMNS = ["config", "seed", "step", "loss"]  # the mean loss of the steps since the row before
PROBE_COLUMNS = ["metric", "encoder", "resize", *LEAF, "probe", "value"]
ALL = "all"  # the category that stands for every class of a study; metrics of scope "checkpoint" have no other


def factor_columns(table: pd.DataFrame) -> list[str]:
    """The factor columns that a table has: FACTORS, and captions where a study varies them."""
    return [*FACTORS, CAPTIONS] if CAPTIONS in table else FACTORS


def with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every column of INTEGERS as Int64. ValueError, naming the column, for fractions."""
    return table.assign(**{name: whole(table[name]) for name in table if name in INTEGERS})


def whole(column: pd.Series) -> pd.Series:
    """The column as Int64 with gaps; so are numbers that float64 can only have rounded. ValueError for fractions."""
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object:
        column = column.convert_dtypes()
    if pd.api.types.is_float_dtype(column):
        column = column.astype("Float64")
        column = column.mask((column.abs() > EXACT).fillna(False))
        if ((column % 1).fillna(0) != 0).any():
            raise ValueError(f"'{column.name}' holds fractions")
    return column.astype("Int64")
