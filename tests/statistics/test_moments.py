"""Which moment of a config to take: a paired test of its own files, over the seeds that have them all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lorabench.statistics.moments import compare_moments_with_best

LEAF = {"category": "toys", "class_name": "octo", "subclass": "", "prompt_type": "train", "encoder": "e", "resize": ""}


def row(config: str, seed: int, epoch: int, blocks, scale: float = 1.0, metric: str = "up") -> dict:
    name = f"{config}-{seed}-{epoch}-{scale}"
    place = {"checkpoint": name, "config": config, "algorithm": "lora", "seed": seed, "epoch": epoch, "step": pd.NA}
    return {**place, "scale": scale, **LEAF, "metric": metric, "value": float(np.mean(blocks)), "blocks": tuple(blocks)}


def test_two_moments_are_a_paired_t_test_of_their_seeds_means():
    random = np.random.default_rng(0)
    noise, gain = random.normal(size=8), random.normal(0.4, 0.3, 8)
    early = {seed: noise + random.normal(0, 0.1, 8) for seed in (1, 2)}
    late = {seed: noise + gain + random.normal(0, 0.1, 8) for seed in (1, 2)}
    rows = [row("a", seed, epoch, of[seed]) for epoch, of in ((2, early), (4, late)) for seed in (1, 2)]
    rows += [row("b", 1, 2, noise), row("b", 1, 2, noise + 1, scale=0.5)]
    found = compare_moments_with_best(pd.DataFrame(rows), {"up": True}).query("category == 'toys'")
    a = found[found["config"] == "a"].set_index("epoch")
    expected = stats.ttest_rel(np.mean([early[1], early[2]], axis=0), np.mean([late[1], late[2]], axis=0))
    assert a.loc[4, "verdict"] == "best" and a.loc[2, "n_seeds"] == 2
    assert a.loc[2, "p"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (a.loc[2, "low"], a.loc[2, "high"]) == pytest.approx((interval.low, interval.high))
    assert a.loc[2, "verdict"] == ("worse" if expected.pvalue <= 0.05 else "tied")
    b = found[found["config"] == "b"].set_index("scale")
    assert b.loc[0.5, "verdict"] == "best" and b.loc[1.0, "verdict"] == "worse"


def test_seeds_that_lack_a_moment_do_not_decide():
    """Seed 2 was trained to epoch 2 alone, and is the best of all by luck."""
    rows = [row("a", 1, epoch, np.arange(4.0) + epoch) for epoch in (2, 4)] + [row("a", 2, 2, np.arange(4.0) + 9)]
    found = compare_moments_with_best(pd.DataFrame(rows), {"up": True}).query("category == 'all'").set_index("epoch")
    assert found["verdict"].to_dict() == {2: "worse", 4: "best"} and set(found["n_seeds"]) == {1}


def test_what_is_lower_may_be_better_and_sets_of_other_sizes_do_not_pair():
    rows = [row("a", 1, 2, (1.0, 2.0, 3.0), metric="down"), row("a", 1, 4, (2.0, 3.5, 4.0), metric="down")]
    rows += [row("a", 2, 2, (1.0, 2.0), metric="down"), row("a", 2, 4, (2.0, 3.0), metric="down")]
    assert compare_moments_with_best(pd.DataFrame(rows), {"down": False}).empty
    found = compare_moments_with_best(pd.DataFrame(rows[:2]), {"down": False}).query("category == 'all'")
    assert found.set_index("epoch")["verdict"][2] == "best" and (found["difference"].dropna() >= 0).all()
