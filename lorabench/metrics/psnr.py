"""Likeness pixel by pixel: a negative control."""

import numpy as np

from lorabench.components import MetricInputs, metric


@metric(
    criterion="fidelity",
    higher_is_better=True,
    encoders=("pixels",),
    prompt_types=("train", "trigger", "alter"),
    compares_with=("dataset",),
)
def psnr(inputs: MetricInputs) -> np.ndarray:
    """Peak signal-to-noise ratio in dB, mean over all pairs of a generated and a data-set image; at most 100.

    A negative control: it does not know a concept in another pose (LyCORIS H.2), so its audit card should fail.
    """
    if not len(inputs.generated):
        raise ValueError("There are no images.")
    generated, dataset = (array.astype(np.float64) for array in (inputs.generated, inputs.dataset))
    squares = (generated**2).sum(1)[:, None] + (dataset**2).sum(1)[None] - 2 * generated @ dataset.T
    error = np.maximum(squares / generated.shape[1], 1e-10)  # equal pictures have no ratio: 100 dB stands for it
    return -10 * np.log10(error).mean(axis=1)
