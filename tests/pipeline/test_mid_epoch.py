"""A training that is killed in the middle of an epoch goes on from its last state, and ends in the same bytes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import ROOT, SMALL, environment, lorabench_here

KILLS = int(os.environ.get("LORABENCH_KILLS", "1"))
ROWS = """
[[grid]]
algorithm = "lora"
dim = 4
alpha = 2
lr = 5e-3
rank_dropout = 0.1
schedule = "cosine_with_restarts"
cycles = 3
vary = [{ optimizer = "prodigy", lr = 1.0, schedule = "constant", flip = true, loss = "huber", tag_dropout = 0.2 }]

[[grid]]
algorithm = "textual_inversion"
vectors = 2
lr = 1e-2
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Two trainings of one long way to their only checkpoint, with a state after every step."""
    head, _, rest = SMALL.partition("[[grid]]")
    images = rest[rest.index("[images]") :] if "[images]" in rest else ""
    head = head.replace("checkpoint_epochs = [1, 2]", "checkpoint_epochs = [4]\nstate_every = 0")
    head = head.replace("epochs = 2\n", "epochs = 4\n")
    file = tmp_path_factory.mktemp("study") / "study.toml"
    file.write_text(f"{head}{ROWS}{images}")
    return file


def trained(out: Path) -> dict[Path, bytes]:
    names = ("adapter.safetensors", "training.json")
    return {file.relative_to(out): file.read_bytes() for name in names for file in out.rglob(f"epoch-*/{name}")}


def states(out: Path) -> set[tuple[str, int]]:
    """The states that lie there, each with the time at which it was written."""
    found = set()
    for folder, _, files in os.walk(out):  # os.walk, unlike rglob, minds no folder that vanishes under it
        if folder.endswith("training-state") and "meta.json" in files:
            with contextlib.suppress(FileNotFoundError):
                found.add((folder, os.stat(f"{folder}/meta.json").st_mtime_ns))
    return found


def test_killed_at_a_random_step_it_ends_in_the_same_bytes(study, tmp_path):
    out, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    words = ["train", str(study), "--workers", "1"]
    assert lorabench_here(*words, "--out", str(undisturbed)).returncode == 0
    whole = trained(undisturbed)
    assert len(whole) == 3 * 2
    rng = random.Random(os.environ.get("LORABENCH_KILL_SEED", "3"))
    kills = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "lorabench", *words, "--out", str(out)],
            cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        before = states(out)
        while process.poll() is None and states(out) <= before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        kills += process.poll() is None
        process.kill()
        process.wait()
        assert process.returncode in (0, -signal.SIGKILL)
    assert kills
    told = lorabench_here(*words, "--out", str(out))
    assert told.returncode == 0, told.stderr
    assert trained(out) == whole
    assert not list(out.rglob("training-state"))
