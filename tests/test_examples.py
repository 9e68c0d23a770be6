"""Examples run as their docstrings say. (examples/add_a_metric.py is tested with the metrics.)"""

from __future__ import annotations

import subprocess
import sys

from command_line import ROOT, environment

from lorabench import mini


def test_score_my_images(tmp_path):
    world = mini.write_dataset(tmp_path / "world")
    folders = [str(world / "stuffed_toys" / name) for name in ("lobster", "panda")]
    command = [sys.executable, "examples/score_my_images.py", *folders, "--weights", str(mini.encoder_path("dinov2"))]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    values = {line[:28].strip(): float(line[28:]) for line in done.stdout.splitlines()}
    assert -1 <= values["image_similarity"] <= values["image_similarity (ceiling)"] <= 1
    assert 1 <= values["vendi"] <= 40
