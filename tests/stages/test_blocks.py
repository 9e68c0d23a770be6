"""Blocks of a value: they average to it, and vary as the value does from draw to draw."""

from __future__ import annotations

import numpy as np
import pytest

from lorabench import components
from lorabench.components import MetricInputs
from lorabench.stages.blocks import BLOCKS, block_values


def inputs(rng: np.random.Generator, n: int = 60) -> MetricInputs:
    generated = (rng.normal(size=(n, 6)) + 1).astype(np.float32)
    return MetricInputs(generated, np.arange(n) % 4, "trigger", dataset=np.eye(6, dtype=np.float32) + 0.5)


@pytest.mark.parametrize("name", ["image_similarity", "squared_centroid_distance", "vendi", "frechet_distance"])
def test_blocks_average_to_the_value_and_know_how_far_it_varies(name):
    metric, rng = components.find("metrics", name), np.random.default_rng(0)
    values, errors = [], []
    for _ in range(200):
        drawn = inputs(rng)
        whole = metric.compute(drawn)
        blocks = block_values(metric.compute, drawn, whole)
        assert len(blocks) == BLOCKS and np.mean(blocks) == pytest.approx(whole.value)
        values.append(whole.value)
        errors.append(np.std(blocks, ddof=1) / np.sqrt(BLOCKS))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values, ddof=1), rel=0.25)


def test_what_has_no_value_has_no_blocks():
    metric, drawn = components.find("metrics", "vendi"), inputs(np.random.default_rng(1), n=1)
    assert block_values(metric.compute, drawn, metric.compute(drawn)) == ()
