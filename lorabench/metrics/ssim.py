"""Likeness of local structure: a negative control."""

import itertools
import math

import numpy as np

from lorabench.components import MetricInputs, metric


@metric(
    criterion="fidelity",
    higher_is_better=True,
    encoders=("pixels",),
    prompt_types=("train", "trigger", "alter"),
    compares_with=("dataset",),
)
def ssim(inputs: MetricInputs) -> np.ndarray:
    """Structural similarity (Wang et al. 2004), mean over all pairs of a generated and a data-set image, in [-1, 1].

    A negative control as `psnr` is. Computed by scikit-image, which `pip install 'lorabench[controls]'` brings.
    """
    if not len(inputs.generated):
        raise ValueError("There are no images.")
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise ValueError("It needs scikit-image: pip install 'lorabench[controls]'.") from error
    side = math.isqrt(inputs.generated.shape[1] // 3)
    generated, dataset = (
        array.astype(np.float64).reshape(-1, side, side, 3) for array in (inputs.generated, inputs.dataset)
    )
    pairs = itertools.product(generated, dataset)
    values = [structural_similarity(*pair, channel_axis=2, data_range=1.0) for pair in pairs]
    return np.reshape(values, (len(generated), len(dataset))).mean(axis=1)
