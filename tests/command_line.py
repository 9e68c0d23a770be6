"""The command line as a user without network runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "tests/offline"
# The smoke study as it can be written anywhere: its plug-in by an absolute path.
SMOKE = (ROOT / "configs/smoke.toml").read_text().replace("../examples", str(ROOT / "examples"))


def environment() -> dict[str, str]:
    """The environment of a user without network."""
    return os.environ | {"PYTHONPATH": str(OFFLINE), "HF_HUB_OFFLINE": "1", "COLUMNS": "160", "NO_COLOR": "1"}


def lorabench(*words: str, cwd: Path = ROOT, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "lorabench", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )
