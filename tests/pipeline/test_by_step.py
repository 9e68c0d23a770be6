"""A study that counts its trainings in steps: names, keys, tables, merges, and a second run that has nothing to do."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from command_line import SMALL, lorabench_here

from lorabench.api import studies
from lorabench.config import load_study
from lorabench.errors import UserError
from lorabench.pipeline.planning import make_plan
from lorabench.records import Milestone, TrainConfig

LENGTH = "epochs = 2\n"
MERGE = """
[[grid]]
algorithm = "lora"
name = "other"
dim = 4
lr = 1e-3
[[merge]]
name = "both"
parents = ["lora-linear-d4a2-lr5e-3", "other"]
checkpoint_steps = [3]
[[sweep]]
checkpoint_steps = [5]
steps = 4
"""


def by_step(kept="[3, 5]"):
    head = SMALL.replace("checkpoint_epochs = [1, 2]\n", "").replace(LENGTH, f"steps = 5\ncheckpoint_steps = {kept}\n")
    assert head.count("steps = 5") == 1
    return head


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    study, out = folder / "study.toml", folder / "run"
    study.write_text(by_step() + MERGE)
    done = lorabench_here("grid", str(study), "--out", str(out), "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    return study, out


def test_checkpoints_are_named_by_step_and_have_no_epoch(run):
    _, out = run
    name = "lora-linear-d4a2-lr5e-3"
    ids = [*(f"{each}-s1-t{step}" for each in (name, "other") for step in (3, 5)), "both-s1-t3"]
    ids += [f"{each}-s1-t5+steps4" for each in (name, "other")]
    scores = pd.read_parquet(out / "scores.parquet")
    ours = scores[~scores["algorithm"].isin(["none"])].drop_duplicates("checkpoint")
    assert set(ours["checkpoint"]) == set(ids) and ours["epoch"].isna().all() and set(ours["step"]) == {3, 5}
    assert (out / f"checkpoints/{name}/seed-1/step-000003/adapter.safetensors").exists()
    assert (out / "checkpoints/both/seed-1/step-000003/merge.json").exists()
    losses = pd.read_parquet(out / "losses.parquet")
    assert sorted(losses.loc[losses["config"] == name, "step"]) == [1, 2, 3, 4, 5]
    assert "step 5" in (out / "report.html").read_text() or "step" in (out / "report.html").read_text()


def test_a_second_run_has_nothing_to_do_and_a_longer_one_goes_on(run, tmp_path):
    study, out = run
    again = lorabench_here("grid", str(study), "--out", str(out), "--workers", "1", "--json")
    made = json.loads(again.stdout)["made"]
    assert not any(made[stage] for stage in ("train", "merge", "generate", "score"))
    longer = tmp_path / "study.toml"
    longer.write_text((by_step("[3, 5, 7]") + MERGE).replace("steps = 5\n", "steps = 7\n"))
    told = lorabench_here("train", str(longer), "--out", str(out), "--workers", "1", "--json")
    assert told.returncode == 0 and json.loads(told.stdout)["made"]["train"] == 2, told.stderr
    words = json.loads(next(out.glob("checkpoints/other/seed-1/step-000007/training.json")).read_text())
    assert words["step"] == 7


def test_lengths_that_cannot_be_are_sentences(tmp_path):
    def planned(text):
        (tmp_path / "study.toml").write_text(text)
        return make_plan(studies.prepared(load_study(tmp_path / "study.toml")), tmp_path / "run")

    with pytest.raises(UserError, match="checkpoint_steps go up to 9, but steps = 5"):
        planned(by_step("[3, 9]"))
    with pytest.raises(UserError, match=r"No checkpoint is of step 4 .*checkpoint_steps\)\. Steps: 3, 5"):
        planned(by_step() + MERGE.replace("checkpoint_steps = [3]", "checkpoint_steps = [4]"))
    with pytest.raises(UserError, match=r"No checkpoint is of epoch 1 .*sweep\[0\]\.epochs\)\. Steps: 3, 5"):
        planned(by_step() + MERGE.replace("checkpoint_steps = [5]", "epochs = [1]"))
    last = planned(by_step("[]")).runs[0].config
    assert last.training.milestones == (Milestone(5, True),)
    assert TrainConfig.from_flat(last.flat) == last
