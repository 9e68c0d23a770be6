"""Drawing at three times the final size, and the colours everything is painted with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIZE = 64
SCALE = 3
FULL = SIZE * SCALE

Rgb = tuple[int, int, int]
Point = tuple[float, float]

PAINT: dict[str, Rgb] = {
    "red": (214, 50, 54),
    "orange": (244, 136, 36),
    "yellow": (248, 212, 62),
    "green": (70, 168, 78),
    "blue": (50, 110, 216),
    "purple": (134, 72, 186),
    "pink": (246, 142, 180),
    "brown": (140, 88, 52),
    "black": (52, 52, 62),
    "white": (244, 244, 240),
}
SKIN: tuple[Rgb, ...] = ((252, 222, 196), (236, 188, 148), (176, 116, 74), (112, 72, 48))
HAIR: dict[str, Rgb] = {
    "black": (44, 38, 44),
    "brown": (112, 70, 40),
    "blond": (238, 196, 98),
    "red": (188, 76, 38),
    "gray": (168, 168, 176),
}
INK: Rgb = (38, 30, 40)


def shade(color: Rgb, amount: float) -> Rgb:
    """`color` moved towards white (`amount` > 0) or black (`amount` < 0); `amount` in [-1, 1]."""
    target = 255 if amount > 0 else 0
    return tuple(round(c + (target - c) * abs(amount)) for c in color)


@dataclass(frozen=True)
class Frame:
    """A local coordinate system: x to the right of `center`, y up from `ground`, in units of `size` pixels.

    Figures are 1 high in their own frame. `center` and `ground` are final pixels; `flip` mirrors x.
    """

    draw: ImageDraw.ImageDraw
    center: float
    ground: float
    size: float
    flip: bool = False
    outline: Rgb | None = INK

    def point(self, x: float, y: float) -> Point:
        """Local coordinates to pixels of the big picture."""
        sign = -1 if self.flip else 1
        return ((self.center + sign * x * self.size) * SCALE, (self.ground - y * self.size) * SCALE)

    def polygon(self, points: Sequence[Point], fill: Rgb, outline: bool = True, width: int = 3) -> None:
        """A filled polygon, outlined in ink unless told not to."""
        pixels = [self.point(x, y) for x, y in points]
        self.draw.polygon(pixels, fill=fill)
        if outline and self.outline:
            self.draw.line([*pixels, pixels[0], pixels[1]], fill=self.outline, width=width, joint="curve")

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Rgb | None, outline: bool = True, width: int = 3
    ) -> None:
        """An ellipse around (x, y) with half axes rx and ry."""
        left, top = self.point(x - rx, y + ry)
        right, bottom = self.point(x + rx, y - ry)
        box = (min(left, right), top, max(left, right), bottom)
        ink = self.outline if outline else None
        self.draw.ellipse(box, fill=fill, outline=ink, width=width if ink else 0)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: Rgb, outline: bool = True) -> None:
        """A rectangle between two corners."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, outline)

    def line(self, points: Sequence[Point], fill: Rgb, width: float) -> None:
        """A polyline; `width` in local units."""
        pixels = [self.point(x, y) for x, y in points]
        self.draw.line(pixels, fill=fill, width=max(1, round(width * self.size * SCALE)), joint="curve")

    def limb(self, start: Point, end: Point, width: float, fill: Rgb) -> None:
        """A thick outlined stroke with round ends; `width` in local units."""
        if self.outline:
            margin = 2.4 / (SCALE * self.size) * 2
            self.line([start, end], self.outline, width + margin)
            for x, y in (start, end):
                self.ellipse(x, y, (width + margin) / 2, (width + margin) / 2, self.outline, outline=False)
        self.line([start, end], fill, width)
        for x, y in (start, end):
            self.ellipse(x, y, width / 2, width / 2, fill, outline=False)

    def arc(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Rgb, width: int) -> None:
        """An arc of an ellipse, angles in degrees clockwise from the right."""
        left, top = self.point(x - rx, y + ry)
        right, bottom = self.point(x + rx, y - ry)
        self.draw.arc((min(left, right), top, max(left, right), bottom), start, end, fill=fill, width=width)


def blank(color: Rgb = (255, 255, 255)) -> Image.Image:
    """An empty picture at drawing size."""
    return Image.new("RGB", (FULL, FULL), color)


def gradient(image: Image.Image, top: Rgb, bottom: Rgb, y0: float = 0, y1: float = SIZE) -> None:
    """Paint rows y0..y1 (final pixels) from `top` to `bottom`."""
    draw = ImageDraw.Draw(image)
    first, last = round(y0 * SCALE), round(y1 * SCALE)
    for row in range(first, last):
        t = (row - first) / max(1, last - first - 1)
        draw.line([(0, row), (FULL, row)], fill=tuple(round(a + (b - a) * t) for a, b in zip(top, bottom)))
