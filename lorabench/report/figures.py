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
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Bbox

from lorabench.components import UserError
from lorabench.report.beeswarm import Factor, find_factors, level_label, trust
from lorabench.report.heatmaps import correlation_figures
from lorabench.report.points import Comparison, compare
from lorabench.report.scatter import Pair, find_pairs, front
from lorabench.report.tables import Column, RunTables, headline_columns
from lorabench.report.words import MATPLOTLIB_MARKERS, algorithm_styles, category_words, criterion_words
from lorabench.statistics.columns import METRIC

_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa2ab",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.7,
    "svg.hashsalt": "lorabench",  # equal data, equal files
}
_LEVEL_COLORS = ("#56b4e9", "#a6518a", "#5b5f66", "#b8860b", "#0f7f7f")
_LABEL_PLACES = (  # offset in points, alignment
    (6, 0, "left", "center"),
    (-6, 0, "right", "center"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
    (8, 8, "left", "bottom"),
    (-8, -8, "right", "top"),
)
_LEVEL_MARKERS = ("o", "s", "D", "^", "P", "X")
_LEVEL_LINES = ("-", "--", ":")


def write_figures(tables: RunTables, folder: Path) -> list[Path]:
    """Every figure that the run has numbers for, as svg and png; returns the files."""
    run = compare(tables)
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    for number, pair in enumerate(find_pairs(run.columns), start=1):
        if front(pair, run.means, "all", raw=False).any():
            figures[f"trade_off_{number}"] = trade_off_figure(run, pair)
    for column in headline_columns(run.columns):
        if _attributions(run, column, "all") is not None:
            figures[f"shap_{column.info.criterion}"] = beeswarm_figure(run, column)
        if len(run.points.moments) > 1 and _has_curve(run, column, "all"):
            figures[f"epochs_{column.info.criterion}"] = curves_figure(run, column)
    figures |= correlation_figures(run)
    return [_save(figure, folder / f"{name}.{kind}") for name, figure in figures.items() for kind in ("svg", "png")]


def _save(figure: Figure, path: Path) -> Path:
    with mpl.rc_context(_STYLE):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=160, bbox_inches="tight", metadata=metadata)
    return path


# --- trade-offs ------------------------------------------------------------------------------------------------------


def trade_off_figure(run: Comparison, pair: Pair, category: str = "all") -> Figure:
    """Normalised scores of a pair with standard errors; epochs are joined, the Pareto front is dotted.

    UserError where the run did not measure both sides.
    """
    if pair.x is None or pair.y is None:
        raise UserError(f"'{pair.title}' cannot be drawn: this run did not measure {pair.missing}.")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        _draw_tracks(axes, run, pair.x, pair.y, category)
        members = np.flatnonzero(front(pair, run.means, category, raw=False))
        x, y = run.means.score[pair.x, category], run.means.score[pair.y, category]
        order = members[np.argsort(x[members])]
        axes.plot(x[order], y[order], ":", color="#59626d", lw=1.5, zorder=1)
        axes.set_xlabel(f"score: {pair.x.label} (higher is better)")
        axes.set_ylabel(f"score: {pair.y.label} (higher is better)")
        axes.set_title(f"{pair.title}, {category_words(category).lower()}", loc="left", fontsize=10)
        axes.legend(handles=_legend(run), frameon=False, fontsize=8, loc="best")
        figure.draw_without_rendering()
        _label_points(axes, run, x, y, members.tolist())
    return figure


def _draw_tracks(axes: Axes, run: Comparison, x: Column, y: Column, category: str) -> None:
    styles = algorithm_styles(run.points.table["algorithm"].tolist())
    means, table = run.means, run.points.table
    sizes = np.linspace(14, 48, max(len(run.points.moments), 1))
    for _, rows in table.groupby(["config", "scale"], sort=False, dropna=False):
        style = styles[rows["algorithm"].iloc[0]]
        ids = rows.index.to_numpy()
        values = [means.score[x, category][ids], means.score[y, category][ids]]
        errors = [means.score_error[x, category][ids], means.score_error[y, category][ids]]
        xerr, yerr = (np.nan_to_num(error) for error in errors)
        axes.errorbar(*values, xerr=xerr, yerr=yerr, color=style["light"], lw=1, elinewidth=0.7, alpha=0.55, zorder=2)
        size = [sizes[run.points.moments.index(moment)] for moment in rows["moment"]]
        marker = MATPLOTLIB_MARKERS[style["symbol"]]
        axes.scatter(*values, s=size, color=style["light"], marker=marker, edgecolor="white", lw=0.6, zorder=3)


def _legend(run: Comparison) -> list[Line2D]:
    styles = algorithm_styles(run.points.table["algorithm"].tolist()).values()
    return [
        Line2D([], [], color=s["light"], marker=MATPLOTLIB_MARKERS[s["symbol"]], ls="", label=s["label"])
        for s in styles
    ]


