"""Which config, which epoch: what the tables of a finished study say to somebody who has to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorabench import components
from lorabench.cli.findings import by_study, table_of
from lorabench.errors import UserError, unknown
from lorabench.report.tables import Column, columns_of, headline_columns, metric_infos
from lorabench.statistics.columns import ALL, METRIC
from lorabench.statistics.comparisons import compare_with_best
from lorabench.statistics.errors import class_scores, summarise, with_all_classes
from lorabench.statistics.pareto import front_probability

MIB = 2**20
BOOTSTRAP_SEED = 0


def leaderboard(run: Path, category: str = ALL) -> list[dict[str, Any]]:
    """Of each criterion's headline measurement every config's last epoch, best first, and what is tied with the best.

    UserError for a folder without scores, for one in which nothing is ranked, and for an unknown category.
    """
    rows = []
    for study, normalized in _of_category(run, category):
        age = normalized["epoch"].fillna(-1)
        last = normalized[age == age.groupby(normalized["config"]).transform("max")]
        found = _compared(last, "config", (), category)
        found = found.sort_values(["criterion", "mean"], ascending=[True, False], kind="stable")
        rows += [{"study": study} | _row(row, ("criterion", "config")) for row in found.to_dict("records")]
    return rows


def epochs(run: Path, category: str = ALL) -> list[dict[str, Any]]:
    """Of each config and criterion the best epoch, and the epochs that are tied with it."""
    rows = []
    for study, normalized in _of_category(run, category):
        found = _compared(normalized[normalized["epoch"].notna()], "epoch", ("config",), category)
        for (criterion, config), group in found.groupby(["criterion", "config"], sort=False, observed=True):
            best = group[group["verdict"] == "best"].iloc[0]
            named = {name: group.loc[group["verdict"] == name, "epoch"].tolist() for name in ("tied", "cannot be told")}
            words = {name: ", ".join(map(str, values)) for name, values in named.items()}
            rows.append(
                {"study": study, "criterion": criterion, "config": config, "best epoch": best["epoch"]}
                | {"score": round(best["mean"], 3), "tied with": words["tied"]}
                | {"cannot be told from": words["cannot be told"]}
            )
    if not rows:
        raise UserError(f"No ranked checkpoint in {run} says which epoch it is of.")
    return rows


def recipe(
    run: Path, at_least: Mapping[str, float], max_mib: float | None = None, category: str = ALL
) -> list[dict[str, Any]]:
    """Configs and epochs whose mean scores reach `at_least` (criterion -> score), best chance of the front first.

    `on the front` is the share of bootstrap samples over classes and seeds in which no other point of the whole study
    beats it in every criterion. UserError where the study has not measured a criterion, or sizes if `max_mib` asks.
    """
    rows = []
    for study, normalized in _of_category(run, category):
        headlines = _headlines(normalized)
        for criterion in at_least:
            if criterion not in headlines:
                raise UserError(unknown("criterion", criterion, sorted(headlines), f"measured by {study}"))
        points = _points(normalized, headlines, category)
        points["MiB"] = _sizes(run, points["config"], needed=max_mib is not None)
        kept = points
        for criterion, least in at_least.items():
            kept = kept[kept[criterion] >= least]
        if max_mib is not None:
            kept = kept[kept["MiB"] <= max_mib]
        kept = kept.sort_values("on the front", ascending=False, kind="stable")
        rows += [{"study": study} | _plain(row) for row in kept.to_dict("records")]
    return rows


def _of_category(run: Path, category: str) -> list[tuple[str, pd.DataFrame]]:
    normalized = table_of(run, "normalized")
    there = [ALL, *sorted(set(normalized["category"]) - {ALL})]
    if category not in there:
        raise UserError(unknown("category", category, there, str(run)))
    if normalized["score"].isna().all():
        raise UserError(f"Nothing in {run} is ranked: a rank takes two checkpoints of adapters with values.")
    # Of several merge ratios the trained one: two checkpoints of one config, seed and epoch cannot be paired.
    return by_study(normalized[normalized["scale"].fillna(1.0) == 1.0])


def _headlines(normalized: pd.DataFrame) -> dict[str, Column]:
    """criterion -> the measurement that the report judges it by; metrics of plug-ins not loaded are left out."""
    known = set(components.names("metrics")) & set(normalized["metric"])
    infos = metric_infos([components.find("metrics", name) for name in sorted(known)])
    columns = columns_of(normalized[normalized["metric"].isin(known)], infos)
    return {column.info.criterion: column for column in headline_columns(columns)}


def _compared(normalized: pd.DataFrame, level: str, by: Sequence[str], category: str) -> pd.DataFrame:
    """`compare_with_best` of the headline measurements in one category, with their criteria."""
    headlines = {column.identity: criterion for criterion, column in _headlines(normalized).items()}
    identity = pd.MultiIndex.from_frame(normalized[METRIC].fillna(""))
    rows = normalized[identity.isin(list(headlines))]
    if category != ALL:
        rows = rows[rows["category"] == category]
    found = compare_with_best(rows, level, by)
    found = found[found["category"] == category]
    names = [headlines[tuple(each)] for each in found[METRIC].fillna("").to_numpy().tolist()]
    return found.assign(criterion=pd.Categorical(names, list(headlines.values())))


def _row(found: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A comparison for a person."""
    interval = "" if np.isnan(found["low"]) else f"{found['low']:+.3f} to {found['high']:+.3f}"
    lead = found["verdict"] != "best"
    return {name: found[name] for name in keys} | {
        "score": round(found["mean"], 3),
        "less the best": round(found["difference"], 3) if lead else None,
        "95 %": interval if lead else "",
        "q": _number(found["q"], 3),
        "verdict": found["verdict"],
        "detectable": _number(found["detectable"], 3) if lead else None,
        "more seeds": _number(found["more_seeds"], 0),
        "more images": _number(found["more_images"], 1),
    }


