"""The measurements behind the LyCORIS paper: CSV files of cyber-meow/LyCORIS-evaluation as score tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lorabench.errors import UserError
from lorabench.published.lycoris_names import (
    NOT_EXPLAINED,
    NOT_IN_THE_GRID,
    factors_of,
    leaves_of,
    measurements_of,
)
from lorabench.published.records import Published, PublishedStudy
from lorabench.statistics.columns import CAPTIONS, FACTORS, LEAF, METRIC

_MAPPED = ("Config", "Algo", "Preset", "Lr", "Dim", "Alpha", "Factor", "Caption")  # columns of config_mapping.csv


@dataclass(frozen=True)
class Source:
    """One published file: its name, the folder of the repository that holds it, and what it is."""

    name: str
    folder: str
    what: str


DATASET = "the LyCORIS paper's"
CONFIGS = Source("config_mapping.csv", "exp_configs", "factors of the configs")
MEANS = Source("ddim_sd15_metrics_mean.csv", "results/metrics", "means of the grid by category")
GRID = (
    MEANS,
    Source("style_classes_style_losses.csv", "results/metrics", "style losses of the style classes, first part"),
    Source("style_classes_style_losses_b.csv", "results/metrics", "style losses of the style classes, second part"),
    Source("ddim_sd15_fd.csv", "results/metrics", "Frechet distances of the grid"),
)
CAPTIONS_FILE = Source("captions_metrics.csv", "results/metrics", "captions experiment (H.3)")
DIVERSITY = tuple(
    Source(f"all_diversity_{name}.csv", "lycoris_eval/loss_investigation", f"diversities of {name} (H.1)")
    for name in ("imagenet", "anime_characters", "styles")
)


def read(folder: Path) -> Published:
    """All measurements found below a clone. UserError if there is no such folder, or nothing in it to replay."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give a clone of cyber-meow/LyCORIS-evaluation.")
    notes: list[str] = []
    grid, captions, diversity = (_read_all(folder, each, notes) for each in (GRID, (CAPTIONS_FILE,), DIVERSITY))
    if not (grid or captions or diversity):
        raise UserError(f"{folder} holds nothing to replay, at any depth. {' '.join(notes)}")
    studies = []
    if grid or captions:
        configs = _read_all(folder, (CONFIGS,), notes).get(CONFIGS)
        if configs is None:
            raise UserError(
                f"Without {CONFIGS.folder}/{CONFIGS.name} nobody knows what the configs in {folder} are. {notes[-1]}"
            )
        studies = [_grid(grid, configs, notes)] if grid else []
        studies += [_captions(captions, configs, notes)] if captions else []
        studies = [study for study in studies if len(study.scores)]
    if not (studies or diversity):
        raise UserError(f"{folder} holds no value of a run that we can read. {' '.join(notes)}")
    ratios = [_diversity(source, table) for source, table in diversity.items()]
    return Published(tuple(studies), pd.concat(ratios, ignore_index=True) if ratios else pd.DataFrame(), tuple(notes))


def _grid(tables: dict[Source, pd.DataFrame], configs: pd.DataFrame, notes: list[str]) -> PublishedStudy:
    rows = _scores("lycoris", tables, configs, notes).drop(columns=CAPTIONS)
    extra = sorted(set(rows["config"]) & set(NOT_IN_THE_GRID))
    if extra:
        notes.append(f"Not ranked, because the paper's grid lacks them: {', '.join(extra)}.")
    words = "The grid of the LyCORIS paper, as its authors measured it."
    if MEANS in tables:
        words += " Of most metrics only means over each category are published, so a category is ranked as one value."
    rows = rows[~rows["config"].isin(NOT_IN_THE_GRID)].reset_index(drop=True)
    exclude = tuple(name for name in NOT_EXPLAINED if name in set(rows["config"]))
    return PublishedStudy("lycoris", words, rows, exclude, DATASET)


def _captions(tables: dict[Source, pd.DataFrame], configs: pd.DataFrame, notes: list[str]) -> PublishedStudy:
    rows = _scores("lycoris_captions", tables, configs, notes)
    kinds = ", ".join(sorted(rows[CAPTIONS].dropna().unique()))
    words = f"The captions experiment of the LyCORIS paper (H.3), as its authors measured it: {kinds}."
    return PublishedStudy("lycoris_captions", words, rows, (), DATASET)


def _read_all(folder: Path, sources: Sequence[Source], notes: list[str]) -> dict[Source, pd.DataFrame]:
    """The tables of those files that are somewhere below the folder, the repository's own place first."""
    tables = {}
    for source in sources:
        files = [file for file in folder.rglob(source.name) if ".git" not in file.parts]
        files.sort(key=lambda file: (file.parent != folder / source.folder, len(file.parts), file))
        if not files:
            notes.append(f"{source.name} is not there: no {source.what}.")
            continue
        try:
            columns = _MAPPED if source is CONFIGS else ("Folder", "Count") if source in DIVERSITY else ("Folder",)
            tables[source] = _read(files[0], columns)
        except ValueError as error:
            reason = " ".join(str(error).split())
            notes.append(f"{source.name} is of no use ({reason}): no {source.what}.")
    return tables