def _label_points(axes: Axes, run: Comparison, x: np.ndarray, y: np.ndarray, members: Sequence[int]) -> None:
    """One label a config, at its latest point on the front or its last; left out where it would cover something."""
    styles = algorithm_styles(run.points.table["algorithm"].tolist())
    table = run.points.table
    wanted = {table["config"][point]: point for point in members}
    for point in run.points.last:
        wanted.setdefault(table["config"][point], point)
    pixels = axes.transData.transform(np.column_stack([x, y]))
    taken = [Bbox.from_bounds(px - 5, py - 5, 10, 10) for px, py in pixels if np.isfinite(px + py)]
    taken.append(axes.get_legend().get_window_extent())
    for config, point in wanted.items():
        if not np.isfinite(x[point] + y[point]):
            continue
        color = styles[table["algorithm"][point]]["text"]
        for dx, dy, ha, va in _LABEL_PLACES:
            text = axes.annotate(
                config,
                (x[point], y[point]),
                (dx, dy),
                textcoords="offset points",
                ha=ha,
                va=va,
                color=color,
                fontsize=7.5,
            )
            text.set_parse_math(False)  # a "$" in a config's name is a dollar
            box = text.get_window_extent()
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


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
    with mpl.rc_context(_STYLE):
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
    shapes = [MarkerStyle(marker) for _, marker in looks]
    dots.set_paths([shapes[level].get_path().transformed(shapes[level].get_transform()) for level in levels])
    dots.set(facecolor=[looks[level][0] for level in levels], edgecolor="white", linewidth=0.3)
    _name_levels(axes, factor, looks)


def _name_levels(axes: Axes, factor: Factor, looks: Sequence[tuple[Any, str]]) -> None:
    """The levels in their colours and shapes, at the right of their row."""
    step = min(0.25, 1 / len(factor.levels))
    for level, ((color, marker), key) in enumerate(zip(looks, factor.levels)):
        height = 0.5 + step * ((len(factor.levels) - 1) / 2 - level)
        axes.plot(1.03, height, marker, color=color, ms=4, transform=axes.transAxes, clip_on=False)
        label = level_label(factor, key)
        text = axes.text(1.05, height, label, color=color, transform=axes.transAxes, va="center", size=7)
        text.set_parse_math(False)


def _level_looks(factor: Factor) -> list[tuple[Any, str]]:
    """Colour and marker of each level: the algorithms' own, from low to high, or one after the other."""
    if factor.name == "algorithm":
        styles = algorithm_styles(factor.levels)
        return [(styles[level]["light"], MATPLOTLIB_MARKERS[styles[level]["symbol"]]) for level in factor.levels]
    if factor.is_numeric:
        top = max(len(factor.levels) - 1, 1)
        return [(mpl.colormaps["plasma"](0.1 + 0.7 * level / top), "o") for level in range(len(factor.levels))]
    looks = zip(itertools.cycle(_LEVEL_COLORS), itertools.cycle(_LEVEL_MARKERS))
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
    styles = algorithm_styles(table["algorithm"].tolist())
    with mpl.rc_context(_STYLE):
        most = int(table.groupby("algorithm")["config"].nunique().max())
        figure = Figure(figsize=(2.5 * len(styles) + 0.6, 3.2 + 0.15 * most), layout="constrained")
        panels = figure.subplots(1, len(styles), sharey=True, squeeze=False)[0]
        for axes, (name, style) in zip(panels, styles.items()):
            rows = table[table["algorithm"] == name]
            for number, (config, ids) in enumerate(rows.groupby("config", sort=False).groups.items()):
                marker = _LEVEL_MARKERS[number % len(_LEVEL_MARKERS)]
                dashes = _LEVEL_LINES[number % len(_LEVEL_LINES)]
                look = {"color": style["light"], "marker": marker, "ls": dashes, "ms": 5, "lw": 1.3, "capsize": 2}
                axes.errorbar(table["age"][ids], mean[ids], yerr=np.nan_to_num(error[ids]), label=config, **look)
            axes.set_title(style["label"], color=style["text"], fontsize=9)
            axes.set_xlabel("epoch")
            below = {"loc": "upper left", "bbox_to_anchor": (-0.05, -0.2)}  # there are too many to lie among the curves
            for text in axes.legend(frameon=False, fontsize=6.5, **below).get_texts():
                text.set_parse_math(False)
        panels[0].set_ylabel("score (higher is better)")
        title = f"{criterion_words(column.info.criterion)}: {column.label}, {category_words(category).lower()}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _has_curve(run: Comparison, column: Column, category: str) -> bool:
    mean = run.means.score.get((column, category))
    return mean is not None and bool(np.isfinite(mean[run.points.table["age"].notna()]).any())
