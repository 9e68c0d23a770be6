"""Pictures that show nothing: black, of one colour, or noise. They would be measured as if they meant something."""

from __future__ import annotations

import numpy as np

UNIFORM = 3.0  # standard deviation of colours, in levels of 255, below which there is one colour
BLACK = 8.0  # mean level below which it is black
# Correlation of neighbours: of pixels, and of the means of 16 x 16 and 8 x 8 parts. Line drawings are below the last
# two as decoded noise is, but their lines are grey, or of one hue; noise is of all.
PIXELS, SIXTEENTHS, EIGHTHS = 0.3, 0.3, 0.25
COLOURFUL = 30.0  # mean difference of the largest and the smallest of red, green and blue
ONE_HUE = 0.85  # mean correlation of red, green and blue


def collapsed(picture: np.ndarray) -> str:
    """ "black", "uniform" or "noise" of uint8 [h, w, 3]; "" of a picture that shows something."""
    levels = picture.astype(np.float64)
    if levels.reshape(-1, levels.shape[2]).std(axis=0).max() < UNIFORM:
        return "black" if levels.mean() < BLACK else "uniform"
    if neighbours(levels) < PIXELS:
        return "noise"
    is_colourful = float((levels.max(axis=2) - levels.min(axis=2)).mean()) > COLOURFUL and hues(levels) < ONE_HUE
    is_without_shape = neighbours(parts(levels, 16)) < SIXTEENTHS and neighbours(parts(levels, 8)) < EIGHTHS
    return "noise" if is_colourful and is_without_shape else ""


def parts(levels: np.ndarray, count: int) -> np.ndarray:
    """Means over count x count parts of equal size, [count, count, c]; a rest at the edges is left out."""
    sides = [max(1, side // count) for side in levels.shape[:2]]
    height, width = (min(count, side // part) for side, part in zip(levels.shape[:2], sides, strict=True))
    cut = levels[: height * sides[0], : width * sides[1]]
    return cut.reshape(height, sides[0], width, sides[1], -1).mean(axis=(1, 3))


def hues(levels: np.ndarray) -> float:
    """Mean correlation of red, green and blue over the pixels; 1 where one of them does not vary."""
    colours = levels.reshape(-1, 3)
    return float(np.corrcoef(colours.T)[[0, 0, 1], [1, 2, 2]].mean()) if colours.std(axis=0).all() else 1.0


def neighbours(levels: np.ndarray) -> float:
    """Correlation of what lies side by side and one above the other, mean over colours that vary, in [-1, 1]."""
    centred = levels - levels.mean(axis=(0, 1))
    spread = (centred**2).mean(axis=(0, 1))
    across = (centred[:, 1:] * centred[:, :-1]).mean(axis=(0, 1))
    down = (centred[1:] * centred[:-1]).mean(axis=(0, 1))
    varies = spread > 0
    return float((((across + down) / 2)[varies] / spread[varies]).mean()) if varies.any() else 1.0