def _read(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The rows with a name, the first of `columns`. ValueError for a file without rows, or without one of `columns`."""
    try:
        table = pd.read_csv(file)
    except OSError as error:
        raise ValueError(str(error)) from error
    if not isinstance(table.index, pd.RangeIndex):  # what pandas makes of rows that are longer than the first
        raise ValueError("its rows are longer than its head")
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}")
    table = table.dropna(subset=columns[0]).astype({columns[0]: "str"})
    if table.empty:
        raise ValueError("it holds no rows")
    return table


def _scores(study: str, tables: dict[Source, pd.DataFrame], configs: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """One row a checkpoint, leaf and measurement of all files of a study, in the columns of scores.parquet."""
    rows = pd.concat([_long(source, table, notes) for source, table in tables.items()], ignore_index=True)
    factors = factors_of(rows["run"].unique(), configs).assign(study=study)
    for name, problem in (("config", "have a name that we cannot read"), ("algorithm", f"are not in {CONFIGS.name}")):
        lost = factors.loc[factors[name].isna(), "run"]
        if len(lost):
            notes.append(f"{len(lost)} runs {problem} and are left out, the first is {lost.iloc[0]}.")
        factors = factors[factors[name].notna()]
    factors = _of_one_setting(factors, notes)
    rows = rows.merge(factors, on="run")
    return _one_of_each(rows, notes)[[*FACTORS, CAPTIONS, *LEAF, *METRIC, "value", "reason", "n_images"]]


def _of_one_setting(factors: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Runs of the sampler and base that most have: numbers of different ones have no common rank."""
    settings = factors["setting"].value_counts()
    if len(settings) > 1:
        others = ", ".join(settings.index[1:])
        notes.append(f"Ranked are the runs of {settings.index[0]}; {settings[1:].sum()} of {others} are left out.")
    return factors[factors["setting"].isin(settings.index[:1])].drop(columns="setting")


def _long(source: Source, table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Columns of measurements as rows with run, leaf and metric; what no run has in a category is no row."""
    columns = table.columns.drop("Folder")
    known = measurements_of(columns)
    unknown = columns.difference(known.index)
    if len(unknown):
        notes.append(f"{source.name}: columns that are left out, since we know no such metric: {', '.join(unknown)}.")
    empty = [name for name in known.index if table[name].isna().all()]
    if empty:
        notes.append(f"{source.name}: columns without any value: {', '.join(empty)}.")
    wide = leaves_of(table["Folder"]).join(table[known.index])
    if source is MEANS:  # means of some classes stand beside the means of their categories, which hold them already
        wide = wide[wide["class_name"] == ""]
    rows = wide.melt(id_vars=["run", *LEAF], var_name="column", value_name="given").join(known, on="column")
    value = pd.to_numeric(rows["given"], errors="coerce").replace([np.inf, -np.inf], np.nan)
    words = rows["given"].isna().map({True: f"Empty in {source.name}.", False: f"No finite number in {source.name}."})
    rows = rows.assign(value=value, reason=words.where(value.isna(), ""))
    rows = rows[rows.groupby(["category", "column"])["given"].transform("count") > 0].drop(columns="given")
    return rows.assign(n_images=pd.array([pd.NA] * len(rows), dtype="Int64"))


def _one_of_each(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Rows without repetitions; two different values of one measurement are none, with a reason."""
    keys = ["checkpoint", *LEAF, *METRIC]
    rows = rows.drop_duplicates([*keys, "value"])
    twice = rows.duplicated(keys, keep=False)
    if twice.any():
        rows = rows.assign(value=rows["value"].mask(twice), reason=rows["reason"].mask(twice, "Two different values."))
        rows = rows.drop_duplicates(keys)
        empty = rows[rows["reason"] == "Two different values."]
        where = " ".join(str(each) for each in empty[["checkpoint", "category", "class_name", "metric"]].iloc[0])
        notes.append(f"Given twice, differently, and so left empty: {len(empty)} values ({where}, for one).")
    return rows


def _diversity(source: Source, table: pd.DataFrame) -> pd.DataFrame:
    """Raw diversities: dataset, set ("" = the whole), n_images, metric, encoder, resize, value."""
    known = measurements_of(table.columns.drop(["Folder", "Count"]))
    name = source.name.removeprefix("all_diversity_").removesuffix(".csv")
    rows = table.melt(id_vars=["Folder", "Count"], value_vars=list(known.index), var_name="column")
    rows = rows.join(known, on="column").rename(columns={"Folder": "set", "Count": "n_images"})
    numbers = {column: pd.to_numeric(rows[column], errors="coerce") for column in ("value", "n_images")}
    rows = rows.assign(dataset=name, set=rows["set"].replace(".", ""), **numbers)
    return rows[["dataset", "set", "n_images", "metric", "encoder", "resize", "value"]]
