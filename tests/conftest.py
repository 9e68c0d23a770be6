"""What all tests share: no network, one thread a process, and a smoke run that is made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "tests/offline"
# The smoke study as it can be written anywhere: its plug-in by an absolute path.
SMOKE = (ROOT / "configs/smoke.toml").read_text().replace("../examples", str(ROOT / "examples"))

sys.path.insert(0, str(OFFLINE))
import sitecustomize  # noqa: E402, F401 - blocks sockets in this process too
import torch  # noqa: E402

torch.set_num_threads(1)  # two one-thread processes do more than one of two threads, and runs repeat exactly


def environment() -> dict[str, str]:
    """The environment of a user without network."""
    return os.environ | {"PYTHONPATH": str(OFFLINE), "HF_HUB_OFFLINE": "1", "COLUMNS": "160", "NO_COLOR": "1"}


def lorabench(*words: str, cwd: Path = ROOT, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "lorabench", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of configs/smoke.toml."""
    out = tmp_path_factory.mktemp("smoke") / "run"
    done = lorabench("grid", "configs/smoke.toml", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out
