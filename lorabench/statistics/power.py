"""What a paired comparison could have seen, and how much more work would let it see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

LEVEL, POWER = 0.05, 0.8
Worth = tuple[float, float]
MOST_SEEDS = 100  # more than anybody trains


@dataclass(frozen=True)
class Components:
    """Variances of differences between classes, between training seeds, and of what is left (images, interaction)."""

    classes: float
    seeds: float
    rest: float


def minimum_detectable(se: float, df: float, level: float = LEVEL) -> float:
    """The smallest true difference that a two-sided test at `level` finds in 80 % of studies of this standard error."""
    return float(_reach(df, level) * se)


def variance_components(differences: np.ndarray) -> Components | None:
    """Of `differences` [classes, seeds], by the mean squares of a two-way layout without repetition, none below 0.

    None where a value is missing or either side has fewer than two levels.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or np.isnan(values).any():
        return None
    n_classes, n_seeds = values.shape
    of_class, of_seed = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    rest = float(np.square(values - of_class - of_seed + values.mean()).sum() / ((n_classes - 1) * (n_seeds - 1)))
    between_classes = float(of_class.var(ddof=1)) - rest / n_seeds
    between_seeds = float(of_seed.var(ddof=1)) - rest / n_classes
    return Components(max(between_classes, 0.0), max(between_seeds, 0.0), rest)


def seeds_needed(
    difference: float,
    found: Components,
    n_classes: int,
    n_seeds: int = 1,
    level: float = LEVEL,
    worth: Worth = (1.0, 1.0),
) -> int | None:
    """Training seeds, more than `n_seeds`, with which this difference would be detectable at `level`, all else equal.

    `worth`: so many differences tell how much those of classes, and of seeds, vary. None if 100 are not enough.
    """
    numbers = np.arange(max(n_seeds + 1, 2), MOST_SEEDS + 1)
    enough = numbers[_detectable(found, n_classes, numbers, 1.0, level, worth) <= abs(difference)]
    return int(enough[0]) if len(enough) else None


def images_needed(
    difference: float, found: Components, n_classes: int, n_seeds: int, level: float = LEVEL, worth: Worth = (1.0, 1.0)
) -> float | None:
    """By what factor, at the least, more images a set would make this difference detectable; None if 1000 would not.

    All of the rest variance is taken to be image noise, which is the best case for more images.
    """
    factors = np.geomspace(1, 1000, 121)[1:]
    enough = factors[_detectable(found, n_classes, n_seeds, factors, level, worth) <= abs(difference)]
    return float(enough[0]) if len(enough) else None


def _detectable(
    found: Components,
    n_classes: int,
    n_seeds: int | np.ndarray,
    images: float | np.ndarray,
    level: float = LEVEL,
    worth: Worth = (1.0, 1.0),
) -> np.ndarray:
    """What this many classes, seeds and times as many images would detect, with the intervals of `clustered_means`."""
    rest = found.rest / (n_classes * n_seeds * images)
    of_classes, of_seeds = found.classes / n_classes + rest, found.seeds / n_seeds + rest
    variance = np.asarray(of_classes + of_seeds - rest)
    spread = of_classes**2 / (n_classes - 1) / worth[0] + of_seeds**2 / (n_seeds - 1) / worth[1]
    df = np.divide(variance**2, spread, out=np.ones_like(variance), where=spread > 0)
    return _reach(df, level) * np.sqrt(variance)


def _reach(df: float | np.ndarray, level: float) -> np.ndarray:
    """Standard errors from no difference to one that is found with the wanted power.

    That is the noncentrality of a t distribution, by the normal approximation of Abramowitz & Stegun (1964, 26.7.10):
    5 % too large with one degree of freedom, 2 % with two, and exact iterations take seconds there.
    """
    critical = stdtrit(df, 1 - level / 2)
    return critical * (1 - 1 / (4 * df)) + ndtri(POWER) * np.sqrt(1 + critical**2 / (2 * df))
