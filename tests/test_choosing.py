"""`lorabench leaderboard`, `epochs` and `recipe` over tables with planted differences."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lorabench.api import choosing, file_comparison
from lorabench.api.measurements import Selection
from lorabench.cli import app, cells, choice_words
from lorabench.errors import UserError
from lorabench.statistics.columns import FACTORS

MEASURED = {"image_similarity": ("train", "dinov2"), "text_similarity": ("alter", "clip")}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Config "close" is faithful, "free" follows prompts, "worse" is neither; "close" is best at its first epoch."""
    folder, rng, rows = tmp_path_factory.mktemp("run"), np.random.default_rng(0), []
    means = {"close": (0.9, 0.1), "free": (0.2, 0.9), "worse": (0.1, 0.05)}
    for config, seed, epoch, (place, metric) in itertools.product(means, (1, 2, 3), (5, 10), enumerate(MEASURED)):
        for name in ("a", "b", "c", "d"):
            late = -0.3 * (config == "close" and epoch == 10 and place == 0)
            factors = dict.fromkeys(FACTORS) | {"study": "s", "config": config, "seed": seed, "epoch": epoch}
            factors |= {"checkpoint": f"{config}-{seed}-{epoch}", "algorithm": "lora", "scale": 1.0}
            leaf = {"category": "toys", "class_name": name, "subclass": "", "resize": "", "metric": metric}
            prompt, encoder = MEASURED[metric]
            score = means[config][place] + late + 0.02 * rng.normal()
            rows.append(factors | leaf | {"prompt_type": prompt, "encoder": encoder, "score": score})
    pd.DataFrame(rows).to_parquet(folder / "normalized.parquet")
    sizes = {"close": 10, "free": 40, "worse": 5}
    costs = [{"stage": "train", "config": name, "bytes": mib * 2**20} for name, mib in sizes.items()]
    pd.DataFrame(costs).to_parquet(folder / "costs.parquet")
    return folder


def test_two_files_of_one_name_are_told_not_averaged(run, tmp_path):
    table = pd.read_parquet(run / "normalized.parquet")
    twin = table[table["checkpoint"] == "close-1-5"].assign(checkpoint="twin")
    pd.concat([table, twin]).to_parquet(tmp_path / "normalized.parquet")
    for asked in (choosing.leaderboard, choosing.epochs):
        with pytest.raises(UserError, match="close-1-5 and twin are both config close"):
            asked(tmp_path)


def test_a_leaderboard_says_who_is_best_and_how_sure_that_is(run):
    found = choosing.leaderboard(run)
    rows = found.set_index(["criterion", "config"])
    assert rows.loc[("fidelity", "close"), "verdict"] == rows.loc[("controllability", "free"), "verdict"] == "best"
    worse = rows.loc[("fidelity", "worse")]
    assert worse["verdict"] == "worse" and worse["low"] < worse["difference"] < worse["high"] < 0
    assert list(rows.index.get_level_values("criterion").unique()) == ["fidelity", "controllability"]
    assert (found["epoch"] == 10).all() and set(found["n_classes"]) == {4}
    identity = found.query("criterion == 'fidelity'")[["metric", "prompt_type", "encoder"]].drop_duplicates()
    assert identity.to_numpy().tolist() == [["image_similarity", "train", "dinov2"]]
    with pytest.raises(UserError, match="Unknown category 'toy'. Did you mean 'toys'"):
        choosing.leaderboard(run, Selection("toy"))


def test_epochs_are_best_or_tied(run):
    rows = choosing.epochs(run, Selection("toys")).set_index(["criterion", "config", "epoch"])
    assert rows.loc[("fidelity", "close"), "verdict"].to_dict() == {5: "best", 10: "worse"}
    assert set(rows.loc[("controllability", "worse"), "verdict"]) == {"best", "tied"}


def test_a_recipe_obeys_its_limits_and_knows_the_front(run):
    found = choosing.recipe(run, {})
    every = found.points.set_index(["config", "epoch"])
    assert len(every) == 6 and every.loc[("close", 5), "on_front"] == 1 and found.nearest.empty
    assert every.loc[("worse", 5), "on_front"] == 0 and every.loc[("free", 5), "mib"] == 40
    assert found.judged_by["metric"].tolist() == ["image_similarity", "text_similarity"]
    good = choosing.recipe(run, {"fidelity": 0.7}).points
    assert good[["config", "epoch"]].to_numpy().tolist() == [["close", 5]]
    small = choosing.recipe(run, {}, max_mib=20).points
    assert set(small["config"]) == {"close", "worse"}
    with pytest.raises(UserError, match="Unknown criterion 'diversity'"):
        choosing.recipe(run, {"diversity": 0.5})


