"""An adapter whose pictures collapse: they are counted, named and measured as nothing."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from command_line import lorabench_here
from safetensors.torch import load_file, save_file

FEW = ("--base", "mini", "--concept", "stuffed_toys/panda", "--per-set", "2", "--steps", "2", "--workers", "1")


def test_pictures_of_noise_take_no_part(small_run, tmp_path):
    source = next(small_run.glob("checkpoints/*/seed-1/epoch-0002/adapter.safetensors"))
    tensors = load_file(source)
    (tmp_path / "mine").mkdir()
    save_file(tensors, tmp_path / "mine/good.safetensors")
    broken = {
        name: 3000 * tensor if "lora_up" in name and "unet" in name else tensor for name, tensor in tensors.items()
    }
    save_file(broken, tmp_path / "mine/broken.safetensors")
    run = tmp_path / "run"
    done = lorabench_here("evaluate", str(tmp_path / "mine"), *FEW, "--out", str(run))
    assert done.returncode == 0, done.stderr
    collapsed = pd.read_parquet(run / "collapsed.parquet")
    assert set(collapsed["checkpoint"]) == {"broken"} and set(collapsed["kind"]) <= {"noise", "uniform", "black"}
    assert "Pictures that collapsed" in done.stdout and "Pictures that collapsed" in (run / "report.html").read_text()
    scores = pd.read_parquet(run / "scores.parquet")
    drawn = scores[(scores["checkpoint"] == "broken") & (scores["metric"] == "image_similarity")]
    whole = collapsed.groupby("prompt_type").size()
    for row in drawn.itertuples():
        left = 2 - whole.get(row.prompt_type, 0)
        assert row.n_images == left
        assert left or (np.isnan(row.value) and row.reason.startswith("All 2 images collapsed"))
    assert whole.sum() >= 1
    again = json.loads(lorabench_here("evaluate", str(tmp_path / "mine"), *FEW, "--out", str(run), "--json").stdout)
    assert not any(again["made"].values())
