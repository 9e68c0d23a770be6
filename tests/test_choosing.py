"""`lorabench leaderboard`, `epochs` and `recipe` over tables with planted differences."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lorabench.cli import app, choosing
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


def test_a_leaderboard_says_who_is_best_and_how_sure_that_is(run):
    rows = pd.DataFrame(choosing.leaderboard(run)).set_index(["criterion", "config"])
    assert rows.loc[("fidelity", "close"), "verdict"] == rows.loc[("controllability", "free"), "verdict"] == "best"
    assert rows.loc[("fidelity", "worse"), "verdict"] == "worse"
    assert list(rows.index.get_level_values("criterion").unique()) == ["fidelity", "controllability"]
    with pytest.raises(UserError, match="Unknown category 'toy'. Did you mean 'toys'"):
        choosing.leaderboard(run, "toy")


def test_epochs_are_best_or_tied(run):
    rows = pd.DataFrame(choosing.epochs(run, "toys")).set_index(["criterion", "config"])
    assert rows.loc[("fidelity", "close"), ["best epoch", "tied with"]].tolist() == [5, ""]
    assert rows.loc[("controllability", "worse"), "tied with"] in ("5", "10")


def test_a_recipe_obeys_its_limits_and_knows_the_front(run):
    every = pd.DataFrame(choosing.recipe(run, {})).set_index(["config", "epoch"])
    assert len(every) == 6 and every.loc[("close", 5), "on the front"] == 1
    assert every.loc[("worse", 5), "on the front"] == 0 and every.loc[("free", 5), "MiB"] == 40
    good = choosing.recipe(run, {"fidelity": 0.7})
    assert [(row["config"], row["epoch"]) for row in good] == [("close", 5)]
    small = choosing.recipe(run, {}, max_mib=20)
    assert {row["config"] for row in small} == {"close", "worse"}
    with pytest.raises(UserError, match="Unknown criterion 'diversity'"):
        choosing.recipe(run, {"diversity": 0.5})


def test_no_recipe_is_an_exit_code_and_no_size_a_sentence(run, tmp_path):
    answer = CliRunner().invoke(app, ["recipe", str(run), "--min-fidelity", "0.99", "--json"])
    assert answer.exit_code == 1 and answer.stdout.strip() == "[]"
    (tmp_path / "normalized.parquet").write_bytes((run / "normalized.parquet").read_bytes())
    with pytest.raises(UserError, match="does not say how large"):
        choosing.recipe(tmp_path, {}, max_mib=1.0)
    with pytest.raises(UserError, match="holds no normalized.parquet"):
        choosing.epochs(tmp_path / "nowhere")
