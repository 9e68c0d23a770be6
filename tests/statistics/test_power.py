"""What studies detect: against simulated ones, and against components that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lorabench.statistics.clustered import clustered_mean
from lorabench.statistics.power import (
    Components,
    images_needed,
    minimum_detectable,
    seeds_needed,
    variance_components,
)


def test_components_are_those_of_the_planted_variances():
    rng = np.random.default_rng(0)
    found = [
        variance_components(2 * rng.normal(size=(12, 1)) + rng.normal(size=(1, 6)) + 0.5 * rng.normal(size=(12, 6)))
        for _ in range(300)
    ]
    means = np.mean([[each.classes, each.seeds, each.rest] for each in found], axis=0)
    assert means == pytest.approx([4, 1, 0.25], rel=0.15)


def test_components_need_two_classes_two_seeds_and_all_values():
    assert variance_components(np.zeros((5, 1))) is None
    assert variance_components(np.zeros((1, 5))) is None
    assert variance_components(np.array([[0.0, np.nan], [1.0, 2.0]])) is None
    assert variance_components(np.zeros((3, 3))) == Components(0, 0, 0)


def test_four_of_five_studies_find_a_difference_of_the_detectable_size():
    # 12 classes that alone vary: the standard error is known, and the test is Student's.
    rng, size = np.random.default_rng(1), minimum_detectable(1 / np.sqrt(12), 11)
    groups = np.arange(12)
    found = [clustered_mean(size + rng.normal(size=12), groups).p <= 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)
    # With two degrees of freedom the sum of two quantiles, the usual shortcut, would be a tenth too small.
    assert stats.nct.sf(stats.t.ppf(0.995, 2), 2, minimum_detectable(1.0, 2, 0.01)) == pytest.approx(0.8, abs=0.02)


def test_more_seeds_help_only_against_the_luck_of_training():
    luck = Components(classes=0.0, seeds=1.0, rest=0.0)
    needed = seeds_needed(1.0, luck, n_classes=20)
    assert needed is not None and 9 <= needed <= 14
    assert seeds_needed(2.0, luck, n_classes=20) < needed < seeds_needed(1.0, luck, n_classes=20, level=0.005)
    assert seeds_needed(1.0, luck, n_classes=20, n_seeds=50) == 51
    assert seeds_needed(0.1, Components(classes=1.0, seeds=0.0, rest=0.0), n_classes=20) is None


def test_more_images_help_only_against_what_classes_and_seeds_leave():
    noise = Components(classes=0.0, seeds=0.0, rest=1.0)
    factor = images_needed(0.2, noise, n_classes=10, n_seeds=3)
    assert factor is not None and factor > 1
    assert images_needed(0.1, noise, n_classes=10, n_seeds=3) == pytest.approx(4 * factor, rel=0.1)
    assert images_needed(5.0, noise, n_classes=10, n_seeds=3) < 1.1
    assert images_needed(0.1, Components(0.0, 1.0, 0.01), n_classes=10, n_seeds=3) is None
