"""Normalised and category scores by hand, and against a slow loop over the definition."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from lorabench.components import UserError
from lorabench.stages.rank import rank
from lorabench.statistics.columns import FACTORS, LEAF, METRIC

DIRECTIONS = {"vendi": True, "style_loss_base": False, "frechet_distance": False}
CLASSES = [("one", "a", "x"), ("one", "a", "y"), ("one", "b", ""), ("two", "c", "")]


def _rows(checkpoint: str, metric: str, values, leaves=CLASSES, algorithm="lora") -> pd.DataFrame:
    factors = dict.fromkeys(FACTORS, np.nan) | {
        "study": "s",
        "base": "b",
        "checkpoint": checkpoint,
        "config": checkpoint,
    }
    rows = [
        factors | {"algorithm": algorithm} | dict(zip(LEAF, leaf)) | {"prompt_type": "train", "metric": metric}
        | {"encoder": "dinov2", "resize": "", "value": value, "reason": "" if value == value else "why", "n_images": 4}
        for leaf, value in zip(leaves, values)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"seed": "Int64", "epoch": "Int64"})  # nullable, as the pipeline has them


@pytest.fixture
def scores() -> pd.DataFrame:
    nan = np.nan
    return pd.concat(
        [
            _rows("base", "vendi", [9.0, 9.0, 9.0, 9.0], algorithm="none"),
            _rows("k1", "vendi", [1.0, 5.0, 2.0, nan]),
            _rows("k2", "vendi", [2.0, 5.0, 1.0, 3.0]),
            _rows("k3", "vendi", [3.0, nan, 4.0, 4.0]),
            _rows("k1", "frechet_distance", [7.0], [("all", "", "")]),
            _rows("k2", "frechet_distance", [8.0], [("all", "", "")]),
        ],
        ignore_index=True,
    )


def test_scores_by_hand(scores):
    ranked = rank(scores, DIRECTIONS)
    vendi = ranked.normalized.query("metric == 'vendi'")
    assert "none" not in set(ranked.normalized["algorithm"])
    table = vendi.pivot(index="checkpoint", columns=["class_name", "subclass"], values="score").to_numpy()
    expected = [
        [0, 0.5, 0.5, np.nan],
        [0.5, 0.5, 0, 0],
        [1, np.nan, 1, 1],
    ]  # a/x a/y b c; equal values share their rank
    np.testing.assert_array_equal(table, expected)


def test_category_scores_average_subclasses_then_classes(scores):
    table = rank(scores, DIRECTIONS).category_scores.query("metric == 'vendi'").set_index(["checkpoint", "category"])
    assert table.loc[("k1", "one"), "score"] == pytest.approx((0.25 + 0.5) / 2)
    assert table.loc[("k2", "one"), "score"] == pytest.approx((0.5 + 0) / 2)
    assert table.loc[("k3", "one"), "score"] == pytest.approx(1)
    assert table.loc[("k2", "all"), "score"] == pytest.approx((0.5 + 0 + 0) / 3)  # over classes, not over categories
    assert np.isnan(table.loc[("k1", "two"), "score"])
    assert table["n_classes"].to_dict() == {
        ("k1", "one"): 2, ("k1", "two"): 0, ("k1", "all"): 2, ("k2", "one"): 2, ("k2", "two"): 1, ("k2", "all"): 3,
        ("k3", "one"): 2, ("k3", "two"): 1, ("k3", "all"): 3,
    }  # fmt: skip


def test_scope_checkpoint_has_one_row_and_lower_can_be_better(scores):
    table = rank(scores, DIRECTIONS).category_scores.query("metric == 'frechet_distance'").set_index("checkpoint")
    assert table["category"].tolist() == ["all", "all"]
    assert table["score"].to_dict() == {"k1": 1.0, "k2": 0.0}


def test_a_population_is_what_was_measured_and_on_whom(scores):
    def populations(table):
        return rank(table, DIRECTIONS).normalized.groupby("metric")["population"].unique().str.join("+").to_dict()

    ids = populations(scores)
    assert len(set(ids.values())) == 2 and all(len(value) == 12 for value in ids.values())
    assert populations(scores[::-1]) == ids
    fewer = populations(scores[scores["checkpoint"] != "k3"])
    assert fewer["vendi"] != ids["vendi"] and fewer["frechet_distance"] == ids["frechet_distance"]


def test_ranking_agrees_with_a_loop_over_the_definition():
    rng = np.random.default_rng(0)
    parts = []
    for number in range(12):
        for metric in ("vendi", "style_loss_base"):
            values = rng.integers(0, 9, 4).astype(float)
            parts.append(_rows(f"k{number}", metric, np.where(rng.random(4) < 0.15, np.nan, values)))
    scores = pd.concat(parts, ignore_index=True)
    normalized = rank(scores, DIRECTIONS).normalized
    assert normalized["value"].equals(scores["value"])  # the rows and their order stay
    for (*_, metric, _, _), group in normalized.groupby([*LEAF, *METRIC]):
        present = group[group["value"].notna()]
        ranks = rankdata(present["value"] if DIRECTIONS[metric] else -present["value"])
        np.testing.assert_allclose(present["score"], (ranks - 1) / (len(present) - 1), rtol=1e-15)
        assert group.loc[group["value"].isna(), "score"].isna().all()


def test_a_checkpoint_measured_twice_and_a_metric_without_direction_are_refused(scores):
    with pytest.raises(UserError, match="'k2' has two values"):
        rank(pd.concat([scores, scores[scores["checkpoint"] == "k2"].head(1)]), DIRECTIONS)
    with pytest.raises(UserError, match="Unknown metric 'vendi'. Did you mean 'vendy'"):
        rank(scores, {"vendy": True, "frechet_distance": False})


def test_anchored_scores_do_not_move_when_checkpoints_are_added(scores):
    scores = scores.assign(metric_id=scores["metric"] + "-v1")
    anchors = scores.query("metric == 'vendi'")
    new = pd.concat([_rows("n1", "vendi", [2.5, 5.0, 0.0, 9.0]), _rows("n2", "vendi", [2.6, 6.0, 5.0, np.nan])])
    new = new.assign(metric_id="vendi-v1")
    both = rank(new, DIRECTIONS, anchors).normalized.set_index(["checkpoint", *LEAF])["score"]
    alone = rank(new.query("checkpoint == 'n1'"), DIRECTIONS, anchors)
    one = alone.normalized.set_index(["checkpoint", *LEAF])["score"]
    pd.testing.assert_series_equal(both.loc[["n1"]], one)
    # Of 1, 2, 3 it beats two; of 5, 5 it equals both; of 2, 1, 4 none; of 3, 4 both. The base model is no anchor.
    assert one.tolist() == pytest.approx([2 / 3, 0.5, 0, 1])
    assert np.isnan(both.loc["n2"].iloc[-1])
    assert set(alone.normalized["population"]) == set(rank(anchors, DIRECTIONS).normalized["population"])
    # The anchors themselves keep the scores of their own ranking.
    own = rank(anchors, DIRECTIONS, anchors).normalized["score"]
    np.testing.assert_allclose(own, rank(anchors, DIRECTIONS).normalized["score"])


def test_anchors_measured_otherwise_are_refused(scores):
    ours = scores.assign(metric_id="v2")
    with pytest.raises(UserError, match="did not measure one, a, x, train, vendi, dinov2 in the same way"):
        rank(ours, DIRECTIONS, scores.assign(metric_id="v1"))
    with pytest.raises(UserError, match="Scores without metric_id"):
        rank(ours, DIRECTIONS, scores)
