"""What all tests share: no network, one thread a process, and a smoke run that is made once."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "offline"))
import sitecustomize  # noqa: F401 - blocks sockets in this process too
import torch
from command_line import lorabench

os.environ["COLUMNS"] = "100"  # the terminal that tests run in is nobody's business
torch.set_num_threads(1)  # two one-thread processes do more than one of two threads, and runs repeat exactly


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of a finished run of configs/smoke.toml, made once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "smoke/report.html").exists():
            done = lorabench("grid", "configs/smoke.toml", "--out", str(shared / "smoke"))
            assert done.returncode == 0, done.stderr
    return shared / "smoke"
