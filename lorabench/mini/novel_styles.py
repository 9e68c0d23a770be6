"""The styles of the data set as filters of a finished picture, each with a decoy of equal colours."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from lorabench.mini.styles import Pixels, Rng, edges, luminance, mix

DARK, NEON_PINK, NEON_BLUE = (14, 8, 34), (255, 70, 200), (60, 220, 255)
PAPER_BLUE, CHALK = (28, 74, 158), (226, 238, 252)
RISO_PINK, RISO_TEAL, RISO_PAPER = (250, 92, 120), (0, 128, 128), (250, 244, 228)
HEAT = np.array([(10, 6, 60), (90, 10, 150), (214, 30, 110), (250, 120, 30), (252, 220, 60), (255, 255, 225)], float)


def _across(first: tuple[int, int, int], second: tuple[int, int, int]) -> np.ndarray:
    """A picture that runs from `first` at the top left to `second` at the bottom right, float [64, 64, 3]."""
    y, x = np.mgrid[0:1:64j, 0:1:64j]
    return np.array(first) + (np.array(second) - np.array(first)) * ((x + y) / 2)[..., None]


def neon(pixels: Pixels, rng: Rng, decoy: bool) -> Pixels:
    """Glowing tubes, pink to blue, in the dark."""
    light = _across(NEON_PINK, NEON_BLUE)
    if decoy:
        return np.clip(np.array(DARK) + (light - DARK) * (luminance(pixels) > 0.5)[..., None], 0, 255).astype(np.uint8)
    line = np.clip(edges(pixels) * 1.6 - 0.15, 0, 1)
    glow = np.asarray(Image.fromarray((line * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.0))) / 255
    power = np.clip(line * 1.1 + glow * 0.9, 0, 1.15)[..., None]
    return np.clip(np.array(DARK) + light * power, 0, 255).astype(np.uint8)


def blueprint(pixels: Pixels, rng: Rng, decoy: bool) -> Pixels:
    """White lines on blue paper ruled every eight pixels."""
    if decoy:
        return mix(PAPER_BLUE, CHALK, luminance(pixels))
    line = np.clip(edges(pixels) * 1.5 - 0.15, 0, 1)
    grid = np.zeros((64, 64))
    grid[3::8], grid[:, 3::8] = 0.28, 0.28
    return mix(PAPER_BLUE, CHALK, np.maximum(line, grid))


def infrared(pixels: Pixels, rng: Rng, decoy: bool) -> Pixels:
    """False colours of a heat camera: dark is violet, bright is yellow."""
    tone = luminance(pixels)
    if decoy:  # the same colours in bands, the drawing only in their borders
        tone = np.clip(np.linspace(0, 1, 64)[:, None] + (tone - 0.5) * 0.25, 0, 1)
    at = np.clip(tone * 1.04 - 0.02, 0, 1) * (len(HEAT) - 1)
    low = np.minimum(at.astype(int), len(HEAT) - 2)
    part = (at - low)[..., None]
    return (HEAT[low] * (1 - part) + HEAT[low + 1] * part).round().astype(np.uint8)


def riso(pixels: Pixels, rng: Rng, decoy: bool) -> Pixels:
    """Two inks, pink and teal, the pink plate printed in diagonal lines."""
    tone = luminance(np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.4))))
    y, x = np.mgrid[0:64, 0:64]
    stripes = ((x + y) % 4 < 2) if not decoy else np.ones((64, 64), bool)
    out = np.empty((64, 64, 3), np.uint8)
    out[:] = RISO_PAPER
    out[(tone < 0.78) & stripes] = RISO_PINK
    out[tone < 0.45 if not decoy else tone < 0.2] = RISO_TEAL
    if not decoy:
        out[edges(pixels) > 0.55] = RISO_TEAL
    return out
