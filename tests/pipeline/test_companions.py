"""A second adapter that is merged beside each checkpoint is a factor, and the base model has it too."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from command_line import lorabench_here
from PIL import Image
from safetensors.torch import load_file, save_file

FEW = ("--base", "mini", "--concept", "stuffed_toys/panda", "--per-set", "1", "--steps", "2", "--workers", "1")


@pytest.fixture(scope="module")
def files(small_run, tmp_path_factory):
    """A folder of one adapter, and another adapter beside it."""
    folder = tmp_path_factory.mktemp("files")
    source = next(small_run.glob("checkpoints/*/seed-1/epoch-0002/adapter.safetensors"))
    (folder / "mine").mkdir()
    shutil.copy(source, folder / "mine/own.safetensors")
    other = {name: 3 * tensor if "lora_up" in name else tensor for name, tensor in load_file(source).items()}
    save_file(other, folder / "speed.safetensors")
    return folder


def evaluated(files, out, *more):
    done = lorabench_here("evaluate", str(files / "mine"), *FEW, *more, "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(out / "scores.parquet")


def pixels(run, checkpoint):
    return np.stack([np.asarray(Image.open(each)) for each in sorted((run / "images" / checkpoint).rglob("*.png"))])


def test_with_and_without_is_a_factor_of_adapters_and_base_model(files, tmp_path):
    speed, run = str(files / "speed.safetensors"), tmp_path / "run"
    scores = evaluated(files, run, "--sweep", f"companion=,{speed}", "--scales", "0,1")
    found = scores.drop_duplicates("checkpoint").set_index("checkpoint")["companion"].dropna().to_dict()
    assert found == {
        "base": "none", "base+with-speed": "speed", "own-x0": "none", "own": "none",
        "own+with-speed-x0": "speed", "own+with-speed": "speed",
    }  # fmt: skip
    # At merge ratio 0 an adapter is not there, and the other one is all the same.
    assert np.array_equal(pixels(run, "own+with-speed-x0"), pixels(run, "base+with-speed"))
    drawn = [pixels(run, name).tobytes() for name in ("base", "base+with-speed", "own", "own+with-speed")]
    assert len(set(drawn)) == 4
    preserved = scores[scores["metric"] == "style_loss_base"].groupby("checkpoint")["value"].mean()
    assert preserved["own+with-speed-x0"] == 0  # each is compared with the base model as it is drawn


def test_both_together_are_what_their_merge_is(files, tmp_path):
    speed = str(files / "speed.safetensors")
    evaluated(files, tmp_path / "beside", "--sweep", f"companion={speed}", "--sweep", "companion-scale=0.5")
    merged = tmp_path / "merged/own.safetensors"
    merged.parent.mkdir()
    own = str(files / "mine/own.safetensors")
    done = lorabench_here("merge", own, f"{speed}:0.5", "-o", str(merged), "--base", "mini")
    assert done.returncode == 0, done.stderr
    done = lorabench_here("evaluate", str(merged.parent), *FEW, "--out", str(tmp_path / "one"), "--json")
    assert done.returncode == 0, done.stderr
    difference = pixels(tmp_path / "beside", "own").astype(int) - pixels(tmp_path / "one", "own")
    assert np.abs(difference).max() <= 2  # sums are rounded in another order


@pytest.mark.parametrize(("file", "words"), [("nothing.safetensors", "does not exist"), ("own.txt", "own.txt")])
def test_what_is_no_adapter_is_refused_before_any_work(files, tmp_path, file, words):
    (files / "own.txt").write_text("no adapter")
    asked = ("evaluate", str(files / "mine"), *FEW, "--sweep", f"companion={files / file}")
    done = lorabench_here(*asked, "--out", str(tmp_path / "run"))
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
