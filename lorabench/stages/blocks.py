"""The parts of a value that come from which images, so that two files can be compared on one data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lorabench.components import MetricInputs
from lorabench.records import Value

BLOCKS = 10  # of the images of a set at most; each costs a metric of whole sets one more computation


def block_values(
    compute: Callable[[MetricInputs], Value], inputs: MetricInputs, whole: Value, kept: np.ndarray | None = None
) -> tuple[float, ...]:
    """The value of each block of images, with `whole` as their mean; () where there is none.

    Image i belongs to block i modulo their number, so that blocks of two checkpoints hold the same prompts and noise.
    Of a metric with one value an image it is the mean of those; of others the pseudo-value of the jackknife that leaves
    out a block (Tukey 1958; by groups: Quenouille 1956). `kept` says which of the images of a set the inputs are of,
    bool [images]: the others leave their blocks, and nobody takes their places; () where a block is left empty.
    """
    places = np.arange(len(inputs.generated)) if kept is None else np.flatnonzero(kept)
    count = min(BLOCKS, len(places) if kept is None else len(kept))
    block = places % max(1, count)
    if np.isnan(whole.value) or count < 2 or len(set(block.tolist())) < count:
        return ()
    if whole.per_image is not None:
        parts = [_mean(whole.per_image[block == each]) for each in range(count)]
    else:
        without = [compute(rows_of(inputs, block != each)).value for each in range(count)]
        parts = [count * whole.value - (count - 1) * value for value in without]
    values = np.array(parts)
    values += whole.value - values.mean()  # blocks are not of one size to the image, and a jackknife corrects a bias
    return tuple(values.tolist()) if np.isfinite(values).all() else ()


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def rows_of(inputs: MetricInputs, kept: np.ndarray) -> MetricInputs:
    """The inputs with some of the generated images and what is paired with them."""
    paired = {name: array[kept] for name in ("base", "text") if (array := getattr(inputs, name)) is not None}
    return replace(inputs, generated=inputs.generated[kept], prompt_index=inputs.prompt_index[kept], **paired)
