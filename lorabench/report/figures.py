"""The report's charts as matplotlib figures, for papers and notebooks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

from lorabench.errors import UserError, unknown
from lorabench.report.beeswarm import Factor, find_factors, level_label, trust
from lorabench.report.heatmaps import correlation_figures
from lorabench.report.points import Comparison, compare
from lorabench.report.scatter import find_pairs, front
from lorabench.report.styles import FIGURE, algorithm_styles, config_styles, marker, marker_looks, outline
from lorabench.report.tables import Column, RunTables, headline_columns
from lorabench.report.tradeoff_figure import config_handle, trade_off_figure
from lorabench.report.words import category_words, criterion_words
from lorabench.statistics.columns import METRIC

KINDS = ("trade_off", "shap", "epochs", "correlation")
_LEVEL_COLORS = ("#56b4e9", "#a6518a", "#5b5f66", "#b8860b", "#0f7f7f")
_LEVEL_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
_DOT_SIZE, _DOT_EDGE = 26, 0.4  # of SHAP's dots: an area and a width in points


def write_figures(tables: RunTables, folder: Path, category: str = "all") -> list[Path]:
    """Every figure that the run has numbers for, as svg and png; returns the files.

    Of a category: those that differ by category, with its name in theirs. UserError for one that there is not.
    """
    kinds, end = (
        (KINDS, "") if category == "all" else (tuple(kind for kind in KINDS if kind != "correlation"), category)
    )
    figures = draw_figures(tables, kinds, category)
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: "_".join(filter(None, (name, end))) for name in figures}
    return [_save(figures[name], folder / f"{names[name]}.{kind}") for name in names for kind in ("svg", "png")]


def draw_figures(tables: RunTables, kinds: Sequence[str] = (), category: str = "all") -> dict[str, Figure]:
    """The figures that the run has numbers for, by name: trade_off_1, shap_fidelity, epochs_fidelity, correlation_...

    Of some KINDS, or of all if none is named. UserError for the name of a kind, or of a category, that there is not.
    """
    run = compare(tables)
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(unknown("kind of figure", kind, KINDS))
    if category not in run.means.categories:
        raise UserError(unknown("category", category, run.means.categories))
    wanted = kinds or KINDS
    found: dict[str, Figure] = {}
    for number, pair in enumerate(find_pairs(run.columns), start=1):
        if "trade_off" in wanted and front(pair, run.means, category).any():
            found[f"trade_off_{number}"] = trade_off_figure(run, pair, category)
    for column in headline_columns(run.columns):
        if "shap" in wanted and _attributions(run, column, category) is not None:
            found[f"shap_{column.info.criterion}"] = beeswarm_figure(run, column, category)
        if "epochs" in wanted and len(run.points.moments) > 1 and _has_curve(run, column, category):
            found[f"epochs_{column.info.criterion}"] = curves_figure(run, column, category)
    return found | (correlation_figures(run) if "correlation" in wanted else {})


def _save(figure: Figure, path: Path) -> Path:
    with mpl.rc_context(FIGURE):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=160, bbox_inches="tight", metadata=metadata)
    return path


# --- SHAP ------------------------------------------------------------------------------------------------------------


def beeswarm_figure(run: Comparison, column: Column, category: str = "all") -> Figure:
    """SHAP values of a measurement, a row a factor and a dot a checkpoint; the levels are named at the right.

    UserError where it was not explained.
    """
    rows = _attributions(run, column, category)
    if rows is None:
        raise UserError(f"{column.label} was not explained for category '{category}': see the explanations table.")
    strength = rows.groupby("factor_name")["shap"].apply(lambda shap: shap.abs().sum())
    factors = sorted(find_factors(rows), key=lambda factor: -strength[factor.name])
    heights = [max(0.65, 0.13 * len(factor.levels)) for factor in factors]  # inches; a line a level
    with mpl.rc_context(FIGURE):
        figure = Figure(figsize=(6.8, sum(heights) + 1.1), layout="constrained")
        figure.get_layout_engine().set(h_pad=0, hspace=0)
        panels = figure.subplots(len(factors), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, factor in zip(panels, factors):
            _draw_factor(axes, rows[rows["factor_name"] == factor.name], factor)
        for axes in panels[:-1]:
            axes.tick_params("x", bottom=False, labelbottom=False)
            axes.spines["bottom"].set_visible(False)
        panels[-1].set_xlabel("SHAP value, in units of the normalised score (right of 0: raises it)", fontsize=9)
        title = f"{column.label}, {category_words(category).lower()}\n{_fit_words(run, column, category)}"
        panels[0].set_title(title, loc="left", fontsize=9)
    return figure


def _attributions(run: Comparison, column: Column, category: str):
    """The SHAP rows of a target, or None."""
    table = run.tables.attributions
    if table.empty:
        return None
    same = (table[METRIC].fillna("") == list(column.identity)).all(axis=1) & (table["category"] == category)
    return table[same] if same.any() else None


def _fit_words(run: Comparison, column: Column, category: str) -> str:
    table = run.tables.explanations
    same = (table[METRIC].fillna("") == list(column.identity)).all(axis=1) & (table["category"] == category)
    fit = table[same].iloc[0]
    warning = {"low": " (low)", "none": " (worse than the mean)", "unknown": " (unknown)", "good": ""}[
        trust(fit["r2_cv"])
    ]
    return (
        f"R² cross-validated {fit['r2_cv']:.2f}{warning}, on the fitted rows {fit['r2_train']:.2f}, n = {fit['n_rows']}"
    )


def _draw_factor(axes: Axes, rows, factor: Factor) -> None:
    """One row of shap's beeswarm, its dots in the colours and shapes of the levels that are named beside it."""
    import shap  # takes seconds to load

    values = rows["shap"].to_numpy(dtype=np.float64)
    with _numpy_seeded(), mpl.rc_context({"lines.linewidth": 1}):
        explanation = shap.Explanation(values[:, None], feature_names=[factor.label])
        shap.plots.beeswarm(explanation, ax=axes, plot_size=None, show=False)
    axes.set_ylim(-0.5, 0.5)
    axes.set_xlabel("")
    axes.tick_params("y", length=0, labelsize=9)
    axes.tick_params("x", labelsize=8)
    axes.grid(False)
    looks = _level_looks(factor)
    # shap greys names out and trims numbers to their 5th and 95th percentile, so the looks are ours. It shuffles the
    # dots: they are told by their place, and where two share one, either may be the other.
    (dots,) = axes.collections
    levels = np.empty(len(values), dtype=int)
    of_rows = np.array([factor.level_of[name] for name in rows["checkpoint"]])
    levels[np.argsort(dots.get_offsets()[:, 0], kind="stable")] = of_rows[np.argsort(values, kind="stable")]
    dots.set_paths([outline(looks[level][1]) for level in levels])
    dots.set(facecolor=[looks[level][0] for level in levels], edgecolor="white", linewidth=_DOT_EDGE, sizes=[_DOT_SIZE])
    _name_levels(axes, factor, looks)


