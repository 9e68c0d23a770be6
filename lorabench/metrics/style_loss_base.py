"""Base model preservation as the style that leaks into unrelated prompts."""

import numpy as np

from lorabench.components import MetricInputs, metric
from lorabench.statistics.distances import paired_squared_distances


@metric(
    criterion="base_model_preservation",
    higher_is_better=False,
    encoders=("vgg19", "vgg19_half"),
    prompt_types=("style", "drift"),
    compares_with=("base",),
)
def style_loss_base(inputs: MetricInputs) -> np.ndarray:
    """Mean style loss between each image and the base model's image of the same prompt and noise, >= 0 (LyCORIS D.4).

    Features are the Gram matrices of five layers, flattened and joined: their squared distance is the style loss.
    """
    return paired_squared_distances(inputs.generated, inputs.base)
