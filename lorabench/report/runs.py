"""A finished run as files: its tables, and in study.json what the report says beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorabench import store
from lorabench.errors import UserError, unknown
from lorabench.report.schema import NEEDED, checked_facts, checked_table
from lorabench.report.tables import TABLES, RunTables

FACTS_FILE = "study.json"
_MEASURED = ("scores", "normalized", "category_scores", "choices", "merges")  # a row a measurement of something
# A run may come without them: pictures are large, and not every run was audited, trained here, or compared by files.
_OPTIONAL = (
    "images",
    "losses",
    "norms",
    "validation",
    "health",
    "collapsed",
    "probes",
    "files",
    "choices",
    "merges",
    "decisions",
    "interference",
)


def write_facts(folder: Path, runs: Sequence[RunTables]) -> None:
    """Write what `read_run` needs beside the parquet files; a folder may hold the tables of several studies."""
    facts = {
        str(run.study["name"]): {
            "study": dict(run.study),
            "metrics": [dict(metric) if isinstance(metric, dict) else vars(metric) for metric in run.metrics],
            "provenance": dict(run.provenance),
        }
        for run in runs
    }
    store.write_json(folder / FACTS_FILE, facts)


def read_run(
    folder: Path,
    study: str | None = None,
    only: Collection[str] = TABLES,
    measured: Sequence[Mapping[str, str]] = (),
) -> RunTables:
    """The tables of a finished run; of one of its studies where it holds several, by default the first.

    Where not all is needed: `only` some tables, while the others are empty; of measurements only those that are
    `measured`, as columns of METRIC say. UserError if the folder holds no finished run, or no study of that name.
    """
    facts = _facts(folder)
    name = next(iter(facts)) if study is None else study
    if name not in facts:
        raise UserError(unknown("study", name, list(facts), str(folder)))
    empty = {each: pd.DataFrame(columns=NEEDED[each]) for each in TABLES}
    return RunTables(**facts[name], **empty | {each: _of_study(_part(folder, each, measured), name) for each in only})


def study_names(folder: Path) -> list[str]:
    """The studies whose tables a folder holds. UserError if it holds no finished run."""
    return list(_facts(folder))


def _facts(folder: Path) -> dict[str, dict[str, Any]]:
    if not (folder / FACTS_FILE).exists():
        there = ", ".join(sorted(file.name for file in folder.glob("*.parquet")))
        alone = f", which says what its tables are of ({there})" if there else ""
        raise UserError(
            f"{folder} holds no {FACTS_FILE}{alone}: give the folder of a finished study (its report is there)."
        )
    store.require_intact(folder / FACTS_FILE)
    return checked_facts(folder / FACTS_FILE)


def _part(folder: Path, name: str, measured: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    if name in _OPTIONAL and not file.exists():
        return pd.DataFrame(columns=NEEDED[name])
    return read_part(file, name, measured if name in _MEASURED else ())


def read_part(file: Path, kind: str | None = None, measured: Sequence[Mapping[str, str]] = ()) -> pd.DataFrame:
    """One of a run's tables, or its rows of some measurements; its kind is the file's name.

    UserError if it is missing, broken, or of another kind.
    """
    store.require_intact(file)
    return checked_table(store.read_table(file, like=measured), kind or file.stem, file)


def _of_study(table: pd.DataFrame, study: str) -> pd.DataFrame:
    return table[table["study"] == study].reset_index(drop=True) if "study" in table else table
