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
from command_line import ROOT, SMALL, environment, lorabench_here

from lorabench.errors import DamagedArtifact, UserError
from lorabench.executors.nodes import Needs, Room
from lorabench.records import Task

pytest.importorskip("ray", reason="Ray is not installed")
import ray
import ray_nodes

from lorabench.executors.ray import RayExecutor

KILLS = int(os.environ.get("LORABENCH_KILLS", "0"))  # of a worker, a node and the driver each: 5 before a release
TABLES = ("scores", "normalized", "category_scores", "attributions", "explanations", "files", "choices", "losses")


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes.cluster() as made:
        yield made
        ray.shutdown()  # whatever a test has left open: Ray ends a process that is connected when its cluster ends


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


def until(reached, process: subprocess.Popen[bytes], log: Path):
    """What `reached` finds, once it finds something."""
    while not (found := reached()):
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    return found


def a_busy_worker(cluster):
    """Of any node."""
    return next((worker for node in cluster.nodes for worker in node.busy()), None)


def a_busy_node(cluster):
    """Not the head: a cluster does not outlive it."""
    return next((node for node in cluster.nodes[1:] if node.busy()), None)


def on(cluster, study: Path, out: Path) -> list[str]:
    return ["grid", str(study), "--out", str(out), "--executor", "ray", "--address", cluster.address]


def test_two_nodes_make_the_same_tables_though_a_worker_dies(cluster, small_run, tmp_path):
    study, out, log = tmp_path / "study.toml", tmp_path / "run", tmp_path / "log"
    study.write_text(SMALL)
    process = started(on(cluster, study, out), log)
    until(lambda: artifacts(out) >= 2 and a_busy_worker(cluster), process, log).kill()
    assert process.wait(timeout=300) == 0, log.read_text()
    assert "(raylet)" not in log.read_text()  # what Ray says of it would stand among the results
    same_tables(out, small_run)
    assert not (out / ".tmp").exists()


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
    assert not ray.is_initialized()  # else the cluster's end would be this process's
    refused = RayExecutor(Trial(tmp_path), Needs(tmp_path, ()), Room("cuda", 0, True), cluster.address, print)
    with pytest.raises(UserError, match="offers a GPU .* or use --device cpu"):
        refused.start()
    assert not ray.is_initialized() and not any((tmp_path / ".tmp").iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    """A study of two trainings, and its run by one process."""
    folder = tmp_path_factory.mktemp("whole")
    study = folder / "study.toml"
    study.write_text(SMALL.replace("seeds = [1]", "seeds = [1, 2]"))
    assert lorabench_here("grid", str(study), "--out", str(folder / "run"), "--workers", "1").returncode == 0
    return study, folder / "run"


@pytest.mark.skipif(not KILLS, reason="takes ten minutes: LORABENCH_KILLS=5")
@pytest.mark.parametrize("victim", ["worker", "node", "driver"])
def test_what_is_killed_at_random_moments_changes_no_table(victim, cluster, whole, tmp_path):
    """Each kill at work, one more artifact and a moment after the last; a run that is over is followed by another."""
    (study, undisturbed), log, runs = whole, tmp_path / "log", []
    rng = random.Random(f"{os.environ.get('LORABENCH_KILL_SEED', '7')} {victim}")
    find = {"worker": a_busy_worker, "node": a_busy_node, "driver": a_busy_worker}[victim]
    process, kills = None, 0
    while kills < KILLS:
        if process is None:
            runs.append(tmp_path / f"run-{len(runs)}")
        if process is None or victim == "driver":
            process = started(on(cluster, study, runs[-1]), log)
        enough, pause = artifacts(runs[-1]), rng.uniform(0, 1)
        while process.poll() is None and artifacts(runs[-1]) <= enough:
            time.sleep(0.02)
        time.sleep(pause)
        while process.poll() is None and not (found := find(cluster)):
            time.sleep(0.02)
        if process.poll() is None:
            (process if victim == "driver" else found).kill()
            kills += 1
            if victim == "driver":
                process.wait()
            if victim == "node":
                cluster.nodes.remove(found)
                cluster.grow()
        else:
            assert process.returncode in (0, 1), log.read_text()  # 1: two kills hit the same task
            process = None
    assert process is None or process.wait(timeout=600) in (0, 1, -signal.SIGKILL), log.read_text()
    for run in runs:
        done = lorabench_here(*on(cluster, study, run))
        assert done.returncode == 0, done.stderr
        same_tables(run, undisturbed)
