"""The contract of metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lorabench.records import PromptType, Value

Criterion = Literal[
    "fidelity", "controllability", "diversity", "base_model_preservation", "memorisation", "image_quality"
]
Compared = Literal["dataset", "held_out", "base", "text"]  # what a metric looks at beside the generated images


@dataclass(frozen=True)
class MetricInputs:
    """All that a metric may look at, for one leaf (one concept, one prompt type).

    Every array is float32, rows are images. What the metric does not ask for, or may do without, can be None.
    """

    generated: np.ndarray  # [n, d]
    prompt_index: np.ndarray  # int [n]: which prompt of the set drew image i
    prompt_type: PromptType  # some metrics are defined per prompt for one type and over all images for another
    dataset: np.ndarray | None = None  # [m, d] features of the concept's training images
    base: np.ndarray | None = None  # [n, d] the base model's images of the same prompts and noise: row i pairs
    text: np.ndarray | None = None  # [n, d] features of each image's text for alignment; NaN rows = no text
    held_out: np.ndarray | None = None  # [l, d] pictures of the concept that no training has seen


@dataclass(frozen=True)
class Metric:
    """What is measured, on what, and which way is better."""

    name: str
    compute: Callable[[MetricInputs], Value]
    criterion: Criterion
    higher_is_better: bool
    encoders: tuple[str, ...]  # those it has a meaning for; the study picks among them; first = default
    prompt_types: tuple[PromptType, ...]
    compares_with: tuple[Compared, ...] = ()
    categories: tuple[str, ...] | None = None  # None = all
    scope: Literal["leaf", "checkpoint"] = "leaf"  # "checkpoint": features of all concepts are pooled
    description: str = ""
    version: int = 1  # rises when its numbers change
    may_compare_with: tuple[Compared, ...] = ()  # what it looks at too where there is any
    unbiased: Callable[[MetricInputs], float] | None = (
        None  # the same in the mean for any number of images; None: not so
    )
    is_of_images: bool = False  # a mean of one value an image; True of what its function says it returns
    is_nearness: bool = True  # False: the data set's images only tell it what to look for, held-out ones tell the same


def metric(
    *,
    criterion: Criterion,
    higher_is_better: bool,
    encoders: tuple[str, ...],
    prompt_types: tuple[PromptType, ...],
    compares_with: tuple[Compared, ...] = (),
    may_compare_with: tuple[Compared, ...] = (),
    unbiased: Callable[[MetricInputs], float] | None = None,
    is_nearness: bool = True,
    categories: tuple[str, ...] | None = None,
    scope: Literal["leaf", "checkpoint"] = "leaf",
    version: int = 1,
) -> Callable[[Callable[[MetricInputs], np.ndarray | Value | float]], Metric]:
    """Turn `compute(inputs)` into a Metric named after the function.

    It answers with an array of one value an image, whose mean is the metric's (NaN: no value of that image), or with
    the value of the whole set; NaN needs a `Value(nan, reason)`. A ValueError becomes NaN with its message. `unbiased`
    answers for a part of a set where the value of few images is not, in the mean, that of many.
    """

    def wrap(function: Callable[[MetricInputs], np.ndarray | Value | float]) -> Metric:
        def compute(inputs: MetricInputs) -> Value:
            try:
                answer = function(inputs)
            except ValueError as error:
                return Value(float("nan"), str(error))
            if isinstance(answer, np.ndarray) and answer.ndim == 1:
                if np.isnan(answer).all():
                    return Value(float("nan"), "No image has a value.")
                return Value(float(np.nanmean(answer)), per_image=answer)
            return answer if isinstance(answer, Value) else Value(float(answer))

        return Metric(
            name=function.__name__,
            compute=compute,
            criterion=criterion,
            higher_is_better=higher_is_better,
            encoders=encoders,
            prompt_types=prompt_types,
            compares_with=compares_with,
            categories=categories,
            scope=scope,
            description=(function.__doc__ or "").strip(),
            version=version,
            may_compare_with=may_compare_with,
            unbiased=unbiased,
            is_of_images="ndarray" in str(function.__annotations__.get("return", "")),
            is_nearness=is_nearness,
        )

    return wrap
