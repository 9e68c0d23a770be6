"""What algorithms and configs look like: one place, so that page and figures agree.

A colour says the algorithm, marker and dashes say the config. No two of the first 36 configs share a marker, so they
are told apart without colours too: by the colour blind, and on grey paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

from lorabench.report.words import algorithm_order, algorithm_words

# Okabe & Ito's colour-blind safe set; yellow is left out because it vanishes on white. (light page, dark page, text)
# The third is the first, dark enough to write with on white (contrast 4.5).
_PALETTE = {
    "lora": ("#0072b2", "#4aa8e0", "#0069a6"),
    "loha": ("#e69f00", "#f0b432", "#8f6200"),
    "lokr": ("#009e73", "#2dbf95", "#00775a"),
    "native": ("#d55e00", "#f0803c", "#b34e00"),
    "dora": ("#cc79a7", "#dd94bb", "#a04a7c"),
}
_SPARE = (
    ("#56b4e9", "#7cc8f2", "#1f74a8"),
    ("#5b5f66", "#a9b0ba", "#5b5f66"),
    ("#8c6d31", "#c2a25e", "#6f5626"),
    ("#7a52a8", "#b797e0", "#6a4496"),
)
# plotly's names, and what matplotlib has for them; those that differ most stand first.
_CORNERS = {"hourglass": ((-1, 1), (1, 1), (-1, -1), (1, -1)), "bowtie": ((-1, -1), (-1, 1), (1, -1), (1, 1))}
_SHAPES: dict[str, str | Outline] = {
    **{"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "triangle-down": "v"},
    **{"star": "*", "x": "X", "triangle-left": "<", "triangle-right": ">"},
    **{name: Outline([*corners, corners[0]], closed=True) for name, corners in _CORNERS.items()},
}
# A path is drawn as wide as a circle: what is less full is drawn wider, so that all look alike in size.
_WIDER = {"diamond": 1.25, "triangle-up": 1.15, "triangle-down": 1.15, "triangle-left": 1.15, "triangle-right": 1.15}
_WIDER |= {"cross": 1.2, "star": 1.5, "x": 1.15, "hourglass": 1.1, "bowtie": 1.1}
_FILLS = ("", "-open", "-open-dot")
# plotly's dashes, in pixels; five for twelve shapes, so that a pair of the two comes back after sixty configs.
DASHES = ("solid", "8px,4px", "2px,3px", "8px,3px,2px,3px", "14px,5px")


@dataclass(frozen=True)
class ConfigStyle:
    """How a config is drawn: plotly's name of its marker, and its dashes."""

    symbol: str
    dash: str

    @property
    def is_filled(self) -> bool:
        return not self.symbol.endswith(("-open", "-dot"))

    @property
    def marker(self) -> MarkerStyle:
        return marker(self.symbol)

    @property
    def line(self) -> tuple[int, tuple[float, ...] | None]:
        """The dashes for matplotlib, in units of the line's width."""
        lengths = tuple(float(part.removesuffix("px")) / 2 for part in self.dash.split(",") if part != "solid")
        return (0, lengths or None)


def algorithm_styles(algorithms: Sequence[str]) -> dict[str, dict[str, str]]:
    """Label, colours, and marker of each algorithm; known ones look the same in every run."""
    fixed, shapes = list(_PALETTE), list(_SHAPES)
    others = [name for name in algorithm_order(algorithms) if name not in fixed]
    styles = {}
    for name in algorithm_order(algorithms):
        place = fixed.index(name) if name in fixed else len(fixed) + others.index(name)
        light, dark, text = _PALETTE[name] if name in fixed else _SPARE[others.index(name) % len(_SPARE)]
        symbol = shapes[place % len(shapes)]
        styles[name] = {"label": algorithm_words(name), "light": light, "dark": dark, "text": text, "symbol": symbol}
    return styles


def config_styles(points: pd.DataFrame) -> dict[str, ConfigStyle]:
    """Marker and dashes of each config, from the columns algorithm and config of the points.

    Configs of an algorithm differ by shape, algorithms by filling as far as there are fillings; every marker is taken
    once before one comes back.
    """
    styles: dict[str, ConfigStyle] = {}
    taken: set[str] = set()
    for number, (_, configs) in enumerate(points.groupby("algorithm", sort=False)["config"]):
        for place, config in enumerate(configs.drop_duplicates()):
            free = [symbol for symbol in _symbols(number) if symbol not in taken]
            if not free:
                taken, free = set(), list(_symbols(number))
            taken.add(free[0])
            styles[config] = ConfigStyle(free[0], DASHES[place % len(DASHES)])
    return styles


def _symbols(number: int) -> Iterable[str]:
    """All markers, first those with the filling of the algorithm of that number."""
    start = number % len(_FILLS)
    return (shape + fill for fill in (*_FILLS[start:], *_FILLS[:start]) for shape in _SHAPES)


def marker(symbol: str) -> MarkerStyle:
    """A marker for matplotlib, by plotly's name of it; the dot in an open one is drawn by its edge."""
    shape = symbol.removesuffix("-dot").removesuffix("-open")
    line = outline(MarkerStyle(_SHAPES[shape]))
    dotted = symbol.endswith("-dot")
    path = Outline.make_compound_path(line, Outline.circle((0, 0), 0.06)) if dotted else line
    return MarkerStyle(path, transform=Affine2D().scale(_WIDER.get(shape, 1.0)))


def outline(style: MarkerStyle) -> Outline:
    """The path of a marker as it is drawn, in units of its size."""
    return style.get_path().transformed(style.get_transform())


def marker_looks(color: str, is_filled: bool, ground: str = "white") -> Mapping[str, object]:
    """Face, edge and line of a marker for matplotlib: an open one is its edge."""
    return {
        "facecolor": color if is_filled else ground,
        "edgecolor": ground if is_filled else color,
        "linewidth": 0.6 if is_filled else 1.1,
    }


# matplotlib's settings for every figure
FIGURE = {
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