def test_where_nothing_is_good_enough_the_nearest_says_how_near(run):
    found = choosing.recipe(run, {"fidelity": 0.99}, max_mib=20)
    nearest = found.nearest.iloc[0]
    assert found.points.empty and (nearest["config"], nearest["epoch"]) == ("close", 5)
    assert nearest["shortfall"] == pytest.approx(0.99 - nearest["fidelity"])
    assert found.nearest["shortfall"].is_monotonic_increasing
    answer = CliRunner().invoke(app, ["recipe", str(run), "--min-fidelity", "0.99"])
    assert answer.exit_code == 1 and f"close, epoch 5: fidelity {nearest['fidelity']:.2f} of 0.99" in answer.stderr
    answer = CliRunner().invoke(app, ["recipe", str(run), "--min-fidelity", "0.99", "--json"])
    told = json.loads(answer.stdout)
    assert answer.exit_code == 1 and told["points"] == [] and told["nearest"][0]["config"] == "close"


def test_no_size_is_a_sentence(run, tmp_path):
    (tmp_path / "normalized.parquet").write_bytes((run / "normalized.parquet").read_bytes())
    with pytest.raises(UserError, match="does not say how large"):
        choosing.recipe(tmp_path, {}, max_mib=1.0)
    with pytest.raises(UserError, match="holds no normalized.parquet"):
        choosing.epochs(tmp_path / "nowhere")


def test_other_epochs_metrics_and_prompts_can_be_asked_for(run, tmp_path):
    early = choosing.leaderboard(run, Selection(epochs=(5,)))
    assert (early["epoch"] == 5).all() and early["score"].iloc[0] == pytest.approx(0.9, abs=0.05)
    both = choosing.leaderboard(run, Selection(epochs=(5, 10)))
    assert len(both) == 2 * len(early) and both["verdict"].tolist().count("best") == 2
    table = pd.read_parquet(run / "normalized.parquet")
    more = [table]
    for metric, prompt in (("squared_centroid_distance", "train"), ("image_similarity", "trigger")):
        same = table[table["metric"] == "image_similarity"]
        more.append(same.assign(metric=metric, prompt_type=prompt, score=1 - same["score"]))
    pd.concat(more).to_parquet(tmp_path / "normalized.parquet")

    def fidelity(**asked) -> tuple[str, str, str]:
        found = choosing.leaderboard(tmp_path, Selection(**asked)).query("criterion == 'fidelity'").iloc[0]
        return found["metric"], found["prompt_type"], found["config"]

    assert fidelity() == ("image_similarity", "train", "close")
    assert fidelity(metrics=("squared_centroid_distance",)) == ("squared_centroid_distance", "train", "worse")
    assert fidelity(prompts="trigger") == ("image_similarity", "trigger", "worse")
    for asked, sentence in (
        ({"epochs": (7,)}, "no epoch 7; it has 5, 10"),
        ({"metrics": ("vendy",)}, "Unknown metric 'vendy'"),
        ({"metrics": ("image_similarty",)}, "Did you mean 'image_similarity'"),
        ({"prompts": "triger"}, "Unknown prompt type 'triger'. Did you mean 'trigger'"),
        ({"metrics": ("text_similarity",), "prompts": "train"}, "not measured on train prompts, only on alter"),
        ({"metrics": ("image_similarity", "squared_centroid_distance")}, "both measure fidelity"),
    ):
        for ask in (choosing.leaderboard, choosing.epochs, lambda run, asked: choosing.recipe(run, {}, None, asked)):
            with pytest.raises(UserError, match=sentence):
                ask(tmp_path, Selection(**asked))


def test_a_criterion_that_is_judged_by_something_else_says_so_everywhere(run, tmp_path):
    """Without alter prompts controllability is text similarity on training prompts: another measurement."""
    table = pd.read_parquet(run / "normalized.parquet")
    table.assign(prompt_type="train").to_parquet(tmp_path / "normalized.parquet")
    for command in ("leaderboard", "epochs", "recipe"):
        said = " ".join(CliRunner().invoke(app, [command, str(tmp_path)]).stdout.split())
        assert "Controllability: text similarity, train prompts, clip" in said
        assert "instead of text similarity, alter prompts" in said and said.count("instead of") == 1
        told = json.loads(CliRunner().invoke(app, [command, str(tmp_path), "--json"]).stdout)
        rows = told["judged_by"] if command == "recipe" else told
        assert {row["criterion"]: row["stands_in_for"] for row in rows} == {
            "fidelity": None,
            "controllability": "text_similarity, alter prompts",
        }


