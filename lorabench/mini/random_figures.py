"""Figures nobody named: random heads, ears, bodies, limbs and marks, so that an encoder of identities has met many.

None of the data set's concepts can come out: no claws, wings, tentacles, towers or helmets are among the parts. Figures
of one palette differ in shape only, as a concept and its decoy do.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from lorabench.mini.canvas import INK, Frame, Rgb, shade
from lorabench.mini.creatures import eyes

Rng = np.random.Generator
WHITE: Rgb = (248, 248, 244)
HEADS = ("round", "wide", "tall", "square", "wedge", "dome")
TOPS = ("bald", "round ears", "long ears", "points", "antenna", "tuft", "cap", "side buns", "fringe")
BODIES = ("round", "box", "gown", "slim", "pear")
FEET = ("feet", "legs", "wheels", "none")
MARKS = ("plain", "belly", "stripes", "spots", "buttons", "panel", "sash")
EYES = ("dots", "wide", "one", "visor", "sleepy")


@dataclass(frozen=True)
class RandomFigure:
    """A figure by its parts; `colors` are body, second colour and accent."""

    colors: tuple[Rgb, Rgb, Rgb]
    head: str
    top: str
    body: str
    feet: str
    mark: str
    eyes: str
    mouth: bool


def random_palette(rng: Rng) -> tuple[Rgb, Rgb, Rgb]:
    """Three colours that can be told apart, now and then black and white among them."""

    def color(value: float) -> Rgb:
        red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.35, 0.95), value)
        return round(255 * red), round(255 * green), round(255 * blue)

    found = [color(rng.uniform(0.65, 1.0)), color(rng.uniform(0.3, 1.0)), color(rng.uniform(0.6, 1.0))]
    for place in range(3):
        if rng.random() < 0.2:
            found[place] = (44, 42, 50) if rng.random() < 0.5 else WHITE
    return found[0], found[1], found[2]


def random_figure(rng: Rng, colors: tuple[Rgb, Rgb, Rgb]) -> RandomFigure:
    """A figure in these colours."""
    head, top, body, feet, mark, look = (str(rng.choice(parts)) for parts in (HEADS, TOPS, BODIES, FEET, MARKS, EYES))
    return RandomFigure(colors, head, top, body, feet, mark, look, bool(rng.random() < 0.5))


def draw_figure(frame: Frame, figure: RandomFigure, pose: str) -> None:
    """The figure, 1 high in its frame; `pose` is standing, waving or cheering."""
    _draw_feet(frame, figure)
    _draw_arms(frame, figure, pose)
    _draw_body(frame, figure)
    _draw_behind_head(frame, figure)
    _draw_head(frame, figure)
    _draw_face(frame, figure)
    _draw_on_head(frame, figure)


def _draw_feet(frame: Frame, figure: RandomFigure) -> None:
    body, second, accent = figure.colors
    for side in (-1, 1):
        if figure.feet == "feet":
            frame.ellipse(side * 0.14, 0.05, 0.11, 0.06, second)
        elif figure.feet == "legs":
            frame.limb((side * 0.09, 0.24), (side * 0.09, 0.05), 0.08, second)
        elif figure.feet == "wheels":
            frame.ellipse(side * 0.15, 0.08, 0.08, 0.08, accent)


def _draw_arms(frame: Frame, figure: RandomFigure, pose: str) -> None:
    for side in (-1, 1):
        up = pose == "cheering" or (pose == "waving" and side == 1)
        hand = (side * 0.32, 0.60) if up else (side * 0.28, 0.24)
        frame.limb((side * 0.15, 0.42), hand, 0.08, figure.colors[0])


def _draw_body(frame: Frame, figure: RandomFigure) -> None:
    body, second, accent = figure.colors
    if figure.body == "round":
        frame.ellipse(0, 0.29, 0.22, 0.22, body)
    elif figure.body == "box":
        frame.rect(-0.19, 0.10, 0.19, 0.50, body)
    elif figure.body == "gown":
        frame.polygon([(-0.09, 0.52), (0.09, 0.52), (0.26, 0.06), (-0.26, 0.06)], body)
    elif figure.body == "slim":
        frame.rect(-0.12, 0.12, 0.12, 0.52, body)
    else:
        frame.ellipse(0, 0.22, 0.24, 0.18, body)
        frame.ellipse(0, 0.40, 0.15, 0.14, body)
    if figure.mark == "belly":
        frame.ellipse(0, 0.27, 0.12, 0.14, second, outline=False)
    elif figure.mark == "stripes":
        for y in (0.20, 0.30, 0.40):
            frame.line([(-0.12, y), (0.12, y)], second, 0.05)
    elif figure.mark == "spots":
        for x, y in ((-0.07, 0.22), (0.07, 0.28), (-0.05, 0.38)):
            frame.ellipse(x, y, 0.04, 0.04, second, outline=False)
    elif figure.mark == "buttons":
        for y in (0.22, 0.31, 0.40):
            frame.ellipse(0, y, 0.03, 0.03, accent)
    elif figure.mark == "panel":
        frame.rect(-0.09, 0.22, 0.09, 0.40, second)
    elif figure.mark == "sash":
        frame.line([(-0.13, 0.44), (0.13, 0.18)], accent, 0.07)


def _draw_behind_head(frame: Frame, figure: RandomFigure) -> None:
    body, second, _ = figure.colors
    for side in (-1, 1):
        if figure.top == "round ears":
            frame.ellipse(side * 0.17, 0.84, 0.085, 0.085, second)
        elif figure.top == "long ears":
            frame.ellipse(side * 0.10, 0.90, 0.06, 0.14, body)
        elif figure.top == "side buns":
            frame.ellipse(side * 0.26, 0.74, 0.09, 0.09, second)
        elif figure.top == "points":
            frame.polygon([(side * 0.04, 0.80), (side * 0.20, 0.76), (side * 0.20, 0.98)], second)


def _draw_head(frame: Frame, figure: RandomFigure) -> None:
    color = shade(figure.colors[0], 0.25)
    if figure.head == "square":
        frame.rect(-0.18, 0.52, 0.18, 0.84, color)
    elif figure.head == "wedge":
        frame.polygon([(-0.20, 0.84), (0.20, 0.84), (0.11, 0.52), (-0.11, 0.52)], color)
    elif figure.head == "dome":
        frame.ellipse(0, 0.66, 0.20, 0.20, color)
        frame.rect(-0.20, 0.52, 0.20, 0.64, color)
    else:
        rx, ry = {"round": (0.20, 0.19), "wide": (0.25, 0.16), "tall": (0.15, 0.21)}[figure.head]
        frame.ellipse(0, 0.68, rx, ry, color)


def _draw_face(frame: Frame, figure: RandomFigure) -> None:
    accent = figure.colors[2]
    if figure.eyes == "dots":
        eyes(frame, 0.70, 0.08, 0.032)
    elif figure.eyes == "wide":
        for side in (-1, 1):
            frame.ellipse(side * 0.08, 0.70, 0.055, 0.06, WHITE)
            frame.ellipse(side * 0.08, 0.70, 0.022, 0.03, INK, outline=False)
    elif figure.eyes == "one":
        frame.ellipse(0, 0.70, 0.085, 0.085, WHITE)
        frame.ellipse(0, 0.70, 0.04, 0.045, accent)
    elif figure.eyes == "visor":
        frame.rect(-0.14, 0.66, 0.14, 0.75, accent)
    else:
        for side in (-1, 1):
            frame.line([(side * 0.05, 0.70), (side * 0.12, 0.70)], INK, 0.025)
    if figure.mouth:
        frame.arc(0, 0.61, 0.06, 0.04, 20, 160, INK, 3)


def _draw_on_head(frame: Frame, figure: RandomFigure) -> None:
    _, second, accent = figure.colors
    if figure.top == "antenna":
        frame.line([(0, 0.84), (0, 0.94)], INK, 0.03)
        frame.ellipse(0, 0.95, 0.04, 0.04, accent)
    elif figure.top == "tuft":
        frame.polygon([(-0.10, 0.82), (-0.05, 0.96), (0.0, 0.86), (0.06, 0.98), (0.10, 0.82)], second)
    elif figure.top == "cap":
        frame.polygon([(-0.20, 0.80), (0.28, 0.80), (0.20, 0.86), (0.12, 0.93), (-0.12, 0.93)], accent)
    elif figure.top == "fringe":
        frame.polygon([(-0.21, 0.72), (-0.17, 0.86), (0.17, 0.86), (0.21, 0.72), (0.08, 0.78), (-0.08, 0.78)], second)
