"""Fidelity of a whole checkpoint: all classes at once."""

from lorabench.components import MetricInputs, metric
from lorabench.statistics import distances


@metric(
    criterion="fidelity",
    higher_is_better=False,
    encoders=("dinov2",),
    prompt_types=("train",),
    compares_with=("dataset",),
    scope="checkpoint",
)
def frechet_distance(inputs: MetricInputs) -> float:
    """Squared Frechet distance between all generated and all data-set images of a checkpoint, >= 0.

    With d images or fewer a covariance is singular; the value is exact but biased upwards: compare equal counts only.
    """
    return distances.frechet_distance(inputs.generated, inputs.dataset)
