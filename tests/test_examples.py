"""Examples run as their docstrings say. (examples/add_a_metric.py is tested with the metrics.)"""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
from command_line import ROOT, environment

from lorabench import mini


def test_score_my_images(tmp_path):
    """Lobsters are more like lobsters than pandas are; pictures without prompts are scored for what they show."""
    world = mini.write_dataset(tmp_path / "world")
    generated, real = tmp_path / "generated", tmp_path / "real"
    real.mkdir()
    for name in ("lobster", "panda"):
        (generated / name).mkdir(parents=True)
        for number, file in enumerate(sorted((world / "stuffed_toys" / name).glob("*.png"))):
            folder = generated / name if number < 8 else real
            if number < 8 or name == "lobster":
                (folder / file.name).write_bytes(file.read_bytes())
    study = tmp_path / "encoders.toml"
    names = ("dinov2", "clip", "convnextv2", "vgg19")
    weights = "\n".join(f'{name} = {{ weights = "lorabench:mini/weights/{name}" }}' for name in names)
    study.write_text(f'name = "mine"\n[run]\nworkers = 1\n[encoders]\n{weights}\n')
    command = [sys.executable, "examples/score_my_images.py", str(generated), str(real), "--study", str(study)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    scores = pd.read_parquet(tmp_path / "out/scores.parquet")
    means = scores[scores["metric"] == "image_similarity"].set_index("checkpoint")["value"]
    assert -1 <= means["panda"] < means["lobster"] <= 1 and means["panda"] < means["dataset"]
    assert "image_similarity" in done.stdout and "Report: " in done.stdout