def _points(normalized: pd.DataFrame, headlines: Mapping[str, Column], category: str) -> pd.DataFrame:
    """Mean score of every config and epoch by criterion, and its chance of the Pareto front."""
    identities = [column.identity for column in headlines.values()]
    rows = normalized[pd.MultiIndex.from_frame(normalized[METRIC].fillna("")).isin(identities)]
    names = {column.metric: criterion for criterion, column in headlines.items()}
    keys = ["config", "epoch"]
    means = summarise(rows, keys).query("category == @category")
    points = means.assign(criterion=means["metric"].map(names)).pivot(index=keys, columns="criterion", values="mean")
    classes = class_scores(rows)
    classes = with_all_classes(classes.assign(home=classes["category"])).query("category == @category")
    classes = classes.merge(rows[["checkpoint", "seed", *keys]].drop_duplicates("checkpoint"), on="checkpoint")
    wide = classes.pivot_table(
        index=keys, columns=["home", "class_name", "seed", "metric"], values="score", dropna=False, aggfunc="mean"
    ).reindex(points.index)
    levels = wide.columns.remove_unused_levels().to_frame(index=False)
    places = [pd.factorize(levels[["home", "class_name"]].apply(tuple, axis=1))[0]]
    places += [pd.factorize(levels[name], use_na_sentinel=False)[0] for name in ("seed", "metric")]
    scores = np.full((len(points), *(int(each.max()) + 1 for each in places)), np.nan)
    scores[:, places[0], places[1], places[2]] = wide.to_numpy(dtype=np.float64, na_value=np.nan)
    chance = front_probability(scores, np.random.default_rng(BOOTSTRAP_SEED))
    return points[list(headlines)].assign(**{"on the front": chance}).reset_index().rename_axis(columns=None)


def _sizes(run: Path, configs: pd.Series, needed: bool) -> pd.Series:
    """MiB of a checkpoint of each config, as its training wrote it."""
    file = run / "costs.parquet"
    costs = (pd.read_parquet(file) if file.exists() else pd.DataFrame()).reindex(columns=["stage", "config", "bytes"])
    sizes = costs[costs["stage"] == "train"].groupby("config")["bytes"].mean() / MIB
    if needed and sizes.empty:
        raise UserError(f"{run} does not say how large its checkpoints are: leave out --max-mib.")
    return configs.map(sizes).astype("float64")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def _number(value: float, digits: int) -> float | int | None:
    if np.isnan(value):
        return None
    return round(float(value), digits) if digits else int(value)
