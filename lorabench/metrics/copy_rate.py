"""Memorisation: images that are copies of training images rather than images of the concept."""

import numpy as np

from lorabench.components import MetricInputs, metric
from lorabench.statistics.similarity import unit_rows


@metric(
    criterion="memorisation",
    higher_is_better=False,
    encoders=("dinov2", "clip", "convnextv2"),
    prompt_types=("train", "trigger", "alter"),
    compares_with=("dataset",),
    may_compare_with=("held_out",),
)
def copy_rate(inputs: MetricInputs) -> np.ndarray:
    """Share of images nearer to their nearest training image than any other real image is to it, in [0, 1].

    One less the authenticity of Alaa et al. (2022), by cosine; real images are training images, and those held out
    where there are some. Read it beside image similarity, which copies raise.
    """
    real = inputs.dataset if inputs.held_out is None else np.concatenate([inputs.dataset, inputs.held_out])
    if len(real) < 2:
        raise ValueError("A copy is told by how far real images are from each other; there is only one.")
    generated, dataset = unit_rows(inputs.generated), unit_rows(inputs.dataset)
    among = dataset @ unit_rows(real).T
    np.fill_diagonal(among, -np.inf)
    to_dataset = generated @ dataset.T
    return (to_dataset.max(axis=1) > among.max(axis=1)[to_dataset.argmax(axis=1)]).astype(np.float64)
