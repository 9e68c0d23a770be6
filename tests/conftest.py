"""What all tests share: no network, one thread a process, and runs that are made once."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

# For torch and numpy here and in every process that a test starts: two one-thread processes do more than one of two
# threads, which spend twice the time waiting for each other beside another process, and runs repeat exactly.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"  # the hub's library would try five times, for half a minute
os.environ["COLUMNS"] = "100"  # the terminal that tests run in is nobody's business

sys.path.insert(0, str(Path(__file__).parent / "offline"))
import sitecustomize  # noqa: F401 - blocks sockets in this process too
from command_line import SMALL, lorabench_here


def made_once(factory: pytest.TempPathFactory, worker: str, name: str, study: str) -> Path:
    """The folder of a finished run, made by the first test process that asks for it."""
    base = factory.getbasetemp()
    shared = base if worker == "master" else base.parent
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / name / "report.html").exists():
            # Here: processes of its own would load torch and diffusers once more each, half a minute of a core.
            done = lorabench_here("grid", study, "--out", str(shared / name), "--workers", "1")
            assert done.returncode == 0, done.stderr
    return shared / name


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A run of configs/smoke.toml, which nobody changes."""
    return made_once(tmp_path_factory, worker_id, "smoke", "configs/smoke.toml")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A run of the study SMALL, which nobody changes."""
    study = tmp_path_factory.mktemp("small") / "study.toml"
    study.write_text(SMALL)
    return made_once(tmp_path_factory, worker_id, "small", str(study))
