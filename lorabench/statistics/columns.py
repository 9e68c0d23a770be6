"""Names of columns that the tables of a run share, in their order."""

from __future__ import annotations

import pandas as pd

FACTORS = [
    *("study", "base", "checkpoint", "config", "algorithm", "trained_layers", "lr", "dim", "alpha", "factor"),
    *("seed", "epoch", "step", "scale"),
]
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
