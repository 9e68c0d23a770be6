"""What the report says is in the tables: means, ties, fronts, agreement of seeds, pictures, gaps."""

from __future__ import annotations

import base64
import dataclasses

import numpy as np
import pandas as pd
import pytest
from synthetic import CONFIGS, synthetic_run

from lorabench.api import choosing
from lorabench.components import UserError
from lorabench.report.beeswarm import beeswarm_data, find_factors, level_label, trust
from lorabench.report.cards import find_cards, verdict
from lorabench.report.gallery import gallery_data
from lorabench.report.health import config_costs, find_missing, point_costs, stage_costs
from lorabench.report.heatmaps import correlation_figures
from lorabench.report.leaderboard import find_views, standings
from lorabench.report.overview import seed_agreement
from lorabench.report.points import BASE_POINT, compare
from lorabench.report.scatter import find_pairs, front
from lorabench.report.tables import find_columns, headline_columns
from lorabench.report.words import duration, number, size


@pytest.fixture(scope="module")
def run(tables):
    return compare(tables)


def test_columns_start_with_the_metric_s_own_encoder(run):
    fidelity = [column for column in run.columns if column.info.criterion == "fidelity"]
    assert [(c.prompt_type, c.encoder) for c in fidelity[:2]] == [("train", "dinov2"), ("train", "clip")]
    assert [(c.metric, c.prompt_type) for c in headline_columns(run.columns)] == [
        ("image_similarity", "train"),
        ("text_similarity", "alter"),
        ("vendi", "trigger"),
        ("style_loss_base", "style"),
    ]


def test_a_metric_that_nobody_describes_is_refused(tables):
    scores = tables.scores.assign(metric=tables.scores.metric.replace("vendi", "vendy"))
    with pytest.raises(UserError, match="Unknown metric 'vendy'. Did you mean 'vendi'"):
        find_columns(dataclasses.replace(tables, scores=scores))


def test_means_are_over_classes_and_not_over_leaves(run, tables):
    column = headline_columns(run.columns)[0]
    point = run.points.table.query("config == 'lokr-f8' and epoch == 30").index[0]
    rows = tables.normalized.query("config == 'lokr-f8' and epoch == 30 and category == 'anime_characters'")
    rows = rows[(rows.metric == "image_similarity") & (rows.prompt_type == "train") & (rows.encoder == "dinov2")]
    by_class = rows.groupby(["seed", "class_name"]).score.mean()  # abukuma has two sub-classes, bulbul none
    key = (column, "anime_characters")
    assert run.means.score[key][point] == pytest.approx(by_class.mean())
    assert run.means.score_error[key][point] == pytest.approx(by_class.std(ddof=1) / np.sqrt(len(by_class)))
    assert run.means.n[key][point] == len(by_class) == 4


def test_base_model_is_a_floor_and_not_a_point(run, tables):
    assert run.points.of_checkpoint["base"] == BASE_POINT
    assert "none" not in set(run.points.table.algorithm)
    column = headline_columns(run.columns)[1]
    rows = tables.scores.query("algorithm == 'none' and metric == 'text_similarity' and prompt_type == 'alter'")
    expected = rows.query("category == 'scenes'").value.mean()
    assert run.means.base[column, "scenes"] == pytest.approx(expected)


def test_the_page_and_the_command_line_agree_on_who_is_tied(run, tables, tmp_path):
    tables.normalized.assign(study="s").to_parquet(tmp_path / "normalized.parquet")
    told = choosing.leaderboard(tmp_path).set_index(["criterion", "config"])["verdict"].to_dict()
    shown = {}
    for (column, category), found in standings(run, run.points.last, headline_columns(run.columns)).items():
        if category == "all":
            names = run.points.table["config"][found.index]
            shown |= {(column.info.criterion, name): verdict for name, verdict in zip(names, found["verdict"])}
    assert shown == told and {"best", "tied", "worse"} == set(told.values())


def test_views_put_last_epochs_first(run):
    views = find_views(run)
    assert [view.label for view in views] == ["last epoch of each config", "epoch 10", "epoch 30", "every epoch"]
    assert views[0].points == views[2].points
    assert len(views[3].points) == 2 * len(CONFIGS)


