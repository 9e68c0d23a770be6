"""Styles nobody named: random inks, outlines and textures, so that what measures style has seen more than five.

The styles of the data set are none of them: no glow, no ruled paper, no heat colours, no plate of stripes.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from lorabench.mini.styles import Pixels, Rng, edges, luminance, mix, smooth_noise

Filter = Callable[[Pixels], Pixels]


def random_style(rng: Rng) -> Filter:
    """A filter of uint8 [64, 64, 3] pictures, drawn once and then the same for every picture."""
    tone, line, texture = _tone(rng), _outline(rng), _texture(rng)
    return lambda pixels: texture(line(tone(pixels), pixels))


def _ink(rng: Rng, low: float, high: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.9), rng.uniform(low, high))
    return round(255 * red), round(255 * green), round(255 * blue)


def _tone(rng: Rng) -> Filter:
    """Two inks, three flat inks, or the picture's own colours, tinted."""
    dark, middle, light = _ink(rng, 0.05, 0.4), _ink(rng, 0.4, 0.8), _ink(rng, 0.75, 1.0)
    if rng.random() < 0.3:
        dark, light = light, dark
    kind, saturation, share, gamma = rng.random(), rng.uniform(0.2, 1.7), rng.uniform(0.1, 0.4), rng.uniform(0.6, 1.6)
    if kind < 0.35:
        return lambda pixels: mix(dark, light, luminance(pixels) ** gamma)
    if kind < 0.6:
        return lambda pixels: _flat(luminance(pixels), np.array([dark, middle, light], np.uint8))

    def tinted(pixels: Pixels) -> Pixels:
        gray = luminance(pixels)[..., None] * 255
        colored = gray + (pixels - gray) * saturation
        return np.clip(colored * (1 - share) + np.array(middle) * share, 0, 255).astype(np.uint8)

    return tinted


def _flat(tone: np.ndarray, inks: np.ndarray) -> Pixels:
    low, high = np.quantile(tone, [0.33, 0.66])
    return inks[(tone > low).astype(int) + (tone > high)]


def _outline(rng: Rng) -> Callable[[Pixels, Pixels], Pixels]:
    """Lines where the picture has edges, in one ink; on half of the styles none."""
    if rng.random() < 0.5:
        return lambda pixels, _: pixels
    ink, power = np.array(_ink(rng, 0.0, 1.0)), rng.uniform(0.8, 1.6)

    def outlined(pixels: Pixels, original: Pixels) -> Pixels:
        line = np.clip(edges(original) * power - 0.1, 0, 1)[..., None]
        return np.clip(pixels * (1 - line) + ink * line, 0, 255).astype(np.uint8)

    return outlined


def _texture(rng: Rng) -> Filter:
    """Grain, soft focus, blocks, screen dots, dark corners, or nothing."""
    kind, seed, amount = rng.integers(6), int(rng.integers(2**31)), rng.uniform(0.5, 1.0)
    y, x = np.mgrid[0:64, 0:64]
    if kind == 0:
        paper = 1 + amount * 0.2 * smooth_noise(np.random.default_rng(seed), int(rng.integers(12, 64)))[..., None]
        return lambda pixels: np.clip(pixels * paper, 0, 255).astype(np.uint8)
    if kind == 1:
        blur = ImageFilter.GaussianBlur(0.6 + amount)
        return lambda pixels: np.asarray(Image.fromarray(pixels).filter(blur))
    if kind == 2:
        block = int(rng.choice([2, 4]))
        ones = np.ones((block, block, 1), np.uint8)
        return lambda pixels: np.kron(np.asarray(Image.fromarray(pixels).reduce(block)), ones)
    if kind == 3:
        dots = 1 - 0.5 * amount * (((x % 4) < 2) & ((y % 4) < 2))[..., None]
        return lambda pixels: (pixels * dots).astype(np.uint8)
    if kind == 4:
        corners = 1 - amount * 0.5 * np.clip(((x - 32) ** 2 + (y - 32) ** 2) / 2048 - 0.25, 0, 1)[..., None]
        return lambda pixels: (pixels * corners).astype(np.uint8)
    return lambda pixels: pixels
