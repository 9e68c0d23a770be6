"""Agreement of seeds, against a published example."""

import numpy as np
import pytest

from lorabench.statistics.reliability import intraclass_correlation

# Four judges, six targets: Shrout and Fleiss (1979), table 2; their ICC(1,1) is 0.17.
JUDGED = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


def test_the_example_of_shrout_and_fleiss():
    assert intraclass_correlation(JUDGED.ravel(), np.repeat(np.arange(6), 4)) == pytest.approx(0.17, abs=0.005)


def test_groups_of_different_sizes_recover_the_planted_share():
    rng, sizes = np.random.default_rng(0), np.tile([2, 3, 4], 500)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    values = rng.normal(0, 3, len(sizes))[groups] + rng.normal(0, 4, len(groups))
    assert intraclass_correlation(values, groups) == pytest.approx(9 / 25, abs=0.04)
    values[::7] = np.nan
    assert intraclass_correlation(values, groups) == pytest.approx(9 / 25, abs=0.04)


@pytest.mark.parametrize("values, groups", [([1.0, 2.0], "aa"), ([1.0, 2.0], "ab"), ([1.0, 1, 1, 1], "aabb"), ([], "")])
def test_what_cannot_be_said_is_nan(values, groups):
    assert np.isnan(intraclass_correlation(values, list(groups)))
