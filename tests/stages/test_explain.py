"""Factor levels of the paper's grid, SHAP values against CatBoost's own, and targets that cannot be explained."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lorabench.components import UserError
from lorabench.processes import map_in_processes
from lorabench.stages import explain as explaining
from lorabench.stages.explain import explain, factor_table
from lorabench.stages.explain_target import _fitted, _pool
from lorabench.statistics.columns import FACTORS

ALGORITHMS = {
    "lora": SimpleNamespace(capacity_from="dim", larger_is_more=True),
    "loha": SimpleNamespace(capacity_from="dim", larger_is_more=True),
    "lokr": SimpleNamespace(capacity_from="factor", larger_is_more=False),
    "native": SimpleNamespace(capacity_from=None, larger_is_more=True),
}
EXCLUDED = ["lora-32-1", "loha-16-1", "lokr-f12"]


def _paper_configs() -> list[dict[str, object]]:
    """The 26 configs of the paper: defaults, then one thing varied (LyCORIS 5.1)."""
    rows = []
    for name, dims in (("lora", (8, 32, 32)), ("loha", (4, 16, 16)), ("lokr", (8, 4, 12)), ("native", ())):
        lrs = (1e-6, 5e-7, 5e-6) if name == "native" else (5e-4, 1e-4, 1e-3)
        size = "factor" if name == "lokr" else "dim"
        default = {"algorithm": name, "trained_layers": "linear", "lr": lrs[0]} | ({size: dims[0]} if dims else {})
        rows.append({"config": name} | default)
        rows += [{"config": f"{name}-lr{lr}"} | default | {"lr": lr} for lr in lrs[1:]]
        rows += [
            {"config": f"{name}-{layers}"} | default | {"trained_layers": layers} for layers in ("attention", "full")
        ]
        varied = {"lora": ("32-16", "32-1"), "loha": ("16-8", "16-1"), "lokr": ("f4", "f12"), "native": ()}[name]
        rows += [{"config": f"{name}-{tag}"} | default | {size: value} for tag, value in zip(varied, dims[1:])]
    return rows


def _checkpoints(configs, seeds=(23, 24, 25), epochs=(10, 30, 50)) -> pd.DataFrame:
    rows = [
        dict.fromkeys(FACTORS)
        | config
        | {"seed": seed, "epoch": epoch, "checkpoint": f"{config['config']}-{seed}-{epoch}"}
        for config, seed, epoch in itertools.product(configs, seeds, epochs)
    ]
    kinds = dict.fromkeys(("dim", "factor", "seed", "epoch", "step"), "Int64") | {"lr": "float64", "alpha": "float64"}
    return pd.DataFrame(rows)[FACTORS].astype(kinds)  # nullable integers, as the pipeline has them


def _category_scores(checkpoints: pd.DataFrame, score, category="toys") -> pd.DataFrame:
    target = {"category": category, "prompt_type": "train", "metric": "vendi", "encoder": "dinov2", "resize": ""}
    return checkpoints.assign(**target, score=np.asarray(score, dtype=np.float64), n_classes=3, population="p")


@pytest.fixture
def planted() -> pd.DataFrame:
    """Scores that the algorithm and the epoch make, native far above; layers and learning rate do nothing."""
    checkpoints = _checkpoints(_paper_configs())
    effect = checkpoints["algorithm"].map({"lora": 0.1, "loha": 0.2, "lokr": 0.3, "native": 0.7})
    noise = np.random.default_rng(0).normal(0, 0.02, len(checkpoints))
    return _category_scores(checkpoints, effect + 0.005 * checkpoints["epoch"].astype(float) + noise)


@pytest.fixture
def small() -> pd.DataFrame:
    checkpoints = _checkpoints(_paper_configs(), seeds=(1,), epochs=(1, 2))
    return _category_scores(checkpoints, np.random.default_rng(1).random(len(checkpoints)))


def test_factors_of_somebodys_own_and_steps_where_no_epoch_is_known_are_explained():
    checkpoints = _checkpoints([{"config": f"{name}{n}", "algorithm": "lora", "trained_layers": "linear", "lr": 1e-4}
                                for name in ("adam", "lion") for n in range(4)], seeds=(1, 2))  # fmt: skip
    optimizer = checkpoints["config"].str[:4]
    own = {"optimizer": optimizer, "step": checkpoints["epoch"] * 10, "epoch": pd.NA, "dropout": 0.1}
    checkpoints = checkpoints.assign(**own).astype({"epoch": "Int64"})
    scores = _category_scores(checkpoints, optimizer.map({"adam": 0.2, "lion": 0.8}))
    found = explain(scores, ALGORITHMS).attributions
    assert set(found["factor_name"]) == {"optimizer", "step"}  # dropout does not vary
    size = found.assign(shap=found["shap"].abs()).groupby("factor_name")["shap"].mean()
    assert size["optimizer"] > 0.2 and size["step"] < 0.01
    assert {"optimizer", "dropout"} <= set(found)
    assert set(found.loc[found["factor_name"] == "step", "factor_value"]) == {"100", "300", "500"}


def test_the_merge_ratio_is_a_factor_where_there_are_several():
    drawn = [_checkpoints(_paper_configs()[:4]).assign(scale=scale) for scale in (0.25, 1.0)]
    checkpoints = pd.concat([each.assign(checkpoint=each["checkpoint"] + str(n)) for n, each in enumerate(drawn)])
    scores = _category_scores(checkpoints, checkpoints["scale"].to_numpy())
    found = explain(scores, ALGORITHMS).attributions
    size = found.assign(shap=found["shap"].abs()).groupby("factor_name")["shap"].mean()
    assert size["scale"] > 0.3 and size.drop("scale").max() < 0.01
    assert set(found.loc[found["factor_name"] == "scale", "factor_value"]) == {"0.25", "1"}


def test_what_was_measured_of_the_weights_counts_as_a_factor():
    checkpoints = _checkpoints(_paper_configs())
    norm = np.random.default_rng(0).permutation(len(checkpoints)) / len(checkpoints)
    scores = _category_scores(checkpoints, norm).sample(frac=1, random_state=0)
    measured = pd.DataFrame({"relative_norm": norm, "stable_rank": np.nan}, index=checkpoints["checkpoint"])
    explained = explain(scores, ALGORITHMS, measured=measured)
    size = explained.attributions.assign(shap=lambda rows: rows["shap"].abs()).groupby("factor_name")["shap"].mean()
    assert size["relative_norm"] > 0.2 and size.drop("relative_norm").max() < 0.01
    assert "Left out because they do not vary: stable_rank" in explained.explanations["reason"].item()


def test_levels_of_the_papers_grid():
    configs = [row for row in _paper_configs() if row["config"] not in EXCLUDED]
    table = factor_table(_checkpoints(configs), ALGORITHMS)
    assert len(table) == 207  # 23 configs x 3 seeds x 3 epochs
    levels = table[["capacity", "lr_level"]].groupby(table.index.str.removesuffix("-23-10")).first()
    assert levels.loc["lora", ["capacity", "lr_level"]].tolist() == [1, 2]
    assert (
        levels.loc["lora-32-16", "capacity"]
        == levels.loc["loha-16-8", "capacity"]
        == levels.loc["lokr-f4", "capacity"]
        == 2
    )
    assert levels.loc["lokr", "capacity"] == 1
    assert set(table.query("algorithm == 'native'")["capacity"]) == {3}
    assert levels.loc["native-lr5e-07", "lr_level"] == 1 and levels.loc["loha-lr0.001", "lr_level"] == 3


def test_unknown_sizes_are_missing_levels():
    configs = [row | ({"dim": None, "lr": np.nan} if row["config"] == "lora-full" else {}) for row in _paper_configs()]
    table = factor_table(_checkpoints(configs), ALGORITHMS)
    assert table.loc["lora-full-23-10", ["capacity", "lr_level"]].isna().all()
    with pytest.raises(UserError, match="Unknown algorithm 'lokr'"):
        factor_table(_checkpoints(configs), {name: ALGORITHMS[name] for name in ("lora", "loha", "native")})


def test_planted_effects_are_found_and_predicted_for_unseen_configs(planted):
    explained = explain(planted, ALGORITHMS, exclude=EXCLUDED)
    (row,) = explained.explanations.to_dict("records")
    assert (row["n_rows"], row["reason"]) == (207, "")
    assert 0.9 < row["r2_cv"] < row["r2_train"] <= 1 and row["rmse_train"] < row["rmse_cv"] < 0.06
    # Between levels, not in size: capacity 3 says native, so the capacity of all others carries an offset for that.
    levels = explained.attributions.groupby(["factor_name", "factor_value"])["shap"].mean()
    spread = levels.groupby("factor_name").agg(np.ptp)
    assert spread["algorithm"] > 0.3 and spread["epoch"] == pytest.approx(0.2, abs=0.03)
    assert spread[["trained_layers", "lr_level", "capacity"]].max() < 0.03


def test_attributions_are_catboost_s_own_with_natives_capacity_in_its_algorithm(small):
    attributions = explain(small.sample(frac=1, random_state=0), ALGORITHMS, folds=0).attributions
    rows = small.sort_values(["config", "seed", "epoch"])
    x = factor_table(rows, ALGORITHMS).reset_index(drop=True)
    x = x[["algorithm", "trained_layers", "epoch", "capacity", "lr_level"]]
    model = _fitted(x, rows["score"].to_numpy())
    own = model.get_feature_importance(_pool(x), type="ShapValues")
    expected = pd.DataFrame(own[:, :-1], columns=x.columns, index=rows["checkpoint"])
    native = (rows["algorithm"] == "native").to_numpy()
    expected.loc[native, "algorithm"] += expected.loc[native, "capacity"]
    table = attributions.pivot(index="checkpoint", columns="factor_name", values="shap").loc[rows["checkpoint"]]
    for name in x.columns:
        kept = ~native if name == "capacity" else np.full(len(x), True)
        np.testing.assert_allclose(table[name][kept], expected[name][kept], atol=1e-12)
        assert table[name][~kept].isna().all()
    # SHAP values add up to the model's answer, with one constant; CatBoost sums 300 float64 leaves.
    np.testing.assert_allclose(own[0, -1] + table.sum(axis=1), model.predict(x), atol=1e-9)


def test_factor_values_are_short_texts(small):
    attributions = explain(small, ALGORITHMS, folds=0).attributions
    values = attributions.groupby("factor_name")["factor_value"].unique().map(set)
    assert values["lr_level"] == {"1", "2", "3"} and values["epoch"] == {"1", "2"}
    assert values["trained_layers"] == {"attention", "linear", "full"} and "native" in values["algorithm"]


def test_neither_row_order_nor_processes_change_a_number(small, monkeypatch):
    rng = np.random.default_rng(4)
    several = pd.concat([small.assign(category=str(each), score=rng.random(len(small))) for each in range(5)])
    started = []

    def in_processes(work, things, processes):
        started.append(processes)
        return map_in_processes(work, things, processes)

    monkeypatch.setattr(explaining, "map_in_processes", in_processes)
    first = explain(several, ALGORITHMS, folds=2, workers=2)  # too few targets to start a process for
    monkeypatch.setattr(explaining, "TARGETS_A_PROCESS", 2)
    second = explain(several.sample(frac=1, random_state=3), ALGORITHMS, folds=2, workers=9)
    assert started == [2]
    pd.testing.assert_frame_equal(first.attributions, second.attributions)
    pd.testing.assert_frame_equal(first.explanations, second.explanations)


def test_targets_without_an_explanation_say_why(small):
    few = small.assign(category="few", score=small["score"].where(small.index < 9))
    same = small.assign(category="same", score=0.5)
    explained = explain(pd.concat([few, same]), ALGORITHMS)
    reasons = explained.explanations.set_index("category")["reason"]
    assert "Too few checkpoints have a score: 9" in reasons["few"] and "scores are the same" in reasons["same"]
    assert explained.explanations[["r2_train", "r2_cv"]].isna().all(axis=None)
    assert explained.attributions.empty and "shap" in explained.attributions


def test_factors_that_do_not_vary_are_left_out_and_said(small):
    lora = small[small["algorithm"] == "lora"]
    explained = explain(lora[lora["epoch"] == 1], ALGORITHMS)
    assert explained.explanations["reason"].tolist() == ["Too few checkpoints have a score: 7, at least 10 are needed."]
    explained = explain(lora, ALGORITHMS)
    assert explained.explanations["reason"].tolist() == ["Left out because they do not vary: algorithm."]
    assert "algorithm" not in set(explained.attributions["factor_name"])
    two = explain(_category_scores(_checkpoints(_paper_configs()[:2]), np.arange(18) / 17), ALGORITHMS)
    assert "Not cross-validated: that needs at least 3 configs" in two.explanations["reason"][0]
    assert np.isnan(two.explanations["r2_cv"][0]) and two.explanations["r2_train"][0] > 0.5


def test_no_rows_and_unknown_configs(small):
    assert explain(small.head(0), ALGORITHMS).explanations.empty
    with pytest.raises(UserError, match="Unknown config 'lora-32-2'. Did you mean 'lora-32-1'"):
        explain(small, ALGORITHMS, exclude=["lora-32-2"])


def test_a_factor_that_varies_within_some_algorithms_only_is_said(small):
    one_rate = small[~small["config"].str.startswith("loha-lr")]
    reason = explain(one_rate, ALGORITHMS).explanations["reason"].item()
    assert reason == "lr_level does not vary within loha: there it cannot be told from the algorithm."


def test_a_category_is_explained_at_the_epochs_that_are_named_for_it(planted):
    """Levels are those of the whole grid all the same; 69 rows a target, as in the paper's appendices F.2 and F.3."""
    both = pd.concat([planted, planted.assign(category="scenes")])
    found = explain(both, ALGORITHMS, exclude=EXCLUDED, epochs={"scenes": (10,)})
    rows = found.explanations.set_index("category")["n_rows"]
    assert rows.to_dict() == {"scenes": 69, "toys": 207}
    of_scenes = found.attributions[found.attributions["category"] == "scenes"]
    assert set(of_scenes["epoch"]) == {10} and "epoch" not in set(of_scenes["factor_name"])
    alone = explain(planted.assign(category="scenes")[planted["epoch"] == 10], ALGORITHMS, exclude=EXCLUDED)
    assert np.array_equal(of_scenes["shap"], alone.attributions["shap"])