def _name_levels(axes: Axes, factor: Factor, looks: Sequence[tuple[Any, MarkerStyle]]) -> None:
    """The levels at the right of their row, with the very marks of the plot."""
    step = min(0.25, 1 / len(factor.levels))
    place = {"transform": axes.transAxes, "clip_on": False}
    for level, ((color, look), key) in enumerate(zip(looks, factor.levels)):
        height = 0.5 + step * ((len(factor.levels) - 1) / 2 - level)
        axes.scatter(
            1.03, height, _DOT_SIZE, marker=look, facecolor=[color], edgecolor="white", linewidth=_DOT_EDGE, **place
        )
        text = axes.text(1.05, height, level_label(factor, key), va="center", size=7, **place)
        text.set_parse_math(False)


def _level_looks(factor: Factor) -> list[tuple[Any, MarkerStyle]]:
    """Colour and marker of each level: the algorithms' own, from low to high, or one after the other."""
    if factor.name == "algorithm":
        styles = algorithm_styles(factor.levels)
        return [(styles[level]["light"], marker(styles[level]["symbol"])) for level in factor.levels]
    if factor.is_numeric:
        top = max(len(factor.levels) - 1, 1)
        dark_to_light = mpl.colormaps["plasma"]
        return [(dark_to_light(0.1 + 0.7 * level / top), marker("circle")) for level in range(len(factor.levels))]
    looks = zip(itertools.cycle(_LEVEL_COLORS), map(marker, itertools.cycle(_LEVEL_SYMBOLS)))
    return list(itertools.islice(looks, len(factor.levels)))


@contextmanager
def _numpy_seeded() -> Iterator[None]:
    """shap's plot draws from numpy's global generator: equal data give equal files, and the caller's draws stay."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


# --- epochs ----------------------------------------------------------------------------------------------------------


def curves_figure(run: Comparison, column: Column, category: str = "all") -> Figure:
    """Normalised scores by epoch with standard errors, one panel an algorithm; UserError where nothing has an epoch."""
    if not _has_curve(run, column, category):
        raise UserError(f"{column.label} has no value with an epoch in category '{category}', so there is no curve.")
    table, mean, error = run.points.table, run.means.score[column, category], run.means.score_error[column, category]
    styles, looks = algorithm_styles(table["algorithm"].tolist()), config_styles(table)
    with mpl.rc_context(FIGURE):
        most = int(table.groupby("algorithm")["config"].nunique().max())
        figure = Figure(figsize=(2.5 * len(styles) + 0.6, 3.2 + 0.15 * most), layout="constrained")
        panels = figure.subplots(1, len(styles), sharey=True, squeeze=False)[0]
        for axes, (name, style) in zip(panels, styles.items()):
            rows = table[table["algorithm"] == name]
            for config, ids in rows.groupby("config", sort=False).groups.items():
                look, faces = looks[config], marker_looks(style["light"], looks[config].is_filled)
                line = {"color": style["light"], "ls": look.line, "lw": 1.3, "capsize": 2, "elinewidth": 0.9}
                axes.errorbar(table["age"][ids], mean[ids], yerr=np.nan_to_num(error[ids]), zorder=2, **line)
                axes.scatter(table["age"][ids], mean[ids], 34, marker=look.marker, zorder=3, **faces)
            handles = [config_handle(config, style["light"], looks[config]) for config in rows["config"].unique()]
            axes.set_title(style["label"], color=style["text"], fontsize=9)
            axes.set_xlabel(" or ".join(run.points.along))
            below = {"loc": "upper left", "bbox_to_anchor": (-0.05, -0.2)}  # there are too many to lie among the curves
            for text in axes.legend(handles=handles, frameon=False, fontsize=6.5, handlelength=3, **below).get_texts():
                text.set_parse_math(False)
        panels[0].set_ylabel("score (higher is better)")
        title = f"{criterion_words(column.info.criterion)}: {column.label}, {category_words(category).lower()}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _has_curve(run: Comparison, column: Column, category: str) -> bool:
    mean = run.means.score.get((column, category))
    return mean is not None and bool(np.isfinite(mean[run.points.table["age"].notna()]).any())
