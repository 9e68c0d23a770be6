"""Exported figures show the numbers of the tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from lorabench.report.figures import beeswarm_figure
from lorabench.report.points import compare
from lorabench.report.tables import RunTables, headline_columns
from lorabench.report.words import algorithm_words, factor_words
from lorabench.statistics.columns import METRIC


def _label(factor: str, value: str) -> str:
    if factor == "algorithm":
        return algorithm_words(value)
    return "not known" if not value else value if factor == "trained_layers" else f"{float(value):g}"


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
        colors = {text.get_text(): to_hex(text.get_color()) for text in panels[label].texts}
        (dots,) = panels[label].collections
        found = pd.DataFrame({"x": dots.get_offsets()[:, 0], "color": list(map(to_hex, dots.get_facecolor()))})
        named = [colors[_label(name, value)] for name, value in zip(factor["factor_name"], factor["factor_value"])]
        expected = pd.DataFrame({"x": factor["shap"].to_numpy(), "color": named})
        order = ["x", "color"]
        pd.testing.assert_frame_equal(
            found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
        )
