"""Shards of a study, in any order, at once, or killed and run again, come to what one run comes to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT, SMALL, environment, lorabench_here

from lorabench.api import studies
from lorabench.api.requests import How, shard_of, slurm_share
from lorabench.errors import UserError
from lorabench.pipeline.pending import STAGES_OF_TASKS, outstanding
from lorabench.pipeline.shards import Shares
from lorabench.records import Shard

# Two configs with two seeds each, and a merge of both.
STUDY = SMALL.replace("seeds = [1]", "seeds = [1, 2]").replace(
    "[images]",
    """[[grid]]
algorithm = "lora"
name = "other"
lr = 1e-3
dim = 2

[[merge]]
name = "both"
parents = ["lora-linear-d4a2-lr5e-3", "other"]
epochs = [2]

[images]""",
    1,
)
TABLES = ("scores", "normalized", "category_scores", "files", "choices", "merges", "losses", "interference", "failures")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("study") / "study.toml"
    file.write_text(STUDY)
    return file


@pytest.fixture(scope="module")
def alone(study) -> Path:
    done = lorabench_here("grid", str(study), "--out", str(study.parent / "alone"), "--workers", "1")
    assert done.returncode == 0, done.stderr
    return study.parent / "alone"


def words(study: Path, out: Path, shard: str) -> list[str]:
    return ["grid", str(study), "--out", str(out), "--workers", "1", "--shard", shard, "--json"]


def assert_equal(run: Path, alone: Path) -> None:
    for name in TABLES:
        found, expected = (pd.read_parquet(each / f"{name}.parquet") for each in (run, alone))
        pd.testing.assert_frame_equal(found, expected, obj=name)
    for file in alone.glob("checkpoints/*/*/*/adapter.safetensors"):
        assert (run / file.relative_to(alone)).read_bytes() == file.read_bytes()
    assert (run / "report.html").exists() and not any((run / ".tmp").rglob("*.*"))


def test_three_one_after_the_other_in_any_order(study, alone, tmp_path):
    """Only the last one has all that the tables and the merge take; it says which ones are awaited."""
    waits = []
    for shard in ("3/3", "1/3", "2/3"):
        done = lorabench_here(*words(study, tmp_path / "run", shard))
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        waits.append(said.get("waits_for"))
        assert (said["report"] is None) == (shard != "2/3")
    assert waits == [[1, 2], [2], None]
    assert_equal(tmp_path / "run", alone)
    again = json.loads(lorabench_here(*words(study, tmp_path / "run", "1/3")).stdout)
    assert not any(again["made"].values())


def test_three_at_once_one_of_them_killed_and_run_again(study, alone, tmp_path):
    run = tmp_path / "run"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "lorabench", *words(study, run, f"{number}/3")],
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    until = time.monotonic() + 120
    while not list(run.glob("checkpoints/*/*/epoch-0001/meta.json")) and time.monotonic() < until:
        time.sleep(0.05)
    started[0].send_signal(signal.SIGKILL)
    for each in started[1:]:
        assert each.wait(300) == 0, each.stderr.read()
    started[0].wait()
    done = lorabench_here(*words(study, run, "1/3"))
    assert done.returncode == 0, done.stderr
    assert_equal(run, alone)


def test_every_task_is_of_one_shard_whatever_is_done_already(study, alone, tmp_path):
    plans = [studies.planned(study, tmp_path, How(shard=Shard(number, 3))) for number in (1, 2, 3)]
    tasks = [task for stage in STAGES_OF_TASKS for task in outstanding(plans[0], stage)]
    common = [task for task in tasks if Shares(plans[0]).is_common(task)]
    taken = [[task for task in tasks if Shares(plan).is_mine(task)] for plan in plans]
    assert sorted([*common, *sum(taken, [])], key=str) == sorted(tasks, key=str)
    assert {task.source for task in common} == {"dataset", "texts", "base"}
    trained = [{task.source for task in each if task.stage == "train"} for each in taken]
    assert sum(map(len, trained)) == 4 and all(trained)
    for number, each in enumerate(taken):  # what is made of a training stays with it
        for task in (task for task in each if task.stage == "score" and "both" not in task.source):
            assert task.source.rsplit("-", 1)[0] in trained[number]
    whole = studies.planned(study, alone, How(shard=Shard(1, 3)))
    assert Shares(whole).signature == Shares(plans[0]).signature


def test_what_failed_in_one_is_listed_by_the_last(study, tmp_path, monkeypatch):
    """And is not done again by the others."""
    from lorabench.stages import train

    def broken(*args, **kwargs):
        raise RuntimeError("the disk of the pictures is gone")

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(train, "train", broken)
        first = lorabench_here(*words(study, run, "1/2"))
    assert first.returncode == 1
    second = lorabench_here(*words(study, run, "2/2"))
    failures = json.loads(second.stdout)["failures"]
    failed = [each for each in failures if each["status"] == "failed"]
    assert failed and all("the disk of the pictures is gone" in each["message"] for each in failed)
    assert {each["stage"] for each in failures if each["status"] == "skipped"} >= {"merge", "generate"}
    assert (run / "report.html").exists()
    done = lorabench_here(*words(study, run, "1/2"))  # the reason is gone
    assert done.returncode == 0 and json.loads(done.stdout)["failures"] == []


def test_a_run_that_is_alone_and_shards_keep_each_other_out(study, tmp_path):
    lone = studies.planned(study, tmp_path / "run")
    shard = studies.planned(study, tmp_path / "run", How(shard=Shard(1, 2)))
    other = studies.planned(study, tmp_path / "run", How(shard=Shard(2, 2)))
    with shard.folder.locked(), other.folder.locked():
        for each in (lone, shard):
            with pytest.raises(UserError, match="Another run is writing"), each.folder.locked():
                pass
    with lone.folder.locked(), pytest.raises(UserError, match="Another run is writing"), shard.folder.locked():
        pass


@pytest.mark.parametrize(
    ("text", "shard"),
    [("2/3", Shard(2, 3)), (" 3/3 ", Shard(3, 3)), ("0/3", Shard(3, 3)), ("1/1", None), (None, None)],
)
def test_shares_as_people_write_them(text, shard):
    assert shard_of(text) == shard


@pytest.mark.parametrize("text", ["4/3", "1/0", "1", "a/b", "-1/3", "1/3/5", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UserError, match="--shard i/n"):
        shard_of(text)


def slurm(**said: int) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in said.items()}


def test_an_array_of_slurm_is_as_many_shares():
    assert slurm_share({}) is None and slurm_share(slurm(ID=7, COUNT=1)) is None
    for first, step in ((0, 1), (1, 1), (10, 5)):
        shares = [slurm_share(slurm(ID=first + step * n, COUNT=3, MIN=first, STEP=step)) for n in range(3)]
        assert shares == ["1/3", "2/3", "3/3"]
    with pytest.raises(UserError, match="not numbered one after the other"):
        slurm_share(slurm(ID=7, COUNT=3, MIN=1, STEP=1))


def test_an_array_is_believed_unless_something_else_is_said(study, tmp_path, monkeypatch):
    for name, value in slurm(ID=1, COUNT=2, MIN=1, STEP=1).items():
        monkeypatch.setenv(name, value)
    said = lorabench_here("grid", str(study), "--out", str(tmp_path / "run"), "--dry-run", "--json")
    assert said.returncode == 0 and any(row["stage"] == "shard" for row in json.loads(said.stdout))
    refused = lorabench_here("grid", str(study), "--out", str(tmp_path / "run"), "--replace")
    assert refused.returncode == 2 and "--shard 1/1" in refused.stderr
    assert np.isin("1/2", [row["count"] for row in json.loads(said.stdout)])
