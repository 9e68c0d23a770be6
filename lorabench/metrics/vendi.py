"""Diversity as an effective number of different images."""

import numpy as np

from lorabench.components import MetricInputs, metric
from lorabench.statistics.similarity import vendi_score


@metric(
    criterion="diversity",
    higher_is_better=True,
    encoders=("dinov2", "clip", "convnextv2", "convnextv2_logits"),
    prompt_types=("train", "trigger", "alter"),
)
def vendi(inputs: MetricInputs) -> float:
    """Vendi score of the generated images, in [1, n]: exp of the entropy of the eigenvalues of K/n, linear kernel.

    Over all images; for alter prompts per prompt, then the mean, so that different prompts do not count as diversity.
    Computed by the package vendi-score with q = 1.
    """
    groups = [inputs.generated]
    if inputs.prompt_type == "alter":
        groups = [inputs.generated[inputs.prompt_index == prompt] for prompt in np.unique(inputs.prompt_index)]
    if all(len(group) < 2 for group in groups):
        raise ValueError("Diversity needs at least 2 images of one prompt; a single one always scores 1.")
    return float(np.mean([vendi_score(group) for group in groups]))
