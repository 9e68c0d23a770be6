"""Fidelity to a style."""

import numpy as np

from lorabench.components import MetricInputs, metric
from lorabench.statistics.distances import mean_squared_distances


@metric(
    criterion="fidelity",
    higher_is_better=False,
    encoders=("vgg19", "vgg19_half"),
    prompt_types=("train", "trigger", "alter"),
    compares_with=("dataset",),
    categories=("styles",),
)
def style_loss_data(inputs: MetricInputs) -> np.ndarray:
    """Mean style loss over all pairs of a generated and a data-set image, >= 0; category "styles" only (LyCORIS F.5).

    Features are the Gram matrices of five layers, flattened and joined: their squared distance is the style loss.
    """
    return mean_squared_distances(inputs.generated, inputs.dataset)
