"""Image quality as a model sees it that knows no reference."""

import numpy as np

from lorabench.components import MetricInputs, metric


@metric(
    criterion="image_quality",
    higher_is_better=True,
    encoders=("liqe", "maniqa", "artifacts"),
    prompt_types=("train", "trigger", "alter"),
)
def image_quality(inputs: MetricInputs) -> np.ndarray:
    """Mean quality score of the generated images: LIQE in [1, 5], MANIQA in [0, 1], or 5 less the artifact score.

    Studied in LyCORIS H.2 and found unsuitable to tell configs apart: optional, and in no table by default.
    """
    if not len(inputs.generated):
        raise ValueError("There are no images.")
    return inputs.generated.mean(axis=1)
