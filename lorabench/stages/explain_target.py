"""One target explained: a CatBoost model of its scores, what held-out configs say of it, and its SHAP values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import shap
from catboost import CatBoostRegressor, Pool

from lorabench.stages.explain import TARGET
from lorabench.statistics.columns import factor_columns

MIN_ROWS = 10  # fewer rows than two a factor explain nothing
SEED = 123  # of the authors' runs


def explain_target(
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
    nominal = [name for name in x.columns if not pd.api.types.is_numeric_dtype(x[name])]
    return Pool(x, y, cat_features=nominal)


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
    same = x.groupby(list(x.columns), sort=False, dropna=False).ngroup()  # seeds share factors: one row stands for all
    values = shap.TreeExplainer(model).shap_values(_pool(x.drop_duplicates()))
    found = pd.DataFrame(values[same], columns=x.columns)
    if {"algorithm", "capacity"} <= set(x.columns):
        fold = rows["algorithm"].isin(list(without_capacity)).to_numpy()
        found.loc[fold, "algorithm"] += found.loc[fold, "capacity"]
        found.loc[fold, "capacity"] = np.nan  # dropped below
    kept = rows[[*factor_columns(rows), *TARGET]].reset_index(drop=True)
    parts = [
        kept.assign(factor_name=name, factor_value=[_text(value) for value in x[name]], shap=found[name])
        for name in x.columns
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[table["shap"].notna()]


def _text(value: object) -> str:
    """Levels of all factors share one column: numbers as short text, "" for a level that is not known."""
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:g}"