def test_the_front_is_what_no_other_point_beats(run):
    pair = find_pairs(run.columns)[1]
    x, y = run.means.score[pair.x, "all"], run.means.score[pair.y, "all"]
    expected = [not any((x > x[i]) & (y >= y[i]) | (x >= x[i]) & (y > y[i])) for i in range(len(x))]
    assert front(pair, run.means, "all").tolist() == expected
    assert 1 < sum(expected) < len(expected)


def test_seed_agreement_counts_pairs_that_all_seeds_order_alike(tables):
    scores = {23: [0.1, 0.5, 0.9], 24: [0.2, 0.8, 0.7]}  # the last two change places
    rows = tables.category_scores.query("category == 'all' and metric == 'vendi' and prompt_type == 'trigger'")
    rows = rows[(rows.epoch == 30) & rows.config.isin(["lora-8-4", "loha-4-2", "lokr-f8"])].sort_values("config")
    rows = rows.assign(score=[scores[seed][i // 2] for i, seed in enumerate(rows.seed)])
    changed = dataclasses.replace(tables, category_scores=rows)
    run = compare(changed)
    column = next(c for c in run.columns if (c.metric, c.prompt_type) == ("vendi", "trigger"))
    assert seed_agreement(changed, run.points, column) == (2, 3, 2)


def test_factors_are_typed_by_their_levels(tables):
    factors = {factor.name: factor for factor in find_factors(tables.attributions)}
    assert not factors["algorithm"].is_numeric and factors["epoch"].is_numeric
    assert factors["algorithm"].levels == ["lora", "loha", "lokr", "native"]
    assert [trust(r2) for r2 in (0.7, 0.1, -0.2, float("nan"))] == ["good", "low", "none", "unknown"]


def test_measured_numbers_have_ranges_for_levels(tables):
    epochs = tables.attributions[tables.attributions["factor_name"] == "epoch"].drop_duplicates("checkpoint")
    norms = [f"{0.001 * (1 + place):g}" for place in range(len(epochs))]
    (factor,) = find_factors(epochs.assign(factor_name="relative_norm", factor_value=norms))
    assert factor.is_numeric and len(factor.levels) == 5
    assert [level.split(" to ")[0] for level in factor.levels] == sorted(
        (level.split(" to ")[0] for level in factor.levels), key=float
    )
    levels = pd.Series(factor.level_of)[epochs["checkpoint"]]
    assert levels.is_monotonic_increasing and levels.value_counts().max() - levels.value_counts().min() <= 1
    assert level_label(factor, factor.levels[0]).startswith("0.001 to ")


def test_shap_values_keep_their_checkpoint(run, tables):
    data = beeswarm_data(tables, run.columns)
    column = run.columns.index(headline_columns(run.columns)[0])
    target = next(t for t in data["targets"] if t["column"] == column and t["category"] == "all")
    f = next(i for i, factor in enumerate(data["factors"]) if factor["name"] == "epoch")
    name = "lokr-f8-s24-e30"
    i = tables.attributions.drop_duplicates("checkpoint").checkpoint.tolist().index(name)
    same = tables.attributions.query("checkpoint == @name and category == 'all' and factor_name == 'epoch'")
    same = same[(same.metric == "image_similarity") & (same.prompt_type == "train") & (same.encoder == "dinov2")]
    assert target["shap"][f][i] / 1e4 == pytest.approx(same.shap.item(), abs=1e-4)
    assert data["factors"][f]["levels"][data["factors"][f]["level"][i]] == "30"


def test_equal_pictures_are_embedded_once_and_rows_align(run, tables):
    data = gallery_data(tables.images, run.points)
    assert len(set(data["pictures"])) == len(data["pictures"]) == tables.images.thumbnail.nunique()
    concept = next(c for c in data["concepts"] if c["name"] == "scenes/castle")
    row = next(r for r in concept["rows"] if r["seed"] == "24")
    config, moment = run.points.table.loc[row["point"], ["config", "moment"]]
    k = next(k for k, c in enumerate(concept["columns"]) if (c["type"], c["index"]) == ("alter", 1))
    rows = tables.images.query("concept == 'scenes/castle' and prompt_type == 'alter' and index == 1 and seed == 24")
    expected = rows[(rows.config == config) & (rows.epoch == float(moment.split()[1]))].thumbnail.item()
    assert base64.b64decode(data["pictures"][row["cells"][k]].split(",")[1]) == expected
    assert concept["columns"][k]["noise"] == str(2**62 + 1)  # more bits than a JavaScript number has


@pytest.mark.parametrize("budget, words", [(10**9, ""), (700_000, "pictures of each prompt type: 1 of 2")])
def test_gallery_fits_its_budget(run, tables, budget, words):
    data = gallery_data(tables.images, run.points, budget)
    assert sum(map(len, data["pictures"])) <= budget
    assert data["left_out"] == words


def test_gallery_leaves_out_concepts_last(run, tables):
    data = gallery_data(tables.images, run.points, 60_000)
    assert sum(map(len, data["pictures"])) <= 60_000
    assert "last epochs only" in data["left_out"] and "concepts:" in data["left_out"]
    assert len({c["category"] for c in data["concepts"]}) == len(data["concepts"]) > 0


def test_missing_values_are_counted_with_their_reason(tables):
    found = find_missing(tables.scores)
    assert sum(missing.n for missing in found) == tables.scores.value.isna().sum()
    assert found[0].reason.startswith("The trigger prompt of a style") and found[0].where == "styles"


def test_costs_of_two_devices_do_not_add_up(tables):
    costs = pd.concat([tables.costs, tables.costs.query("stage == 'train'").assign(device="gpu")])
    trained = [cost for cost in stage_costs(dataclasses.replace(tables, costs=costs)) if cost.name == "train"]
    assert {cost.device for cost in trained} == {"cpu (2 threads)", "gpu"}
    assert trained[0].items == len(CONFIGS) * 2 and trained[0].items == trained[1].items


def test_trade_offs_compare_no_costs_of_two_devices(tables):
    """By the model of the GPU where it is known: "cuda:1" may be the same, and "cuda:0" of two machines need not be."""
    trained = tables.costs.query("stage == 'train'").assign(device_energy_joules=7200.0)

    def costs(**columns):
        changed = dataclasses.replace(tables, costs=trained.assign(**columns))
        return point_costs(compare(changed)), stage_costs(changed)

    devices = [f"cuda:{row % 2}" for row in range(len(trained))]
    same, (train,) = costs(device=devices, device_name="H100")
    assert np.nanmin(same["energy"]) == 2.0 and not np.isnan(same["seconds"]).all() and train.device == "H100"
    assert train.energy.endswith(" Wh")
    other, found = costs(device="cuda:0", device_name=["H100" if name == "cuda:0" else "A100" for name in devices])
    assert all(np.isnan(other[name]).all() for name in ("seconds", "memory", "energy"))
    assert not np.isnan(other["mib"]).all() and {cost.device for cost in found} == {"H100", "A100"}


@pytest.mark.parametrize("names_seeds", [True, False])
def test_the_mean_cost_of_a_training_is_that_of_all_its_epochs(tables, names_seeds):
    seconds = {"s23-e10": 30.0, "s23-e30": 40.0, "s24-e10": 31.0, "s24-e30": 43.0}
    rows = [
        {"stage": "train", "item": f"lokr-f4-{name}", "checkpoint": f"lokr-f4-{name}", "config": "lokr-f4"}
        | {"seconds": took, "bytes": 2**20, "device": "cpu"}
        | ({"seed": int(name[1:3]), "epoch": int(name[5:])} if names_seeds else {})
        for name, took in seconds.items()
    ]
    changed = dataclasses.replace(tables, costs=pd.DataFrame(rows))
    (cost,) = config_costs(changed)
    assert (cost.items, cost.total, cost.each) == (2, "2 min 24 s", "1 min 12 s")
    assert [cost.each for cost in stage_costs(changed)] == ["1 min 12 s"]
    run = compare(changed)
    found = point_costs(run)
    table = run.points.table
    known = table.index[table["config"] == "lokr-f4"]
    assert found["seconds"][known].tolist() == [30.5, 72.0] and found["mib"][known].tolist() == [1, 1]
    assert np.isnan(np.delete(found["seconds"], known)).all() and np.isnan(found["memory"]).all()


def test_merge_ratios_are_moments_of_their_own():
    tables = synthetic_run(configs=CONFIGS[:1], seeds=(23,), epochs=(10,), thumbnails=False)
    half = tables.scores.query("algorithm != 'none'").assign(scale=0.5)
    half["checkpoint"] += "-half"
    run = compare(dataclasses.replace(tables, scores=pd.concat([tables.scores, half])))
    assert run.points.moments == ["epoch 10, scale 0.5", "epoch 10, scale 1"]
    assert run.points.table.loc[run.points.last, "scale"].tolist() == [1.0]


def test_numbers_for_people():
    assert [duration(s) for s in (3.21, 59, 125, 12_000, 500_000)] == [
        "3.2 s",
        "59 s",
        "2 min 05 s",
        "3 h 20 min",
        "139 h",
    ]
    assert [size(b) for b in (12, 520_000, 999_700, 2.1e9)] == ["12 B", "520 kB", "1 MB", "2.1 GB"]
    assert [number(v) for v in (-0.01234, float("nan"))] == ["−0.0123", "–"]


def test_heat_maps_hold_the_correlations_of_leaf_scores(run, tables):
    figures = correlation_figures(run)
    assert {"correlation_image_similarity", "correlation_main"} <= set(figures)
    axes = figures["correlation_main"].axes[0]
    r = axes.images[0].get_array()
    np.testing.assert_allclose(np.diag(r), 1)
    first, second = [column for column in run.columns if column.metric == "image_similarity"][:2]
    rows = tables.normalized.set_index(["prompt_type", "metric", "encoder", "resize"]).sort_index()
    leaf = ["checkpoint", "category", "class_name", "subclass"]
    sides = [rows.loc[[column.identity]].set_index(leaf)["score"] for column in (first, second)]
    shown = figures["correlation_image_similarity"].axes[0].images[0].get_array()
    assert shown[0, 1] == pytest.approx(sides[0].corr(sides[1]))


def test_a_card_fails_what_its_probes_seeds_and_encoders_do_not_support(run, tables):
    cards = {(card.column.metric, card.column.prompt_type, card.column.encoder): card for card in find_cards(run)}
    assert not cards["image_similarity", "train", "dinov2"].failures
    confused = cards["style_loss_data", "train", "vgg19"]
    assert confused.identity == pytest.approx(0.55) and "does not tell its own from another" in verdict(confused)
    rng = np.random.default_rng(0)
    luck = tables.category_scores.assign(score=rng.random(len(tables.category_scores)))
    shuffled = tables.normalized.assign(score=rng.random(len(tables.normalized)))
    unlucky = compare(dataclasses.replace(tables, category_scores=luck, normalized=shuffled))
    found = {(card.column.metric, card.column.encoder): set(card.failures) for card in find_cards(unlucky)}
    assert found["image_similarity", "clip"] >= {"seeds", "encoders"} and "seeds" in found["vendi", "dinov2"]


def test_a_card_without_probes_and_second_seeds_says_that_nothing_is_known(tables):
    one = dataclasses.replace(
        tables,
        probes=tables.probes[:0],
        normalized=tables.normalized.query("seed == 23 and encoder != 'clip'"),
        category_scores=tables.category_scores.query("seed == 23"),
        scores=tables.scores.query("seed != 24 and metric == 'vendi'"),
    )
    assert {verdict(card) for card in find_cards(compare(one))} == {"not known"}


def test_a_config_drawn_otherwise_is_measured_from_the_base_model_drawn_so(tables):
    scores = tables.scores.copy()
    of_it = scores["config"] == "loha-4-2"
    scores.loc[of_it, "config"] = "loha-4-2+steps8"
    base = scores[scores["checkpoint"] == "base"]
    scores = pd.concat([scores, base.assign(checkpoint="base+steps8", config="base+steps8", value=base["value"] + 1)])
    swept = compare(dataclasses.replace(tables, scores=scores.reset_index(drop=True)))
    column = swept.columns[0]
    floors = dict(zip(swept.points.table["config"], swept.means.floor[column, "all"]))
    own = swept.means.base[column, "all"]
    assert floors.pop("loha-4-2+steps8") == pytest.approx(own + 1)
    assert set(floors.values()) == {own}
