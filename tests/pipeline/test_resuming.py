"""Killed at a random moment and run again, a study comes to the same tables; batches change no picture."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT, SMOKE, environment, lorabench, lorabench_here
from PIL import Image
from safetensors.numpy import load_file

KILLS = int(os.environ.get("LORABENCH_KILLS", "1"))  # 20 before a release; each costs up to a minute
LAST = "lokr-linear-f4-lr5e-3"
TABLES = ("scores", "normalized", "category_scores", "attributions", "explanations")


def artifacts(run: Path) -> int:
    """How many there are by now; os.walk, unlike rglob, minds no folder that vanishes under it."""
    return sum("meta.json" in files for _, _, files in os.walk(run))


def without_a_config(run: Path, out: Path) -> None:
    """The run as it was before one of its configs was trained, and without tables."""
    shutil.copytree(run, out, ignore=lambda folder, names: [name for name in names if name.startswith(LAST)])
    for file in [each for each in out.iterdir() if each.is_file()]:
        file.unlink()


def test_killed_runs_end_in_the_same_tables(smoke_run, tmp_path):
    """Each kill waits for a few more artifacts, so that it hits work and not imports, then for a random moment.

    A single kill hits the work on one config, two trainings at once; with more of them a run starts with nothing.
    """
    out = tmp_path / "run"
    rng = random.Random(os.environ.get("LORABENCH_KILL_SEED", "7"))
    command = [sys.executable, "-m", "lorabench", "grid", "configs/smoke.toml", "--out", str(out)]
    if KILLS == 1:
        without_a_config(smoke_run, out)
    there, total = artifacts(out), artifacts(smoke_run)
    for kill in range(KILLS):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        enough = there + total * kill // KILLS
        while process.poll() is None and artifacts(out) <= enough:
            time.sleep(0.1)
        time.sleep(rng.uniform(0, 4))
        assert process.poll() is None, "the run was over before it could be killed"
        process.send_signal(signal.SIGKILL)  # the parent only: its workers have to notice
        process.wait()
    done = lorabench("grid", "configs/smoke.toml", "--out", str(out))
    assert done.returncode == 0, done.stderr
    for name in TABLES:
        undisturbed, resumed = (pd.read_parquet(run / f"{name}.parquet") for run in (smoke_run, out))
        pd.testing.assert_frame_equal(undisturbed, resumed, check_exact=True)
    for file in smoke_run.rglob("adapter.safetensors"):
        ours, theirs = load_file(file), load_file(out / file.relative_to(smoke_run))
        assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not any((out / ".tmp").iterdir())


@pytest.fixture(scope="module")
def one_by_one(smoke_run, tmp_path_factory) -> Path:
    """The first training of the smoke study again, its images drawn in batches of one."""
    folder = tmp_path_factory.mktemp("batches")
    study = SMOKE.replace("[images]", "[images]\nbatch_size = 1")
    (folder / "study.toml").write_text(study)
    words = [str(folder / "study.toml"), "--out", str(folder / "run"), "--limit", "1", "--workers", "1"]
    done = lorabench_here("grid", *words)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_batch_size_changes_no_picture(smoke_run, one_by_one):
    files = sorted((one_by_one / "images").rglob("*.png"))
    assert files
    for file in files:
        same = smoke_run / file.relative_to(one_by_one)
        assert np.array_equal(np.array(Image.open(file)), np.array(Image.open(same))), file


def test_batch_size_changes_no_score(smoke_run, one_by_one):
    keys = ["checkpoint", "category", "class_name", "subclass", "prompt_type", "metric", "encoder", "resize"]
    small, large = (pd.read_parquet(run / "scores.parquet").set_index(keys)["value"] for run in (one_by_one, smoke_run))
    large = large.loc[small.index]
    assert (small.isna() == large.isna()).all()
    assert (small - large).abs().max() < 1e-5
