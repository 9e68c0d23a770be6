"""Killed at a random moment and run again, a study comes to the same tables; batches change no picture."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT, SMALL, environment, lorabench, lorabench_here
from PIL import Image
from safetensors.numpy import load_file

KILLS = int(os.environ.get("LORABENCH_KILLS", "1"))  # 20 before a release; each costs half a minute
TABLES = ("scores", "normalized", "category_scores", "attributions", "explanations")


def artifacts(run: Path) -> int:
    """How many there are by now; os.walk, unlike rglob, minds no folder that vanishes under it."""
    return sum("meta.json" in files for _, _, files in os.walk(run))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Two trainings at once, and enough checkpoints for CatBoost to explain: each at three merge ratios."""
    file = tmp_path_factory.mktemp("study") / "study.toml"
    file.write_text(
        SMALL.replace("seeds = [1]", "seeds = [1, 2]").replace("[images]", "[images]\nscales = [0.5, 1, 2]")
    )
    return file


def test_killed_runs_end_in_the_same_tables(study, tmp_path):
    """Each kill waits for a few more artifacts, so that it hits work and not imports, then for a random moment.

    The undisturbed run has one process, the others two.
    """
    out, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    assert lorabench_here("grid", str(study), "--out", str(undisturbed), "--workers", "1").returncode == 0
    rng = random.Random(os.environ.get("LORABENCH_KILL_SEED", "7"))
    words = ["grid", str(study), "--out", str(out), "--workers", "2"]
    total = artifacts(undisturbed)
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "lorabench", *words],
            cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        enough = total * kill // KILLS
        while process.poll() is None and artifacts(out) <= enough:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 2))
        assert process.poll() is None, "the run was over before it could be killed"
        process.send_signal(signal.SIGKILL)  # the parent only: its workers have to notice
        process.wait()
    done = lorabench(*words)
    assert done.returncode == 0, done.stderr
    for name in TABLES:
        whole, resumed = (pd.read_parquet(run / f"{name}.parquet") for run in (undisturbed, out))
        assert len(whole)
        pd.testing.assert_frame_equal(whole, resumed, check_exact=True)
    for file in undisturbed.rglob("adapter.safetensors"):
        ours, theirs = load_file(file), load_file(out / file.relative_to(undisturbed))
        assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not (out / ".tmp").exists()


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory) -> Path:
    """The small study again, its images drawn in batches of one."""
    folder = tmp_path_factory.mktemp("batches")
    study = SMALL.replace("[images]", "[images]\nbatch_size = 1")
    (folder / "study.toml").write_text(study)
    words = [str(folder / "study.toml"), "--out", str(folder / "run"), "--workers", "1"]
    done = lorabench_here("grid", *words)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_batch_size_changes_no_picture(small_run, one_by_one):
    files = sorted((one_by_one / "images").rglob("*.png"))
    assert files
    for file in files:
        same = small_run / file.relative_to(one_by_one)
        assert np.array_equal(np.array(Image.open(file)), np.array(Image.open(same))), file


def test_batch_size_changes_no_score(small_run, one_by_one):
    keys = ["checkpoint", "category", "class_name", "subclass", "prompt_type", "metric", "encoder", "resize"]
    small, large = (pd.read_parquet(run / "scores.parquet").set_index(keys)["value"] for run in (one_by_one, small_run))
    large = large.loc[small.index]
    assert (small.isna() == large.isna()).all()
    assert (small - large).abs().max() < 1e-5
