"""Fidelity without a bonus for low diversity."""

from lorabench.components import MetricInputs, metric
from lorabench.statistics import similarity


@metric(
    criterion="fidelity",
    higher_is_better=False,
    encoders=("dinov2", "clip", "convnextv2", "convnextv2_logits"),
    prompt_types=("train", "trigger", "alter", "together"),
    compares_with=("dataset",),
    unbiased=lambda inputs: similarity.unbiased_squared_centroid_distance(inputs.generated, inputs.dataset),
)
def squared_centroid_distance(inputs: MetricInputs) -> float:
    """Squared distance between the centroids of the normalised features of generated and data-set images, in [0, 4].

    LyCORIS D.4; unlike the image similarity it does not reward low diversity, so it goes beside the Vendi score.
    """
    return similarity.squared_centroid_distance(inputs.generated, inputs.dataset)
