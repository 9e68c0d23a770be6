"""Correlation heat maps: which measurements order the checkpoints alike (LyCORIS appendix E, figures 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lorabench.report.points import Comparison
from lorabench.report.tables import Column, first_column
from lorabench.report.words import metric_words, prompt_words
from lorabench.statistics.columns import METRIC
from lorabench.statistics.correlation import OTHER, leaf_correlations

MOST_WRITTEN = 20  # measurements; beyond, numbers would not fit their cells


def correlation_figures(run: Comparison) -> dict[str, Figure]:
    """Heat maps by name, one a set of `correlation_sets`, with its heading."""
    found, figures = _correlations(run), {}
    for name, (heading, columns) in correlation_sets(run).items():
        figures[f"correlation_{name}"] = figure = heatmap(found, columns)
        figure.suptitle(heading, fontsize=9)
    return figures


def correlation_data(run: Comparison) -> dict[str, Any]:
    """The same for the page: sets of numbers of columns, and r of any two columns of the run (None where unknown)."""
    sets = [
        {"key": name, "label": label, "columns": [run.columns.index(column) for column in columns]}
        for name, (label, columns) in correlation_sets(run).items()
    ]
    r = _square(_correlations(run), run.columns) if sets else ()
    return {"sets": sets, "r": [[None if np.isnan(value) else round(float(value), 3) for value in row] for row in r]}


def correlation_sets(run: Comparison) -> dict[str, tuple[str, list[Column]]]:
    """name -> (heading, measurements); sets of fewer than two are left out.

    main: every metric and prompt type, first encoder (figure 6c); on_<prompts>: image and text similarity (6a, 6b);
    <metric>: one metric over encoders, resize modes and prompt types (figure 5). None where nothing is ranked.
    """
    if run.tables.normalized["score"].isna().all():
        return {}
    pairs = dict.fromkeys((column.metric, column.prompt_type) for column in run.columns)
    firsts = [first_column(run.columns, *pair) for pair in pairs]
    sets = {"main": ("All metrics, first encoder of each", [column for column in firsts if column is not None])}
    similarities = [column for column in run.columns if column.metric in ("image_similarity", "text_similarity")]
    for prompts in ("train", "alter"):
        heading = f"Image and text similarity, {prompt_words(prompts)}"
        sets[f"on_{prompts}"] = (heading, [column for column in similarities if column.prompt_type == prompts])
    for metric in dict.fromkeys(column.metric for column in run.columns):
        heading = f"{metric_words(metric)}, every encoder, resizing and prompt type"
        sets[metric] = (heading, [column for column in run.columns if column.metric == metric])
    return {name: (heading, columns) for name, (heading, columns) in sets.items() if len(columns) > 1}


def _correlations(run: Comparison) -> pd.Series:
    table = leaf_correlations(run.tables.normalized.assign(**run.tables.normalized[METRIC].fillna("")))
    return table.set_index([*METRIC, *OTHER])["r"]


def _square(correlations: pd.Series, columns: Sequence[Column]) -> np.ndarray:
    keys = pd.MultiIndex.from_tuples([(*a.identity, *b.identity) for a in columns for b in columns])
    return correlations.reindex(keys).to_numpy(dtype=np.float64).reshape(len(columns), -1)


def heatmap(correlations: pd.Series, columns: Sequence[Column]) -> Figure:
    """Pearson's r of `columns` by `columns`; `correlations` is indexed by the identities of both. Grey: no r."""
    r = _square(correlations, columns)
    side = 1.8 + 0.42 * len(columns)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.add_subplot()
    colors = mpl.colormaps["RdBu_r"].with_extremes(bad="#c8ccd1")
    picture = axes.imshow(np.ma.masked_invalid(r), cmap=colors, vmin=-1, vmax=1)
    labels = [_label(column) for column in columns]
    axes.set_xticks(range(len(columns)), labels, rotation=90, fontsize=6.5)
    axes.set_yticks(range(len(columns)), labels, fontsize=6.5)
    if len(columns) <= MOST_WRITTEN:
        for (row, place), value in np.ndenumerate(r):
            words = "" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
            ink = "white" if abs(value) > 0.65 else "#1b1f24"
            axes.text(place, row, words, ha="center", va="center", fontsize=6, color=ink)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="Pearson's r of leaf scores")
    return figure


def _label(column: Column) -> str:
    return ", ".join(part for part in (metric_words(column.metric), column.prompt_type, column.details) if part)
