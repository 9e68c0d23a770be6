"""Which factor moved what: CatBoost on the category scores, and SHAP values of its factors (LyCORIS D.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from catboost import CatBoostRegressor, Pool
from catboost.core import log_fixup

from lorabench.components import UserError, unknown
from lorabench.statistics.columns import CAPTIONS, METRIC, factor_columns

CATEGORICAL = ("algorithm", "trained_layers", CAPTIONS)
TARGET = ["category", *METRIC]
MIN_ROWS = 10  # fewer rows than two a factor explain nothing
SEED = 123  # of the authors' runs


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
    folds: int = 3,
    workers: int = 1,
) -> Explained:
    """Explain the scores of every (category, metric, encoder, resize, prompt type) by the factors of the grid.

    Configs named in `exclude` take no part, as if the grid lacked them. SHAP values have the unit of the normalised
    score and sum, with a constant, to the model's answer. For the cross-validated numbers each of `folds` groups of
    whole configs is held out in turn. Results do not depend on `workers` (threads). UserError for an unknown config or
    algorithm.
    """
    configs = sorted(category_scores["config"].unique())
    for name in exclude:
        if name not in configs:
            raise UserError(unknown("config", name, configs, "explain, exclude"))
    # CatBoost depends on the order of rows; this one is the authors'.
    rows = category_scores[~category_scores["config"].isin(list(exclude))]
    rows = rows.sort_values([*TARGET, "config", "seed", "epoch", "checkpoint"], kind="stable")
    factors = factor_table(rows[factor_columns(rows)].drop_duplicates("checkpoint"), algorithms)
    without_capacity = [name for name in algorithms if algorithms[name].capacity_from is None]
    targets = [group for _, group in rows.groupby(TARGET, sort=True, observed=True)]
    # CatBoost has one log for all threads. Whoever trains first would set it, and take it away at its end under the
    # others' feet, which has crashed a process; held here, no thread touches it.
    with log_fixup(_say_nothing, _say_nothing), ThreadPoolExecutor(workers) as pool:
        task = partial(_explain_target, factors=factors, without_capacity=without_capacity, folds=folds)
        answers = list(pool.map(task, targets))
    empty = pd.DataFrame(columns=[*factor_columns(rows), *TARGET, "factor_name", "factor_value", "shap"])
    attributions = [table for table, _ in answers if table is not None]
    columns = [*TARGET, "n_rows", "r2_train", "rmse_train", "r2_cv", "rmse_cv", "reason"]
    return Explained(
        pd.concat(attributions, ignore_index=True) if attributions else empty,
        pd.DataFrame([row for _, row in answers], columns=columns),
    )


def _say_nothing(text: str) -> None:
    """CatBoost's log: errors are exceptions, and the rest is nothing that a study's reader asks for."""


def factor_table(checkpoints: pd.DataFrame, algorithms: Mapping[str, HasCapacity]) -> pd.DataFrame:
    """The factors of each checkpoint (index), levels counted from 1 within the algorithm's part of the grid.

    lr_level orders its learning rates; capacity its dims (more is more) or factors (less is more). Algorithms without
    a capacity get one level more than any other has, if any varies. A level is NaN where the checkpoint does not say
    its lr or size. Captions are a factor of studies that vary them.
    """
    table = checkpoints.set_index("checkpoint")
    for name in table["algorithm"].unique():
        if name not in algorithms:
            raise UserError(unknown("algorithm", name, sorted(algorithms), "checkpoints to explain"))
    numbers = table[["lr", "dim", "factor", "epoch"]].astype("float64")
    capacity = pd.Series(np.nan, index=table.index)
    for name, group in numbers.groupby(table["algorithm"]):
        source = algorithms[name].capacity_from
        if source is not None:
            capacity[group.index] = group[source].rank(method="dense", ascending=algorithms[name].larger_is_more)
    none = table["algorithm"].map(lambda name: algorithms[name].capacity_from is None)
    # Where nobody's capacity varies, a level for the others would only say once more which algorithm it is.
    capacity[none] = capacity.max() + 1 if capacity.nunique() > 1 else 1.0
    nominal = [name for name in CATEGORICAL if name in table]
    levels = {
        "epoch": numbers["epoch"],
        "capacity": capacity,
        "lr_level": numbers["lr"].groupby(table["algorithm"]).rank(method="dense"),
    }
    return table[nominal].fillna("").astype(str).assign(**levels)


def _explain_target(
    target: pd.DataFrame, factors: pd.DataFrame, without_capacity: Sequence[str], folds: int
) -> tuple[pd.DataFrame | None, dict[str, object]]:
    """SHAP rows of one target (None where it cannot be explained), and its row of `explanations`."""
    rows = target[target["score"].notna()]
    y = rows["score"].to_numpy(dtype=np.float64)
    x = factors.loc[rows["checkpoint"]].reset_index(drop=True)
    varied = [name for name in x.columns if x[name].nunique(dropna=False) > 1]
    answer = {**target[TARGET].iloc[0].to_dict(), "n_rows": len(y)}
    problem = _problem(y, varied)
    if problem:
        return None, {**answer, **_fit_quality("train", y, None), **_fit_quality("cv", y, None), "reason": problem}
    fixed = [name for name in x.columns if name not in varied]
    reasons = [f"Left out because they do not vary: {', '.join(fixed)}."] if fixed else []
    x = x[varied]
    reasons += _entangled(x, without_capacity)
    model = _fitted(x, y)
    held_out = _held_out_predictions(x, y, rows["config"].to_numpy(), folds)
    if held_out is None:
        reasons.append("Not cross-validated: that needs at least 3 configs and 2 folds.")
    quality = {**_fit_quality("train", y, model.predict(x)), **_fit_quality("cv", y, held_out)}
    return _attributions(rows, x, model, without_capacity), {**answer, **quality, "reason": " ".join(reasons)}


def _entangled(x: pd.DataFrame, without_capacity: Sequence[str]) -> list[str]:
    """A sentence for each factor that has levels within some algorithms only: in the others it is the algorithm."""
    found = []
    for name, exempt in (("capacity", without_capacity), ("lr_level", ())):
        if not {"algorithm", name} <= set(x.columns):
            continue
        levels = x.groupby("algorithm")[name].nunique()
        alone = [algorithm for algorithm in levels.index[levels == 1] if algorithm not in exempt]
        if alone and levels.max() > 1:
            found.append(f"{name} does not vary within {', '.join(alone)}: there it cannot be told from the algorithm.")
    return found


def _problem(y: np.ndarray, varied: Sequence[str]) -> str:
    if len(y) < MIN_ROWS:
        return f"Too few checkpoints have a score: {len(y)}, at least {MIN_ROWS} are needed."
    if np.ptp(y) == 0:
        return f"All {len(y)} scores are the same."
    return "" if varied else "No factor varies between the checkpoints."


def _fitted(x: pd.DataFrame, y: np.ndarray) -> CatBoostRegressor:
    model = CatBoostRegressor(
        iterations=300,
        learning_rate=0.1,
        random_seed=SEED,
        nan_mode="Min",
        verbose=False,
        allow_writing_files=False,
        allow_const_label=True,  # a fold may leave only equal scores
        thread_count=1,
    )
    return model.fit(_pool(x, y))


def _pool(x: pd.DataFrame, y: np.ndarray | None = None) -> Pool:
    return Pool(x, y, cat_features=[name for name in x.columns if name in CATEGORICAL])


def _held_out_predictions(x: pd.DataFrame, y: np.ndarray, configs: np.ndarray, folds: int) -> np.ndarray | None:
    """Prediction of each row by a model that has seen no checkpoint of its config; None below 3 configs or 2 folds.

    Seeds and epochs of one config resemble each other: held out one by one, their siblings would give them away.
    """
    codes, names = pd.factorize(configs)
    if len(names) < 3 or folds < 2:
        return None
    fold_of_config = np.random.default_rng(SEED).permutation(len(names)) % min(folds, len(names))
    predictions = np.empty(len(y))
    for fold in range(min(folds, len(names))):
        out = fold_of_config[codes] == fold
        seen = x[~out]
        if seen.nunique(dropna=False).max() > 1:
            predictions[out] = _fitted(seen, y[~out]).predict(x[out])
        else:  # CatBoost refuses factors that are all constant; the mean is what it would answer
            predictions[out] = y[~out].mean()
    return predictions


def _fit_quality(name: Literal["train", "cv"], y: np.ndarray, predictions: np.ndarray | None) -> dict[str, float]:
    if predictions is None:
        return {f"r2_{name}": float("nan"), f"rmse_{name}": float("nan")}
    squares = float(np.square(y - predictions).sum())
    r2 = 1 - squares / float(np.square(y - y.mean()).sum())
    return {f"r2_{name}": r2, f"rmse_{name}": float(np.sqrt(squares / len(y)))}


def _attributions(
    rows: pd.DataFrame, x: pd.DataFrame, model: CatBoostRegressor, without_capacity: Sequence[str]
) -> pd.DataFrame:
    """A row a checkpoint and factor; an algorithm without capacity has its capacity's SHAP in the algorithm's.

    Capacity compares between levels only: the highest says "native", so the others' share an offset for not being it.
    """
    # Seeds share their factors, so one row stands for them all. shap.TreeExplainer makes this very call for a CatBoost
    # model, after a slow parse. The last column is the constant.
    same = x.groupby(list(x.columns), sort=False, dropna=False).ngroup()
    values = model.get_feature_importance(_pool(x.drop_duplicates()), type="ShapValues", thread_count=1)[:, :-1]
    shap = pd.DataFrame(values[same], columns=x.columns)
    if {"algorithm", "capacity"} <= set(x.columns):
        fold = rows["algorithm"].isin(list(without_capacity)).to_numpy()
        shap.loc[fold, "algorithm"] += shap.loc[fold, "capacity"]
        shap.loc[fold, "capacity"] = np.nan  # dropped below
    kept = rows[[*factor_columns(rows), *TARGET]].reset_index(drop=True)
    parts = [
        kept.assign(factor_name=name, factor_value=[_text(value) for value in x[name]], shap=shap[name])
        for name in x.columns
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[table["shap"].notna()]


def _text(value: object) -> str:
    """Levels of all factors share one column: numbers as short text, "" for a level that is not known."""
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:g}"
