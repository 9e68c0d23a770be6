"""The first hour: a study from a folder of pictures, what a dry run says of it, and how long a run still takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, SMOKE, lorabench_here
from tiny_base import write_tiny_base

from lorabench import config, images
from lorabench.api import progress, starting, studies
from lorabench.errors import UserError
from lorabench.pipeline import effort


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty pictures without a caption in a plain folder."""
    rng = np.random.default_rng(0)
    for number in range(20):
        images.write(tmp_path / f"pictures/{number:02}.png", rng.integers(0, 256, (90, 70, 3), np.uint8))
    return tmp_path / "pictures"


def test_a_first_study_runs_after_at_most_one_refusal(tmp_path, pictures):
    words = ["init", str(tmp_path / "first"), "--data", str(pictures)]
    refused = lorabench_here(*words)
    assert refused.returncode == 2 and "--caption" in refused.stderr and "20 pictures" in refused.stderr
    assert not (tmp_path / "first").exists() and not list(pictures.glob("*.txt"))
    done = lorabench_here(*words, "--caption", "[V_hut] house")
    assert done.returncode == 0, done.stderr + done.stdout
    assert (pictures / "07.txt").read_text() == "[V_hut] house\n"
    assert "not tell its configs apart" in done.stdout and "does not know" not in done.stdout
    study, out = str(tmp_path / "first/study.toml"), str(tmp_path / "r")
    dry = lorabench_here("grid", study, "--dry-run", "--json", "--out", out)
    assert dry.returncode == 0, dry.stderr
    rows = {row["stage"]: row for row in json.loads(dry.stdout)}
    assert rows["results"]["what"].startswith(out)
    assert rows["data set"]["count"] == 20 and str(pictures) in rows["data set"]["what"]
    assert "anything" in rows["assumed"]["what"] and "[V_hut]" in rows["concept"]["what"]
    assert "64 pixels" in rows["base"]["what"]
    assert rows["train"]["tasks_to_do"] == 4
    assert "adapters" in rows["disk"]["what"] and "--limit 1" in rows["time"]["what"]
    again = lorabench_here(*words)
    assert again.returncode == 2 and "exists" in again.stderr


def test_init_says_what_may_make_a_study_another_than_was_meant(tmp_path, pictures):
    first = starting.write_study(tmp_path / "a", pictures, "mini", "[V_hut] wooden gazebo")
    assert "does not know gazebo, wooden" in " ".join(first.remarks) and "gazebo, wooden" in first.file.read_text()
    again = starting.write_study(tmp_path / "b", pictures, "mini", "[V_other] house")
    assert "was not used" in again.remarks[0] and (pictures / "07.txt").read_text() == "[V_hut] wooden gazebo\n"


def test_a_run_says_first_what_may_not_be_meant(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(SMOKE.replace("size = 64", "size = 128"))
    done = lorabench_here("rank", str(study), "--out", str(tmp_path / "r"))
    assert "images.size is 128" in done.stderr and "64" in done.stderr


def test_init_takes_what_lies_near_and_else_the_miniature_world(tmp_path, monkeypatch, pictures):
    monkeypatch.chdir(tmp_path)
    near = config.load_study(starting.write_study(Path("near"), None, None, "[V_x] toy").file)
    assert near.data.folder == str(pictures) and near.base == config.base_source("mini", tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    none = starting.write_study(Path("none"), None, None, None).file
    assert studies.planned(none, None).dataset.concepts[0].id == "stuffed_toys/panda"


def test_init_asks_where_there_is_somebody_to_ask(tmp_path, pictures):
    asked: list[str] = []

    def answer(question: str, default: str) -> str:
        asked.append(question)
        return str(pictures) if "Folder" in question else default

    study = config.load_study(starting.write_study(tmp_path / "first", None, None, None, answer).file)
    assert len(asked) == 3 and study.data.folder == str(pictures)
    assert (pictures / "00.txt").read_text() == f"{starting.CAPTION}\n"


def test_init_with_a_base_of_one_s_own_takes_the_paper_s_rates_and_a_path_from_the_study(tmp_path, pictures):
    write_tiny_base(tmp_path / "base")
    study = starting.write_study(tmp_path / "a/b c", pictures, str(tmp_path / "base"), "[V_x] toy").file
    found = config.load_study(study)
    assert (found.base, found.grid[0].lr, found.name) == (str(tmp_path / "base"), 5e-4, "b-c")
    assert 'base = "../../base"' in study.read_text()


@pytest.mark.parametrize(
    ("data", "base", "caption", "says"),
    [
        ("none", None, None, "none is not a folder"),
        ("empty", None, None, "holds no images"),
        ("pictures", "mimi", None, "mimi"),
        ("pictures", None, "  ", "--caption is empty"),
    ],
)
def test_init_refuses_and_writes_nothing(tmp_path, pictures, data, base, caption, says):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=says):
        starting.write_study(tmp_path / "first", tmp_path / data, base, caption)
    assert not (tmp_path / "first").exists() and not list(pictures.glob("*.txt"))


def test_the_time_of_the_whole_follows_the_effort_of_its_stages(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    efforts = {"train": 60.0, "generate": 30.0, "encode": 10.0}
    whole = progress.WholeRun(efforts, {"train": 6, "generate": 3, "encode": 5})
    assert whole.left() is None
    whole.advance("train", 1)  # what came before it, loading models, is not counted
    now = 20.0
    whole.advance("generate", 2)  # beside the training
    assert whole.share == pytest.approx(0.3) and whole.left() == pytest.approx(70.0)  # 20 of effort in 20 s
    assert whole.words("generate") == "2/3 images"
    whole.advance("train", 5)
    whole.advance("generate", 2)  # more than there should be
    whole.advance("encode", 5)
    assert whole.share == 1


def test_the_time_that_a_run_needs_is_as_what_is_finished_took(smoke_run):
    plan = studies.planned(ROOT / "configs/smoke.toml", smoke_run)
    left = effort.left(plan)
    assert not any(left.values()) and effort.seconds_left(plan, left) == 0
    # Had that been half of the work, the other half would take as long.
    whole = effort.whole(plan)
    twice = {stage: passes / 2 for stage, passes in whole.items()}
    spent = effort.costs(plan).query("stage != 'report'")["seconds"].sum()
    assert effort.seconds_left(plan, twice) == pytest.approx(spent)
    new = studies.planned(ROOT / "configs/smoke.toml", smoke_run.parent / "nothing")
    assert effort.left(new) == pytest.approx(whole) and effort.seconds_left(new, effort.left(new)) is None
