"""Houses, castles and cars, each 1 high in its frame (a car is wider than high)."""

from __future__ import annotations

from lorabench.mini.canvas import INK, Frame, Rgb, shade

WINDOW: Rgb = (164, 216, 244)
DOOR: Rgb = (110, 70, 46)


def _roof(color: Rgb) -> Rgb:
    """Brown roofs for most, slate for red, orange and brown walls."""
    warm = color[0] > color[2] + 60 and color[1] < 150
    return (66, 76, 112) if warm else (158, 66, 52)


def draw_house(frame: Frame, color: Rgb, pose: str) -> None:
    """A house with a gabled roof, a chimney, a door and two windows."""
    frame.rect(0.20, 0.62, 0.32, 0.92, shade(color, -0.3))
    frame.rect(-0.42, 0.0, 0.42, 0.52, color)
    frame.polygon([(-0.54, 0.50), (0.54, 0.50), (0.0, 0.98)], _roof(color))
    frame.rect(-0.10, 0.0, 0.10, 0.30, DOOR)
    frame.ellipse(0.05, 0.14, 0.02, 0.02, (250, 220, 110), outline=False)
    for x in (-0.26, 0.26):
        frame.rect(x - 0.09, 0.22, x + 0.09, 0.40, WINDOW)
        frame.line([(x, 0.22), (x, 0.40)], INK, 0.02)
    frame.ellipse(0, 0.68, 0.07, 0.07, WINDOW)


def draw_castle(frame: Frame, color: Rgb, pose: str) -> None:
    """A castle with three towers, battlements and a gate."""
    roof = _roof(color)
    frame.rect(-0.14, 0.30, 0.14, 0.74, shade(color, -0.12))
    frame.polygon([(-0.19, 0.73), (0.19, 0.73), (0.0, 1.0)], roof)
    for x in (-0.36, -0.18, 0.0, 0.18):
        frame.rect(x + 0.03, 0.40, x + 0.13, 0.50, color)
    frame.rect(-0.36, 0.0, 0.36, 0.43, color)
    for x in (-0.38, 0.38):
        frame.rect(x - 0.12, 0.0, x + 0.12, 0.60, shade(color, 0.06))
        frame.polygon([(x - 0.16, 0.59), (x + 0.16, 0.59), (x, 0.86)], roof)
        frame.rect(x - 0.035, 0.36, x + 0.035, 0.48, (60, 60, 84), outline=False)
    frame.rect(-0.035, 0.56, 0.035, 0.67, (60, 60, 84), outline=False)
    frame.rect(-0.11, 0.0, 0.11, 0.18, DOOR)
    frame.ellipse(0, 0.18, 0.11, 0.09, DOOR)
    frame.rect(-0.095, 0.0, 0.095, 0.18, DOOR, outline=False)


def draw_car(frame: Frame, color: Rgb, pose: str) -> None:
    """A round car seen from the side."""
    frame = Frame(frame.draw, frame.center, frame.ground, frame.size * 1.12, frame.flip, frame.outline)
    frame.polygon([(-0.34, 0.34), (-0.24, 0.60), (0.16, 0.60), (0.32, 0.34)], color)
    frame.polygon([(-0.26, 0.35), (-0.20, 0.54), (-0.06, 0.54), (-0.06, 0.35)], WINDOW)
    frame.polygon([(0.0, 0.35), (0.0, 0.54), (0.13, 0.54), (0.23, 0.35)], WINDOW)
    frame.polygon([(-0.50, 0.10), (-0.50, 0.32), (-0.40, 0.37), (0.38, 0.37), (0.50, 0.29), (0.51, 0.10)], color)
    frame.line([(-0.46, 0.19), (0.46, 0.19)], shade(color, -0.3), 0.03)
    frame.ellipse(0.46, 0.28, 0.04, 0.04, (255, 240, 160))
    frame.ellipse(-0.47, 0.28, 0.03, 0.035, (240, 80, 60))
    for x in (-0.28, 0.28):
        frame.ellipse(x, 0.10, 0.125, 0.125, (46, 46, 54))
        frame.ellipse(x, 0.10, 0.06, 0.06, (206, 208, 214), outline=False)