@pytest.mark.parametrize("columns", ["80", "100"])
def test_tables_fit_the_terminal_with_names_of_any_length(run, tmp_path, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    table = pd.read_parquet(run / "normalized.parquet")
    long = {
        name: f"{name}-linear-d8a4-lr5e-3-with-a-name-that-somebody-gave-it-to-know-it" for name in ("close", "free")
    }
    table.replace({"config": long}).to_parquet(tmp_path / "normalized.parquet")
    for command in (["leaderboard"], ["leaderboard", "--epoch", "5", "--epoch", "10"], ["epochs"], ["recipe"]):
        answer = CliRunner().invoke(app, [command[0], str(tmp_path), *command[1:]])
        assert answer.exit_code == 0 and max(map(len, answer.stdout.splitlines())) <= int(columns)
        assert not re.search(r"^\S* +\d\.\d$", answer.stdout, re.MULTILINE), "a number is folded"


def test_json_has_snake_case_keys_and_numbers(run):
    for command in ("leaderboard", "epochs"):
        rows = json.loads(CliRunner().invoke(app, [command, str(run), "--json"]).stdout)
        assert all(re.fullmatch("[a-z_]+", key) for key in rows[0])
        second = next(row for row in rows if row["verdict"] == "worse")
        assert all(isinstance(second[name], float) for name in ("score", "difference", "low", "high", "q"))


def test_what_fails_its_audit_is_said_wherever_it_names_a_winner(smoke_run, tmp_path):
    """One image again and again that is more diverse than real ones: then diversity says nothing."""
    run = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    before = choosing.leaderboard(run)
    assert before.loc[before["criterion"] == "diversity", "fails_audit"].isna().all()
    probes = pd.read_parquet(run / "probes.parquet")
    probes.loc[(probes["metric"] == "vendi") & (probes["probe"] == "copies"), "value"] = 9.0
    probes.to_parquet(run / "probes.parquet")
    (run / "run.json").unlink()  # it would call the table damaged
    for command in ("leaderboard", "files"):
        said = " ".join(CliRunner().invoke(app, [command, str(run)]).stdout.split())
        assert "fails its audit here (calls one image again and again" in said.split("Diversity:")[1][:260]
        rows = json.loads(CliRunner().invoke(app, [command, str(run), "--json"]).stdout)
        assert {row["criterion"] for row in rows if row["fails_audit"]} >= {"diversity"}


def test_a_criterion_whose_sets_are_too_small_to_compare_files_by_is_said(smoke_run, tmp_path):
    run = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    files = pd.read_parquet(run / "files.parquet")
    files[files["metric"] != "vendi"].to_parquet(run / "files.parquet")
    (run / "run.json").unlink()
    found = file_comparison.files(run)
    rows = found[found["criterion"] == "diversity"]
    assert len(rows) == 12 and rows["mean"].notna().all() and set(rows["verdict"]) == {"cannot be told"}
    assert "too few images" in " ".join(CliRunner().invoke(app, ["files", str(run)]).stdout.split())


@pytest.mark.parametrize(("value", "shown"), [(0.0501, "0.0501"), (0.0499, "0.05"), (0.2, "0.20"), (0.001, "<0.01")])
def test_q_is_shown_on_its_side_of_the_limit(value, shown):
    assert cells.q(value) == shown


def test_one_line_says_why_an_interval_without_zero_may_be_tied():
    row = {"study": "s", "criterion": "diversity", "metric": "vendi", "prompt_type": "trigger", "encoder": "dinov2"}
    row |= {"resize": "", "category": "all", "n_classes": 3, "epoch": 1, "stands_in_for": None}
    row |= dict.fromkeys(("detectable", "more_seeds", "more_images", "identified_right", "identified_images"))
    best = row | {"config": "a", "score": 0.9, "verdict": "best"} | dict.fromkeys(("difference", "low", "high", "q"))
    tied = row | {"config": "b", "score": 0.5, "verdict": "tied", "difference": -0.4, "low": -0.7, "high": -0.1}
    said = "\n".join(choice_words.leaderboard(pd.DataFrame([best, tied | {"q": 0.08}])))
    assert "tied*" in said and "* Its interval excludes 0, and yet it is tied" in said and "all 1 pairs" in said
    said = "\n".join(choice_words.leaderboard(pd.DataFrame([best, tied | {"q": 0.4, "high": 0.1}])))
    assert "*" not in said
