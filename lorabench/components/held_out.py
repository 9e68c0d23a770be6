"""What follows from a metric of fidelity where pictures are held out of training: the same of those, and the gap.

Fidelity against training pictures rises when they are copied. An adapter that has learnt the concept comes as near to
pictures of it that it never saw.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from lorabench.components.metrics import Metric, MetricInputs
from lorabench.records import Value
from lorabench.seeds import derive_seed

HELD_OUT, GAP = "_held_out", "_gap"  # what their names end with
SPLITS, WINDOWS = 8, 8
_REMEMBERED = 16


def following(metric: Metric) -> tuple[str, ...]:
    """The endings of what follows from a metric."""
    if metric.criterion != "fidelity" or metric.compares_with != ("dataset",) or not metric.is_nearness:
        return ()
    return (HELD_OUT, GAP) if metric.scope == "leaf" else (HELD_OUT,)


@functools.cache
def held_out(metric: Metric) -> Metric:
    """The metric with pictures that no training has seen in the place of training pictures."""

    def instead(inputs: MetricInputs) -> MetricInputs:
        return replace(inputs, dataset=inputs.held_out, held_out=None)

    unbiased = metric.unbiased
    return replace(
        metric, name=metric.name + HELD_OUT, compute=lambda inputs: metric.compute(instead(inputs)),
        unbiased=unbiased and (lambda inputs: unbiased(instead(inputs))), compares_with=("held_out",),
        description=f"The same against pictures that no training has seen. {metric.description}",
    )  # fmt: skip


@functools.cache
def gap(metric: Metric) -> Metric:
    """How much nearer images come to training pictures than to held-out ones, beyond the luck of which are which.

    That luck is how much nearer real pictures come to the one side than to the other, each left out of its own; it is
    taken off, so that a picture of the concept that is on neither side has a gap of 0 in the mean, and so that two
    halves that change places have comparable gaps.
    """
    lucks: list[tuple[np.ndarray, np.ndarray, float]] = []

    def luck(inputs: MetricInputs) -> float:
        dataset, others = inputs.dataset, inputs.held_out
        for known in lucks:
            if known[0] is dataset and known[1] is others:
                return known[2]
        found = [_of_real(metric, inputs, dataset, others), -_of_real(metric, inputs, others, dataset)]
        if np.isnan(found).all():
            raise ValueError("A gap takes two real pictures on one side, to tell it from the luck of the split.")
        lucks.append((dataset, others, float(np.nanmean(found))))
        del lucks[:-_REMEMBERED]
        return lucks[-1][2]

    def compute(inputs: MetricInputs) -> Value:
        try:
            raw, by_luck = _difference(metric, inputs, inputs.dataset, inputs.held_out), luck(inputs)
        except ValueError as error:
            return Value(float("nan"), str(error))
        if raw.per_image is None:
            return Value(raw.value - by_luck)
        return Value(raw.value - by_luck, per_image=raw.per_image - by_luck)

    said = f"How much nearer images come to training pictures than to others of their concept, by {metric.name}."
    return replace(
        metric, name=metric.name + GAP, compute=compute, unbiased=None, criterion="memorisation",
        higher_is_better=False, compares_with=("dataset", "held_out"), description=f"{said} {metric.description}",
    )  # fmt: skip


FOLLOWING = {HELD_OUT: held_out, GAP: gap}


def _of_real(metric: Metric, inputs: MetricInputs, own: np.ndarray, others: np.ndarray) -> float:
    """How much nearer some of `own` come to the rest of it than to `others`: a mean over splits; NaN of one alone."""
    if len(own) < 2:
        return float("nan")
    found = []
    for split in range(SPLITS):
        order = np.random.default_rng(derive_seed("gap", split)).permutation(len(own))
        some, rest = own[order[: len(own) // 2]], own[order[len(own) // 2 :]]
        of_some = replace(inputs, generated=some, prompt_index=np.zeros(len(some), int))
        found.append(_difference(metric, of_some, rest, others).value)
    return float(np.mean(found))


def _difference(metric: Metric, inputs: MetricInputs, near: np.ndarray, far: np.ndarray) -> Value:
    """How much nearer the images come to `near` than to `far`. ValueError with the reason where there is no value.

    Of what falls with the number of pictures, a centroid's distance say, both are worked out on as many as the smaller
    side has: a mean over windows of each.
    """
    sign = 1 if metric.higher_is_better else -1
    first, second = _computed(metric, inputs, near), _computed(metric, inputs, far)
    if first.per_image is not None and second.per_image is not None:
        each = sign * (first.per_image - second.per_image)
        return Value(sign * (first.value - second.value), per_image=each)
    size = min(len(near), len(far))
    return Value(sign * (_over_windows(metric, inputs, near, size) - _over_windows(metric, inputs, far, size)))


def _over_windows(metric: Metric, inputs: MetricInputs, side: np.ndarray, size: int) -> float:
    count = min(WINDOWS, len(side)) if size < len(side) else 1
    around = np.concatenate([side, side])
    starts = (place * len(side) // count for place in range(count))
    return float(np.mean([_computed(metric, inputs, around[start : start + size]).value for start in starts]))


def _computed(metric: Metric, inputs: MetricInputs, dataset: np.ndarray) -> Value:
    found = metric.compute(replace(inputs, dataset=dataset, held_out=None))
    if np.isnan(found.value):
        raise ValueError(found.reason)
    return found
