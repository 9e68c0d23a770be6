"""The report's charts as matplotlib figures, for papers and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
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
    factors = sorted(find_factors(rows), key=lambda factor: strength[factor.name])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.8, 0.75 * len(factors) + 1.2), layout="constrained")
        axes = figure.add_subplot()
        for place, factor in enumerate(factors):
            _draw_factor(axes, rows[rows["factor_name"] == factor.name], factor, place)
        axes.axvline(0, color="#59626d", lw=1)
        axes.set_yticks(range(len(factors)), [factor.label for factor in factors])
        axes.set_ylim(-0.5, len(factors) - 0.5)
        axes.set_xlabel("SHAP value, in units of the normalised score (right of 0: raises it)")
        axes.set_title(f"{column.label}, {category_words(category).lower()}\n{_fit_words(run, column, category)}",
                       loc="left", fontsize=9)  # fmt: skip
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


def _draw_factor(axes: Axes, rows, factor: Factor, place: int) -> None:
    shap = rows["shap"].to_numpy(dtype=np.float64)
    levels = np.array([factor.level_of[name] for name in rows["checkpoint"]])
    heights = place + _swarm_offsets(shap)
    styles = algorithm_styles(factor.levels) if factor.name == "algorithm" else {}
    top = max(len(factor.levels) - 1, 1)
    for level, key in enumerate(factor.levels):
        color, marker = _LEVEL_COLORS[level % len(_LEVEL_COLORS)], _LEVEL_MARKERS[level % len(_LEVEL_MARKERS)]
        if key in styles:
            color, marker = styles[key]["light"], MATPLOTLIB_MARKERS[styles[key]["symbol"]]
        elif factor.is_numeric:
            color, marker = mpl.colormaps["plasma"](0.1 + 0.7 * level / top), "o"
        chosen = levels == level
        axes.scatter(
            shap[chosen], heights[chosen], s=16, color=color, marker=marker, edgecolor="white", lw=0.3, zorder=3
        )
        height = place + 0.3 - 0.6 * (level + 0.5) / len(factor.levels)
        label = level_label(factor, key)
        text = axes.text(
            1.02, height, f"● {label}", color=color, transform=axes.get_yaxis_transform(), va="center", size=7
        )
        text.set_parse_math(False)


def _swarm_offsets(values: np.ndarray) -> np.ndarray:
    """Offsets in [-0.35, 0.35] that keep dots of nearly equal value apart."""
    bins = np.round(values / ((np.ptp(values) or 1.0) / 60)).astype(int)
    offsets = np.zeros(len(values))
    for chosen in (bins == value for value in np.unique(bins)):
        n = int(chosen.sum())
        offsets[chosen] = (np.arange(n) - (n - 1) / 2) * min(0.08, 0.7 / max(n, 1))
    return offsets


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
