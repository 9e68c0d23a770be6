"""What the tests of several layers share.

RECONSTRUCTION: the first version of this file was overwritten by mistake by the engineer of diffusion.py and could not
be recovered. Only ROOT and `lorabench` are here again, read off their uses; its owner should put the original back.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lorabench(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own that cannot reach the network."""
    path = os.pathsep.join([str(ROOT / "tests/offline"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "lorabench", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
