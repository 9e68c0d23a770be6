"""Copies are told from new images of the same concept."""

from __future__ import annotations

import numpy as np

from lorabench.components import MetricInputs
from lorabench.metrics.copy_rate import copy_rate


def _measured(generated: np.ndarray, dataset: np.ndarray):
    index = np.zeros(len(generated), dtype=int)
    return copy_rate.compute(
        MetricInputs(generated.astype(np.float32), index, "train", dataset=dataset.astype(np.float32))
    )


def test_copies_count_and_new_images_do_not():
    rng = np.random.default_rng(0)
    concept = rng.normal(size=64)
    dataset, new = (concept + rng.normal(size=(20, 64)) for _ in range(2))
    copies = dataset + 0.05 * rng.normal(size=dataset.shape)
    assert _measured(copies, dataset).value == 1
    assert _measured(new, dataset).value < 0.7  # half of them by chance: alike in distribution, one image is as near
    far = -concept + rng.normal(size=(20, 64))
    assert _measured(far, dataset).value == 0
    assert _measured(np.concatenate([copies, far]), dataset).value == 0.5


def test_one_training_image_says_nothing():
    alone = _measured(np.ones((3, 4)), np.ones((1, 4)))
    assert np.isnan(alone.value) and "there is only one" in alone.reason
