"""Image sets in parts that may be drawn one after another: which images come first, and what each part measures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lorabench.components import Metric, MetricInputs
from lorabench.records import Value
from lorabench.seeds import derive_seed
from lorabench.stages.blocks import rows_of
from lorabench.statistics.decisions import MOST_ROUNDS

LEAST = 2  # images of which a set has a diversity, or a scatter


def order_of(prompt_index: np.ndarray, *names: str) -> np.ndarray:
    """In which order the images of a set are drawn, places [n]: any first few are of as many prompts as they can be.

    Which prompts and which of their images come first is drawn at random, from `names` alone, so that the first few
    stand for all; two checkpoints have the same order.
    """
    rng = np.random.default_rng(derive_seed("rounds", *names))
    turn = np.empty(len(prompt_index), int)  # of an image among those of its prompt
    seen: dict[int, int] = {}
    for place in rng.permutation(len(prompt_index)):
        prompt = int(prompt_index[place])
        turn[place] = seen[prompt] = seen.get(prompt, -1) + 1
    prompts = rng.permutation(int(prompt_index.max(initial=-1)) + 1)
    return np.lexsort((prompts[prompt_index], turn))


def part_size(metric: Metric, per_set: int) -> int:
    """Images of a part: one where each image has a value, else those of a first round, at least two.

    A Vendi score or a Frechet distance moves with the number of images, so every part is of as many.
    """
    return 1 if metric.is_of_images else max(LEAST, -(-per_set // 2 ** (MOST_ROUNDS - 1)))


def part_values(
    metric: Metric,
    compute: Callable[[Metric, MetricInputs], Value],
    whole: Value,
    inputs: MetricInputs,
    kept: np.ndarray,
    order: np.ndarray,
    size: int,
) -> np.ndarray:
    """What the parts of `size` images of a set measure, [parts], in their order; NaN of a part that has no value. None
    where single images are too few for it.

    `whole` is the value of all `inputs`, which are of those images of the set, bool [n], that are `kept`; part i of two
    checkpoints is of the same images. Where each image has a value a part has their mean; else, of the metric without
    the bias of few images if there is such a one.
    """
    row_of = np.cumsum(kept) - 1
    parts = order[: len(order) // size * size].reshape(-1, size)
    if whole.per_image is not None:
        values = np.where(kept, whole.per_image[row_of], np.nan)[parts]
        known = np.isfinite(values)
        return np.where(known, values, 0.0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
    if size < LEAST:
        return np.empty(0)
    found = np.full(len(parts), np.nan)
    for number, places in enumerate(parts):
        if kept[places].all():
            chosen = rows_of(inputs, np.sort(row_of[places]))
            found[number] = compute(metric, chosen).value if metric.unbiased is None else metric.unbiased(chosen)
    return found
