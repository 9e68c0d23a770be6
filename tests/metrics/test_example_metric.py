"""The example plug-in: found by name once loaded, and right."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lorabench import components
from lorabench.components import MetricInputs

EXAMPLE = Path(__file__).parents[2] / "examples" / "add_a_metric.py"


@pytest.fixture
def kernel_distance():
    before = dict(components._plugins["metrics"])
    assert components.load_plugin(EXAMPLE) == ["metrics/kernel_distance"]
    assert "kernel_distance" in components.names("metrics")
    yield components.find("metrics", "kernel_distance")
    components._plugins["metrics"].clear()
    components._plugins["metrics"].update(before)


def test_kernel_distance_agrees_with_its_definition(kernel_distance):
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 1, (5, 4)), rng.normal(0, 1, (3, 4))
    answer = kernel_distance.compute(MetricInputs(first, np.zeros(5, dtype=int), "train", dataset=second))

    def kernel(a, b):
        return (a @ b / 4 + 1) ** 3

    within = [
        np.mean([kernel(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j])
        for rows in (first, second)
    ]
    between = np.mean([kernel(a, b) for a in first for b in second])
    assert answer.value == pytest.approx(sum(within) - 2 * between, rel=1e-12)


def test_one_image_is_a_missing_value_with_a_reason(kernel_distance):
    one = np.ones((1, 4), dtype=np.float32)
    answer = kernel_distance.compute(MetricInputs(one, np.zeros(1, dtype=int), "train", dataset=one))
    assert np.isnan(answer.value) and "at least 2 images" in answer.reason


def test_the_example_runs_as_a_script():
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True, cwd=EXAMPLE.parents[1])
    assert run.stdout.count("kernel_distance = ") == 3
