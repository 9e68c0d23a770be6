"""What a finished study says, asked of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lorabench.errors import UserError, unknown
from lorabench.report import runs


def claims_table(run: Path) -> pd.DataFrame:
    """One row a study and statement of the paper's claims: effect, interval, the bootstrap's interval, verdict.

    UserError for a folder without scores.
    """
    from lorabench.stages.claims import claims

    rows = [
        {"study": study, "claim": finding.claim, "statement": finding.statement, "expected": finding.expected}
        | {name: getattr(finding.effect, field, None) for name, field in _EFFECT.items()}
        | dict(zip(("bootstrap_low", "bootstrap_high"), finding.bootstrap or (None, None)))
        | {"verdict": finding.verdict}
        for study, table in by_study(table_of(run, "normalized"))
        for finding in claims(table)
    ]
    return pd.DataFrame(rows).astype({name: "float64" for name in (*_EFFECT, "bootstrap_low", "bootstrap_high")})


_EFFECT = {"effect": "mean", "low": "low", "high": "high"}


def by_study(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Tables of the studies in a table: what is ranked apart is judged apart."""
    return [(str(name), rows) for name, rows in table.groupby("study", sort=False)]


def identified(run: Path, epochs: Sequence[int] = ()) -> pd.DataFrame:
    """`lorabench.mini.identified` of each study of a run; empty where `identification` was not scored.

    UserError for a folder without scores.
    """
    from lorabench.mini.identified import identified as counted

    scores = table_of(run, "scores", [{"metric": "identification"}])
    tables = by_study(scores) or [("", scores)]
    return pd.concat([counted(rows, epochs=epochs).assign(study=study) for study, rows in tables], ignore_index=True)


def adapter_sheet(run: Path, table: pd.DataFrame, config: str | None, file: Path) -> str:
    """Training images, the base's and a config's trigger images of one concept a category, as a PNG.

    Returns in a sentence what its rows and columns show.
    """
    from lorabench.mini.sheets import adapter_rows, save_sheet

    trained = table[table["algorithm"] != "none"]
    if config is None:
        config = str(trained.groupby("config")["share"].mean().idxmax())
    images = table_of(run, "images")
    known = set(trained["config"])
    if config not in known:
        raise UserError(unknown("config", config, sorted(known), str(run)))
    concepts = images.drop_duplicates("category").sort_values("category")["concept"]
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = adapter_rows(images, config, list(concepts))
    save_sheet(rows, file)
    return (
        f"{file}: a row each for {', '.join(concepts)}; from the left training images, the base model's trigger images "
        f"and those of {config} after its last epoch, from the same noise."
    )


def table_of(run: Path, name: str, measured: Sequence[Mapping[str, str]] = ()) -> pd.DataFrame:
    """A table of a run, or its rows of some measurements. UserError if the folder does not hold it."""
    file = run / f"{name}.parquet"
    if not file.exists():
        raise UserError(f"{run} holds no {file.name}: give the folder of a finished study.")
    return runs.read_part(file, measured=measured)
