"""Best, worse and tied: planted differences, equal configs, and tables that cannot say."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, ttest_rel

from lorabench.statistics.comparisons import compare_with_best, discovery_levels, paired_mean

METRIC = {"prompt_type": "train", "metric": "m", "encoder": "e", "resize": ""}


def table(effects: dict[str, float], n_classes=8, seeds=(1, 2, 3), noise=0.05, rng_seed=0) -> pd.DataFrame:
    """Scores of configs with planted means, in two categories that share the names of their classes."""
    rng, rows = np.random.default_rng(rng_seed), []
    classes = [(f"category{place % 2}", f"class{place // 2}") for place in range(n_classes)]
    level = dict(zip(classes, rng.normal(size=n_classes)))
    for config, seed, (category, name) in itertools.product(effects, seeds, classes):
        score = effects[config] + level[category, name] + noise * rng.normal()
        rows.append({"checkpoint": f"{config}{seed}", "config": config, "seed": seed, "category": category,
                     "class_name": name, "subclass": "", **METRIC, "score": score})  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(found: pd.DataFrame, category="all") -> dict[str, str]:
    return found[found["category"] == category].set_index("config")["verdict"].to_dict()


def test_the_best_the_worse_and_the_tied():
    found = compare_with_best(table({"a": 1.03, "b": 0.98, "c": 0.5, "d": 0.0}), "config")
    assert verdicts(found) == {"a": "best", "b": "tied", "c": "worse", "d": "worse"}
    assert set(found["category"]) == {"all", "category0", "category1"} and set(found["best"]) == {"a"}
    row = found.query("category == 'all' and config == 'c'").iloc[0]
    assert row["low"] < -0.52 < row["high"] and row["q"] >= row["p"] and np.isnan(row["more_seeds"])
    tied = found.query("category == 'all' and config == 'b'").iloc[0]
    assert 0 < tied["detectable"] < 0.2 and tied["p"] > 0.05


def test_what_is_tied_was_not_detectable_and_takes_more_than_there_is():
    near = dict(zip("abcdefgh", (0.0, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16)))
    found = pd.concat([compare_with_best(table(near, noise=0.08, rng_seed=run), "config") for run in range(5)])
    tied = found[found["verdict"] == "tied"]
    assert (tied["detectable"] > tied["difference"].abs()).all()
    assert (tied["more_seeds"].dropna() > 0).all() and (tied["more_images"].dropna() > 1).all()
    assert tied[["more_seeds", "more_images"]].notna().any(axis=1).sum() > 10


def test_pairing_takes_the_levels_of_classes_out():
    rows = table({"a": 0.1, "b": 0.0})  # classes differ by 1, the configs by a tenth of it
    found = compare_with_best(rows, "config")
    assert verdicts(found)["b"] == "worse"
    means = rows.groupby(["config", "category", "class_name"])["score"].mean().unstack("config")
    assert found.query("category == 'all' and config == 'b'")["difference"].item() == pytest.approx(
        (means["b"] - means["a"]).mean()
    )
    assert ttest_rel(means["b"], means["a"]).pvalue < 0.05


def test_false_discoveries_are_rare_among_configs_that_are_all_alike():
    false = 0
    for run in range(60):
        rows = table(dict.fromkeys("abcdefgh", 0.0), seeds=(1, 2, 3), noise=0.3, rng_seed=run)
        found = compare_with_best(rows, "config").query("category == 'all'")
        false += (found["verdict"] == "worse").any()
    assert false <= 7  # 5 % of 60 is 3; above 7 there are less than 2 % of binomial draws


def test_false_discoveries_are_rare_among_equal_configs_that_share_the_luck_of_their_algorithm():
    false, unknown = 0, 0
    for run in range(60):
        rng = np.random.default_rng(run)
        rows = table(dict.fromkeys("abcdefghij", 0.0), noise=0.5, rng_seed=run)
        rows = rows.assign(class_name=rows["category"] + rows["class_name"], category="all")
        rows = rows.assign(algorithm=rows["config"].map(lambda name: "lora" if name < "f" else "loha"))
        for shared in ("seed", "class_name"):
            group = rows.groupby(["algorithm", shared]).ngroup()
            rows["score"] += rng.normal(size=group.max() + 1)[group]
        false += _calls_one_worse(rows)
        unknown += _calls_one_worse(rows.drop(columns="algorithm"))
    # 5 % of 60 is 3; above 6 there are 4 % of binomial draws. Who does not know the families calls more than that.
    assert false <= 6 < unknown, (false, unknown)


def _calls_one_worse(rows: pd.DataFrame) -> bool:
    return bool((compare_with_best(rows, "config", power=False)["verdict"] == "worse").any())


def test_moments_of_one_training_are_told_apart_by_what_they_do_not_share():
    rows = table({"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.3}, noise=0.05)
    luck = np.random.default_rng(3).normal(size=12)[rows.groupby(["config", "seed"]).ngroup()]
    early, late = rows.assign(point=rows["config"] + "1"), rows.assign(point=rows["config"] + "2")
    late = late.assign(checkpoint=late["checkpoint"] + "late", score=table(dict.fromkeys("abcd", 0.0))["score"])
    both = pd.concat([early.assign(score=early["score"] + luck), late.assign(score=late["score"] + luck)])
    found = compare_with_best(both, "point").query("category == 'all'").set_index("point")
    best = found["best"].iloc[0]
    kin, others = best[0] + "2", [name for name in found.index if name[0] != best[0]]
    assert best.endswith("1") and found.loc[kin, "verdict"] == "worse"
    assert set(found.loc[others, "verdict"]) == {"tied"}
    assert found.loc[kin, "se"] < found.loc[others, "se"].min() / 5
    assert found.loc[others, "more_seeds"].gt(0).any()


def test_the_level_of_a_discovery_is_that_of_the_step_up_rule():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 30):
        p = np.concatenate([rng.random(size) * 0.02, rng.random(size)])
        levels = discovery_levels(p)
        for place, level in enumerate(levels):
            at, above = p.copy(), p.copy()
            at[place], above[place] = level * (1 - 1e-9), level * (1 + 1e-9)
            assert false_discovery_control(at)[place] <= 0.05 < false_discovery_control(above)[place]
        assert ((p <= levels) == (false_discovery_control(p) <= 0.05)).all()


def test_all_pairs_at_once_are_each_pair_alone():
    rows = table({"a": 0.3, "b": 0.1, "c": 0.0})
    rows.loc[[3, 30], "score"] = np.nan
    found = compare_with_best(rows, "config", power=False).query("category == 'all'").set_index("config")
    wide = rows.assign(home=rows["category"]).pivot(
        index=["home", "class_name", "seed"], columns="config", values="score"
    )
    for name in "bc":
        alone = paired_mean(wide[name] - wide["a"])
        numbers = found.loc[name, ["difference", "low", "high", "p"]].tolist()
        assert numbers == pytest.approx([alone.mean, alone.low, alone.high, alone.p])


def test_epochs_of_each_config_are_families_of_their_own():
    early, late = table({"a": 0.0, "b": 1.0}), table({"a": 0.5, "b": 1.0}, rng_seed=0)
    rows = pd.concat([early.assign(epoch=10), late.assign(epoch=30, checkpoint=late["checkpoint"] + "late")])
    rows.loc[rows["epoch"] == 30, "score"] += 0.001
    found = compare_with_best(rows, "epoch", ["config"]).query("category == 'all'").set_index(["config", "epoch"])
    assert found.loc[("a", 30), "verdict"] == found.loc[("b", 30), "verdict"] == "best"
    assert found.loc[("a", 10), "verdict"] == "worse" and set(found["best"]) == {30}


def test_one_seed_one_config_and_equal_scores_claim_nothing():
    one_seed = compare_with_best(table({"a": 1.0, "b": 0.0}, seeds=(1,)), "config")
    assert verdicts(one_seed) == {"a": "best", "b": "cannot be told"}
    assert one_seed[["low", "p", "q", "detectable"]].isna().all(axis=None)
    assert verdicts(compare_with_best(table({"a": 1.0}), "config")) == {"a": "best"}
    equal = table({"a": 0.0, "b": 0.0}).assign(score=0.5)
    assert verdicts(compare_with_best(equal, "config")) == {"a": "best", "b": "tied"}


def test_missing_scores_and_categories_of_one_class():
    rows = table({"a": 1.0, "b": 0.0, "gone": 0.0}, n_classes=7)  # category1 has three classes
    rows.loc[rows["config"] == "gone", "score"] = np.nan
    rows.loc[3, "score"] = np.nan
    found = compare_with_best(rows, "config")
    assert verdicts(found) == {"a": "best", "b": "worse"}
    one = compare_with_best(rows[rows["class_name"] == "class0"], "config")
    assert verdicts(one, "category0") == {"a": "best", "b": "cannot be told"}
    nothing = compare_with_best(rows.assign(score=np.nan), "config")
    assert nothing.empty and "verdict" in nothing


def test_a_category_that_was_measured_as_a_whole_varies_by_training_only():
    rows = table({"a": 1.0, "b": 0.0}, n_classes=2, noise=0.01).assign(class_name="")
    assert verdicts(compare_with_best(rows, "config"), "category0") == {"a": "best", "b": "worse"}


def test_two_checkpoints_of_one_seed_are_refused():
    rows = table({"a": 1.0, "b": 0.0})
    twice = rows[rows["config"] == "a"].assign(checkpoint=rows["checkpoint"] + "again")
    with pytest.raises(ValueError, match="duplicate"):
        compare_with_best(pd.concat([rows, twice]), "config")
