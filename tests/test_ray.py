"""Many machines by Ray: the same tables as one process makes, whatever dies meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from command_line import ROOT, SMALL, environment, lorabench, lorabench_here

from lorabench.errors import DamagedArtifact, UserError
from lorabench.executors.nodes import Needs, Room
from lorabench.records import Task

pytest.importorskip("ray", reason="Ray is not installed")
import ray_nodes

from lorabench.executors.ray import RayExecutor

KILLS = int(os.environ.get("LORABENCH_KILLS", "0"))  # of a worker, a node and the driver each: 5 before a release
TABLES = ("scores", "normalized", "category_scores", "attributions", "explanations", "files", "choices", "losses")


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes.cluster() as made:
        yield made


def same_tables(run: Path, other: Path) -> None:
    for name in TABLES:
        ours, theirs = (pd.read_parquet(each / f"{name}.parquet") for each in (run, other))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def artifacts(run: Path) -> int:
    return sum("meta.json" in files for _, _, files in os.walk(run))


def started(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "lorabench", *words], cwd=ROOT, env=environment(), stdout=out, stderr=out
        )


def until(reached, process: subprocess.Popen[bytes], log: Path) -> None:
    while not reached():
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)


def on(cluster, study: Path, out: Path) -> list[str]:
    return ["grid", str(study), "--out", str(out), "--executor", "ray", "--address", cluster.address]


def test_two_nodes_make_the_same_tables_though_a_worker_dies(cluster, small_run, tmp_path):
    study, out, log = tmp_path / "study.toml", tmp_path / "run", tmp_path / "log"
    study.write_text(SMALL)
    process = started(on(cluster, study, out), log)
    until(lambda: artifacts(out) >= 2 and all(node.workers() for node in cluster.nodes), process, log)
    busy = [worker for node in cluster.nodes for worker in node.workers() if worker.cmdline() == ["ray::_Doer.do"]]
    (busy or cluster.nodes[0].workers())[0].kill()
    assert process.wait(timeout=300) == 0, log.read_text()
    same_tables(out, small_run)
    assert not any((out / ".tmp").iterdir())


@dataclass(frozen=True)
class Trial:
    """Work of which some tasks fail, kill their process once, or kill it every time."""

    folder: Path

    def __call__(self, task: Task, tell) -> None:
        first = not (mark := self.folder / task.source).exists()
        mark.touch()
        tell(("train", task.source))
        if task.source == "kills" or (task.source == "killed once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.source in FAILURES:
            raise FAILURES[task.source]

    def at(self, place: int) -> Trial:
        return self


FAILURES = {
    "user": UserError("Do this."),
    "damage": DamagedArtifact(Path("x"), "torn"),
    "disk": OSError(28, "full", "/x"),
    "other": ZeroDivisionError("by nought"),
}


def executor(cluster, folder: Path, say=print, *inputs: Path) -> RayExecutor:
    return RayExecutor(Trial(folder), Needs(folder, inputs), Room("auto", 0, True), cluster.address, say)


def test_a_task_that_kills_twice_is_given_up_and_errors_stay_what_they_are(cluster, tmp_path):
    names = ["fine", "kills", "killed once", *FAILURES, "last"]
    tasks, said, told = iter([Task("train", name, 1) for name in names]), [], []
    with_ray = executor(cluster, tmp_path, said.append)
    try:
        outcomes = list(with_ray.run(lambda: next(tasks, None), told.append))
    finally:
        with_ray.close()
    errors = {outcome.task.source: outcome.error for outcome in outcomes}
    assert len(outcomes) == len(names) and set(errors) == set(names)
    assert errors["fine"] is errors["last"] is errors["killed once"] is None
    assert "died twice" in str(errors["kills"]) and sum("died; it is done again" in each for each in said) == 2
    for name in ("user", "damage", "disk"):
        assert type(errors[name]) is type(FAILURES[name]) and errors[name].args == FAILURES[name].args
    assert str(errors["other"]) == "ZeroDivisionError: by nought" and "Trial" not in str(errors["other"])
    assert "__call__" in "".join(errors["other"].__notes__)  # the whole story is there for who mends it
    assert {("train", name) for name in names} - set(told) <= {("train", "kills"), ("train", "killed once")}
    assert not any((tmp_path / ".tmp").iterdir())


def test_a_machine_that_does_not_see_what_it_needs_is_named_before_work(cluster, tmp_path):
    missing = tmp_path / "weights"
    refused = executor(cluster, tmp_path, print, missing)
    with pytest.raises(UserError, match=f"Not every machine can do the work: .* does not see {missing}"):
        refused.start()
    refused.close()
    refused = RayExecutor(Trial(tmp_path), Needs(tmp_path, ()), Room("cuda", 0, True), cluster.address, print)
    with pytest.raises(UserError, match="offers a GPU .* or use --device cpu"):
        refused.start()


@pytest.mark.skipif(not KILLS, reason="takes ten minutes: LORABENCH_KILLS=5")
@pytest.mark.parametrize("victim", ["worker", "node", "driver"])
def test_what_is_killed_at_random_moments_changes_no_table(victim, cluster, tmp_path):
    study, out, whole, log = (tmp_path / name for name in ("study.toml", "run", "whole", "log"))
    more = SMALL.replace("seeds = [1]", "seeds = [1, 2]").replace("[images]", "[images]\nscales = [0.5, 1, 2]")
    study.write_text(more)
    assert lorabench_here("grid", str(study), "--out", str(whole), "--workers", "1").returncode == 0
    rng = random.Random(os.environ.get("LORABENCH_KILL_SEED", "7"))
    process, total = started(on(cluster, study, out), log), artifacts(whole)
    for kill in range(KILLS):
        until(lambda enough=total * kill // KILLS: artifacts(out) > enough, process, log)
        time.sleep(rng.uniform(0, 2))
        assert process.poll() is None, log.read_text()
        if victim == "driver":
            process.kill()
            process.wait()
            process = started(on(cluster, study, out), log)
        elif victim == "node":
            cluster.nodes.pop().kill()
            cluster.grow()
        else:
            until(lambda: any(node.workers() for node in cluster.nodes), process, log)
            rng.choice([worker for node in cluster.nodes for worker in node.workers()]).kill()
    assert process.wait(timeout=600) in (0, 1), log.read_text()  # 1: the same task was hit twice
    done = lorabench(*on(cluster, study, out))
    assert done.returncode == 0, done.stderr
    same_tables(out, whole)
