"""Further ways to draw: factors of checkpoints, each with a base model drawn so; only what is new is drawn."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from command_line import SMALL, lorabench_here

SWEEP = """
[[sweep]]
product = { guidance = [5, 1], scheduler = ["DDIM", "EulerAncestralDiscreteScheduler"], scale = [0, 1] }
"""


def swept(study, out, *words):
    done = lorabench_here("grid", str(study), "--out", str(out), "--workers", "1", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["made"]


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory):
    """The small run once more, with sweeps: what it had drawn is not drawn again."""
    folder = tmp_path_factory.mktemp("sweep")
    out = shutil.copytree(small_run, folder / "run")
    pictures = {file: file.read_bytes() for file in out.glob("images/**/*.png")}
    study = folder / "study.toml"
    study.write_text(SMALL + SWEEP)
    made = swept(study, out)
    assert made["train"] == 0
    assert {file: file.read_bytes() for file in pictures} == pictures
    return out, study, made


def test_each_way_has_a_base_model_of_its_own_and_nothing_comes_twice(run):
    out, _, made = run
    scores = pd.read_parquet(out / "scores.parquet").drop_duplicates("checkpoint").set_index("checkpoint")
    floors = scores[scores["algorithm"] == "none"].drop("dataset")
    ways = ["base", "base+cfg1", "base+EulerAncestralDiscrete", "base+cfg1-EulerAncestralDiscrete"]
    assert sorted(floors.index) == sorted(ways)
    ours = scores[scores["algorithm"] != "none"]
    assert len(ours) == 2 * 4 * 2  # epochs, ways, merge ratios; guidance 5 by DDIM is the study's own
    assert made["generate"] == len(ways) - 1 + 2 * (4 * 2 - 1)
    assert set(ours["guidance"]) == {1.0, 5.0} and set(ours["scheduler"]) == {"DDIM", "EulerAncestralDiscrete"}


def test_at_merge_ratio_nought_every_way_draws_its_base_model(run):
    out, _, _ = run
    scores = pd.read_parquet(out / "scores.parquet")
    for checkpoint in scores.loc[scores["scale"] == 0, "checkpoint"].unique():
        way = checkpoint.removesuffix("-x0").partition("+")[2]
        floor = out / "images" / (f"base+{way}" if way else "base")
        drawn = {file.relative_to(floor): file.read_bytes() for file in floor.glob("**/*.png")}
        own = out / "images" / checkpoint
        assert drawn and {name: (own / name).read_bytes() for name in drawn} == drawn
    assert (out / "images/base+cfg1").exists()


def test_another_value_draws_only_what_is_new(run):
    out, study, _ = run
    study.write_text(study.read_text().replace("guidance = [5, 1]", "guidance = [5, 1, 3]"))
    assert swept(study, out)["generate"] == 2 + 2 * 2 * 2  # two schedulers: floors, and two epochs at two ratios
    assert swept(study, out)["generate"] == 0


def test_a_sweep_that_cannot_be_is_a_sentence(tmp_path):
    study = tmp_path / "study.toml"
    for sweep, words in [
        ('configs = ["loha*"]', "Unknown config 'loha*'"),
        ("epochs = [7]", "No checkpoint is of epoch 7"),
        ("guidence = 3", "unknown key 'sweep[0].guidence'. Did you mean 'guidance'?"),
        ('product = { scheduler = ["Euler"] }', "is EulerDiscrete meant?"),
        ("clip_skip = 9", "has 2 layers"),
        ("product = { steps = [] }", "empty list"),
        ("product = { lr = [1] }", "unknown key of product 'lr'"),
    ]:
        study.write_text(f"{SMALL}\n[[sweep]]\n{sweep}\n")
        done = lorabench_here("grid", str(study), "--dry-run")
        assert done.returncode == 2 and words in done.stderr, (sweep, done.stderr)
