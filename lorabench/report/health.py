"""What did not work and what it cost: failures, missing values, seconds and bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lorabench.report.points import Comparison
from lorabench.report.tables import BASE, RunTables
from lorabench.report.words import duration, metric_words, number, size
from lorabench.statistics.columns import METRIC


@dataclass(frozen=True)
class Missing:
    """Leaf values that are missing for one reason."""

    what: str
    where: str  # the categories
    reason: str
    n: int
    of: int


@dataclass(frozen=True)
class Cost:
    """What one stage, or one config, took; words, since missing numbers are said as such."""

    name: str
    items: int
    total: str
    each: str
    stored: str
    memory: str  # of the device, "" if none counts it: the process's own peak says nothing of one stage or config
    energy: str  # of the device, of those items whose energy is known, "" if of none
    device: str


def find_missing(scores: pd.DataFrame) -> list[Missing]:
    """Missing leaf values of trained checkpoints and the base model, by measurement and reason, the most first."""
    if scores.empty:
        return []
    scores = scores.assign(reason=scores["reason"].fillna(""), **{name: scores[name].fillna("") for name in METRIC})
    totals = scores.groupby(METRIC).size()
    found = []
    for key, rows in scores[scores["value"].isna()].groupby([*METRIC, "reason"]):
        prompt_type, metric, encoder, resize, reason = key
        what = ", ".join(part for part in (metric_words(metric), f"{prompt_type} prompts", encoder, resize) if part)
        where = ", ".join(sorted(rows["category"].unique())).replace("_", " ")
        of = int(totals[prompt_type, metric, encoder, resize])
        found.append(Missing(what, where, reason or "no reason was recorded", len(rows), of))
    return sorted(found, key=lambda missing: -missing.n)


def missing_share(scores: pd.DataFrame) -> tuple[int, int]:
    """Missing leaf values of trained checkpoints, and all of them."""
    trained = scores[scores["algorithm"] != BASE]
    return int(trained["value"].isna().sum()), len(trained)


def failure_counts(failures: pd.DataFrame) -> dict[str, int]:
    """Number of failed, skipped and interrupted tasks; kinds that did not occur are not in it."""
    if failures.empty:
        return {}
    counts = failures["status"].value_counts()
    return {kind: int(counts[kind]) for kind in ("failed", "skipped", "interrupted") if kind in counts}


def stage_costs(tables: RunTables) -> list[Cost]:
    """Costs by stage and device: times of two devices do not add up."""
    costs = tables.costs
    if costs.empty:
        return []
    others = costs[costs["stage"] != "train"]
    others = others.reindex(columns=["stage", *_NUMBERS]).assign(device=devices(others))
    return _costs(pd.concat([each_training(tables), others], ignore_index=True), "stage")


def config_costs(tables: RunTables) -> list[Cost]:
    """What training cost by config; empty where the costs table does not say which config an item belongs to."""
    trained = each_training(tables)
    return [] if trained["config"].isna().all() else _costs(trained, "config")


def training_parts(tables: RunTables) -> pd.DataFrame:
    """One row a saved epoch of a training: config, seed, epoch, and what it took since the one before."""
    columns = ["config", "seed", "epoch", "checkpoint", "item", *_NUMBERS]
    parts = tables.costs[tables.costs["stage"] == "train"] if len(tables.costs) else tables.costs
    if "seed" not in parts:  # tables of before: what else is known of the checkpoint
        names = ["checkpoint", "seed", "epoch"]
        known = tables.scores[names].drop_duplicates("checkpoint")
        parts = parts.reindex(columns=parts.columns.union(["checkpoint"])).merge(known, on="checkpoint", how="left")
    parts = parts.assign(device=devices(parts)).reindex(columns=[*columns, "device"]).reset_index(drop=True)
    for name in ("seed", "epoch", *_NUMBERS):
        parts[name] = pd.to_numeric(parts[name], errors="coerce").astype("float64")
    return parts


_NUMBERS = ("seconds", "bytes", "device_memory_bytes", "device_energy_joules")


def devices(costs: pd.DataFrame) -> pd.Series:
    """The model where it is known, else what torch calls the device: two GPUs of one model compare."""
    told = costs.reindex(columns=["device_name", "device"]).astype(object)
    return told["device_name"].replace("", None).fillna(told["device"].replace("", None)).fillna("not recorded")


def training_devices(tables: RunTables) -> list[str]:
    """What trained."""
    return sorted(set(training_parts(tables)["device"]))


def each_training(tables: RunTables) -> pd.DataFrame:
    """One row a training and device, in the columns of costs: the sum of its saved epochs, and the peak of memory.

    A training of which one epoch's time is not known has none; rows that name no config stand for themselves.
    """
    parts = training_parts(tables)
    parts = parts.assign(lone=parts["item"].where(parts["config"].isna(), ""))
    groups = parts.groupby(["config", "seed", "lone", "device"], sort=False, dropna=False)
    summed = ("seconds", "bytes", "device_energy_joules")
    sums = {name: (name, lambda values: values.sum(skipna=False)) for name in summed}
    found = groups.agg(**sums, device_memory_bytes=("device_memory_bytes", "max")).reset_index()
    return found.assign(stage="train")


def _costs(costs: pd.DataFrame, by: str) -> list[Cost]:
    found = []
    for (name, device), rows in costs.groupby([by, "device"], sort=False, dropna=True):
        seconds, stored, memory, joules = (rows[each].to_numpy(np.float64, na_value=np.nan) for each in _NUMBERS)
        known = np.isfinite(seconds).any()
        found.append(
            Cost(
                name=str(name),
                items=len(rows),
                total=duration(float(np.nansum(seconds))) if known else "not recorded",
                each=duration(float(np.nanmean(seconds))) if known else "not recorded",
                stored=size(float(np.nansum(stored))) if np.isfinite(stored).any() else "not recorded",
                memory=size(float(np.nanmax(memory))) if np.isfinite(memory).any() else "",
                energy=f"{number(float(np.nansum(joules)) / 3600)} Wh" if np.isfinite(joules).any() else "",
                device=str(device),
            )
        )
    return found


def point_costs(run: Comparison) -> dict[str, np.ndarray]:
    """By name, for each point, the mean over its trainings: float64 [n], NaN where it is not known.

    mib: of the file, in MiB; seconds: of training from its start; memory: of the device at its peak, in GiB; energy: of
    the device, in Wh. Of trainings on several devices there is the size of the file alone: nothing else compares.
    """
    parts = training_parts(run.tables).sort_values("epoch", kind="stable")
    trainings = parts.groupby(["config", "seed"], dropna=False, sort=False)
    parts["seconds"] = trainings["seconds"].transform(lambda seconds: seconds.cumsum(skipna=False))
    parts["energy"] = trainings["device_energy_joules"].transform(lambda energy: energy.cumsum(skipna=False)) / 3600
    parts["memory"] = trainings["device_memory_bytes"].cummax() / 2**30
    parts["mib"] = parts["bytes"] / 2**20
    table = run.points.table[["config", "epoch"]].reset_index(names="point")
    if parts["device"].nunique() > 1:
        parts[["seconds", "memory", "energy"]] = np.nan
    names = ["mib", "seconds", "memory", "energy"]
    means = parts.merge(table, on=["config", "epoch"]).groupby("point")[names].mean()
    return {name: means[name].reindex(range(len(table))).to_numpy(dtype=np.float64) for name in means}


def percentage(part: int, whole: int) -> str:
    """ "3.1 %"; "0 %" of nothing."""
    return f"{number(100 * part / whole, 2)} %" if whole else "0 %"


def collapsed_pictures(collapsed: pd.DataFrame) -> list[dict[str, object]]:
    """A row a checkpoint with pictures that collapsed: how many, of which kinds, and the first of them."""
    found = []
    for checkpoint, rows in collapsed.groupby("checkpoint", sort=False):
        kinds = ", ".join(f"{count} {kind}" for kind, count in rows["kind"].value_counts().items())
        first = rows.iloc[0]
        leaf = "/".join(part for part in (first["category"], first["class_name"], first["subclass"]) if part)
        place = f"{leaf}, {first['prompt_type']} {int(first['index'])}"
        found.append({"checkpoint": checkpoint, "count": len(rows), "kinds": kinds, "first": place})
    return sorted(found, key=lambda row: -row["count"])
