"""Correlation heat maps: which measurements order the checkpoints alike (LyCORIS appendix E, figures 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lorabench.report.points import Comparison
from lorabench.report.tables import Column, first_column
from lorabench.report.words import metric_words
from lorabench.statistics.columns import METRIC
from lorabench.statistics.correlation import OTHER, leaf_correlations

MOST_WRITTEN = 20  # measurements; beyond, numbers would not fit their cells


def correlation_figures(run: Comparison) -> dict[str, Figure]:
    """Heat maps by name; those of fewer than two measurements are left out.

    correlation_<metric>: one metric over encoders, resize modes and prompt types (figure 5); correlation_on_<prompts>:
    image and text similarity (6a, 6b); correlation_main: every metric and prompt type, first encoder (6c).
    """
    chosen: dict[str, list[Column]] = {}
    for metric in dict.fromkeys(column.metric for column in run.columns):
        chosen[f"correlation_{metric}"] = [column for column in run.columns if column.metric == metric]
    for prompts in ("train", "alter"):
        chosen[f"correlation_on_{prompts}"] = [
            column
            for column in run.columns
            if column.prompt_type == prompts and column.metric in ("image_similarity", "text_similarity")
        ]
    pairs = dict.fromkeys((column.metric, column.prompt_type) for column in run.columns)
    main = [first_column(run.columns, *pair) for pair in pairs]
    chosen["correlation_main"] = [column for column in main if column is not None]
    table = leaf_correlations(run.tables.normalized.assign(**run.tables.normalized[METRIC].fillna("")))
    found = table.set_index([*METRIC, *OTHER])["r"]
    return {name: heatmap(found, columns) for name, columns in chosen.items() if len(columns) > 1}


def heatmap(correlations: pd.Series, columns: Sequence[Column]) -> Figure:
    """Pearson's r of `columns` by `columns`; `correlations` is indexed by the identities of both. Grey: no r."""
    keys = pd.MultiIndex.from_tuples([(*a.identity, *b.identity) for a in columns for b in columns])
    r = correlations.reindex(keys).to_numpy(dtype=np.float64).reshape(len(columns), -1)
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
