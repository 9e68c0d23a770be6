"""What a finished study says, asked of its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorabench.errors import UserError, unknown
from lorabench.report import runs


def claims_table(run: Path) -> list[dict[str, Any]]:
    """One row a study and statement of the paper's claims: effect, interval, verdict.

    UserError for a folder without scores.
    """
    from lorabench.stages.claims import claims

    return [
        {
            "study": study,
            "claim": finding.claim,
            "statement": finding.statement,
            "expected": finding.expected,
            "effect": finding.effect and _rounded(finding.effect.mean),
            "low": finding.effect and _rounded(finding.effect.low),
            "high": finding.effect and _rounded(finding.effect.high),
            "bootstrap": finding.bootstrap and _interval(finding.bootstrap),
            "verdict": finding.verdict,
        }
        for study, table in by_study(table_of(run, "normalized"))
        for finding in claims(table)
    ]


def _interval(ends: tuple[float, float]) -> str | None:
    return None if np.isnan(ends[0]) else f"{ends[0]:+.3f} to {ends[1]:+.3f}"


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def by_study(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Tables of the studies in a table: what is ranked apart is judged apart."""
    return [(str(name), rows) for name, rows in table.groupby("study", sort=False)]


def identified(run: Path) -> list[dict[str, Any]]:
    """Rows of `lorabench.mini.identified`. UserError for a folder without scores, or without these."""
    from lorabench.mini.identified import identified as counted

    table = counted(table_of(run, "scores"))
    if table.empty:
        raise UserError(f"The study in {run} did not score `identification`: see configs/mini.toml for how to.")
    return table.to_dict("records")


def adapter_sheet(run: Path, rows: list[dict[str, Any]], config: str | None, file: Path) -> None:
    """Training images, the base's and a config's trigger images of one concept a category, as a PNG."""
    from lorabench.mini.sheets import adapter_rows, save_sheet

    trained = pd.DataFrame([row for row in rows if row["algorithm"] != "none"])
    if config is None:
        config = str(trained.groupby("config")["share"].mean().idxmax())
    images = table_of(run, "images")
    known = set(trained["config"])
    if config not in known:
        raise UserError(unknown("config", config, sorted(known), str(run)))
    concepts = images.drop_duplicates("category").sort_values("category")["concept"]
    file.parent.mkdir(parents=True, exist_ok=True)
    save_sheet(adapter_rows(images, config, list(concepts)), file)


def table_of(run: Path, name: str) -> pd.DataFrame:
    """A table of a run. UserError if the folder does not hold it."""
    file = run / f"{name}.parquet"
    if not file.exists():
        raise UserError(f"{run} holds no {file.name}: give the folder of a finished study.")
    return runs.read_part(file)
