"""Styles as filters of a finished 64 x 64 picture; every one of them keeps the content readable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Rng = np.random.Generator
Pixels = np.ndarray  # uint8 [64, 64, 3]


def apply_style(pixels: Pixels, style: str, rng: Rng) -> Pixels:
    """`pixels` in `style`, one of `STYLE_FILTERS`; KeyError on an unknown name."""
    return STYLE_FILTERS[style](pixels, rng)


def luminance(pixels: Pixels) -> np.ndarray:
    """Brightness float32 [h, w] in [0, 1]."""
    return (pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)) / 255


def edges(pixels: Pixels) -> np.ndarray:
    """Strength of colour edges, float32 [h, w] in [0, 1]."""
    image = pixels.astype(np.float32) / 255
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    dx = padded[1:-1, 2:] - padded[1:-1, :-2]
    dy = padded[2:, 1:-1] - padded[:-2, 1:-1]
    return np.clip(np.sqrt((dx**2 + dy**2).sum(-1)) * 0.75, 0, 1)


def smooth_noise(rng: Rng, cells: int, size: int = 64) -> np.ndarray:
    """Blurry noise of mean 0, float32 [size, size] in about [-1, 1]."""
    small = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32), mode="F")
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


def mix(dark: tuple[int, int, int], light: tuple[int, int, int], amount: np.ndarray) -> Pixels:
    """`dark` where `amount` [h, w] is 0, `light` where it is 1."""
    low, high = np.array(dark, np.float32), np.array(light, np.float32)
    return np.clip(low + (high - low) * amount[..., None], 0, 255).round().astype(np.uint8)


def pencil(pixels: Pixels, rng: Rng) -> Pixels:
    """Graphite outlines with soft grey shading on cream paper."""
    tone = luminance(np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.8))))
    paper = 0.80 + 0.20 * tone + smooth_noise(rng, 32) * 0.025
    return mix((52, 50, 56), (248, 244, 232), paper * (1 - 0.95 * np.clip(edges(pixels) * 1.25 - 0.1, 0, 1)))


def watercolor(pixels: Pixels, rng: Rng) -> Pixels:
    """Pale washes with uneven pigment and a darker rim around shapes."""
    wash = np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.GaussianBlur(0.3)))
    light = 255 - (255 - wash.astype(np.float32)) * 0.68
    pigment = 1 + smooth_noise(rng, 9)[..., None] * 0.10 + smooth_noise(rng, 22)[..., None] * 0.05
    rim = 1 - 0.22 * np.clip(edges(wash), 0, 1)[..., None]
    return np.clip(255 - (255 - light * rim) * pigment, 0, 255).round().astype(np.uint8)


def pixel(pixels: Pixels, rng: Rng) -> Pixels:
    """Blocks of 2 pixels in saturated colours of five levels."""
    small = np.asarray(Image.fromarray(pixels).reduce(2), np.float32)
    small = small.mean(-1, keepdims=True) + (small - small.mean(-1, keepdims=True)) * 1.4
    levels = np.clip((small / 63.75).round() * 63.75, 0, 255).astype(np.uint8)
    return np.kron(levels, np.ones((2, 2, 1), np.uint8))


def woodcut(pixels: Pixels, rng: Rng) -> Pixels:
    """Two inks, brick and black, printed on cream paper."""
    tone = luminance(np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.5))))
    low, high = np.quantile(tone, [0.30, 0.68])
    low, high = min(max(low, 0.24), 0.5), max(min(high, 0.86), 0.52)
    out = np.empty_like(pixels)
    out[:] = (244, 230, 196)
    out[tone < high] = (194, 92, 62)
    out[(tone < low) | (edges(pixels) > 0.62)] = (36, 26, 32)
    return out


def sepia(pixels: Pixels, rng: Rng) -> Pixels:
    """A brown photograph with dark corners."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    vignette = 1 - 0.38 * np.clip(x**2 + y**2 - 0.35, 0, 1)
    return mix((46, 26, 14), (250, 226, 180), np.clip(luminance(pixels) * 0.92 + 0.06, 0, 1) * vignette)


STYLE_FILTERS: dict[str, Callable[[Pixels, Rng], Pixels]] = {
    "pencil": pencil,
    "watercolor": watercolor,
    "pixel": pixel,
    "woodcut": woodcut,
    "sepia": sepia,
}
