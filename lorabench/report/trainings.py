"""What the page shows of trainings by step: what was seen while they ran, and what was asked of their checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pandas as pd

from lorabench.report.tables import RunTables
from lorabench.report.words import rounded
from lorabench.statistics.columns import with_moments
from lorabench.statistics.validation import BY_CHECKPOINT, loss_means

HEALTH = ("spectral_norm", "stable_rank", "first_direction", "relative_norm")
BASE_CONFIG = "base"


def training_data(tables: RunTables) -> dict[str, Any]:
    """`runs`: for each config its trainings, seed and curves by name, (steps, values); `floors`: the base model's.

    A curve's name is "measure", or "measure|part". `steps` are steps where trainings were seen, else the ages of
    checkpoints: epochs, of files that were trained elsewhere.
    """
    found: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for (config, seed), rows in tables.losses.groupby(["config", "seed"], sort=False):
        known = (name for name in ("loss", "rate", "grad_norm") if name in rows and rows[name].notna().all())
        found[config, int(seed)] |= {name: _curve(rows["step"], rows[name]) for name in known}
    for (config, seed, part), rows in tables.norms.groupby(["config", "seed", "part"], sort=False):
        found[config, int(seed)][f"norm|{part}"] = _curve(rows["step"], rows["norm"])
    has_steps, age_of = bool(found), _ages(tables.scores)
    losses = loss_means(tables.validation)
    for (config, seed), rows in _trainings(losses, age_of):
        steps = rows["step"] if has_steps else rows["age"]
        found[config, seed] |= {name: _curve(steps, rows[name]) for name in BY_CHECKPOINT if _is_known(rows[name])}
    for (config, seed), every in _trainings(tables.health, age_of):
        for block, rows in every.groupby("block", sort=False):
            steps = rows["step"] if has_steps else rows["age"]
            curves = {f"{name}|{block}": _curve(steps, rows[name]) for name in HEALTH if _is_known(rows[name])}
            found[config, seed] |= curves
    runs: dict[str, list[dict[str, Any]]] = {}
    for (config, seed), curves in found.items():
        runs.setdefault(config, []).append({"seed": seed, "curves": curves})
    floor = losses[losses["config"] == BASE_CONFIG].head(1)
    floors = {name: rounded(floor[name])[0] for name in BY_CHECKPOINT if _is_known(floor[name])}
    return {"runs": runs, "floors": floors, "hasSteps": has_steps}


def _ages(scores: pd.DataFrame) -> pd.Series:
    """Of each checkpoint."""
    if scores.empty:
        return pd.Series(dtype=float)
    return with_moments(scores.drop_duplicates("checkpoint")).set_index("checkpoint")["age"]


def _trainings(table: pd.DataFrame, age_of: pd.Series) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    """The checkpoints of each training as they are, by age, not at other merge ratios; of files without a seed it is
    0."""
    rows = table[(table["scale"] == 1) & (table["config"] != BASE_CONFIG)]
    rows = rows.assign(seed=rows["seed"].fillna(0), age=rows["checkpoint"].map(age_of).fillna(0))
    rows = rows.assign(step=rows["step"].fillna(rows["age"])).sort_values("age", kind="stable")
    for (config, seed), of in rows.groupby(["config", "seed"], sort=False):
        yield (config, int(seed)), of


def _is_known(values: pd.Series) -> bool:
    return bool(len(values)) and bool(values.notna().all())


def _curve(steps: pd.Series, values: pd.Series) -> dict[str, list]:
    return {"steps": steps.astype(int).tolist(), "values": rounded(values)}
