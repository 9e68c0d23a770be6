"""The backgrounds of the world: eleven places, each painted with small random variations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from lorabench.mini.canvas import FULL, SCALE, SIZE, Rgb, blank, gradient, shade

Rng = np.random.Generator


def paint_scene(scene: str, rng: Rng) -> Image.Image:
    """The background `scene` at drawing size; KeyError on an unknown name."""
    image = blank()
    _PAINTERS[scene](image, ImageDraw.Draw(image), rng)
    return image


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, fill: Rgb) -> None:
    draw.ellipse([(x - r) * SCALE, (y - r) * SCALE, (x + r) * SCALE, (y + r) * SCALE], fill=fill)


def _box(draw: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, fill: Rgb) -> None:
    draw.rectangle([x0 * SCALE, y0 * SCALE, x1 * SCALE - 1, y1 * SCALE - 1], fill=fill)


def _shape(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], fill: Rgb) -> None:
    draw.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=fill)


def _cloud(draw: ImageDraw.ImageDraw, x: float, y: float, fill: Rgb) -> None:
    for dx, dy, r in ((-4, 0, 3), (0, -1.6, 4), (4, 0, 3)):
        _disc(draw, x + dx, y + dy, r, fill)


def _stars(draw: ImageDraw.ImageDraw, rng: Rng, count: int, below: float) -> None:
    for _ in range(count):
        x, y = rng.uniform(1, SIZE - 1), rng.uniform(1, below)
        _disc(draw, x, y, rng.uniform(0.35, 0.8), (250, 246, 220))


def _corner(rng: Rng) -> float:
    """A horizontal place beside the subject."""
    return float(rng.choice([rng.uniform(6, 13), rng.uniform(51, 58)]))


def _beach(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    horizon = rng.uniform(27, 32)
    gradient(image, (96, 178, 240), (190, 226, 250), 0, horizon)
    gradient(image, (30, 110, 190), (76, 170, 220), horizon, horizon + 12)
    gradient(image, (244, 220, 160), (250, 228, 176), horizon + 12, SIZE)
    _disc(draw, _corner(rng), rng.uniform(7, 11), 5, (255, 234, 130))
    for _ in range(3):
        x, y = rng.uniform(2, 52), horizon + rng.uniform(2, 10)
        _box(draw, x, y, x + rng.uniform(5, 9), y + 0.8, (214, 238, 248))
    _box(draw, 0, horizon + 11.4, SIZE, horizon + 12.6, (240, 248, 250))


def _forest(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (178, 222, 190), (226, 242, 212), 0, 44)
    for layer, (base, green) in enumerate(((38, (104, 164, 118)), (45, (46, 116, 74)))):
        offset = rng.uniform(0, 8)
        for step in range(-1, 8):
            x, h = offset + step * 10 + rng.uniform(-2, 2), rng.uniform(22, 30) + layer * 3
            _box(draw, x - 1, base - 3, x + 1, base + 3, (96, 66, 44))
            for k in range(3):
                y, w = base - h + k * h * 0.27, 3.2 + k * 1.7
                _shape(draw, [(x, y), (x - w, y + h * 0.4), (x + w, y + h * 0.4)], shade(green, 0.04 * k))
    gradient(image, (70, 132, 66), (96, 158, 78), 44, SIZE)


def _city(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (164, 190, 206), (220, 214, 200), 0, 46)
    walls = ((98, 108, 132), (124, 98, 108), (86, 116, 124), (142, 122, 104))
    x = -rng.uniform(0, 6)
    while x < SIZE:
        w, top = rng.uniform(9, 14), rng.uniform(4, 20)
        _box(draw, x, top, x + w - 1, 46, walls[int(rng.integers(4))])
        lit = rng.random((12, 3)) < 0.7
        for row in range(int((44 - top) / 5)):
            for column in range(3):
                if lit[row, column] and column * 3.6 + 4.2 < w:
                    left, y = x + 1.6 + column * 3.6, top + 2.2 + row * 5
                    _box(draw, left, y, left + 2, y + 2.6, (252, 226, 130))
        x += w
    gradient(image, (92, 92, 102), (72, 72, 82), 46, SIZE)
    _box(draw, 0, 46, SIZE, 47.4, (170, 168, 168))
    for k in range(5):
        _box(draw, k * 15 - 3, 55, k * 15 + 4, 56.6, (238, 234, 214))


def _snow(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (166, 192, 224), (226, 236, 246), 0, 42)
    for x, top, w in ((rng.uniform(6, 18), rng.uniform(9, 15), 20), (rng.uniform(44, 60), rng.uniform(7, 14), 22)):
        slope = (42 - top) / w
        _shape(draw, [(x, top), (x - w, 42), (x + w, 42)], (126, 146, 178))
        _shape(draw, [(x, top), (x - 8, top + 8 * slope), (x - 3, top + 7), (x, top + 11), (x + 4, top + 7),
                      (x + 8, top + 8 * slope)], (250, 252, 255))  # fmt: skip
    gradient(image, (238, 244, 252), (250, 252, 255), 40, SIZE)
    for _ in range(26):
        _disc(draw, rng.uniform(0, SIZE), rng.uniform(0, 46), rng.uniform(0.5, 0.9), (255, 255, 255))


def _desert(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (250, 190, 110), (254, 232, 178), 0, 40)
    x = rng.uniform(0, 64)
    draw.ellipse([(x - 44) * SCALE, 33 * SCALE, (x + 44) * SCALE, 80 * SCALE], fill=(232, 176, 96))
    gradient(image, (226, 164, 84), (238, 186, 110), 46, SIZE)
    for x, h in ((rng.uniform(4, 11), rng.uniform(15, 21)), (rng.uniform(53, 60), rng.uniform(12, 19))):
        green, base = (62, 132, 84), 50
        draw.rounded_rectangle([(x - 2) * SCALE, (base - h) * SCALE, (x + 2) * SCALE, base * SCALE], 6, fill=green)
        for side in (-1, 1):
            y = base - h * (0.5 if side > 0 else 0.64)
            _box(draw, min(x, x + side * 5.4), y, max(x, x + side * 5.4), y + 2.4, green)
            edge = x + side * 4.6
            draw.rounded_rectangle([(edge - 1.3) * SCALE, (y - 5) * SCALE, (edge + 1.3) * SCALE, (y + 2.4) * SCALE], 3,
                                   fill=green)  # fmt: skip


def _meadow(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (110, 186, 246), (208, 236, 252), 0, 40)
    for x in (rng.uniform(6, 24), rng.uniform(40, 58)):
        _cloud(draw, x, rng.uniform(6, 14), (255, 255, 255))
    x = rng.uniform(0, 64)
    draw.ellipse([(x - 50) * SCALE, 34 * SCALE, (x + 50) * SCALE, 90 * SCALE], fill=(138, 202, 92))
    gradient(image, (116, 190, 78), (92, 168, 66), 43, SIZE)
    petals = ((255, 255, 255), (255, 222, 90), (246, 130, 160))
    for _ in range(16):
        _disc(draw, rng.uniform(1, 63), rng.uniform(46, 62), 1.0, petals[int(rng.integers(3))])


def _night(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (14, 18, 52), (44, 60, 116), 0, 46)
    _stars(draw, rng, 24, 40)
    x, y = _corner(rng), rng.uniform(8, 13)
    _disc(draw, x, y, 5.6, (250, 240, 196))
    _disc(draw, x + 2.4, y - 1.4, 4.8, (18, 24, 62))
    gradient(image, (26, 48, 56), (20, 38, 48), 46, SIZE)


def _space(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (16, 8, 34), (42, 18, 66))
    _stars(draw, rng, 34, 52)
    planet = ((92, 170, 226), (238, 146, 92), (206, 110, 178))[int(rng.integers(3))]
    x, y, r = _corner(rng), rng.uniform(9, 14), rng.uniform(5.4, 7)
    _disc(draw, x, y, r, planet)
    ring = [(x - r * 1.7) * SCALE, (y - r * 0.45) * SCALE, (x + r * 1.7) * SCALE, (y + r * 0.45) * SCALE]
    draw.arc(ring, -20, 200, fill=(246, 222, 178), width=4)
    draw.ellipse([-20 * SCALE, 51 * SCALE, 84 * SCALE, 110 * SCALE], fill=(152, 150, 162))
    for x, y in ((12, 59), (50, 58), (32, 61)):
        draw.ellipse([(x - 3) * SCALE, (y - 1) * SCALE, (x + 3) * SCALE, (y + 1) * SCALE], fill=(120, 118, 132))


def _sunset(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    gradient(image, (92, 52, 124), (250, 138, 78), 0, 42)
    x = _corner(rng)
    _disc(draw, x, 38, 9, (255, 216, 110))
    gradient(image, (120, 62, 98), (70, 40, 78), 42, SIZE)
    for k in range(4):
        w = 8 - 1.5 * k
        _box(draw, x - w, 44 + 4.4 * k, x + w, 45.6 + 4.4 * k, (250, 178, 104))


def _room(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    wall = ((238, 214, 196), (206, 222, 214), (222, 212, 232), (240, 228, 184))[int(rng.integers(4))]
    gradient(image, wall, shade(wall, 0.2), 0, 46)
    x, y = _corner(rng), rng.uniform(6, 10)
    _box(draw, x - 7, y - 1, x + 7, y + 16, (250, 250, 250))
    _box(draw, x - 5.6, y + 0.4, x - 0.6, y + 14.6, (146, 204, 242))
    _box(draw, x + 0.6, y + 0.4, x + 5.6, y + 14.6, (146, 204, 242))
    gradient(image, (176, 122, 80), (156, 104, 66), 46, SIZE)
    _box(draw, 0, 44.6, SIZE, 46.4, (250, 246, 240))
    for k in range(-3, 12):
        draw.line([((k * 9) * SCALE, FULL), ((32 + (k * 9 - 32) * 0.55) * SCALE, 46.4 * SCALE)], fill=(128, 84, 54),
                  width=2)  # fmt: skip


def _plain(image: Image.Image, draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    paper = ((246, 238, 226), (226, 236, 246), (240, 228, 240), (228, 240, 228), (250, 250, 250))[int(rng.integers(5))]
    gradient(image, shade(paper, 0.3), paper)


_PAINTERS: dict[str, Callable[[Image.Image, ImageDraw.ImageDraw, Rng], None]] = {
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "snow": _snow,
    "desert": _desert,
    "meadow": _meadow,
    "night": _night,
    "space": _space,
    "sunset": _sunset,
    "room": _room,
    "plain": _plain,
}
