"""Exported figures show the numbers of the tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.text import Annotation
from synthetic import CONFIGS, synthetic_run, with_metrics

from lorabench.report.figures import beeswarm_figure, trade_off_figure
from lorabench.report.points import compare
from lorabench.report.scatter import find_pairs
from lorabench.report.styles import ConfigStyle, config_styles, outline
from lorabench.report.tables import RunTables, headline_columns
from lorabench.report.words import algorithm_words, factor_words
from lorabench.statistics.columns import METRIC


def _label(factor: str, value: str) -> str:
    if factor == "algorithm":
        return algorithm_words(value)
    return "not known" if not value else value if factor == "trained_layers" else f"{float(value):g}"


def _shape(path: Outline) -> bytes:
    return path.vertices.round(6).tobytes()


def test_dots_of_a_beeswarm_lie_at_their_shap_values_in_the_colours_of_their_levels(tables: RunTables):
    attributions = tables.attributions.copy()
    alone = (attributions["checkpoint"] == attributions["checkpoint"][0]) & (attributions["factor_name"] == "epoch")
    attributions.loc[alone, "factor_value"] = "99"  # a level of one checkpoint keeps its colour
    run = compare(dataclasses.replace(tables, attributions=attributions))
    column = next(column for column in headline_columns(run.columns) if column.info.criterion == "fidelity")
    before = np.random.get_state()[1].copy()
    figure = beeswarm_figure(run, column)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # the caller's random numbers
    rows = attributions[(attributions[METRIC].fillna("") == list(column.identity)).all(axis=1)]
    rows = rows[rows["category"] == "all"].assign(label=lambda t: t["factor_name"].map(factor_words))
    panels = {axes.get_yticklabels()[0].get_text(): axes for axes in figure.axes}
    assert set(panels) == set(rows["label"]) and "99" in [text.get_text() for text in panels["Epoch"].texts]
    for label, factor in rows.groupby("label"):
        dots, *marks = panels[label].collections
        colors = {text.get_text(): to_hex(mark.get_facecolor()[0]) for text, mark in zip(panels[label].texts, marks)}
        drawn = set(zip(map(to_hex, dots.get_facecolor()), map(_shape, dots.get_paths())))
        assert drawn == {(to_hex(mark.get_facecolor()[0]), _shape(mark.get_paths()[0])) for mark in marks}
        for mark in marks:
            assert (*mark.get_sizes(), *mark.get_linewidths()) == (*dots.get_sizes(), *dots.get_linewidths())
            assert to_hex(mark.get_edgecolor()[0]) == to_hex(dots.get_edgecolor()[0])
        found = pd.DataFrame({"x": dots.get_offsets()[:, 0], "color": list(map(to_hex, dots.get_facecolor()))})
        named = [colors[_label(name, value)] for name, value in zip(factor["factor_name"], factor["factor_value"])]
        expected = pd.DataFrame({"x": factor["shap"].to_numpy(), "color": named})
        order = ["x", "color"]
        pd.testing.assert_frame_equal(
            found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
        )


@pytest.mark.parametrize("sizes", [[36], [7, 7, 7, 5], [1] * 12, [13, 13, 4], [5, 5, 5, 5, 5, 5]], ids=str)
def test_configs_are_told_apart_without_colours(sizes: list[int]):
    names = [(f"algorithm-{i}", f"config-{i}-{j}") for i, size in enumerate(sizes) for j in range(size)]
    styles = config_styles(pd.DataFrame(names, columns=["algorithm", "config"]))
    assert len(styles) == sum(sizes)
    assert len({style.symbol for style in styles.values()}) == len(styles)
    assert len({(_shape(outline(style.marker)), style.is_filled) for style in styles.values()}) == len(styles)


def test_more_configs_than_markers_differ_by_their_dashes():
    names = [("lora", f"config-{i}") for i in range(60)]
    styles = config_styles(pd.DataFrame(names, columns=["algorithm", "config"]))
    assert len(set(styles.values())) == 60
    assert ConfigStyle("circle", "solid").line == (0, None) and ConfigStyle("circle", "8px,4px").line == (0, (4, 2))


@pytest.fixture(scope="module")
def trade_off() -> Figure:
    configs = [(f"{CONFIGS[i % 8][0]}-{i}", *CONFIGS[i % 8][1:]) for i in range(26)]
    tables = with_metrics(synthetic_run(configs, thumbnails=False), "image_similarity", "text_similarity")
    run = compare(tables)
    return trade_off_figure(run, find_pairs(run.columns)[0])


def test_no_bar_no_point_and_no_other_label_runs_through_a_label(trade_off: Figure):
    (axes,) = trade_off.axes
    boxes = [text.get_window_extent() for text in axes.texts if isinstance(text, Annotation)]
    assert len(boxes) > 3
    bars = [axes.transData.transform(ends) for lines in axes.collections for ends in _segments(lines) if len(ends) == 2]
    points = [axes.transData.transform(place) for line in axes.lines for place in line.get_xydata()]
    assert len(bars) >= 2 * 52 and len(points) >= 52
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert not any(Outline(bar).intersects_bbox(box, filled=False) for bar in bars)
        assert not any(box.contains(*point) for point in points)


def _segments(collection) -> list[np.ndarray]:
    return collection.get_segments() if hasattr(collection, "get_segments") else []


def test_the_legend_of_a_trade_off_names_every_config_the_sizes_the_bars_and_the_front(trade_off: Figure):
    (legend,) = trade_off.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert {f"{CONFIGS[i % 8][0]}-{i}" for i in range(26)} <= set(named)
    assert named[-4:] == ["epoch 10", "epoch 30", "± one standard error", "Pareto front of the means"]
