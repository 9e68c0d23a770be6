"""Evidence over rounds: one round alone is the fixed test, and looking often makes no false discoveries."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from lorabench.statistics.anytime import Evidence
from lorabench.statistics.comparisons import compare_with_best

LEVELS, CLASSES, SEEDS, IMAGES = 6, 20, 3, 8
MEASURED = {"prompt_type": "train", "metric": "m", "encoder": "e", "resize": "", "category": "toys", "subclass": ""}


def values(rng, effects=0.0, seeds=SEEDS, tails=2.1):
    """[classes, seeds, levels, images]: noise, and what a config, a class of it and a training of it add."""
    shape = (CLASSES, seeds, LEVELS)
    lucky = 0.1 * (rng.normal(size=(CLASSES, 1, LEVELS)) + rng.normal(size=(1, seeds, LEVELS)) + rng.normal(size=shape))
    return (effects + lucky)[..., None] + rng.standard_t(tails, (*shape, IMAGES))


def table(of):
    rows = pd.MultiIndex.from_product(
        [["toys"], [f"c{n}" for n in range(CLASSES)], range(of.shape[1])], names=["home", "class_name", "seed"]
    )
    return pd.DataFrame(of.mean(-1).reshape(-1, LEVELS), rows)


def after(of, looks=(1, 2, 4, 8), margin=None):
    evidence = Evidence.none(LEVELS, margin)
    for look in looks:
        evidence = evidence.after(table(of[..., :look]), [], 1 / len(looks))
        yield evidence


def test_a_single_round_is_the_test_of_a_finished_study():
    of = values(np.random.default_rng(3), np.linspace(0, 2, LEVELS))
    (evidence,) = after(of, [8])
    long = table(of).stack().rename("score").reset_index().rename(columns={"level_3": "config"})
    long["checkpoint"] = long["config"].astype(str) + "-" + long["seed"].astype(str)
    fixed = compare_with_best(long.assign(**MEASURED), "config", power=False).query("category == 'toys'")
    best = int(fixed["best"].iloc[0])
    others = fixed[fixed["config"] != best]
    places = others["config"].to_numpy()
    assert evidence.worse[places, best] == pytest.approx(others["p"].to_numpy() / 2)
    assert evidence.low[places, best] == pytest.approx(others["low"]) and (evidence.worse[best, places] > 0.5).all()


def test_rounds_share_the_level_and_the_smallest_counts():
    of = values(np.random.default_rng(1), np.linspace(0, 2, LEVELS))
    *_, both = after(of, [2, 8])
    singles = [next(after(of, [look])).worse for look in (2, 8)]
    assert both.worse == pytest.approx(np.minimum(1, 2 * np.minimum(*singles)))
    (single,) = after(of, [8])
    assert (both.high - both.low)[0, 1] > (single.high - single.low)[0, 1]  # wider: it holds together with the others


@pytest.mark.parametrize(("seeds", "tails"), [(2, 100), (3, 100), (2, 2.1), (3, 2.1)])
def test_a_rule_that_stops_at_the_worst_moment_finds_no_more_than_it_may(seeds, tails):
    """Equal configs: how often any round calls one worse. Looking anew at each round does it more often than it may."""
    ever, anew = [], []
    for number in range(100):
        of = values(np.random.default_rng(number), seeds=seeds, tails=tails)
        ever.append(any(each.discoveries()[0].any() for each in after(of)))
        alone = [next(after(of, [look])).worse[~np.eye(LEVELS, dtype=bool)] for look in (1, 2, 4, 8)]
        anew.append(any((false_discovery_control(p) <= 0.05).any() for p in alone))
    assert np.mean(ever) <= 0.05
    assert np.mean(anew) > 0.05 or tails < 3  # where tails are heavy, a t test is calm anyway


def test_alike_is_what_differs_by_less_than_the_margin():
    rng = np.random.default_rng(0)
    of = 0.01 * values(rng, [0, 0, 0, 0, 0, 30.0])
    *_, evidence = after(of, margin=0.1)
    worse, alike = evidence.discoveries()
    assert alike[:5, :5].sum() == 20 and not alike[5].any() and worse[:5, 5].all() and not worse[5].any()
    *_, narrow = after(of, margin=1e-4)
    assert not narrow.discoveries()[1].any()
