"""Add a metric of your own: one file, one decorated function.

A study finds it with `plugins = ["examples/add_a_metric.py"]`; from then on "kernel_distance" is scored, ranked,
explained and reported like every other metric. `python examples/add_a_metric.py` tries it on random features.
"""

import numpy as np

from lorabench.components import MetricInputs, metric


@metric(
    criterion="fidelity",
    higher_is_better=False,
    encoders=("dinov2", "clip"),  # the first is the default
    prompt_types=("train", "trigger", "alter"),
    compares_with=("dataset",),  # so `inputs.dataset` is there
)
def kernel_distance(inputs: MetricInputs) -> float:
    """Squared maximum mean discrepancy, kernel (x.y / d + 1)^3, unbiased: about 0 for two samples of one source.

    The "kernel inception distance" of Binkowski et al. (2018) on other features; may be slightly negative.
    """
    generated, dataset = inputs.generated.astype(np.float64), inputs.dataset.astype(np.float64)
    if min(len(generated), len(dataset)) < 2:
        # A ValueError becomes a missing value with this reason: it is shown in the report and skipped by the ranking.
        raise ValueError("A kernel distance needs at least 2 images on each side.")
    between = _kernel(generated, dataset).mean()
    return _mean_of_pairs(generated) + _mean_of_pairs(dataset) - 2 * float(between)


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _mean_of_pairs(rows: np.ndarray) -> float:
    """Mean kernel over the pairs of two different rows: leaving out i = j makes the estimate unbiased."""
    kernel = _kernel(rows, rows)
    n = len(rows)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def main() -> None:
    rng = np.random.default_rng(0)
    dataset = rng.normal(size=(40, 16)).astype(np.float32)
    for shift in (0.0, 0.5, 1.0):
        generated = (rng.normal(size=(100, 16)) + shift).astype(np.float32)
        inputs = MetricInputs(
            generated=generated, prompt_index=np.zeros(100, dtype=int), prompt_type="trigger", dataset=dataset
        )
        print(f"features shifted by {shift}: kernel_distance = {kernel_distance.compute(inputs).value:.4f}")


if __name__ == "__main__":
    main()
