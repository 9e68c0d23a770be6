"""The trade-offs as a matplotlib figure: points with bars, the front, and labels that nothing runs through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from lorabench.components import UserError
from lorabench.report.points import Comparison
from lorabench.report.scatter import Pair, front
from lorabench.report.styles import FIGURE, ConfigStyle, algorithm_styles, config_styles, marker_looks
from lorabench.report.words import category_words

_MUTED = "#59626d"
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))
_DISTANCES = (6, 11, 18)  # points between a point and its label
_HEADING = "heading"
_LEGEND_ROWS = 36  # in one column


def trade_off_figure(run: Comparison, pair: Pair, category: str = "all") -> Figure:
    """Normalised scores of a pair with standard errors; epochs are joined, the Pareto front is dotted.

    UserError where the run did not measure both sides.
    """
    if pair.x is None or pair.y is None:
        raise UserError(f"'{pair.title}' cannot be drawn: this run did not measure {pair.missing}.")
    means = run.means
    x, y = (means.score[column, category] for column in (pair.x, pair.y))
    errors = [np.nan_to_num(means.score_error[column, category]) for column in (pair.x, pair.y)]
    with mpl.rc_context(FIGURE):
        legend = _legend(run)
        columns = -(-len(legend) // _LEGEND_ROWS)
        height = max(4.8, 0.163 * min(len(legend), _LEGEND_ROWS) + 0.4)
        figure = Figure(figsize=(6.2 + 2.2 * columns, height), layout="constrained")
        axes = figure.add_subplot()
        _draw_tracks(axes, run, x, y, *errors)
        members = np.flatnonzero(front(pair, means, category))
        order = members[np.argsort(x[members])]
        axes.plot(x[order], y[order], ":", color=_MUTED, lw=1.5, zorder=1)
        axes.set_xlabel(f"score: {pair.x.label} (higher is better)")
        axes.set_ylabel(f"score: {pair.y.label} (higher is better)")
        axes.set_title(f"{pair.title}, {category_words(category).lower()}", loc="left", fontsize=10)
        shown = figure.legend(
            handles=legend, loc="outside right upper", frameon=False, fontsize=7, ncols=columns, labelspacing=0.35
        )
        for text, handle in zip(shown.get_texts(), legend):
            text.set_parse_math(False)  # a "$" in a config's name is a dollar
            text.set_fontweight("bold" if handle.get_gid() == _HEADING else "normal")
        figure.draw_without_rendering()
        _label_points(axes, run, np.column_stack([x, y]), np.column_stack(errors), members.tolist())
    return figure


def _tracks(run: Comparison) -> Iterator[np.ndarray]:
    """Points of one config and merge ratio, by age: what a line joins."""
    for _, rows in run.points.table.groupby(["config", "scale"], sort=False, dropna=False):
        yield rows.index.to_numpy()


def _sizes(run: Comparison) -> np.ndarray:
    """Areas of the markers of each moment."""
    return np.linspace(16, 50, max(len(run.points.moments), 1))


def _draw_tracks(axes: Axes, run: Comparison, x: np.ndarray, y: np.ndarray, xerr: np.ndarray, yerr: np.ndarray) -> None:
    table, moments = run.points.table, run.points.moments
    colors, looks, sizes = algorithm_styles(table["algorithm"].tolist()), config_styles(table), _sizes(run)
    for ids in _tracks(run):
        color, look = colors[table["algorithm"][ids[0]]]["light"], looks[table["config"][ids[0]]]
        axes.errorbar(
            x[ids], y[ids], xerr=xerr[ids], yerr=yerr[ids], color=color, lw=1, ls=look.line, elinewidth=0.7, alpha=0.55,
            zorder=2,
        )  # fmt: skip
        size = [sizes[moments.index(moment)] for moment in table["moment"][ids]]
        axes.scatter(x[ids], y[ids], s=size, marker=look.marker, zorder=3, **marker_looks(color, look.is_filled))


def _legend(run: Comparison) -> list[Artist]:
    """Every config below its algorithm, then what sizes, bars and the dotted line mean."""
    table = run.points.table
    looks, handles = config_styles(table), []
    for name, style in algorithm_styles(table["algorithm"].tolist()).items():
        handles.append(Line2D([], [], ls="", label=style["label"], gid=_HEADING))
        for config in table.loc[table["algorithm"] == name, "config"].drop_duplicates():
            handles.append(config_handle(config, style["light"], looks[config]))
    handles.append(Line2D([], [], ls="", label="How to read it", gid=_HEADING))
    if len(run.points.moments) > 1:
        for moment, size in zip(run.points.moments, _sizes(run)):
            handles.append(Line2D([], [], ls="", marker="o", ms=size**0.5, color=_MUTED, mec="white", label=moment))
    handles.append(
        Line2D([], [], color=_MUTED, lw=0.7, marker="+", ms=11, mew=0.7, ls="", label="± one standard error")
    )
    handles.append(Line2D([], [], color=_MUTED, lw=1.5, ls=":", label="Pareto front of the means"))
    return handles


def config_handle(config: str, color: str, look: ConfigStyle) -> Line2D:
    """The line and marker of a config, as a legend shows them."""
    faces = marker_looks(color, look.is_filled)
    return Line2D(
        [], [], color=color, ls=look.line, lw=1, marker=look.marker, ms=6, label=config,
        mfc=faces["facecolor"], mec=faces["edgecolor"], mew=faces["linewidth"],
    )  # fmt: skip


# --- labels ----------------------------------------------------------------------------------------------------------


def _label_points(axes: Axes, run: Comparison, places: np.ndarray, errors: np.ndarray, members: Sequence[int]) -> None:
    """One label a config, at its latest point on the front or its last.

    `places` and `errors` [n, 2]. A label covers no point, bar or other label: where there is no such place, the legend
    has to do. It crosses a line only where it must.
    """
    colors, table = algorithm_styles(run.points.table["algorithm"].tolist()), run.points.table
    wanted = {table["config"][point]: point for point in members}
    for point in run.points.last:
        wanted.setdefault(table["config"][point], point)
    known = np.isfinite(places).all(axis=1)
    pixels = axes.transData.transform(places)
    ends = [axes.transData.transform(places + sign * errors) for sign in (-1, 1)]
    taken = [Bbox.from_bounds(px - 7, py - 7, 14, 14) for px, py in pixels[known]]
    for (px, py), low, high in zip(pixels[known], *(end[known] for end in ends)):
        taken += [Bbox([[low[0], py - 1], [high[0], py + 1]]), Bbox([[px - 1, low[1]], [px + 1, high[1]]])]
    lines = np.concatenate([_along(pixels[ids]) for ids in (*_tracks(run), np.array(sorted(members)))])
    for config, point in wanted.items():
        if known[point]:
            text = _placed(axes, config, places[point], taken, lines)
            if text is not None:
                text.set_color(colors[table["algorithm"][point]]["text"])
                taken.append(text.get_window_extent())


def _along(corners: np.ndarray) -> np.ndarray:
    """Points [m, 2] every few pixels along the line through `corners` [n, 2]."""
    steps = np.linspace(0, 1, 60)[:, None]
    parts = [a + (b - a) * steps for a, b in zip(corners, corners[1:])]
    return np.concatenate([np.zeros((0, 2)), *parts])


def _placed(axes: Axes, words: str, place: np.ndarray, taken: Sequence[Bbox], lines: np.ndarray) -> Annotation | None:
    """A label where nothing is, and where the fewest lines cross it; None where there is no such place."""
    best, least = None, np.inf
    for distance in _DISTANCES:
        for dx, dy in _DIRECTIONS:
            text = axes.annotate(
                words, place, (dx * distance, dy * distance), textcoords="offset points", fontsize=7.5,
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="bottom" if dy > 0 else "top" if dy < 0 else "center",
            )  # fmt: skip
            text.set_parse_math(False)
            box = text.get_window_extent()
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            crossed = ((lines > box.min) & (lines < box.max)).all(axis=1).sum()
            if not inside or crossed >= least or any(box.overlaps(other) for other in taken):
                text.remove()
                continue
            if best is not None:
                best.remove()
            best, least = text, crossed
        if least == 0:
            break
    return best
