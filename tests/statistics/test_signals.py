"""What signals say of scores: correlations against scipy's, and intervals against planted truth."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from lorabench.statistics.columns import LEAF
from lorabench.statistics.signals import signal_values, signals

MEASURED = {"prompt_type": "train", "metric": "image_similarity", "encoder": "dinov2", "resize": ""}


def study(noise, seed=0, configs=8, classes=4, seeds=3, epochs=3, luck=0.0):
    """(normalized, values): a signal, and a score that is it and `noise`; `luck` is that of a whole config."""
    rng = np.random.default_rng(seed)
    axes = itertools.product(range(classes), range(configs), range(seeds), range(epochs))
    rows = pd.DataFrame(axes, columns=["class", "config", "seed", "epoch"])
    rows["checkpoint"] = rows[["config", "seed", "epoch"]].astype(str).agg("-".join, axis=1)
    of_config = luck * rng.normal(size=(2, configs))[:, rows["config"]]
    rows["loss"], rows["score"] = rng.normal(size=(2, len(rows))) * [[1.0], [noise]] + of_config
    rows["score"] += rows["loss"]
    rows = rows.assign(category="toys", class_name=rows["class"].astype(str), subclass="", **MEASURED)
    rows["step"] = pd.NA
    rows["algorithm"] = np.where(rows["config"] % 2, "lora", "loha")
    rows["config"] = "c" + rows["config"].astype(str)
    return rows, rows.set_index(["checkpoint", *LEAF])[["loss"]]


def test_correlations_are_spearmans_within_each_concept_algorithm_and_training():
    normalized, values = study(0.7)
    found = signals(normalized, values).set_index("among")
    ways = {
        "all": ["class_name"],
        "algorithm": ["class_name", "algorithm"],
        "training": ["class_name", "config", "seed"],
        "moment": ["class_name", "epoch"],
    }
    for among, blocks in ways.items():
        each = [spearmanr(rows["loss"], rows["score"]).statistic for _, rows in normalized.groupby(blocks)]
        assert found.loc[among, "r"] == pytest.approx(np.mean(each))
    assert (found.loc["all", ["n", "n_classes", "n_configs", "n_seeds"]] == [len(normalized), 4, 8, 3]).all()
    assert (found["low"] < found["r"]).all() and (found["r"] < found["high"]).all() and (found["high"] < 1).all()


@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_intervals_hold_no_correlation_as_often_as_they_say(luck):
    """Also where all checkpoints of a config share their luck, in the signal and, by itself, in the score."""
    held = []
    for seed in range(60):
        normalized, values = study(1.0, seed, luck=luck)
        normalized["score"] -= values["loss"].to_numpy()  # what is left has nothing to do with the signal
        normalized["score"] += (
            luck * np.random.default_rng(seed + 1000).normal(size=8)[normalized["config"].str[1:].astype(int)]
        )
        (row,) = signals(normalized, values).query("among == 'all'").to_dict("records")
        held.append(row["low"] <= 0 <= row["high"])
    assert np.mean(held) > 0.85


def test_what_does_not_vary_or_is_the_metric_itself_is_not_correlated():
    normalized, values = study(0.7)
    found = signals(normalized, values.assign(loss=1.0))
    assert found["r"].isna().all() and (found["n"] == 0).all()
    assert signals(normalized, values.set_axis(["image_similarity, train"], axis=1)).empty
    assert signals(normalized.iloc[:2], values)["r"].isna().all()


def test_signals_are_losses_by_concept_gaps_and_the_health_of_all_blocks():
    key = {"checkpoint": "a", "category": "toys", "subclass": ""}
    scores = pd.DataFrame([
        {**key, **MEASURED, "class_name": name, "metric": metric, "algorithm": "lora", "value": value}
        for name, metric, value in [("x", "image_similarity_gap", 0.1), ("y", "image_similarity", 0.5)]
    ])  # fmt: skip
    losses = [("x", "held_out", 0, 1.0, 3), ("x", "held_out", 1, 2.0, 1), ("x", "training", 0, 0.5, 4)]
    validation = pd.DataFrame(
        [{**key, "class_name": c, "pictures": p, "band": b, "loss": value, "draws": n} for c, p, b, value, n in losses]
    )
    health = pd.DataFrame({
        "checkpoint": ["a", "a"], "block": ["unet.mid_block", "all"], "spectral_norm": [9.0, 2.0],
        "stable_rank": 1.0, "first_direction": 1.0, "relative_norm": 0.1,
    })  # fmt: skip
    health = health.astype(object)  # as tables are where a checkpoint has no update
    found = signal_values(scores, validation, health).droplevel(["checkpoint", "category", "subclass"])
    assert found.loc["x", "held_out_loss"] == pytest.approx(1.25) and found.loc["x", "loss_gap"] == pytest.approx(0.75)
    assert found.loc["x", "image_similarity_gap, train"] == 0.1 and np.isnan(found.loc["y", "held_out_loss"])
    assert (found.dtypes == "float64").all()
    assert (found["spectral_norm"] == 2).all() and "image_similarity, train" not in found
