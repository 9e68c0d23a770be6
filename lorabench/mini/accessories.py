"""Things that a figure wears or holds, and where each figure wears and holds them."""

from __future__ import annotations

from dataclasses import dataclass

from lorabench.mini.canvas import INK, Frame, Rgb, shade

Point = tuple[float, float]


@dataclass(frozen=True)
class Anchors:
    """Places of a figure in its frame: middle and half width of the head, its eyes, the neck, the raised hand."""

    head: Point
    radius: float
    top: float
    eyes: float
    neck: float
    hand: Point


def draw_accessory(frame: Frame, kind: str, color: Rgb, at: Anchors) -> None:
    """Put `kind` on a figure that is already drawn; KeyError on an unknown kind."""
    {
        "hat": _hat,
        "sunglasses": _sunglasses,
        "scarf": _scarf,
        "headphones": _headphones,
        "balloon": _balloon,
        "umbrella": _umbrella,
    }[kind](frame, color, at)


def _hat(frame: Frame, color: Rgb, at: Anchors) -> None:
    x, r, y = at.head[0], at.radius, at.top
    frame.rect(x - r * 0.72, y - 0.03, x + r * 0.72, y + 0.17, (50, 46, 58))
    frame.rect(x - r * 0.72, y, x + r * 0.72, y + 0.05, color, outline=False)
    frame.rect(x - r * 1.15, y - 0.05, x + r * 1.15, y, (50, 46, 58))


def _sunglasses(frame: Frame, color: Rgb, at: Anchors) -> None:
    x, r, y = at.head[0], at.radius, at.eyes
    frame.line([(x - r * 0.95, y + 0.02), (x + r * 0.95, y + 0.02)], (22, 20, 26), 0.035)
    for side in (-1, 1):
        frame.ellipse(x + side * r * 0.44, y, r * 0.38, r * 0.33, (22, 20, 26), outline=False)
        frame.ellipse(x + side * r * 0.44 - 0.02, y + 0.02, r * 0.1, r * 0.08, (150, 160, 190), outline=False)


def _scarf(frame: Frame, color: Rgb, at: Anchors) -> None:
    x, r, y = at.head[0], at.radius, at.neck
    frame.rect(x + r * 0.15, y - 0.20, x + r * 0.60, y, shade(color, -0.15))
    frame.ellipse(x, y, r * 0.85, 0.065, color)


def _headphones(frame: Frame, color: Rgb, at: Anchors) -> None:
    (x, y), r = at.head, at.radius
    frame.arc(x, y, r * 1.12, (at.top - y) * 1.12, 180, 360, INK, 8)
    for side in (-1, 1):
        frame.ellipse(x + side * r * 1.08, y - 0.01, r * 0.30, r * 0.42, color)


def _balloon(frame: Frame, color: Rgb, at: Anchors) -> None:
    x, y = at.hand
    top = max(y + 0.26, 0.86)
    frame.line([(x, y), (x + 0.06, top - 0.12)], (80, 76, 84), 0.018)
    frame.ellipse(x + 0.06, top, 0.115, 0.14, color)
    frame.ellipse(x + 0.02, top + 0.05, 0.03, 0.04, shade(color, 0.6), outline=False)


def _umbrella(frame: Frame, color: Rgb, at: Anchors) -> None:
    x, y = at.hand
    top = 1.0
    frame.line([(x, y - 0.08), (x, top)], (90, 66, 50), 0.03)
    half = [(x - 0.27, top - 0.04), (x - 0.21, top + 0.07), (x - 0.09, top + 0.14), (x + 0.09, top + 0.14),
            (x + 0.21, top + 0.07), (x + 0.27, top - 0.04)]  # fmt: skip
    frame.polygon(half, color)
    frame.polygon([(x - 0.08, top - 0.03), (x, top + 0.13), (x + 0.08, top - 0.03)], shade(color, 0.35), outline=False)
