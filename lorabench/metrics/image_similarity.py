"""Fidelity as mean cosine."""

import numpy as np

from lorabench.components import MetricInputs, metric
from lorabench.statistics.similarity import mean_cosines


@metric(
    criterion="fidelity",
    higher_is_better=True,
    encoders=("dinov2", "clip", "convnextv2", "convnextv2_logits"),
    prompt_types=("train", "trigger", "alter", "together"),
    compares_with=("dataset",),
)
def image_similarity(inputs: MetricInputs) -> np.ndarray:
    """Mean cosine over all pairs of a generated and a data-set image, in [-1, 1].

    LyCORIS eq. 22; favours sets of low diversity (eq. 23).
    """
    return mean_cosines(inputs.generated, inputs.dataset)
