"""Which factor moved what: CatBoost on the category scores, and SHAP values of its factors (LyCORIS D.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from lorabench.components import UserError, unknown
from lorabench.processes import map_in_processes
from lorabench.statistics.columns import METRIC, factor_columns, own_factors

NOMINAL = ("algorithm", "trained_layers")  # beside own factors that are text
TARGET = ["category", *METRIC]
TARGETS_A_PROCESS = 32  # with fewer, a process does not win back the seconds that it takes to start


class HasCapacity(Protocol):
    """What the analysis has to know about an algorithm; `components.Algorithm` says it."""

    capacity_from: Literal["dim", "factor", None]
    larger_is_more: bool


@dataclass(frozen=True)
class Explained:
    """SHAP values (a row a factor, checkpoint and target), and how far to trust them (`explanations`)."""

    attributions: pd.DataFrame
    explanations: pd.DataFrame


def explain(
    category_scores: pd.DataFrame,
    algorithms: Mapping[str, HasCapacity],
    *,
    exclude: Sequence[str] = (),
    epochs: Mapping[str, Sequence[int]] = MappingProxyType({}),
    measured: pd.DataFrame | None = None,
    folds: int = 3,
    workers: int = 1,
) -> Explained:
    """Explain the scores of every (category, metric, encoder, resize, prompt type) by the factors of the grid.

    Configs named in `exclude` take no part, as if the grid lacked them. Of a category in `epochs` only checkpoints of
    those epochs do (LyCORIS F.2 and F.3: scenes and toys at epoch 10). `measured` (indexed by checkpoint) are numbers
    that count as factors beside those of the grid. SHAP values have the unit of the normalised score and sum, with a
    constant, to the model's answer. For the cross-validated numbers each of `folds` groups of whole configs is held out
    in turn. Results do not depend on `workers` (processes; few targets are done in this one). UserError for an unknown
    config or algorithm, or where a process dies.
    """
    configs = sorted(category_scores["config"].unique())
    for name in exclude:
        if name not in configs:
            raise UserError(unknown("config", name, configs, "explain, exclude"))
    # CatBoost depends on the order of rows; this one is the authors'.
    rows = category_scores[~category_scores["config"].isin(list(exclude))]
    for category, wanted in epochs.items():
        rows = rows[(rows["category"] != category) | rows["epoch"].isin(list(wanted))]
    rows = rows.sort_values([*TARGET, "config", "seed", "epoch", "checkpoint"], kind="stable")
    factors = factor_table(rows[factor_columns(rows)].drop_duplicates("checkpoint"), algorithms)
    factors = factors if measured is None else factors.join(measured)
    without_capacity = [name for name in algorithms if algorithms[name].capacity_from is None]
    targets = [group for _, group in rows.groupby(TARGET, sort=True, observed=True)]
    # Never in threads: CatBoost has crashed where two of them trained in one process (a segmentation fault in `_train`
    # beside `_calc_fstr`), also with its one log for all threads held still.
    task = partial(_explained, factors=factors, without_capacity=without_capacity, folds=folds)
    processes = min(workers, len(targets) // TARGETS_A_PROCESS)
    answers = map_in_processes(task, targets, processes) if processes > 1 else [task(target) for target in targets]
    empty = pd.DataFrame(columns=[*factor_columns(rows), *TARGET, "factor_name", "factor_value", "shap"])
    attributions = [table for table, _ in answers if table is not None]
    columns = [*TARGET, "n_rows", "r2_train", "rmse_train", "r2_cv", "rmse_cv", "reason"]
    return Explained(
        pd.concat(attributions, ignore_index=True) if attributions else empty,
        pd.DataFrame([row for _, row in answers], columns=columns),
    )


def _explained(
    target: pd.DataFrame, factors: pd.DataFrame, without_capacity: Sequence[str], folds: int
) -> tuple[pd.DataFrame | None, dict[str, object]]:
    # CatBoost and shap take seconds to load: only the process that needs them does.
    from lorabench.stages.explain_target import explain_target

    return explain_target(target, factors, without_capacity, folds)


def factor_table(checkpoints: pd.DataFrame, algorithms: Mapping[str, HasCapacity]) -> pd.DataFrame:
    """The factors of each checkpoint (index), levels counted from 1 within the algorithm's part of the grid.

    lr_level orders its learning rates; capacity its dims (more is more) or factors (less is more). Algorithms without
    a capacity get one level more than any other has, if any varies. A level is NaN where the checkpoint does not say
    its lr or size. Steps are a factor of checkpoints that say no epoch; so are the merge ratio, where there are
    several, and whatever a person has named.
    """
    table = checkpoints.set_index("checkpoint")
    for name in table["algorithm"].unique():
        if name not in algorithms:
            raise UserError(unknown("algorithm", name, sorted(algorithms), "checkpoints to explain"))
    numbers = table[["lr", "dim", "factor", "epoch", "step"]].astype("float64")
    capacity = pd.Series(np.nan, index=table.index)
    for name, group in numbers.groupby(table["algorithm"]):
        source = algorithms[name].capacity_from
        if source is not None:
            capacity[group.index] = group[source].rank(method="dense", ascending=algorithms[name].larger_is_more)
    none = table["algorithm"].map(lambda name: algorithms[name].capacity_from is None)
    # Where nobody's capacity varies, a level for the others would only say once more which algorithm it is.
    capacity[none] = capacity.max() + 1 if capacity.nunique() > 1 else 1.0
    own = own_factors(table)
    text = [name for name in own if not pd.api.types.is_numeric_dtype(table[name])]
    levels = {
        "epoch": numbers["epoch"],
        "capacity": capacity,
        "lr_level": numbers["lr"].groupby(table["algorithm"]).rank(method="dense"),
    }
    steps = numbers["step"].mask(numbers["epoch"].notna())
    levels |= {"step": steps} if steps.notna().any() else {}
    scale = table["scale"].astype("float64").fillna(1.0)
    levels |= {"scale": scale} if scale.nunique() > 1 else {}
    levels |= {name: table[name].astype("float64") for name in own if name not in text}
    return table[[*NOMINAL, *text]].fillna("").astype(str).assign(**levels)
